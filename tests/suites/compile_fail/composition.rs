//! Parts that do not go together.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

#[derive(Clone, Serialize, Deserialize)]
struct Invoice {
    number: u32,
}

#[algo]
async fn tune(train_dataset: Dataset<Question>) {}

#[rollout]
async fn answer(task: Question) {}

#[rollout]
async fn pay(task: Invoice) {}

fn the_function_itself() {
    Trainer::builder().algorithm(tune);
}

fn no_algorithm() {
    Trainer::builder().n_runners(2).build();
}

async fn the_agent_function_itself(train: Dataset<Question>) -> anyhow::Result<()> {
    let trainer = Trainer::builder().algorithm(tune::algorithm()).build()?;
    trainer.fit(answer, train, None).await?;
    Ok(())
}

async fn an_agent_for_other_tasks(train: Dataset<Question>) -> anyhow::Result<()> {
    let trainer = Trainer::builder().algorithm(tune::algorithm()).build()?;
    trainer.fit(pay::agent(), train, None).await?;
    Ok(())
}

async fn a_dataset_of_other_tasks(train: Dataset<Invoice>) -> anyhow::Result<()> {
    let trainer = Trainer::builder().algorithm(tune::algorithm()).build()?;
    trainer.dev(answer::agent(), None, train).await?;
    Ok(())
}

fn main() {}
