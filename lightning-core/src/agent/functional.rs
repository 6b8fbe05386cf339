//! Agents that `#[rollout]` made of functions.

use super::{AgentFuture, AgentOutput};
use crate::{
    functional::{Params, run_blocking},
    inject::{InjectError, InjectErrors, Requirement},
};

/// What `#[rollout]` implements besides [`Agent`](super::Agent).
pub trait FunctionalAgent: Params + Send + Sync {
    /// What the function asks for, one entry for each parameter that is injected.
    const REQUIREMENTS: &'static [Requirement];

    /// The task type to use where nothing else tells, in a run file.
    type DefaultTask;
}

/// The future of an asynchronous function, for generated code. It names no type of the user's, so that a function that
/// does not fit is reported once.
#[doc(hidden)]
pub fn finish<'a, R: AgentOutput>(rollout: impl Future<Output = R> + Send + 'a) -> AgentFuture<'a> {
    Box::pin(async move { rollout.await.into_result() })
}

/// The future of a synchronous function, for generated code.
#[doc(hidden)]
pub fn finish_blocking<'a, R: AgentOutput + Send + 'static>(
    rollout: impl FnOnce() -> R + Send + 'static,
) -> AgentFuture<'a> {
    Box::pin(async move { run_blocking(rollout).await?.into_result() })
}

/// The future of a function whose parameters got no values, for generated code.
#[doc(hidden)]
pub fn refuse<'a>(missing: InjectErrors) -> AgentFuture<'a> {
    Box::pin(std::future::ready(Err(missing.into())))
}

/// Forgives, for generated code, that before any rollout there is nothing that only a rollout has.
#[doc(hidden)]
pub fn check_before_rollouts(missing: InjectErrors) -> Result<(), InjectErrors> {
    missing.into_result(|error| {
        !matches!(
            error,
            InjectError::Absent {
                slot: "llm" | "prompt_template" | "resources" | "rollout",
                ..
            }
        )
    })
}
