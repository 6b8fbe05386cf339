//! What an algorithm cannot return.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

struct Secret;

#[algo]
async fn not_serde() -> Secret {
    Secret
}

#[algo]
async fn inside_a_result() -> anyhow::Result<Secret> {
    Ok(Secret)
}

#[algo]
async fn error() -> Result<u8, String> {
    Ok(1)
}

type Fallible<T> = std::result::Result<T, String>;

#[algo]
async fn error_in_an_alias() -> Fallible<u8> {
    Ok(1)
}

#[algo]
async fn borrowed(train_dataset: &[Question]) -> &Question {
    &train_dataset[0]
}

#[algo]
fn synchronous() -> Result<Secret, String> {
    Ok(Secret)
}

fn main() {}
