//! A hyper-parameter whose type is not serde, or borrows.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

#[derive(Clone)]
struct Strategy;

struct NotEvenClone;

#[algo]
async fn not_serde(#[param] strategy: Strategy) {}

#[algo]
async fn not_clone(#[param(default = NotEvenClone)] strategy: NotEvenClone) {}

#[algo]
async fn borrowed(#[param(default = "mean")] metric: &str) {}

#[rollout]
async fn agent(#[param(default = Strategy)] strategy: Strategy) {}

fn main() {}
