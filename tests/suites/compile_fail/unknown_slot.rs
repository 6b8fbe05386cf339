//! The name of a parameter is no slot.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

#[algo]
async fn misspelled(datset: Dataset<Question>) {}

#[algo]
async fn far_off(judge: u8) {}

#[algo]
async fn of_the_other_macro(rollout: Rollout) {}

#[rollout]
async fn misspelled_task(tsk: Question) {}

#[rollout]
async fn agent_with_a_store(store: Arc<dyn Store>) {}

fn main() {}
