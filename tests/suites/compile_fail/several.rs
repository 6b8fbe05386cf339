//! Several mistakes at once: each is told, and nothing else is.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
struct Question {
    text: String,
}

fn fit<T: Task>(algorithm: impl Algorithm<T>, agent: impl Agent<T>) {}

#[algo(hande = Tune)]
unsafe fn tune(
    stroe: Arc<dyn Store>,
    (a, b): (u8, u8),
    adapter: usize,
    train_dataset: Dataset<Question>,
    #[param(default = 1)] run: u8,
    #[param(default = 2)] beam_width: usize,
) -> impl Serialize {
    1
}

#[rollout]
async fn answer(task: Question, model: u8) -> f64 {
    1.0
}

fn users_meet_no_further_errors() {
    fit(tune::algorithm().beam_width(3), answer::agent());
}

fn main() {}
