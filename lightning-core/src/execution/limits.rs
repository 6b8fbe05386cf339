//! What the runners of a process may take.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What the runners of a process may take, besides how many there are. Nothing is limited if not set.
///
/// ```
/// use std::time::Duration;
/// use lightning_core::execution::RunnerLimits;
///
/// let limits = RunnerLimits::new().rollout_time(Duration::from_secs(120)).memory_bytes(4 << 30);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunnerLimits {
    rollout_time: Option<Duration>,
    memory_bytes: Option<u64>,
}

/// A limit that cannot be set.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RunnerLimitError {
    /// Algorithm and runners share a process, so there is nothing to limit.
    #[error(
        "runners that share a process with the algorithm cannot have a memory limit of their own, for it would be the \
         algorithm's as well; use the strategy `ClientServer`, or leave the limit out"
    )]
    SharedProcess,

    /// The operating system does not do it.
    #[error("the memory of this process cannot be limited to {bytes} bytes: {problem}")]
    Memory {
        /// What it was to be limited to.
        bytes: u64,
        /// What the system says.
        problem: String,
    },
}

impl RunnerLimits {
    /// No limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long an agent may work on one attempt, whatever the rollout allows. Then it is cancelled and dropped, and the
    /// attempt ends as failed.
    #[must_use]
    pub fn rollout_time(mut self, limit: Duration) -> Self {
        self.rollout_time = Some(limit);
        self
    }

    /// How much memory a process of runners may have, in bytes: its data, heap and stacks included (`RLIMIT_DATA`). A
    /// process that would need more is ended by its allocator; another one takes its place, and the attempts that it had end
    /// by their time limits. Only for processes that have no algorithm; where the system has no such limit, it is refused.
    #[must_use]
    pub fn memory_bytes(mut self, limit: u64) -> Self {
        self.memory_bytes = Some(limit);
        self
    }

    pub(crate) fn of_rollout_time(self) -> Option<Duration> {
        self.rollout_time
    }

    /// Refuses what cannot be had where the algorithm is.
    pub(crate) fn check_beside_algorithm(self) -> Result<(), RunnerLimitError> {
        match self.memory_bytes {
            None => Ok(()),
            Some(_) => Err(RunnerLimitError::SharedProcess),
        }
    }

    /// Limits this process from now on.
    #[cfg(feature = "client")]
    pub(crate) fn apply(self) -> Result<(), RunnerLimitError> {
        let Some(bytes) = self.memory_bytes else {
            return Ok(());
        };
        limit_memory(bytes).map_err(|problem| RunnerLimitError::Memory { bytes, problem })
    }
}

#[cfg(all(feature = "client", any(target_os = "linux", target_os = "android")))]
fn limit_memory(bytes: u64) -> Result<(), String> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Data).maximum;
    let limit = Rlimit {
        current: Some(bytes),
        maximum,
    };
    setrlimit(Resource::Data, limit).map_err(|error| error.to_string())
}

#[cfg(all(feature = "client", not(any(target_os = "linux", target_os = "android"))))]
fn limit_memory(_: u64) -> Result<(), String> {
    Err("that needs Linux".to_owned())
}
