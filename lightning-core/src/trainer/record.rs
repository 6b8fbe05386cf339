//! `run.json`: what a run was begun with, and how it ended.

use std::collections::BTreeMap;

use serde::Serialize;

use super::builder::Parts;
use crate::{
    run::{ConfigurationHistory, RunContext, RunError, StopWhen},
    types::{JsonObject, RolloutConfig, Timestamp},
};

const FILE: &str = "run.json";
/// The form of the file, raised when it changes.
const FORMAT: u32 = 1;

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
    /// Every version of the run file that was used, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    configuration: Option<ConfigurationHistory>,
    began: Timestamp,
    ended: Option<Timestamp>,
    state: RunState,
    error: Option<String>,
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
        began: Timestamp,
    ) -> Self {
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
            configuration: parts.configuration.clone(),
            began,
            ended: None,
            state: RunState::Running,
            error: None,
        }
    }

    /// The run has ended, with this error if any.
    pub(super) fn end(&mut self, ended: Timestamp, error: Option<String>) {
        self.ended = Some(ended);
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
