//! The macros go on functions.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

#[algo]
struct Tuner;

#[algo]
mod tuner {}

#[rollout]
static ANSWER: u8 = 42;

#[algo]
const TUNE: fn() = || {};

trait Tune {
    #[algo]
    async fn tune(store: Arc<dyn Store>);
}

fn main() {}
