//! Who is told that a run has no result.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use serde_json::Value;

use super::TrainerError;
use crate::{emitter::panic_message, run::RunContext};

/// What is called when a run has no result.
pub(super) type OnFailure = Arc<dyn Fn(&RunFailure) + Send + Sync>;

/// Why a run has no result, and how far it had got.
#[derive(Debug)]
#[non_exhaustive]
pub struct RunFailure {
    /// What `fit` returns, in words.
    pub error: String,
    /// The run: its id, its folder, what was counted and measured. It has ended.
    pub run: RunContext,
    /// The state that the algorithm saved last, if it saved any.
    pub state: Option<Value>,
}

/// Tells all of them, off the runtime's threads.
pub(super) async fn tell(calls: &[OnFailure], run: &RunContext, error: &TrainerError) {
    if calls.is_empty() {
        return;
    }
    // A state that cannot be read is not the failure to be told of.
    let state = run.saved_state().await.ok().flatten();
    let failure = RunFailure {
        error: error.to_string(),
        run: run.clone(),
        state,
    };
    let calls = calls.to_vec();
    let told = tokio::task::spawn_blocking(move || {
        for call in calls {
            if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| call(&failure))) {
                tracing::warn!(
                    target: "lightning::trainer",
                    error = panic_message(&*panic),
                    "what was to be called when the run failed panicked"
                );
            }
        }
    });
    // It cannot panic, and a runtime that shuts down takes the program with it.
    let _ = told.await;
}
