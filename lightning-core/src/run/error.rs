//! What can go wrong in a run besides the algorithm itself.

use std::{io, path::PathBuf};

use crate::{store::StoreError, types::RolloutId};

/// Why the run's folder or a checkpoint in it could not be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// A file or a folder could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Folder {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },

    /// Another run is using the folder.
    #[error("the run folder {} is used by another run; wait for its end, or choose another folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },

    /// A checkpoint or the record of a run is there but cannot be read: it is damaged, or the state's type has changed.
    #[error("{} does not hold what this run keeps there: {source}; use another run folder, or start over", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// A state or a report cannot be written as JSON.
    #[error("what the run keeps cannot be written as JSON: {0}")]
    Unwritable(#[source] serde_json::Error),

    /// A file of the folder was written by another algorithm, another version of it, or with other parameters.
    #[error("{} was written by a run with other settings; resume with the same ones, use another run folder, or say that the run may go on or start over (`resume` of the trainer's builder):\n{}", path.display(), differences.join("\n"))]
    OtherSettings {
        /// The file.
        path: PathBuf,
        /// One line for each setting that differs: `beam_width: 4 before, 8 now`.
        differences: Vec<String>,
    },

    /// What an earlier process of the run has left in the store cannot be looked through.
    #[error("the run cannot be resumed from its store: {0}")]
    Store(#[from] StoreError),

    /// A step was kept under this name, but what it came to is of another type.
    #[error("the step `{step}` in {} holds something else than what is asked for: {source}; give each step a name of its own", path.display())]
    OtherStep {
        /// The name of the step.
        step: String,
        /// The file.
        path: PathBuf,
        /// What does not fit.
        source: serde_json::Error,
    },
}

/// Why an evaluation has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvaluateError {
    /// The store did not do what it was asked.
    #[error(transparent)]
    Store(#[from] StoreError),

    /// A task or a resource cannot be written as JSON.
    #[error("{what} cannot be written as JSON: {source}")]
    Unwritable {
        /// Which task or resource.
        what: String,
        /// Why.
        source: serde_json::Error,
    },

    /// More rollouts failed than the policy allows. A mean over the rest would say nothing.
    #[error(
        "{failed} of {total} rollouts failed, more than the policy allows; the first, {rollout_id}, with: {message}"
    )]
    TooManyFailed {
        /// How many failed, after retries.
        failed: usize,
        /// How many there were.
        total: usize,
        /// The first that failed, in the order of the tasks.
        rollout_id: RolloutId,
        /// What it failed with.
        message: String,
    },

    /// There were no rewards to take a mean of.
    #[error("none of the {total} rollouts has a reward; the first without one: {reason}")]
    NoReward {
        /// How many rollouts there were.
        total: usize,
        /// Why the first of them has none.
        reason: String,
    },

    /// The run was asked to stop; what was under way has been cancelled.
    #[error("the run was asked to stop")]
    Cancelled,
}
