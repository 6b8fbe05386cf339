//! A pattern says no name.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

#[algo]
async fn tuple((a, b): (u8, u8)) {}

#[algo]
async fn ignored(_: Arc<dyn Store>) {}

#[rollout]
async fn taken_apart(Question { text }: Question) {}

fn main() {}
