//! Code of the user's that runs around each rollout.

use std::{
    future::{Future, Ready, ready},
    pin::Pin,
};

use super::RolloutContext;
use crate::types::{Attempt, AttemptStatus, Reward, Span, final_reward};

/// What a hook returns. An error is logged; it neither fails the rollout nor stops the runner.
pub type HookFuture<'a> = Pin<Box<dyn Future<Output = anyhow::Result<()>> + Send + 'a>>;

/// Runs around each rollout of a runner. Everything defaults to doing nothing.
///
/// The runner waits for each hook. What ends an attempt from outside, such as a time limit, breaks off the hooks before and
/// within it as it does the agent; an abort of the runner breaks off all of them. A hook that panics is treated as one that
/// failed.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use lightning_core::agent::{Hook, HookFuture, RolloutContext, RolloutEnd};
///
/// #[derive(Default)]
/// struct CountFailures(AtomicU64);
///
/// impl Hook for CountFailures {
///     fn on_rollout_end<'a>(&'a self, _: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
///         Box::pin(async move {
///             if !end.succeeded() {
///                 self.0.fetch_add(1, Ordering::Relaxed);
///             }
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait Hook: Send + Sync + 'static {
    /// The rollout was claimed and its resources were fetched; nothing is recorded yet.
    fn on_rollout_start<'a>(&'a self, cx: &'a RolloutContext) -> HookFuture<'a> {
        let _ = cx;
        nothing()
    }

    /// The recording has begun and the agent has not: spans of this hook belong to the rollout.
    fn on_trace_start<'a>(&'a self, cx: &'a RolloutContext) -> HookFuture<'a> {
        let _ = cx;
        nothing()
    }

    /// The agent has ended and the recording has not: spans of this hook belong to the rollout.
    fn on_trace_end<'a>(&'a self, cx: &'a RolloutContext) -> HookFuture<'a> {
        let _ = cx;
        nothing()
    }

    /// The attempt has ended, and the store has all of it.
    fn on_rollout_end<'a>(&'a self, cx: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        let _ = (cx, end);
        nothing()
    }
}

fn nothing<'a>() -> HookFuture<'a> {
    let done: Ready<anyhow::Result<()>> = ready(Ok(()));
    Box::pin(done)
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RolloutEnd {
    /// The attempt as it ended.
    pub attempt: Attempt,
    /// Its spans, by sequence id; those of an LLM proxy are among them as far as they have arrived.
    pub spans: Vec<Span>,
}

impl RolloutEnd {
    /// An attempt that has ended, and its spans.
    pub fn new(attempt: Attempt, spans: Vec<Span>) -> Self {
        Self { attempt, spans }
    }

    /// Whether it succeeded.
    pub fn succeeded(&self) -> bool {
        self.attempt.status == AttemptStatus::Succeeded
    }

    /// Its reward: that of the last span that carries one.
    pub fn reward(&self) -> Option<Reward> {
        final_reward(&self.spans)
    }
}
