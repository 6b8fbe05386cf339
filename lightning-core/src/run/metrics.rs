//! Figures over the course of a run.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
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
    /// What the file held when the run began, by name and step: a run that was resumed notes some of it again.
    before: HashMap<(String, u64), Vec<Metric>>,
    /// Whether writing failed: it is said once, not for each metric.
    broken: bool,
}

impl MetricLog {
    /// Notes a metric; one that the file has from before the run was resumed is not written again.
    pub(super) fn push(&self, folder: &RunFolder, metric: Metric) {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = if log.broken {
            Ok(metric.clone())
        } else {
            log.write(folder, &metric)
        };
        let metric = written.unwrap_or_else(|error| {
            log.broken = true;
            tracing::warn!(
                target: "lightning::run",
                error = %error,
                path = %folder.path().display(),
                "metrics.jsonl cannot be written; metrics are only in the report from here on"
            );
            metric
        });
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
    /// Gives the metric as it is in the file.
    fn write(&mut self, folder: &RunFolder, metric: &Metric) -> Result<Metric, Box<dyn std::error::Error>> {
        if self.file.is_none() {
            self.open(folder)?;
        }
        let same = |known: &Metric| {
            known.value == metric.value || (known.value.is_nan() && !metric.value.is_finite())
        };
        let noted = self.before.get_mut(&(metric.name.clone(), metric.step));
        if let Some(noted) = noted
            && let Some(index) = noted.iter().position(same)
        {
            return Ok(noted.remove(index));
        }
        let mut line = serde_json::to_vec(metric)?;
        line.push(b'\n');
        if let Some(file) = &mut self.file {
            file.write_all(&line)?;
        }
        Ok(metric.clone())
    }

    /// Opens the file, reads what is there, and cuts off a last line that was not written to its end.
    fn open(&mut self, folder: &RunFolder) -> Result<(), Box<dyn std::error::Error>> {
        let path = folder.create()?.join("metrics.jsonl");
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
        for line in contents[..whole].split(|byte| *byte == b'\n') {
            if let Ok(metric) = serde_json::from_slice::<Metric>(line) {
                let key = (metric.name.clone(), metric.step);
                self.before.entry(key).or_default().push(metric);
            }
        }
        self.file = Some(file);
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
    fn a_run_that_was_resumed_notes_nothing_twice() {
        let folder = RunFolder::temporary();
        let before = MetricLog::default();
        before.push(&folder, metric(1, 0.5));
        before.push(&folder, metric(2, f64::NAN));
        let whole = folder.read("metrics.jsonl").unwrap().unwrap();
        folder
            .replace("metrics.jsonl", &[&whole[..], b"{\"name\": \"sco"].concat())
            .unwrap();

        let resumed = MetricLog::default();
        let later = |step, value| Metric {
            time: Timestamp::from_secs_f64(9.0),
            ..metric(step, value)
        };
        for (step, value) in [(1, 0.5), (2, f64::NAN), (2, 0.5), (1, 0.5)] {
            resumed.push(&folder, later(step, value));
        }
        assert_eq!(resumed.all()[0], metric(1, 0.5), "with the time it had");
        assert_eq!(resumed.all().len(), 4);
        let text = String::from_utf8(folder.read("metrics.jsonl").unwrap().unwrap()).unwrap();
        assert!(text.as_bytes().starts_with(&whole), "{text}");
        let lines: Vec<Metric> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            lines[2..],
            [later(2, 0.5), later(1, 0.5)],
            "once for each time it was there"
        );
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
