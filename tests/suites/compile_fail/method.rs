//! A method is no free function.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

struct Tuner {
    rate: f64,
}

impl Tuner {
    #[algo]
    async fn tune(&self, store: Arc<dyn Store>) -> f64 {
        let _ = store;
        self.rate
    }

    #[rollout]
    async fn answer(self: Arc<Self>) -> f64 {
        self.rate
    }
}

fn main() {}
