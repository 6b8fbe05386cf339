//! What ends a runner.

use crate::{store::StoreError, types::RolloutId};

/// Why a runner cannot go on. What happens to a single rollout is no such reason.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerError {
    /// The store did not do what the runner needs.
    #[error("the runner could not {action}: {source}")]
    Store {
        /// What it tried.
        action: &'static str,
        /// What the store said.
        source: StoreError,
    },

    /// A program that is a runner cannot be started, or does not go on.
    #[error("the agent's program {0}")]
    Program(String),

    /// The task of a step cannot be written as JSON.
    #[error("the task cannot be written as JSON: {0}")]
    Task(#[source] serde_json::Error),

    /// A process of runners that was started for the run ended before its time, again and again.
    #[error(
        "process {place} of runners ended before its time, more often than it is started again: {how}; what it wrote to \
         its standard error says more"
    )]
    Process {
        /// Which of the processes, from 0.
        place: usize,
        /// How it ended the last time, or why it could not be started.
        how: String,
    },

    /// A rollout that was just executed is not in the store.
    #[error("rollout {rollout_id} is no longer in the store; was the store emptied during the run?")]
    Vanished {
        /// The rollout.
        rollout_id: RolloutId,
    },
}

impl From<StoreError> for RunnerError {
    fn from(source: StoreError) -> Self {
        Self::Store {
            action: "use the store",
            source,
        }
    }
}
