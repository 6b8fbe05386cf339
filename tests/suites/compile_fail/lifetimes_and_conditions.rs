//! What generated code cannot repeat.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

trait Judges<'a> {}

#[algo]
async fn bound<'a, J>(#[inject] judge: J, store: &'a dyn Store)
where
    J: Judges<'a>,
{
}

#[algo]
async fn conditional(#[cfg(unix)] store: Arc<dyn Store>) {}

fn main() {}
