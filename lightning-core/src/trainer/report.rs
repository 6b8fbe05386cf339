//! What a run came to.

use std::{path::PathBuf, process::ExitCode};

use serde::Serialize;

use crate::{
    alerts::Alert,
    run::{Cost, FailureReason, Metric, ModelUsage, RewardPoint, RolloutCounts, StopReason},
    types::{JsonObject, Timestamp},
};

/// What a run came to. It is also written to `report.json` of the run folder.
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct FitReport<O> {
    /// What tells this run from all others.
    pub run_id: String,
    /// The version of this crate.
    pub lightning: &'static str,
    /// The algorithm.
    pub algorithm: String,
    /// Its version.
    pub version: String,
    /// Its parameters by name.
    pub parameters: JsonObject,
    /// The agent.
    pub agent: String,
    /// What decided the algorithm's random choices.
    pub seed: u64,
    /// What the algorithm returned.
    pub output: O,
    /// Why the run was to stop before the algorithm had come to its own end; `None` if it was not.
    pub stopped: Option<StopReason>,
    /// The attempts that the runners executed.
    pub rollouts: RolloutCounts,
    /// What kept attempts from a reward, the most frequent first.
    pub failures: Vec<FailureReason>,
    /// The rewards in the order in which they came: means over stretches of equal numbers of rollouts.
    pub reward_curve: Vec<RewardPoint>,
    /// How often models were called and how many tokens that took, by role and model.
    pub model_usage: Vec<ModelUsage>,
    /// What models have cost, if the trainer knows their prices.
    pub cost: Option<Cost>,
    /// When the run began; of one that was resumed, when its first process did.
    pub began: Timestamp,
    /// How long the run took, in seconds; of one that was resumed, all its processes together.
    pub seconds: f64,
    /// How often the run was resumed.
    pub resumed: usize,
    /// The figures that the algorithm noted, in order.
    pub metrics: Vec<Metric>,
    /// What was wrong with the run's health, in the order in which it was noticed.
    pub alerts: Vec<Alert>,
    /// The run folder; `None` if it was temporary.
    pub run_dir: Option<PathBuf>,
}

impl<O> FitReport<O> {
    /// What a program may end with: 0, or 3 if an alert was raised and has not cleared. (1 and 2 are for errors.)
    pub fn exit_code(&self) -> ExitCode {
        let is_well = self.alerts.iter().all(|alert| alert.cleared.is_some());
        ExitCode::from(if is_well { 0 } else { 3 })
    }
}
