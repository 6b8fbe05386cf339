//! What happened.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
};

use super::text;
use crate::run::{Metric, ModelUsage, RewardPoint, RolloutCounts, StopReason};

/// The columns of a curve.
const CURVE: usize = 30;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// The name of the metric of which more is better.
const SCORE: &str = "score";
/// How many metrics have a line.
const MAX_METRICS: usize = 8;

/// What a run came to, for those who waited for it. Whoever knows it fills it in.
///
/// ```
/// use lightning_core::terminal::RunSummary;
///
/// let mut summary = RunSummary::default();
/// summary.rollouts.succeeded = 300;
/// summary.seconds = 12.0;
/// assert!(summary.text(80).contains("rollouts      300 in 12 s, 25.0/s"));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunSummary {
    /// What tells this run from all others.
    pub run_id: String,
    /// How long it took.
    pub seconds: f64,
    /// Why the run stopped, if not because the algorithm had come to its end.
    pub stopped: Option<StopReason>,
    /// The attempts that were executed.
    pub rollouts: RolloutCounts,
    /// Their rewards over the run.
    pub reward_curve: Vec<RewardPoint>,
    /// The figures that the algorithm noted, in order.
    pub metrics: Vec<Metric>,
    /// The calls of models by role.
    pub model_usage: BTreeMap<String, ModelUsage>,
    /// The run folder; `None` if it was temporary.
    pub run_dir: Option<PathBuf>,
}

impl RunSummary {
    /// The summary as lines of at most so many columns; what does not fit is cut. Lines that would say nothing are left
    /// out.
    pub fn text(&self, columns: usize) -> String {
        let title = format!("The end of {}", self.run_id);
        let stopped = self.stopped.map(|reason| reason.to_string());
        let mut rows = vec![
            ("stopped", stopped.unwrap_or_default()),
            ("rollouts", self.rollouts()),
            ("reward", self.reward()),
        ];
        let metrics = self.metrics();
        let more = metrics.len().saturating_sub(MAX_METRICS) as u64;
        let shown = metrics.iter().take(MAX_METRICS);
        rows.extend(shown.map(|(name, metrics)| (*name, told(name, metrics))));
        if more > 0 {
            rows.push(("…", format!("and {} more", text::count(more))));
        }
        let mut name = "model calls";
        for (role, usage) in &self.model_usage {
            rows.push((std::mem::take(&mut name), calls(role, usage)));
        }
        let folder = self.run_dir.as_ref().map(|path| path.display().to_string());
        rows.push(("run folder", folder.unwrap_or_default()));
        rows.retain(|(_, value)| !value.is_empty());
        format!(
            "{}\n{}",
            text::clip(&title, columns),
            text::aligned(rows, columns)
        )
    }

    fn rollouts(&self) -> String {
        let RolloutCounts {
            succeeded, failed, ..
        } = self.rollouts;
        let ended = succeeded + failed;
        let mut line = format!("{} in {}", text::count(ended), text::duration(self.seconds));
        if let Some(rate) = text::rate(ended as f64 / self.seconds) {
            line.push_str(&format!(", {rate}"));
        }
        if failed > 0 {
            let (succeeded, failed) = (text::count(succeeded), text::count(failed));
            line.push_str(&format!("; {succeeded} succeeded, {failed} failed"));
        }
        line
    }

    fn reward(&self) -> String {
        let RolloutCounts {
            succeeded,
            rewarded,
            mean_reward,
            ..
        } = self.rollouts;
        let points: Vec<f64> = self.reward_curve.iter().map(|point| point.mean_reward).collect();
        let mean = match mean_reward {
            Some(mean) => format!("{}{} on average", curve(&points), text::number(mean)),
            None if succeeded == 0 => return String::new(),
            None => "none".to_owned(),
        };
        match succeeded.saturating_sub(rewarded) {
            0 => mean,
            without => format!("{mean}; {} without a reward", text::counted(without, "rollout")),
        }
    }

    /// The metrics by name, in the order in which the names came.
    fn metrics(&self) -> Vec<(&str, Vec<&Metric>)> {
        let (mut names, mut by_name): (Vec<(&str, Vec<&Metric>)>, HashMap<&str, usize>) = Default::default();
        for metric in &self.metrics {
            let place = *by_name.entry(&metric.name).or_insert_with(|| {
                names.push((&metric.name, Vec::new()));
                names.len() - 1
            });
            names[place].1.push(metric);
        }
        names
    }
}

/// `▁▃█ 0.25 to 1, `, if there is more than one point.
fn curve(values: &[f64]) -> String {
    match values {
        [first, .., last] => {
            let (first, last) = (text::number(*first), text::number(*last));
            format!("{} {first} to {last}, ", sparkline(values))
        }
        _ => String::new(),
    }
}

