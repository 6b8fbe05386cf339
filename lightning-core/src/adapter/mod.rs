//! Adapters: from the spans of an agent to data that an algorithm trains on.
//!
//! Sees only [`types`](crate::types) and [`semconv`](crate::semconv): where the spans come from is none of its business.

use crate::types::Span;

/// Turns the spans of one rollout into data for training.
///
/// An algorithm asks for it with a parameter called `adapter`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a trace adapter",
    label = "does not implement `TraceAdapter`"
)]
pub trait TraceAdapter: Send + Sync + 'static {
    /// The data for training.
    type Output: Send + 'static;

    /// The data that these spans hold, in the order in which the spans are given.
    ///
    /// Errors with an [`AdaptError`] that says what the spans lack: an empty result would hide it.
    fn adapt(&self, spans: &[Span]) -> Result<Self::Output, AdaptError>;
}

/// Why spans could not be turned into data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// There is nothing to train on.
    #[error("the spans hold nothing to train on: {reason}")]
    Empty {
        /// What is missing.
        reason: String,
    },

    /// A span does not read as its name promises.
    #[error("span `{span_id}` cannot be read: {problem}")]
    Malformed {
        /// The span.
        span_id: String,
        /// What is wrong with it.
        problem: String,
    },

    /// An adapter of one's own failed.
    #[error("{0:#}")]
    Other(anyhow::Error),
}
