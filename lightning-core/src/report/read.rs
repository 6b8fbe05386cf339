//! What the files of a run folder say.

use std::{
    fs,
    io::{self, BufRead as _, BufReader},
    path::{Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::{ReportError, page, text};
use crate::{
    alerts::Alert,
    run::{
        ConfigurationVersion, Cost, EvaluationRecord, FailureReason, Metric, ModelUsage, RewardPoint,
        RolloutCounts, RunError, RunFolder, StopReason,
    },
    types::{JsonObject, Timestamp},
};

/// What a run came to so far, as its folder has it.
///
/// ```
/// use lightning_core::{agent::agent_fn, algorithm::Baseline, prelude::*, report::{RunReport, RunState}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// # let folder = std::env::temp_dir().join(format!("lightning-doc-report-{}", std::process::id()));
/// let trainer = Trainer::builder().quiet().algorithm(Baseline::algorithm()).run_dir(&folder).build()?;
/// let agent = agent_fn(|task: String, _| async move { task.len() as f64 });
/// trainer.fit(agent, vec!["one".to_owned()], None).await?;
///
/// let report = RunReport::read(&folder)?;
/// assert_eq!(report.state(), RunState::Succeeded);
/// assert!(report.to_html().starts_with("<!doctype html>"));
/// # assert!(folder.join("report.html").exists());
/// # std::fs::remove_dir_all(folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RunReport {
    pub(super) folder: PathBuf,
    pub(super) state: RunState,
    pub(super) record: Record,
    /// The figures of the run; those of the evaluations that have ended, if it has none.
    pub(super) totals: Totals,
    /// In the order in which their names first came.
    pub(super) metrics: Vec<Series>,
    /// In the order in which they ended.
    pub(super) evaluations: Vec<EvaluationRecord>,
    /// What the algorithm returned; else what it saved last.
    pub(super) output: Option<Output>,
    /// What was there and could not be read.
    pub(super) unreadable: Vec<String>,
}

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunState {
    /// Its algorithm has returned.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// It is going on.
    GoingOn,
    /// Its process has ended, and nobody wrote down how: it was killed. It can be resumed.
    BrokenOff,
}

/// A figure over the course of the run, as steps and values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

#[derive(Clone, Debug)]
pub(super) enum Output {
    Returned(Value),
    Saved(Value),
}

/// `run.json`, as far as it is shown. What is not there is empty: it may have been written by another version.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Record {
    pub(super) lightning: String,
    pub(super) run_id: String,
    pub(super) algorithm: String,
    pub(super) version: String,
    pub(super) parameters: JsonObject,
    pub(super) agent: String,
    pub(super) seed: u64,
    pub(super) n_runners: usize,
    pub(super) max_rollouts: Option<u64>,
    pub(super) rollout_config: JsonObject,
    pub(super) stop_when: Value,
    pub(super) train_tasks: Option<usize>,
    pub(super) val_tasks: Option<usize>,
    pub(super) initial_resources: std::collections::BTreeMap<String, String>,
    pub(super) configuration: Vec<ConfigurationVersion>,
    pub(super) began: Option<Timestamp>,
    pub(super) ended: Option<Timestamp>,
    pub(super) processes: Vec<Process>,
    state: String,
    pub(super) cost: Option<Cost>,
    pub(super) alerts: Vec<Alert>,
    totals: Option<Totals>,
    pub(super) error: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Process {
    pub(super) began: Timestamp,
    #[serde(default)]
    pub(super) ended: Option<Timestamp>,
    #[serde(default)]
    pub(super) n_runners: usize,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Totals {
    pub(super) seconds: Option<f64>,
    pub(super) stopped: Option<StopReason>,
    pub(super) rollouts: RolloutCounts,
    pub(super) failures: Vec<FailureReason>,
    pub(super) reward_curve: Vec<RewardPoint>,
    pub(super) model_usage: Vec<ModelUsage>,
    /// Whether these are only what the evaluations say.
    #[serde(skip)]
    pub(super) of_evaluations: bool,
}

impl Totals {
    fn of(evaluations: &[EvaluationRecord]) -> Self {
        let mut totals = Self {
            of_evaluations: true,
            ..Self::default()
        };
        let (mut sum, mut rewarded) = (0.0, 0);
        for one in evaluations {
            rewarded += one.rewarded as u64;
            sum += one.mean_reward.unwrap_or(0.0) * one.rewarded as f64;
            totals.rollouts.succeeded += (one.rewarded + one.without_reward) as u64;
            totals.rollouts.failed += one.failed as u64;
        }
        totals.rollouts.rewarded = rewarded;
        totals.rollouts.mean_reward = (rewarded > 0).then(|| sum / rewarded as f64);
        totals
    }
}

impl RunReport {
    /// Reads what is in a run folder. Blocks on the disk.
    ///
    /// What an interrupted run has left half written is passed over; the report says so.
    ///
    /// # Errors
    ///
    /// [`ReportError::NoRun`], [`ReportError::Read`] and [`ReportError::NotARecord`].
    pub fn read(folder: impl AsRef<Path>) -> Result<Self, ReportError> {
        let folder = folder.as_ref();
        let path = folder.join("run.json");
        let contents = match fs::read(&path) {
            Ok(contents) => contents,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Err(ReportError::NoRun {
                    path: folder.to_owned(),
                });
            }
            Err(source) => return Err(ReportError::Read { path, source }),
        };
        let mut record: Record =
            serde_json::from_slice(&contents).map_err(|source| ReportError::NotARecord { path, source })?;
        let state = match record.state.as_str() {
            "succeeded" => RunState::Succeeded,
            "failed" => RunState::Failed,
            _ if is_in_use(folder) => RunState::GoingOn,
            _ => RunState::BrokenOff,
        };
        let mut unreadable = Vec::new();
        let mut metrics: Vec<Series> = Vec::new();
        each_line(
            &folder.join("metrics.jsonl"),
            &mut unreadable,
            &mut |metric: Metric| {
                let point = (metric.step as f64, metric.value);
                match metrics.iter_mut().find(|known| known.name == metric.name) {
                    Some(known) => known.points.push(point),
                    None => metrics.push(Series {
                        name: metric.name,
                        points: vec![point],
                    }),
                }
            },
        )?;
        let mut evaluations = Vec::new();
        each_line(
            &folder.join("evaluations.jsonl"),
            &mut unreadable,
            &mut |evaluation| evaluations.push(evaluation),
        )?;
        // What stands in the report of an earlier end is not what this run came to.
        let output = match state {
            RunState::Succeeded => document(&folder.join("report.json"), &mut unreadable)?
                .filter(|report| report["run_id"] == record.run_id.as_str())
                .and_then(|mut report| report.get_mut("output").map(Value::take))
                .map(Output::Returned),
            _ => document(&folder.join("checkpoint.json"), &mut unreadable)?
                .and_then(|mut saved| saved.get_mut("state").map(Value::take))
                .map(Output::Saved),
        };
        let totals = record.totals.take().unwrap_or_else(|| Totals::of(&evaluations));
        Ok(Self {
            folder: folder.to_owned(),
            state,
            record,
            totals,
            metrics,
            evaluations,
            output,
            unreadable,
        })
    }

    /// Where the run stands.
    pub fn state(&self) -> RunState {
        self.state
    }

    /// What tells the run from all others.
    pub fn run_id(&self) -> &str {
        &self.record.run_id
    }

    /// The report as lines of at most so many columns, for a screen; messages are cut where they do not fit.
    pub fn to_text(&self, columns: usize) -> String {
        text::of(self, columns)
    }

    /// The report as a page that stands alone.
    ///
    /// It holds prompts, errors and parameters: mind to whom you show it.
    pub fn to_html(&self) -> String {
        page::of(self)
    }

    pub(super) fn score(&self) -> Option<&Series> {
        self.metrics.iter().find(|series| series.name == "score")
    }

    /// What the algorithm has returned or saved last.
    pub(super) fn said(&self) -> Option<&Value> {
        match self.output.as_ref()? {
            Output::Returned(value) | Output::Saved(value) => Some(value),
        }
    }

    /// How long the run has taken, as far as that is known.
    pub(super) fn seconds(&self) -> Option<f64> {
        self.totals.seconds.or_else(|| {
            let last = self.evaluations.last().map(|evaluation| evaluation.time);
            let end = self.record.ended.or(last)?;
            Some((end - self.record.began?).max(0.0))
        })
    }
}

/// Whether a process has the folder. If that cannot be seen, none has.
fn is_in_use(folder: &Path) -> bool {
    let folder = RunFolder::at(folder);
    folder.path().join(RunFolder::LOCK).exists() && matches!(folder.lock(), Err(RunError::InUse { .. }))
}

fn document(path: &Path, unreadable: &mut Vec<String>) -> Result<Option<Value>, ReportError> {
    let contents = match fs::read(path) {
        Ok(contents) => contents,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            let path = path.to_owned();
            return Err(ReportError::Read { path, source });
        }
    };
    match serde_json::from_slice(&contents) {
        Ok(value) => Ok(Some(value)),
        Err(error) => {
            unreadable.push(format!("{}: {error}", name_of(path)));
            Ok(None)
        }
    }
}

fn each_line<V: DeserializeOwned>(
    path: &Path,
    unreadable: &mut Vec<String>,
    take: &mut dyn FnMut(V),
) -> Result<(), ReportError> {
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => {
            let path = path.to_owned();
            return Err(ReportError::Read { path, source });
        }
    };
    let (mut wrong, mut line, mut reader) = (0_u64, Vec::new(), BufReader::new(file));
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|source| {
            let path = path.to_owned();
            ReportError::Read { path, source }
        })?;
        if read == 0 {
            break;
        }
        match serde_json::from_slice(&line) {
            Ok(value) => take(value),
            Err(_) => wrong += 1,
        }
    }
    if wrong > 0 {
        unreadable.push(format!("{}: {wrong} lines", name_of(path)));
    }
    Ok(())
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}
