//! The same slot, or the same name, twice.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

#[algo]
async fn slot(store: Arc<dyn Store>, _store: &dyn Store) {}

#[algo]
async fn parameter(#[param(default = 1)] n: u8, #[param(default = 1)] _n: u8) {}

#[algo]
async fn attribute(#[param] #[param(default = 1)] n: u8) {}

#[algo]
async fn both(#[param] #[inject] n: u8) {}

fn main() {}
