//! Figures over the course of a run.

use std::{
    fs::{File, OpenOptions},
    io::Write as _,
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use super::RunFolder;
use crate::types::Timestamp;

/// The value of a figure at a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    /// What was measured.
    pub name: String,
    /// When, in steps of the algorithm.
    pub step: u64,
    /// The value; null in JSON if it is not finite.
    #[serde(with = "finite_or_null")]
    pub value: f64,
    /// When, in time.
    pub time: Timestamp,
}

mod finite_or_null {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "serde passes the field by reference"
    )]
    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        value.is_finite().then_some(value).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

/// Every metric of a run, in memory and in `metrics.jsonl`.
#[derive(Debug, Default)]
pub(super) struct MetricLog(Mutex<Log>);

#[derive(Debug, Default)]
struct Log {
    metrics: Vec<Metric>,
    file: Option<File>,
    /// Whether writing failed: it is said once, not for each metric.
    broken: bool,
}

impl MetricLog {
    pub(super) fn push(&self, folder: &RunFolder, metric: Metric) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !log.broken
            && let Err(error) = log.write(folder, &metric)
        {
            log.broken = true;
            tracing::warn!(
                target: "lightning::run",
                error = %error,
                path = %folder.path().display(),
                "metrics.jsonl cannot be written; metrics are only in the report from here on"
            );
        }
        log.metrics.push(metric);
    }

    pub(super) fn all(&self) -> Vec<Metric> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .metrics
            .clone()
    }
}

impl Log {
    fn write(&mut self, folder: &RunFolder, metric: &Metric) -> Result<(), Box<dyn std::error::Error>> {
        let file = match &mut self.file {
            Some(file) => file,
            none => {
                let path = folder.create()?.join("metrics.jsonl");
                none.insert(OpenOptions::new().create(true).append(true).open(path)?)
            }
        };
        let mut line = serde_json::to_vec(metric)?;
        line.push(b'\n');
        file.write_all(&line)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metric(step: u64, value: f64) -> Metric {
        Metric {
            name: "score".to_owned(),
            step,
            value,
            time: Timestamp::from_secs_f64(1.5),
        }
    }

    #[test]
    fn metrics_are_appended_one_a_line() {
        let (folder, log) = (RunFolder::temporary(), MetricLog::default());
        log.push(&folder, metric(1, 0.5));
        log.push(&folder, metric(2, f64::NAN));
        let text = String::from_utf8(folder.read("metrics.jsonl").unwrap().unwrap()).unwrap();
        let lines: Vec<Metric> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines[0], metric(1, 0.5));
        assert!(
            lines[1].value.is_nan() && text.contains("\"value\":null"),
            "{text}"
        );
        assert_eq!(log.all().len(), 2);
    }

    #[test]
    fn metrics_that_cannot_be_written_are_kept_in_memory() {
        let folder = RunFolder::temporary();
        let file = folder.replace("file", b"").unwrap();
        let log = MetricLog::default();
        log.push(&RunFolder::at(file), metric(1, 0.5));
        assert_eq!(log.all(), [metric(1, 0.5)]);
    }
}
