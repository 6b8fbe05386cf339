//! Functions that nobody can call.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

#[algo]
unsafe fn not_safe() {}

#[algo]
const fn constant() {}

#[algo]
extern "C" fn foreign() {}

#[rollout]
unsafe extern "C" fn variadic(task: String, _: ...) {}

fn main() {}
