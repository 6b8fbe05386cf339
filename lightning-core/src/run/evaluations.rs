//! What the evaluations of a run came to, for those who look at the run afterwards.

use std::{
    collections::HashSet,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::{EvaluateError, Evaluation, OutcomeResult, RunFolder};
use crate::types::{ResourcesId, RolloutMode, Timestamp};

/// How much of a message is kept.
const MESSAGE: usize = 300;

/// What one evaluation came to: a line of `evaluations.jsonl` in the run's folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EvaluationRecord {
    /// What tells it from the run's other evaluations: stands for its tasks, its resources and its name.
    pub key: String,
    /// What its progress was labelled with.
    pub label: String,
    /// What its rollouts were for.
    pub mode: Option<RolloutMode>,
    /// The resources that were evaluated.
    pub resources_id: Option<ResourcesId>,
    /// How many rollouts it had.
    pub rollouts: usize,
    /// Those that succeeded with a reward.
    pub rewarded: usize,
    /// Those that succeeded without one.
    pub without_reward: usize,
    /// Those that failed.
    pub failed: usize,
    /// The mean of the primary rewards; `None` if there are none.
    pub mean_reward: Option<f64>,
    /// Why it was given up; or what the first rollout that has no reward ended with.
    pub problem: Option<String>,
    /// When it ended.
    pub time: Timestamp,
}

/// What is known of an evaluation before its end.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) key: String,
    pub(super) label: String,
    pub(super) mode: Option<RolloutMode>,
    pub(super) resources_id: Option<ResourcesId>,
    pub(super) rollouts: usize,
}

impl EvaluationRecord {
    /// The record of an evaluation that ended in this way; `None`, if that says nothing about what was evaluated.
    pub(super) fn new(
        asked: Asked,
        outcome: Result<&Evaluation, &EvaluateError>,
        time: Timestamp,
    ) -> Option<Self> {
        let mut record = Self {
            key: asked.key,
            label: asked.label,
            mode: asked.mode,
            resources_id: asked.resources_id,
            rollouts: asked.rollouts,
            rewarded: 0,
            without_reward: 0,
            failed: 0,
            mean_reward: None,
            problem: None,
            time,
        };
        match outcome {
            Ok(evaluation) => {
                record.failed = evaluation.failed();
                record.without_reward = evaluation.without_reward();
                record.rewarded = evaluation.outcomes().len() - record.failed - record.without_reward;
                record.mean_reward = evaluation.mean().ok();
                let first = evaluation
                    .outcomes()
                    .iter()
                    .find(|outcome| !matches!(outcome.result, OutcomeResult::Rewarded(_)));
                record.problem = first
                    .map(|outcome| shortened(&format!("{}: {}", outcome.rollout.rollout_id, outcome.result)));
            }
            Err(error @ EvaluateError::TooManyFailed { failed, .. }) => {
                record.failed = *failed;
                record.problem = Some(shortened(&error.to_string()));
            }
            Err(_) => return None,
        }
        Some(record)
    }
}

/// The text, cut where it is too long to be read in a table.
pub(super) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MESSAGE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// The evaluations of a run, in `evaluations.jsonl`.
#[derive(Debug, Default)]
pub(super) struct EvaluationLog(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    file: Option<File>,
    /// Those that are in the file. A run that was resumed finds some of them again.
    known: HashSet<String>,
    broken: bool,
}

impl EvaluationLog {
    /// Appends a record, unless its evaluation was noted before; nothing in a folder that does not stay.
    pub(super) fn push(&self, folder: &RunFolder, record: &EvaluationRecord) {
        if folder.is_temporary() {
            return;
        }
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if log.broken {
            return;
        }
        if let Err(error) = log.write(folder, record) {
            log.broken = true;
            tracing::warn!(
                target: "lightning::run",
                error = %error,
                path = %folder.path().display(),
                "evaluations.jsonl cannot be written; the page of the run will lack what comes from here on"
            );
        }
    }
}

impl Log {
    fn write(
        &mut self,
        folder: &RunFolder,
        record: &EvaluationRecord,
    ) -> Result<(), Box<dyn std::error::Error>> {
        if self.file.is_none() {
            self.open(folder)?;
        }
        if !self.known.insert(record.key.clone()) {
            return Ok(());
        }
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if let Some(file) = &mut self.file {
            file.write_all(&line)?;
        }
        Ok(())
    }

    /// Opens the file, reads what is there, and cuts off a last line that was not written to its end.
    fn open(&mut self, folder: &RunFolder) -> Result<(), Box<dyn std::error::Error>> {
        #[derive(Deserialize)]
        struct Known {
            key: String,
        }

        let path = folder.create()?.join("evaluations.jsonl");
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let mut contents = Vec::new();
        file.read_to_end(&mut contents)?;
        let whole = contents
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |last| last + 1);
        if whole < contents.len() {
            file.set_len(whole as u64)?;
        }
        let lines = contents[..whole].split(|byte| *byte == b'\n');
        let known = lines.filter_map(|line| serde_json::from_slice::<Known>(line).ok());
        self.known = known.map(|known| known.key).collect();
        self.file = Some(file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(key: &str) -> EvaluationRecord {
        let asked = Asked {
            key: key.to_owned(),
            label: "ü".to_owned(),
            mode: Some(RolloutMode::Val),
            resources_id: None,
            rollouts: 2,
        };
        let error = EvaluateError::TooManyFailed {
            failed: 2,
            total: 2,
            rollout_id: "ro-1".into(),
            message: "no".repeat(MESSAGE),
        };
        EvaluationRecord::new(asked, Err(&error), Timestamp::from_secs_f64(1.0)).unwrap()
    }

    #[test]
    fn an_evaluation_is_noted_once_also_by_the_next_process() {
        let keep = RunFolder::temporary();
        let folder = RunFolder::at(keep.create().unwrap());
        let log = EvaluationLog::default();
        for key in ["a", "b", "a"] {
            log.push(&folder, &record(key));
        }
        let whole = folder.read("evaluations.jsonl").unwrap().unwrap();
        folder
            .replace("evaluations.jsonl", &[&whole[..], b"{\"key\": \"c"].concat())
            .unwrap();
        let next = EvaluationLog::default();
        for key in ["b", "c"] {
            next.push(&folder, &record(key));
        }
        let text = String::from_utf8(folder.read("evaluations.jsonl").unwrap().unwrap()).unwrap();
        let keys: Vec<String> = text
            .lines()
            .map(|line| serde_json::from_str::<EvaluationRecord>(line).unwrap().key)
            .collect();
        assert_eq!(keys, ["a", "b", "c"]);
    }

    #[test]
    fn long_messages_are_cut_and_nothing_is_noted_of_what_says_nothing() {
        let problem = record("a").problem.unwrap();
        assert_eq!(problem.chars().count(), MESSAGE + 1);
        let asked = Asked {
            key: String::new(),
            label: String::new(),
            mode: None,
            resources_id: None,
            rollouts: 0,
        };
        let none = EvaluationRecord::new(
            asked,
            Err(&EvaluateError::Cancelled),
            Timestamp::from_secs_f64(1.0),
        );
        assert_eq!(none, None);
    }
}
