//! Where an algorithm and its runners live, and how they stop.
//!
//! A strategy is given the algorithm and the runners as futures, and a signal for each side: it knows when to stop which,
//! and nothing of what they do.

#[cfg(feature = "client")]
mod apart;
#[cfg(all(feature = "client", feature = "server"))]
mod client_server;
#[cfg(all(feature = "client", feature = "server"))]
mod environment;
mod interrupt;
mod limits;
#[cfg(all(feature = "client", feature = "server"))]
mod process;
#[cfg(all(feature = "client", feature = "server"))]
mod role;
mod shared_memory;

use std::time::Duration;

use crate::{run::RunContext, runner::RunnerError};

#[cfg(feature = "client")]
pub(crate) use self::apart::RunnersApart;
#[cfg(all(feature = "client", feature = "server"))]
pub use self::{
    client_server::{ClientServer, PlaceError},
    environment::EnvironmentError,
    role::{Role, role},
};
#[cfg(all(feature = "client", feature = "server"))]
pub(crate) use self::{
    client_server::{Counted, DONE, Place, Site},
    process::{RunnerProcess, StoreAccess},
};
pub(crate) use self::{interrupt::Interrupts, shared_memory::Work};
pub use self::{
    limits::{RunnerLimitError, RunnerLimits},
    shared_memory::SharedMemory,
};

/// Where an algorithm and its runners live.
#[derive(Clone, Debug)]
#[cfg_attr(
    all(feature = "client", feature = "server"),
    expect(clippy::large_enum_variant, reason = "there is one for each run")
)]
#[non_exhaustive]
pub enum Strategy {
    /// All in this process.
    SharedMemory(SharedMemory),
    /// In processes of their own, on one machine or on many; with the features `client` and `server`.
    #[cfg(all(feature = "client", feature = "server"))]
    ClientServer(ClientServer),
}

impl Default for Strategy {
    fn default() -> Self {
        Self::SharedMemory(SharedMemory::default())
    }
}

impl From<SharedMemory> for Strategy {
    fn from(strategy: SharedMemory) -> Self {
        Self::SharedMemory(strategy)
    }
}

#[cfg(all(feature = "client", feature = "server"))]
impl From<ClientServer> for Strategy {
    fn from(strategy: ClientServer) -> Self {
        Self::ClientServer(strategy)
    }
}

/// How long an aborted run may take to see to what it leaves in its store.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Cancels what an aborted run has left open in its store, so that nobody goes on working on it; says so if it cannot.
pub(crate) async fn cancel_what_is_left(run: &RunContext) {
    let cancelled = tokio::time::timeout(LAST_WORDS, run.cancel_what_is_open("the run was aborted"));
    match cancelled.await {
        Ok(Ok(0)) => {}
        Ok(Ok(rollouts)) => tracing::warn!(
            target: "lightning::trainer",
            run_id = run.id(),
            rollouts,
            "what the aborted run had not finished was cancelled"
        ),
        Ok(Err(error)) => tracing::warn!(
            target: "lightning::trainer",
            run_id = run.id(),
            error = %error,
            "the rollouts of the aborted run could not all be cancelled; runners elsewhere go on with those that are left"
        ),
        Err(_) => tracing::warn!(
            target: "lightning::trainer",
            run_id = run.id(),
            "the store did not answer in time, so rollouts of the aborted run are left; runners elsewhere go on with them"
        ),
    }
}

/// Why an execution has no result.
#[derive(Debug)]
pub(crate) enum ExecutionError {
    /// The algorithm returned an error.
    Failed(anyhow::Error),
    /// The algorithm panicked.
    Panicked(String),
    /// A runner cannot go on.
    Runner(RunnerError),
    /// A runner panicked.
    RunnerPanicked(String),
    /// All runners ended before the algorithm did.
    RunnersEnded,
    /// Somebody asked twice to stop.
    Interrupted,
    /// Something that the strategy needs cannot be had.
    #[cfg(all(feature = "client", feature = "server"))]
    Setup(String),
}