/// What a metric did over its steps.
fn told(name: &str, metrics: &[&Metric]) -> String {
    let values: Vec<f64> = metrics.iter().map(|metric| metric.value).collect();
    if let [value] = *values {
        return text::number(value);
    }
    let finite = || metrics.iter().filter(|metric| metric.value.is_finite());
    // Of several equal ones, the first.
    let greatest = finite().reduce(|best, next| if next.value > best.value { next } else { best });
    let least = finite().reduce(|best, next| if next.value < best.value { next } else { best });
    let extremes = match (least, greatest) {
        (_, Some(best)) if name == SCORE => {
            format!(
                "best {} (step {})",
                text::number(best.value),
                text::count(best.step)
            )
        }
        (Some(least), Some(greatest)) => {
            format!(
                "between {} and {}",
                text::number(least.value),
                text::number(greatest.value)
            )
        }
        _ => "never a number".to_owned(),
    };
    format!("{}{extremes}", curve(&values))
}

fn calls(role: &str, usage: &ModelUsage) -> String {
    let mut line = format!(
        "{role}: {}, {} tokens in, {} out",
        text::counted(usage.calls, "call"),
        text::count(usage.input_tokens),
        text::count(usage.output_tokens)
    );
    if usage.calls_without_tokens > 0 {
        let calls = text::counted(usage.calls_without_tokens, "call");
        line.push_str(&format!("; {calls} did not say how many"));
    }
    line
}

/// A mark for each value, or for the mean of several where there are many. What is no number is a blank.
fn sparkline(values: &[f64]) -> String {
    let columns = values.len().min(CURVE);
    let means: Vec<f64> = (0..columns)
        .map(|column| column * values.len() / columns..(column + 1) * values.len() / columns)
        .map(|part| mean(&values[part]))
        .collect();
    let least = means.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mark = |value: f64| {
        if !value.is_finite() {
            return ' ';
        }
        // Halves, since the difference of two finite numbers need not be one.
        let height = (value / 2.0 - least / 2.0) / (greatest / 2.0 - least / 2.0);
        let step = if height.is_finite() {
            (height * 7.0).round() as usize
        } else {
            3
        };
        STEPS.get(step).copied().unwrap_or(' ')
    };
    means.into_iter().map(mark).collect()
}

/// The mean of those that are finite; not a number, if none is.
fn mean(values: &[f64]) -> f64 {
    let finite = || values.iter().filter(|value| value.is_finite());
    let count = finite().count() as f64;
    match count {
        0.0 => f64::NAN,
        _ => finite().map(|value| value / count).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Timestamp;

    #[test]
    fn a_curve_runs_from_its_least_to_its_greatest_value() {
        let cases: [(&[f64], &str); 7] = [
            (&[], ""),
            (&[0.0, 1.0], "▁█"),
            (&[0.5, 0.5], "▄▄"),
            (&[1.0, f64::NAN, 0.0], "█ ▁"),
            (&[f64::NAN], " "),
            (&[f64::MAX, f64::MIN], "█▁"),
            (&[0.0, f64::INFINITY, 2.0, 1.0], "▁ █▅"),
        ];
        for (values, marks) in cases {
            assert_eq!(sparkline(values), marks, "{values:?}");
        }
    }

    #[test]
    fn many_values_share_the_columns_there_are() {
        let values: Vec<f64> = (0..1001).map(f64::from).collect();
        let marks = sparkline(&values);
        assert_eq!(marks.chars().count(), CURVE);
        assert!(marks.starts_with('▁') && marks.ends_with('█'), "{marks}");
    }

    #[test]
    fn a_metric_is_told_in_words_too() {
        let metrics = |values: &[f64]| -> Vec<Metric> {
            let metric = |(step, value): (usize, &f64)| Metric {
                name: "loss".to_owned(),
                step: step as u64 + 1,
                value: *value,
                time: Timestamp::from_secs_f64(0.0),
            };
            values.iter().enumerate().map(metric).collect()
        };
        let told = |name: &str, values: &[f64]| told(name, &metrics(values).iter().collect::<Vec<_>>());
        assert_eq!(told(SCORE, &[0.5]), "0.5");
        assert_eq!(
            told(SCORE, &[0.5, 1.0, 1.0, 0.75]),
            "▁██▅ 0.5 to 0.75, best 1 (step 2)"
        );
        assert_eq!(told("loss", &[3.0, 1.0, 2.0]), "█▁▅ 3 to 2, between 1 and 3");
        assert_eq!(
            told("loss", &[f64::NAN, f64::NAN]),
            "   NaN to NaN, never a number"
        );
    }
}
