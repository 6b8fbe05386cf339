//! Where an algorithm and its runners live, and how they stop.
//!
//! A strategy is given the algorithm and the runners as futures, and a signal for each side: it knows when to stop which,
//! and nothing of what they do.

mod interrupt;
mod shared_memory;

use crate::runner::RunnerError;

pub use self::shared_memory::SharedMemory;
pub(crate) use self::{interrupt::Interrupts, shared_memory::Work};

/// Where an algorithm and its runners live.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum Strategy {
    /// All in this process.
    SharedMemory(SharedMemory),
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
}
