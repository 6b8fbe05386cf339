//! When a run should stop.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

/// When a run should stop: as soon as one of the limits is reached. All of them are optional.
///
/// Conditions can be put together: [`any`](Self::any) of several, or [`all`](Self::all) of several at the same time.
///
/// ```
/// use lightning_core::run::{Achieved, StopReason, StopWhen};
///
/// let stop = StopWhen::never().rollouts(1000).score(0.95);
/// let achieved = Achieved { rollouts: 40, best_score: Some(0.97), ..Achieved::default() };
/// assert_eq!(stop.reason(&achieved), Some(StopReason::Score));
///
/// // A good score alone is not enough before 100 rollouts.
/// let sure = StopWhen::never().all([StopWhen::never().score(0.95), StopWhen::never().rollouts(100)]);
/// assert_eq!(sure.reason(&achieved), None);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StopWhen {
    rollouts: Option<u64>,
    model_calls: Option<u64>,
    tokens: Option<u64>,
    cost: Option<f64>,
    seconds: Option<f64>,
    score: Option<f64>,
    rounds_without_improvement: Option<u64>,
    file: Option<PathBuf>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    any: Vec<StopWhen>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all: Vec<StopWhen>,
}

/// A condition that takes the place of a run's own while the run goes on. A clone is the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct StopSwitch(Arc<Mutex<Option<StopWhen>>>);

impl StopSwitch {
    pub(crate) fn set(&self, condition: StopWhen) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(condition);
    }

    pub(super) fn get(&self) -> Option<StopWhen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What a run has done so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Achieved {
    /// How many rollouts have ended.
    pub rollouts: u64,
    /// How often models were called, in every role.
    pub model_calls: u64,
    /// How many tokens went into models and came out, in every role.
    pub tokens: u64,
    /// What models have cost, if there is a price table.
    pub cost: Option<f64>,
    /// How long it has been running.
    pub seconds: f64,
    /// The best score that a round reached.
    pub best_score: Option<f64>,
    /// How many rounds have passed since the best one.
    pub rounds_without_improvement: u64,
    /// The stop files that are there.
    pub stop_files: Vec<PathBuf>,
    /// Whether somebody asked the run to stop.
    pub cancelled: bool,
}

/// Why a run should stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StopReason {
    /// Somebody asked it to: Ctrl-C, or a cancellation token.
    Cancelled,
    /// The stop file is there.
    File,
    /// The score was reached.
    Score,
    /// The limit of rollouts was reached.
    Rollouts,
    /// The limit of model calls was reached.
    ModelCalls,
    /// The limit of tokens was reached.
    Tokens,
    /// The limit of cost was reached.
    Cost,
    /// The time is up.
    Time,
    /// There was no improvement for too many rounds.
    NoImprovement,
    /// Several conditions that were to hold together do.
    Together,
}

impl StopWhen {
    /// Only when asked to.
    pub fn never() -> Self {
        Self::default()
    }

    /// After so many rollouts.
    #[must_use]
    pub fn rollouts(mut self, limit: u64) -> Self {
        self.rollouts = Some(limit);
        self
    }

    /// After so many calls of models, in every role together.
    ///
    /// Calls are counted when the rollout that made them has ended, so a run may go beyond the limit by what is under
    /// way. This also holds for tokens.
    #[must_use]
    pub fn model_calls(mut self, limit: u64) -> Self {
        self.model_calls = Some(limit);
        self
    }

    /// After so many tokens into and out of models, in every role together. Calls that do not say how many they took
    /// do not count.
    #[must_use]
    pub fn tokens(mut self, limit: u64) -> Self {
        self.tokens = Some(limit);
        self
    }

    /// When models have cost so much, in the currency of the price table, which the run then needs. Calls without a price do
    /// not count.
    #[must_use]
    pub fn cost(mut self, limit: f64) -> Self {
        self.cost = Some(limit);
        self
    }

    /// Whether what models cost is a condition.
    pub(crate) fn needs_prices(&self) -> bool {
        self.cost.is_some() || self.parts().any(Self::needs_prices)
    }

    /// After so many seconds.
    #[must_use]
    pub fn seconds(mut self, limit: f64) -> Self {
        self.seconds = Some(limit);
        self
    }

    /// When a round reaches this score.
    #[must_use]
    pub fn score(mut self, goal: f64) -> Self {
        self.score = Some(goal);
        self
    }

    /// When so many rounds in a row bring no improvement.
    #[must_use]
    pub fn rounds_without_improvement(mut self, rounds: u64) -> Self {
        self.rounds_without_improvement = Some(rounds);
        self
    }

