//! Parts that do not go together. `fit` stands for what the trainer asks for.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

use lightning_core::types::IntoDataset;

#[derive(Clone, Serialize, Deserialize)]
struct Invoice {
    number: u32,
}

fn fit<T: Task>(algorithm: impl Algorithm<T>, agent: impl Agent<T>, train: impl IntoDataset<T>) {}

#[algo]
async fn tune(train_dataset: Dataset<Question>) {}

#[rollout]
async fn answer(task: Question) {}

#[rollout]
async fn pay(task: Invoice) {}

fn the_function_itself(train: Dataset<Question>) {
    fit(tune, answer::agent(), train);
}

fn the_agent_function_itself(train: Dataset<Question>) {
    fit(tune::algorithm(), answer, train);
}

fn an_agent_for_other_tasks(train: Dataset<Question>) {
    fit(tune::algorithm(), pay::agent(), train);
}

fn a_dataset_of_other_tasks(train: Dataset<Invoice>) {
    fit(tune::algorithm(), answer::agent(), train);
}

fn main() {}
