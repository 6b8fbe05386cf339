//! The type of a parameter does not fit its slot.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

#[algo]
async fn store(store: String) {}

#[algo]
async fn boxed(store: Box<dyn Store>) {}

#[algo]
async fn adapter(adapter: Option<usize>) {}

#[algo]
async fn proxy(llm_proxy: String) {}

#[algo]
async fn resources(initial_resources: Vec<String>) {}

#[algo]
async fn run(run: Arc<str>) {}

#[algo]
async fn datasets(train_dataset: Vec<Question>, val_dataset: Option<Vec<Question>>) {}

#[rollout]
async fn answer(task: Question, llm: String, prompt_template: &str, resources: u8, rollout: u8) {}

fn main() {}
