//! The future is not `Send`.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

#[algo]
async fn tune(store: Arc<dyn Store>) -> anyhow::Result<u8> {
    let shared = std::rc::Rc::new(1);
    store.get_latest_resources().await?;
    Ok(*shared)
}

#[rollout]
async fn answer(task: Question) -> f64 {
    let shared = std::rc::Rc::new(1.0);
    tokio::task::yield_now().await;
    *shared
}

fn main() {}
