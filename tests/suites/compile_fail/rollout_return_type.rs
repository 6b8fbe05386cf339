//! What a rollout cannot return.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

struct Secret;

#[rollout]
async fn not_a_result(task: Question) -> Secret {
    Secret
}

#[rollout]
async fn text(task: Question) -> String {
    task.text
}

#[rollout]
async fn inside_a_result(task: Question) -> anyhow::Result<Secret> {
    Ok(Secret)
}

#[rollout]
async fn error(task: Question) -> Result<f64, String> {
    Ok(1.0)
}

fn main() {}
