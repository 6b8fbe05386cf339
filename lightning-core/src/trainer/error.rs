//! Why a run did not begin, or has no result.

use super::DevProblem;
use crate::{
    emitter::error_message, inject::InjectErrors, llm_proxy::LlmProxyError, run::RunError,
    runner::RunnerError, store::StoreError,
};

/// Why a run did not begin, or has no result.
///
/// The messages are complete: an error within is part of its message and a field of its variant, and is not told once more
/// as its source.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// Nobody would execute the rollouts.
    #[error("`n_runners` is 0, so that no rollout would ever be executed; give at least 1")]
    NoRunners,

    /// The default time limits or retries make no sense.
    #[error("`rollout_config`: {0}")]
    RolloutConfig(StoreError),

    /// What the run costs cannot be told.
    #[error("{0}")]
    Prices(String),

    /// A dataset was given to an algorithm that would not look at it.
    #[error(
        "`{algorithm}` takes no `{slot}`, but one was given: leave it out of `fit`, or add the parameter `{slot}`"
    )]
    DatasetNotAccepted {
        /// The algorithm.
        algorithm: String,
        /// `train_dataset` or `val_dataset`.
        slot: &'static str,
    },

    /// The algorithm asks for something that the trainer does not have.
    #[error("the algorithm `{algorithm}` cannot start: {missing}")]
    Algorithm {
        /// The algorithm.
        algorithm: String,
        /// Everything that is missing.
        missing: InjectErrors,
    },

    /// The agent asks for something that the trainer does not have.
    #[error("the agent `{agent}` cannot start: {missing}")]
    Agent {
        /// The agent.
        agent: String,
        /// Everything that is missing.
        missing: InjectErrors,
    },

    /// The algorithm's parameters have no JSON form, which the run folder needs.
    #[error(transparent)]
    Parameters(#[from] crate::functional::ParamError),

    /// There is no store at the URL, or it cannot be opened.
    #[error("the store of the trainer could not be opened: {0}")]
    OpenStore(String),

    /// The store did not do what the trainer needs.
    #[error("the trainer could not use the store: {0}")]
    Store(StoreError),

    /// The LLM proxy cannot be started, or has no such model.
    #[error("the LLM proxy of the trainer: {0}")]
    LlmProxy(LlmProxyError),

    /// The algorithm returned an error.
    #[error("the algorithm `{algorithm}` failed: {}", error_message(error))]
    Failed {
        /// The algorithm.
        algorithm: String,
        /// Its error.
        error: anyhow::Error,
    },

    /// The algorithm panicked.
    #[error("the algorithm `{algorithm}` panicked: {message}")]
    Panicked {
        /// The algorithm.
        algorithm: String,
        /// What it said.
        message: String,
    },

    /// A runner cannot go on.
    #[error("a runner failed, so the run was stopped: {0}")]
    Runner(RunnerError),

    /// A runner panicked, which is a defect of this crate.
    #[error("a runner panicked, so the run was stopped: {0}")]
    RunnerPanicked(String),

    /// All runners ended before the algorithm did.
    #[error(
        "every runner has executed its `max_rollouts`, but the algorithm `{algorithm}` still goes on; raise \
         `max_rollouts`, or leave it out"
    )]
    RunnersEnded {
        /// The algorithm.
        algorithm: String,
    },

    /// Somebody asked twice to stop, with Ctrl-C or SIGTERM.
    #[error("the algorithm `{algorithm}` was aborted, because the process was asked twice to stop")]
    Interrupted {
        /// The algorithm.
        algorithm: String,
    },

    /// A dry run found something wanting.
    #[error("the dry run found a problem: {0}")]
    Dev(DevProblem),

    /// A dry run found something wanting, and the algorithm failed.
    #[error("the dry run found a problem: {problem}. Then {error}")]
    DevFailed {
        /// What is wanting.
        problem: DevProblem,
        /// How the algorithm failed.
        error: Box<TrainerError>,
    },

    /// It cannot be said what this process is to do in a run that is spread over several.
    #[cfg(all(feature = "client", feature = "server"))]
    #[error(transparent)]
    Place(#[from] crate::execution::PlaceError),

    /// A limit of the runners cannot be set.
    #[error(transparent)]
    RunnerLimit(#[from] crate::execution::RunnerLimitError),

    /// This process was started as a runner for one `fit`, and came to another.
    #[error(
        "this process was started to run the agent `{expected}`, but came to a `fit` with `{found}`: the program is \
         executed anew for each runner, so what comes before that `fit` must not call another one; see \
         `lightning_core::role`"
    )]
    OtherFit {
        /// The agent that it was started for.
        expected: String,
        /// The agent that it came to.
        found: String,
    },

    /// What the strategy needs cannot be had.
    #[error("the run could not be set up: {0}")]
    Setup(String),

    /// The run folder could not be written.
    #[error(transparent)]
    Folder(#[from] RunError),

    /// There is no runtime to block on.
    #[error("{0}")]
    Runtime(String),
}

#[cfg(all(feature = "client", feature = "server"))]
impl From<crate::execution::EnvironmentError> for TrainerError {
    fn from(error: crate::execution::EnvironmentError) -> Self {
        Self::Place(error.into())
    }
}

impl From<StoreError> for TrainerError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<RunnerError> for TrainerError {
    fn from(error: RunnerError) -> Self {
        Self::Runner(error)
    }
}