    /// When this file appears.
    #[must_use]
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.file = Some(path.into());
        self
    }

    /// Also when one of these holds.
    #[must_use]
    pub fn any(mut self, conditions: impl IntoIterator<Item = Self>) -> Self {
        self.any.extend(conditions);
        self
    }

    /// Also when all of these hold at the same time. Called again, it adds to them; without any, it is as if it was not called.
    #[must_use]
    pub fn all(mut self, conditions: impl IntoIterator<Item = Self>) -> Self {
        self.all.extend(conditions);
        self
    }

    fn parts(&self) -> impl Iterator<Item = &Self> {
        self.any.iter().chain(&self.all)
    }

    /// Why to stop now, if at all. With several reasons, the first in the order of [`StopReason`].
    pub fn reason(&self, achieved: &Achieved) -> Option<StopReason> {
        if achieved.cancelled {
            return Some(StopReason::Cancelled);
        }
        let parts = self.any.iter().filter_map(|one| one.reason(achieved));
        let together = !self.all.is_empty() && self.all.iter().all(|one| one.reason(achieved).is_some());
        let together = together.then_some(StopReason::Together);
        let own = self.own_reason(achieved);
        own.into_iter().chain(parts).chain(together).min()
    }

    /// Why to stop now, by the limits of this one.
    fn own_reason(&self, achieved: &Achieved) -> Option<StopReason> {
        let reached = |limit: Option<u64>, value: u64| limit.is_some_and(|limit| value >= limit);
        let passed = |limit: Option<f64>, value: f64| limit.is_some_and(|limit| value >= limit);
        let reasons = [
            (
                self.file
                    .as_ref()
                    .is_some_and(|path| achieved.stop_files.contains(path)),
                StopReason::File,
            ),
            (
                achieved.best_score.is_some_and(|best| passed(self.score, best)),
                StopReason::Score,
            ),
            (reached(self.rollouts, achieved.rollouts), StopReason::Rollouts),
            (
                reached(self.model_calls, achieved.model_calls),
                StopReason::ModelCalls,
            ),
            (reached(self.tokens, achieved.tokens), StopReason::Tokens),
            (
                achieved.cost.is_some_and(|cost| passed(self.cost, cost)),
                StopReason::Cost,
            ),
            (passed(self.seconds, achieved.seconds), StopReason::Time),
            (
                reached(
                    self.rounds_without_improvement,
                    achieved.rounds_without_improvement,
                ),
                StopReason::NoImprovement,
            ),
        ];
        reasons
            .into_iter()
            .find_map(|(holds, reason)| holds.then_some(reason))
    }

    /// The stop files that are there. Looks at the disk.
    pub(super) fn stop_files(&self) -> Vec<PathBuf> {
        let own = self.file.iter().filter(|path| path.exists()).cloned();
        own.chain(self.parts().flat_map(Self::stop_files)).collect()
    }
}

impl fmt::Display for StopWhen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits = [
            self.rollouts.map(|n| format!("{n} rollouts")),
            self.model_calls.map(|n| format!("{n} model calls")),
            self.tokens.map(|n| format!("{n} tokens")),
            self.cost.map(|n| format!("a cost of {n}")),
            self.seconds.map(|n| format!("{n} s")),
            self.score.map(|n| format!("a score of {n}")),
            self.rounds_without_improvement
                .map(|n| format!("{n} rounds without improvement")),
            self.file
                .as_ref()
                .map(|path| format!("the file {}", path.display())),
        ];
        let any = self.any.iter().filter(|one| **one != Self::default());
        let any = any.map(ToString::to_string);
        let all = self.all.iter().map(|one| format!("({one})"));
        let all: Vec<String> = all.collect();
        let all = (!all.is_empty()).then(|| all.join(" and "));
        let limits: Vec<String> = limits.into_iter().flatten().chain(any).chain(all).collect();
        if limits.is_empty() {
            f.write_str("none")
        } else {
            f.write_str(&limits.join(", or "))
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "asked to stop",
            Self::File => "the stop file is there",
            Self::Score => "the score was reached",
            Self::Rollouts => "the limit of rollouts was reached",
            Self::ModelCalls => "the limit of model calls was reached",
            Self::Tokens => "the limit of tokens was reached",
            Self::Cost => "the limit of cost was reached",
            Self::Time => "the time is up",
            Self::NoImprovement => "no improvement for too many rounds",
            Self::Together => "conditions that were to hold together do",
        })
    }
}

/// The scores that rounds reached.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Scores {
    pub(super) best: Option<f64>,
    pub(super) rounds_without_improvement: u64,
    rounds: u64,
}

