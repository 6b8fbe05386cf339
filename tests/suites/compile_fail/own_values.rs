//! Values of one's own that are none.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

#[derive(Clone)]
struct Budget(u8);

struct Judge;

#[algo]
async fn by_type(#[inject] budget: Budget) {}

#[algo]
async fn by_slot(#[inject(Judge)] judge: Budget) {}

#[algo]
async fn not_a_slot(#[inject = "judge"] judge: Budget) {}

#[rollout]
async fn agent(#[inject] budget: &Budget) {}

#[derive(Inject)]
struct NotClone(u8);

fn main() {}
