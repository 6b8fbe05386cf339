//! Options of the macros.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

#[algo(hande = Tune)]
async fn misspelled() {}

#[algo(version = 2)]
async fn number() {}

#[algo(handle = Once, handle = Twice)]
async fn twice() {}

#[rollout(version = "2")]
async fn agent() {}

#[algo("select")]
async fn text() {}

fn main() {}
