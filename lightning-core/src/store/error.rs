//! What can go wrong at a store, by what a caller would do about it.

use std::sync::Arc;

use crate::types::{AttemptId, RolloutId};

/// Why a store did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The request names something that is not there. The texts are those of the wire format.
    #[error(transparent)]
    NotFound(#[from] NotFound),

    /// The request cannot be carried out as it stands: mend it.
    #[error("invalid `{field}`: {problem}")]
    Invalid {
        /// The offending field.
        field: &'static str,
        /// What is wrong with it, and what would be right.
        problem: String,
    },

    /// The request key was used before, for another command: use a fresh key for each command.
    #[error(
        "the request key `{key}` was already used for a different command; use a fresh key for each command"
    )]
    KeyReused {
        /// The key.
        key: String,
    },

    /// The worker that asks for work was told to stop: ask for no more. See
    /// [`Store::drain_workers`](super::Store::drain_workers).
    #[error(
        "the worker was told to stop: the run that it works for has ended; start it anew for another one"
    )]
    Draining,

    /// The store cannot be reached, or is shutting down: try again later.
    #[error("the store is unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// The cause, where there is one.
        source: Option<SharedError>,
    },

    /// The store failed. This is a defect or a fault of the machine, not of the request.
    #[error("the store failed: {reason}")]
    Internal {
        /// What happened.
        reason: String,
        /// The cause, where there is one.
        source: Option<SharedError>,
    },
}

/// What a request named and the store does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFound {
    /// There is no such rollout.
    #[error("Rollout {0} not found")]
    Rollout(RolloutId),
    /// An update names a rollout that is not there. The same as [`Rollout`](Self::Rollout), worded as the wire format
    /// has it.
    #[error("Item does not exist with primary key(s): {0}")]
    UpdatedRollout(RolloutId),
    /// The rollout has no such attempt.
    #[error("Attempt {attempt_id} not found for rollout {rollout_id}")]
    Attempt {
        /// The rollout, which exists.
        rollout_id: RolloutId,
        /// The attempt, which does not.
        attempt_id: AttemptId,
    },
    /// `latest` was asked for, and the rollout has no attempts.
    #[error("No attempts found for rollout {0}")]
    NoAttempts(RolloutId),
}

/// A cause that can be cloned with its error.
pub type SharedError = Arc<dyn std::error::Error + Send + Sync>;

impl StoreError {
    /// A request whose `field` is wrong.
    pub fn invalid(field: &'static str, problem: impl Into<String>) -> Self {
        Self::Invalid {
            field,
            problem: problem.into(),
        }
    }
}

/// Two errors are equal if they read the same.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other) && self.to_string() == other.to_string()
    }
}
