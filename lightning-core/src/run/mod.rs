//! One run of an algorithm: what identifies it and makes it repeatable.

use std::sync::Arc;

/// The run that an algorithm is part of. A clone is the same run.
#[derive(Clone, Debug)]
pub struct RunContext {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: String,
    seed: u64,
}

impl RunContext {
    /// A run with its id and the seed of its random numbers.
    pub fn new(id: impl Into<String>, seed: u64) -> Self {
        Self {
            shared: Arc::new(Shared { id: id.into(), seed }),
        }
    }

    /// The run `test` with the seed 0, for calling an algorithm in a test.
    pub fn for_test() -> Self {
        Self::new("test", 0)
    }

    /// What tells this run from all others.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The seed of the run's random numbers: the same seed gives the same choices.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }
}
