//! What happened.

use std::path::PathBuf;

use super::text::{self, Rows};
use crate::run::ModelUsage;

/// The columns of a curve.
const CURVE: usize = 40;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What a run came to, for those who waited for it. Whoever knows it fills it in.
///
/// ```
/// use lightning_core::terminal::RunSummary;
///
/// let mut summary = RunSummary::default();
/// summary.succeeded = 300;
/// summary.seconds = 12.0;
/// summary.curve = vec![0.25, 0.5, 1.0];
/// let text = summary.text(80);
/// assert!(text.contains("rollouts      300 in 12 s (25.0/s)"));
/// assert!(text.contains("score         ▁▃█ 0.25 to 1, best 1 (round 3 of 3)"));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct RunSummary {
    /// What tells this run from all others.
    pub run_id: String,
    /// How long it took.
    pub seconds: f64,
    /// Rollouts that succeeded.
    pub succeeded: u64,
    /// Rollouts that failed. They do not count as a reward of 0.
    pub failed: u64,
    /// Rollouts that succeeded with a reward.
    pub rewarded: u64,
    /// The mean of those rewards.
    pub mean_reward: Option<f64>,
    /// Those rewards in the order in which they came, as means over stretches of equal numbers of rollouts.
    pub rewards: Vec<f64>,
    /// Why the run stopped, if not because the algorithm had come to its end.
    pub stopped: Option<String>,
    /// The scores of the algorithm's rounds, in order; greater is better.
    pub curve: Vec<f64>,
    /// The calls of models.
    pub models: Vec<ModelUsage>,
    /// What they have cost; empty if that is not known.
    pub cost: String,
    /// How to look at what happened; empty if there is nothing left to look at.
    pub inspect: String,
    /// The run folder; `None` if it was temporary.
    pub run_dir: Option<PathBuf>,
}

impl RunSummary {
    /// The summary as lines of at most so many columns; what does not fit is cut, but for the path of the run folder. Lines
    /// that would say nothing are left out.
    pub fn text(&self, columns: usize) -> String {
        let mut rows = Rows::new(&format!("The end of {}", self.run_id), columns);
        rows.add("stopped", self.stopped.as_deref().unwrap_or_default());
        rows.add("rollouts", &self.rollouts());
        rows.add("reward", &self.reward());
        rows.add("score", &curve(&self.curve));
        let mut name = "model calls";
        for used in &self.models {
            rows.add(std::mem::take(&mut name), &calls(used));
        }
        rows.add("cost", &self.cost);
        if let Some(path) = &self.run_dir {
            rows.add_whole("run folder", &path.display().to_string());
        }
        rows.add_whole("look at it", &self.inspect);
        rows.into_text()
    }

    fn rollouts(&self) -> String {
        let ended = self.succeeded + self.failed;
        let mut line = format!("{} in {}", text::count(ended), text::duration(self.seconds));
        if let Some(rate) = text::rate(ended as f64 / self.seconds) {
            line.push_str(&format!(" ({rate})"));
        }
        if self.failed > 0 {
            let (succeeded, failed) = (text::count(self.succeeded), text::count(self.failed));
            line.push_str(&format!(": {succeeded} succeeded, {failed} failed"));
        }
        line
    }

    fn reward(&self) -> String {
        let mean = match (self.mean_reward, self.succeeded) {
            (Some(mean), _) if self.rewards.len() > 1 => {
                format!("{} {} on average", sparkline(&self.rewards), text::number(mean))
            }
            (Some(mean), _) => format!("{} on average", text::number(mean)),
            (None, 0) => return String::new(),
            (None, _) => "none".to_owned(),
        };
        match self.succeeded.saturating_sub(self.rewarded) {
            0 => mean,
            without => format!("{mean}; {} without a reward", text::counted(without, "rollout")),
        }
    }
}

fn calls(used: &ModelUsage) -> String {
    let model = used.model.as_deref().map(|model| format!(" to {model}"));
    let mut line = format!(
        "{}: {}{}, {} tokens in, {} out",
        used.role,
        text::counted(used.calls, "call"),
        model.unwrap_or_default(),
        text::count(used.input_tokens),
        text::count(used.output_tokens)
    );
    if used.calls_without_tokens > 0 {
        let without = text::counted(used.calls_without_tokens, "call");
        line.push_str(&format!("; {without} without a number of tokens"));
    }
    line
}

/// A curve, and what it begins, ends and culminates with.
fn curve(values: &[f64]) -> String {
    let finite = |value: &&f64| value.is_finite();
    let (Some(first), Some(last)) = (values.iter().find(finite), values.iter().rfind(finite)) else {
        return String::new();
    };
    let numbered = values.iter().enumerate().filter(|(_, value)| value.is_finite());
    // The first of several equal ones.
    let best = numbered.reduce(|best, next| if next.1 > best.1 { next } else { best });
    let best = best.map_or_else(String::new, |(round, value)| {
        let rounds = text::count(values.len() as u64);
        format!(
            ", best {} (round {} of {rounds})",
            text::number(*value),
            round + 1
        )
    });
    if values.len() == 1 {
        return text::number(*last);
    }
    format!(
        "{} {} to {}{best}",
        sparkline(values),
        text::number(*first),
        text::number(*last)
    )
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
    fn a_curve_is_told_in_words_too() {
        assert_eq!(curve(&[f64::NAN]), "");
        assert_eq!(curve(&[0.5]), "0.5");
        assert_eq!(
            curve(&[0.5, 1.0, 1.0, 0.75]),
            "▁██▅ 0.5 to 0.75, best 1 (round 2 of 4)"
        );
    }
}
