//! A hyper-parameter with a name that is taken.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

#[algo]
async fn slot(#[param(default = 1)] store: u8) {}

#[algo]
async fn constructor(#[param(default = 1)] algorithm: u8) {}

#[rollout]
async fn agent_constructor(#[param(default = 1)] agent: u8) {}

#[algo]
async fn injected(#[inject] store: u8) {}

fn main() {}