impl Scores {
    /// Takes a round's score in; gives the number of the round, from 1.
    pub(super) fn report(&mut self, score: f64) -> u64 {
        self.rounds += 1;
        if !score.is_nan() && self.best.is_none_or(|best| score > best) {
            self.best = Some(score);
            self.rounds_without_improvement = 0;
        } else {
            self.rounds_without_improvement += 1;
        }
        self.rounds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_stops_when_it_is_reached_and_not_before() {
        let before = Achieved {
            rollouts: 9,
            model_calls: 9,
            tokens: 9,
            cost: Some(9.9),
            seconds: 9.9,
            best_score: Some(0.9),
            rounds_without_improvement: 9,
            ..Achieved::default()
        };
        let after = Achieved {
            rollouts: 10,
            model_calls: 10,
            tokens: 10,
            cost: Some(10.0),
            seconds: 10.0,
            best_score: Some(1.0),
            rounds_without_improvement: 10,
            ..Achieved::default()
        };
        let cases = [
            (StopWhen::never().rollouts(10), StopReason::Rollouts),
            (StopWhen::never().model_calls(10), StopReason::ModelCalls),
            (StopWhen::never().tokens(10), StopReason::Tokens),
            (StopWhen::never().cost(10.0), StopReason::Cost),
            (StopWhen::never().seconds(10.0), StopReason::Time),
            (StopWhen::never().score(1.0), StopReason::Score),
            (
                StopWhen::never().rounds_without_improvement(10),
                StopReason::NoImprovement,
            ),
        ];
        for (stop, reason) in cases {
            assert_eq!(stop.reason(&before), None, "{stop}");
            assert_eq!(stop.reason(&after), Some(reason), "{stop}");
            assert_eq!(StopWhen::never().reason(&after), None);
        }
    }

    #[test]
    fn being_asked_to_stop_goes_before_all_else() {
        let achieved = Achieved {
            rollouts: 10,
            cancelled: true,
            ..Achieved::default()
        };
        assert_eq!(
            StopWhen::never().rollouts(1).reason(&achieved),
            Some(StopReason::Cancelled)
        );
        assert_eq!(StopWhen::never().reason(&achieved), Some(StopReason::Cancelled));
    }

    #[test]
    fn conditions_that_are_put_together_hold_by_any_or_by_all() {
        let of = StopWhen::never;
        let achieved = |rollouts, score| Achieved {
            rollouts,
            best_score: Some(score),
            ..Achieved::default()
        };
        let any = of().seconds(9.0).any([of().rollouts(10), of().score(1.0)]);
        let all = of().all([of().rollouts(10), of().score(1.0)]);
        for (rollouts, score, by_any, by_all) in [
            (9, 0.0, None, None),
            (10, 0.0, Some(StopReason::Rollouts), None),
            (9, 1.0, Some(StopReason::Score), None),
            (10, 1.0, Some(StopReason::Score), Some(StopReason::Together)),
        ] {
            let achieved = achieved(rollouts, score);
            assert_eq!(any.reason(&achieved), by_any, "{rollouts} {score}");
            assert_eq!(all.reason(&achieved), by_all, "{rollouts} {score}");
        }
        assert_eq!(
            of().all([]).reason(&achieved(10, 1.0)),
            None,
            "nothing never holds"
        );
        assert_eq!(of().all([of()]).reason(&achieved(10, 1.0)), None);
        let nested = of().all([of().any([of().rollouts(1), of().cost(2.0)]), of().score(1.0)]);
        assert_eq!(nested.reason(&achieved(1, 1.0)), Some(StopReason::Together));
        assert!(nested.needs_prices() && !all.needs_prices());
        assert_eq!(any.to_string(), "9 s, or 10 rollouts, or a score of 1");
        assert_eq!(all.to_string(), "(10 rollouts) and (a score of 1)");
        let read: StopWhen = serde_json::from_str(r#"{"all": [{"rollouts": 10}, {"score": 1}]}"#).unwrap();
        assert_eq!(read, all);
    }

    #[test]
    fn each_stop_file_stands_for_its_own_condition() {
        let stop = StopWhen::never().all([StopWhen::never().file("a"), StopWhen::never().file("b")]);
        let there = |files: &[&str]| Achieved {
            stop_files: files.iter().map(PathBuf::from).collect(),
            ..Achieved::default()
        };
        assert_eq!(stop.reason(&there(&["a"])), None);
        assert_eq!(stop.reason(&there(&["a", "b"])), Some(StopReason::Together));
        assert_eq!(StopWhen::never().file("a").reason(&there(&["b"])), None);
    }

    #[test]
    fn rounds_without_improvement_are_counted_from_the_best() {
        let mut scores = Scores::default();
        for (score, best, rounds) in [
            (0.5, 0.5, 0),
            (0.5, 0.5, 1),
            (0.4, 0.5, 2),
            (0.6, 0.6, 0),
            (f64::NAN, 0.6, 1),
        ] {
            scores.report(score);
            assert_eq!(
                (scores.best, scores.rounds_without_improvement),
                (Some(best), rounds)
            );
        }
    }

    #[test]
    fn limits_read_as_a_sentence() {
        assert_eq!(StopWhen::never().to_string(), "none");
        let stop = StopWhen::never().rollouts(5).seconds(1.5);
        assert_eq!(stop.to_string(), "5 rollouts, or 1.5 s");
    }
}
