//! A synchronous function cannot borrow.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

#[algo]
fn tune(store: &dyn Store, train_dataset: Option<&[Question]>, #[inject] judge: &str) {}

#[rollout]
fn answer(task: &Question, prompt_template: &PromptTemplate) {}

fn main() {}
