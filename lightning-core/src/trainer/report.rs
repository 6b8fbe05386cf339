//! What a run came to.

use std::path::PathBuf;

use serde::Serialize;

use crate::{run::Metric, types::JsonObject};

/// What a run came to. It is also written to `report.json` of the run folder.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FitReport<O> {
    /// What tells this run from all others.
    pub run_id: String,
    /// The algorithm.
    pub algorithm: String,
    /// Its version.
    pub version: String,
    /// Its parameters by name.
    pub parameters: JsonObject,
    /// What the algorithm returned.
    pub output: O,
    /// The attempts that the runners executed.
    pub rollouts: RolloutCounts,
    /// How long the run took, in seconds.
    pub seconds: f64,
    /// The figures that the algorithm noted, in order.
    pub metrics: Vec<Metric>,
    /// The run folder; `None` if it was temporary.
    pub run_dir: Option<PathBuf>,
}

/// How many attempts the runners executed, by what became of them. An attempt without a reward does not count as one
/// with a reward of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RolloutCounts {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that did not.
    pub failed: u64,
    /// Those that succeeded with a reward.
    pub rewarded: u64,
    /// The mean of the primary rewards of those; `None` if there are none.
    pub mean_reward: Option<f64>,
}
