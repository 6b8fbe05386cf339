//! `run.json`: what a run was begun with, and how it ended.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{beginning::Beginning, builder::Parts};
use crate::{
    alerts::Alert,
    run::{
        AlgorithmIdentity, ConfigurationHistory, Cost, FailureReason, ModelUsage, RewardPoint, RolloutCounts,
        RunContext, RunError, StopReason, StopWhen, difference,
    },
    types::{JsonObject, RolloutConfig, Timestamp},
};

pub(super) const FILE: &str = "run.json";
/// The form of the file, raised when it changes.
const FORMAT: u32 = 1;

/// What stands for what a run was begun with, where it is too large or too secret to be written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Digests {
    pub(super) train_dataset: Option<String>,
    pub(super) val_dataset: Option<String>,
    /// By the resource's name.
    pub(super) initial_resources: BTreeMap<String, String>,
}

/// One process of the run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) began: Timestamp,
    /// Of one that was killed, when it was last heard of, as far as that is known.
    pub(super) ended: Option<Timestamp>,
    pub(super) n_runners: usize,
}

/// What an earlier process has written down, as far as it matters to the one that resumes the run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Earlier {
    format: u32,
    pub(super) run_id: String,
    algorithm: String,
    version: String,
    parameters: JsonObject,
    seed: u64,
    pub(super) began: Timestamp,
    #[serde(default)]
    digests: Option<Digests>,
    #[serde(default)]
    pub(super) processes: Vec<Process>,
}

impl Earlier {
    /// One line for each thing that is not as it was.
    pub(super) fn differences(
        &self,
        algorithm: &AlgorithmIdentity,
        seed: u64,
        digests: &Digests,
    ) -> Vec<String> {
        let before = AlgorithmIdentity {
            name: self.algorithm.clone(),
            version: self.version.clone(),
            parameters: self.parameters.clone(),
        };
        let mut lines = algorithm.differences(&before);
        lines.extend(difference("format", &self.format.into(), &FORMAT.into()));
        lines.extend(difference("seed", &self.seed.into(), &seed.into()));
        let Some(was) = &self.digests else {
            return lines;
        };
        let datasets = [
            ("train_dataset", &was.train_dataset, &digests.train_dataset),
            ("val_dataset", &was.val_dataset, &digests.val_dataset),
        ];
        for (name, was, is) in datasets {
            lines.extend(other(name, was.as_ref(), is.as_ref()));
        }
        let (was, is) = (&was.initial_resources, &digests.initial_resources);
        let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
        for name in names {
            lines.extend(other(
                &format!("initial resource `{name}`"),
                was.get(name),
                is.get(name),
            ));
        }
        lines
    }
}

/// A line on something that is known only by what stands for it.
fn other(name: &str, was: Option<&String>, is: Option<&String>) -> Option<String> {
    match (was, is) {
        (Some(was), Some(is)) if was == is => None,
        (None, None) => None,
        (Some(_), Some(_)) => Some(format!("  {name}: another one now")),
        (Some(_), None) => Some(format!("  {name}: given before, not now")),
        (None, Some(_)) => Some(format!("  {name}: not given before, but now")),
    }
}

/// The contents of `run.json`. It is written when the run begins and again when it ends; of a process that was killed,
/// the state stays `running`.
#[derive(Clone, Debug, Serialize)]
pub(super) struct RunRecord {
    format: u32,
    lightning: &'static str,
    run_id: String,
    algorithm: String,
    version: String,
    parameters: JsonObject,
    agent: String,
    seed: u64,
    n_runners: usize,
    max_rollouts: Option<u64>,
    rollout_config: RolloutConfig,
    stop_when: StopWhen,
    train_tasks: Option<usize>,
    val_tasks: Option<usize>,
    /// The kind of each initial resource by its name. What they hold may be secret.
    initial_resources: BTreeMap<String, String>,
    digests: Digests,
    /// Every version of the run file that was used, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<ConfigurationHistory>,
    /// When the first process of the run began.
    began: Timestamp,
    ended: Option<Timestamp>,
    processes: Vec<Process>,
    state: RunState,
    /// What models have cost, if that is known.
    cost: Option<Cost>,
    alerts: Vec<Alert>,
    /// What the run came to, whatever its end was; not there while it goes on.
    totals: Option<Totals>,
    error: Option<String>,
}

/// The figures of a run that has ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Totals {
    seconds: f64,
    stopped: Option<StopReason>,
    rollouts: RolloutCounts,
    failures: Vec<FailureReason>,
    reward_curve: Vec<RewardPoint>,
    model_usage: Vec<ModelUsage>,
}

impl Totals {
    /// Those of a run that took so long.
    pub(super) fn of(run: &RunContext, seconds: f64) -> Self {
        Self {
            seconds,
            stopped: run.should_stop(),
            rollouts: run.rollout_counts(),
            failures: run.failure_reasons(),
            reward_curve: run.reward_curve(),
            model_usage: run.model_usage(),
        }
    }
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum RunState {
    Running,
    Succeeded,
    Failed,
}

impl RunRecord {
    /// The record of a run that begins.
    pub(super) fn new(
        run: &RunContext,
        parts: &Parts,
        agent: String,
        (train_tasks, val_tasks): (Option<usize>, Option<usize>),
        beginning: &Beginning,
        now: Timestamp,
    ) -> Self {
        let mut processes = beginning.processes.clone();
        processes.push(Process {
            began: now,
            ended: None,
            n_runners: parts.n_runners,
        });
        let algorithm = run.algorithm().clone();
        let kind =
            |(name, resource): (&str, &crate::types::Resource)| (name.to_owned(), resource.kind().to_owned());
        Self {
            format: FORMAT,
            lightning: env!("CARGO_PKG_VERSION"),
            run_id: run.id().to_owned(),
            algorithm: algorithm.name,
            version: algorithm.version,
            parameters: algorithm.parameters,
            agent,
            seed: run.seed(),
            n_runners: parts.n_runners,
            max_rollouts: parts.max_rollouts,
            rollout_config: parts.rollout_config.clone(),
            stop_when: parts.stop_when.clone(),
            train_tasks,
            val_tasks,
            initial_resources: parts
                .initial_resources
                .iter()
                .flat_map(|all| all.iter())
                .map(kind)
                .collect(),
            digests: beginning.digests.clone(),
            configuration: parts.configuration.clone(),
            began: beginning.began.unwrap_or(now),
            ended: None,
            processes,
            state: RunState::Running,
            cost: None,
            alerts: Vec::new(),
            totals: None,
            error: None,
        }
    }

    /// The run has ended, with this error if any.
    pub(super) fn end(
        &mut self,
        ended: Timestamp,
        (cost, alerts): (Option<Cost>, Vec<Alert>),
        totals: Totals,
        error: Option<String>,
    ) {
        (self.cost, self.alerts) = (cost, alerts);
        self.totals = Some(totals);
        self.ended = Some(ended);
        if let Some(process) = self.processes.last_mut() {
            process.ended = Some(ended);
        }
        self.state = if error.is_some() {
            RunState::Failed
        } else {
            RunState::Succeeded
        };
        self.error = error;
    }

    /// Writes it to the run's folder, unless that is temporary.
    pub(super) async fn write(&self, run: &RunContext) -> Result<(), RunError> {
        run.folder().write_json(FILE, self).await
    }
}
