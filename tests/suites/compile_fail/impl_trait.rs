//! Types without a name.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

use std::future::Future;

#[algo]
async fn parameter(adapter: impl TraceAdapter<Output = f64>) {}

#[algo]
async fn inner(#[inject] judge: Arc<impl Send>) {}

#[algo]
async fn output(store: Arc<dyn Store>) -> impl serde::Serialize {
    let _ = store;
    1
}

#[algo]
fn future(store: Arc<dyn Store>) -> impl Future<Output = u8> {
    async move {
        let _ = store;
        1
    }
}

fn main() {}
