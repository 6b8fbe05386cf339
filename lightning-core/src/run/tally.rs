//! What the rollouts of a run came to, all together: in memory that does not grow with their number.

use serde::{Deserialize, Serialize};

use super::evaluations::shortened;
use crate::{
    adapter::EmptyReason,
    types::{Attempt, AttemptId, AttemptStatus, RolloutId, Span, Timestamp, final_reward, model_calls},
};

/// How many points a reward curve has at most.
const MAX_POINTS: usize = 128;
/// How many different reasons are kept; errors that differ in every attempt must not fill the memory.
const MAX_REASONS: usize = 50;
/// What stands for all other reasons.
const OTHER_REASONS: &str = "other reasons";

/// How many attempts were executed, by what became of them. An attempt without a reward does not count as one with a
/// reward of 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RolloutCounts {
    /// Those that succeeded.
    pub succeeded: u64,
    /// Those that did not.
    pub failed: u64,
    /// Those that succeeded with a reward.
    pub rewarded: u64,
    /// The mean of the primary rewards of those; `None` if there are none.
    pub mean_reward: Option<f64>,
}

/// What kept attempts from a reward.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FailureReason {
    /// How they ended; those that succeeded have no reward.
    pub status: AttemptStatus,
    /// Why.
    pub reason: String,
    /// How many of them there are.
    pub count: u64,
    /// The rollout of the first.
    pub rollout_id: RolloutId,
}

impl FailureReason {
    /// Why the attempt has no reward, unless it has one, or was only interrupted.
    fn of(attempt: &Attempt, spans: &[Span]) -> Option<Self> {
        if attempt.was_interrupted() {
            return None;
        }
        let reason = if attempt.status == AttemptStatus::Succeeded {
            if final_reward(spans).is_some() {
                return None;
            }
            EmptyReason::of_unrewarded(spans).to_string()
        } else {
            match attempt.reason() {
                Some(reason) => shortened(reason),
                None => format!("it ended as {}", attempt.status.as_str()),
            }
        };
        Some(Self {
            status: attempt.status,
            reason,
            count: 1,
            rollout_id: attempt.rollout_id.clone(),
        })
    }
}

/// The mean of the rewards over a stretch of a run.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RewardPoint {
    /// How many attempts had been rewarded at the end of the stretch.
    pub rewarded: u64,
    /// When it ended, in seconds since the run began.
    pub seconds: f64,
    /// The mean of the primary rewards within it.
    pub mean_reward: f64,
}

/// How much a model was used in one role.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ModelUsage {
    /// For what: `agent`, `judge`, or what an algorithm calls it.
    pub role: String,
    /// The model, where that is known.
    pub model: Option<String>,
    /// How often it was called.
    pub calls: u64,
    /// How many tokens went in.
    pub input_tokens: u64,
    /// How many tokens came out.
    pub output_tokens: u64,
    /// Calls that do not say how many tokens they took; the numbers of tokens are too low then.
    pub calls_without_tokens: u64,
}

impl ModelUsage {
    /// One call. The numbers of tokens are `None` where they are not known.
    pub fn of_call(
        role: impl Into<String>,
        model: Option<&str>,
        input_tokens: Option<u64>,
        output_tokens: Option<u64>,
    ) -> Self {
        Self {
            role: role.into(),
            model: model.map(str::to_owned),
            calls: 1,
            input_tokens: input_tokens.unwrap_or(0),
            output_tokens: output_tokens.unwrap_or(0),
            calls_without_tokens: u64::from(input_tokens.is_none() && output_tokens.is_none()),
        }
    }

    /// The tokens in both directions.
    pub fn tokens(&self) -> u64 {
        self.input_tokens.saturating_add(self.output_tokens)
    }

    /// Adds what was used besides, and stays at the greatest number there is: what spans say comes from outside.
    fn add(&mut self, more: &Self) {
        let add = |sum: &mut u64, more: u64| *sum = sum.saturating_add(more);
        add(&mut self.calls, more.calls);
        add(&mut self.input_tokens, more.input_tokens);
        add(&mut self.output_tokens, more.output_tokens);
        add(&mut self.calls_without_tokens, more.calls_without_tokens);
    }
}

/// What one attempt came to.
#[derive(Debug)]
pub(super) struct AttemptTally {
    pub(super) attempt_id: AttemptId,
    pub(super) ended: Timestamp,
    succeeded: bool,
    /// Whether it counts as an attempt, or only for what it used.
    counts: bool,
    reward: Option<f64>,
    reason: Option<FailureReason>,
    usage: Vec<ModelUsage>,
}

impl AttemptTally {
    pub(super) fn new(attempt: &Attempt, ended: Timestamp, counts: bool, spans: &[Span]) -> Self {
        let succeeded = attempt.status == AttemptStatus::Succeeded;
        Self {
            attempt_id: attempt.attempt_id.clone(),
            ended,
            succeeded,
            counts,
            // A failed attempt's reward is not reported, but its calls were made.
            reward: succeeded
                .then(|| final_reward(spans).map(|reward| reward.primary()))
                .flatten(),
            reason: FailureReason::of(attempt, spans),
            usage: model_calls(spans)
                .into_iter()
                .map(|call| ModelUsage::of_call(call.role, call.model, call.input_tokens, call.output_tokens))
                .collect(),
        }
    }
}

/// What all attempts so far came to.
#[derive(Debug, Default)]
pub(super) struct Tally {
    succeeded: u64,
    failed: u64,
    curve: Curve,
    /// By role and model: there are few.
    usage: Vec<ModelUsage>,
    reasons: Vec<FailureReason>,
}

impl Tally {
    /// Takes in an attempt that ended after so many seconds of the run, with its spans.
    pub(super) fn count_attempt(&mut self, succeeded: bool, spans: &[Span], seconds: f64) {
        self.succeeded += u64::from(succeeded);
        self.failed += u64::from(!succeeded);
        // A failed attempt's reward is not reported, but its calls were made.
        if succeeded && let Some(reward) = final_reward(spans) {
            self.curve.push(reward.primary(), seconds);
        }
        for call in model_calls(spans) {
            let usage = ModelUsage::of_call(call.role, call.model, call.input_tokens, call.output_tokens);
            self.count_usage(usage);
        }
    }

    /// Takes in an attempt of an earlier process of the run.
    pub(super) fn count(&mut self, attempt: AttemptTally, seconds: f64) {
        self.succeeded += u64::from(attempt.counts && attempt.succeeded);
        self.failed += u64::from(attempt.counts && !attempt.succeeded);
        if let Some(reward) = attempt.reward {
            self.curve.push(reward, seconds);
        }
        if let Some(reason) = attempt.reason {
            self.add_reason(reason);
        }
        attempt
            .usage
            .into_iter()
            .for_each(|usage| self.count_usage(usage));
    }

    pub(super) fn count_usage(&mut self, usage: ModelUsage) {
        let key = |usage: &ModelUsage| (usage.role.clone(), usage.model.clone());
        match self.usage.binary_search_by_key(&key(&usage), key) {
            Ok(index) => self.usage[index].add(&usage),
            Err(index) => self.usage.insert(index, usage),
        }
    }

    /// Notes why an attempt has no reward, if it has none.
    pub(super) fn count_reason(&mut self, attempt: &Attempt, spans: &[Span]) {
        if let Some(reason) = FailureReason::of(attempt, spans) {
            self.add_reason(reason);
        }
    }

    fn add_reason(&mut self, mut new: FailureReason) {
        let same = |known: &FailureReason, new: &FailureReason| {
            (known.status, &known.reason) == (new.status, &new.reason)
        };
        if self.reasons.len() >= MAX_REASONS && !self.reasons.iter().any(|known| same(known, &new)) {
            OTHER_REASONS.clone_into(&mut new.reason);
        }
        match self.reasons.iter_mut().find(|known| same(known, &new)) {
            Some(known) => known.count += new.count,
            None => self.reasons.push(new),
        }
    }

    /// The most frequent first; of equals, the one that came first.
    pub(super) fn reasons(&self) -> Vec<FailureReason> {
        let mut reasons = self.reasons.clone();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        reasons
    }

    pub(super) fn attempts(&self) -> u64 {
        self.succeeded + self.failed
    }

    pub(super) fn counts(&self) -> RolloutCounts {
        RolloutCounts {
            succeeded: self.succeeded,
            failed: self.failed,
            rewarded: self.curve.count,
            mean_reward: (self.curve.count > 0).then(|| self.curve.sum / self.curve.count as f64),
        }
    }

    /// By role and model, in their order.
    pub(super) fn usage(&self) -> &[ModelUsage] {
        &self.usage
    }

    pub(super) fn total_usage(&self) -> ModelUsage {
        let mut total = ModelUsage::default();
        for usage in &self.usage {
            total.add(usage);
        }
        total
    }

    pub(super) fn reward_curve(&self) -> Vec<RewardPoint> {
        self.curve.points()
    }
}

/// Rewards in the order in which they came, as means over stretches of equal numbers of them. When the stretches become
/// too many, they are joined in pairs.
#[derive(Debug)]
struct Curve {
    count: u64,
    sum: f64,
    /// How many rewards a full stretch has.
    stretch: u64,
    /// Whole stretches but for the last, which may have fewer rewards.
    stretches: Vec<Stretch>,
}

#[derive(Clone, Copy, Debug)]
struct Stretch {
    count: u64,
    sum: f64,
    seconds: f64,
}

impl Default for Curve {
    fn default() -> Self {
        Self {
            count: 0,
            sum: 0.0,
            stretch: 1,
            stretches: Vec::new(),
        }
    }
}

impl Curve {
    fn push(&mut self, reward: f64, seconds: f64) {
        self.count += 1;
        self.sum += reward;
        match self.stretches.last_mut() {
            Some(last) if last.count < self.stretch => {
                last.count += 1;
                last.sum += reward;
                last.seconds = seconds;
            }
            _ => {
                if self.stretches.len() == MAX_POINTS {
                    self.join_pairs();
                }
                self.stretches.push(Stretch {
                    count: 1,
                    sum: reward,
                    seconds,
                });
            }
        }
    }

    fn join_pairs(&mut self) {
        self.stretch *= 2;
        self.stretches = self
            .stretches
            .chunks(2)
            .map(|pair| Stretch {
                count: pair.iter().map(|stretch| stretch.count).sum(),
                sum: pair.iter().map(|stretch| stretch.sum).sum(),
                seconds: pair[pair.len() - 1].seconds,
            })
            .collect();
    }

    fn points(&self) -> Vec<RewardPoint> {
        let mut rewarded = 0;
        let point = |stretch: &Stretch| {
            rewarded += stretch.count;
            RewardPoint {
                rewarded,
                seconds: stretch.seconds,
                mean_reward: stretch.sum / stretch.count as f64,
            }
        };
        self.stretches.iter().map(point).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::semconv;

    fn call(role: &str, tokens: Option<u64>) -> Span {
        let mut span = Span::new("ro-1", "at-1", 1, "trace-1", "a", semconv::CHAT_COMPLETION);
        span.attributes.insert(semconv::CALL_ROLE.to_owned(), json!(role));
        if let Some(tokens) = tokens {
            span.attributes
                .insert(semconv::GEN_AI_INPUT_TOKENS.to_owned(), json!(tokens));
        }
        span
    }

    #[test]
    fn usage_is_kept_for_each_role_and_for_failed_attempts_too() {
        let mut tally = Tally::default();
        tally.count_attempt(true, &[call("agent", Some(5))], 1.0);
        tally.count_attempt(false, &[call("agent", None)], 2.0);
        tally.count_usage(ModelUsage::of_call("gradient", Some("large"), Some(1), Some(2)));
        let agent = ModelUsage {
            calls: 2,
            calls_without_tokens: 1,
            ..ModelUsage::of_call("agent", None, Some(5), None)
        };
        let gradient = ModelUsage::of_call("gradient", Some("large"), Some(1), Some(2));
        assert_eq!(tally.usage(), [agent, gradient]);
        assert_eq!((tally.total_usage().calls, tally.total_usage().tokens()), (3, 8));
    }

    fn attempt(status: AttemptStatus, reason: &str) -> Attempt {
        let mut attempt: Attempt = serde_json::from_value(json!({
            "rollout_id": "ro-1", "attempt_id": "at-1", "sequence_id": 1, "start_time": 1.0, "status": "failed",
            "metadata": {semconv::ATTEMPT_REASON: reason},
        }))
        .unwrap();
        attempt.status = status;
        attempt
    }

    #[test]
    fn reasons_are_counted_and_the_frequent_come_first() {
        let mut tally = Tally::default();
        tally.count_reason(&attempt(AttemptStatus::Failed, "no network"), &[]);
        for _ in 0..2 {
            tally.count_reason(&attempt(AttemptStatus::Timeout, "600 s were over"), &[]);
        }
        tally.count_reason(&attempt(AttemptStatus::Succeeded, ""), &[call("agent", None)]);
        let reasons = tally.reasons();
        let seen: Vec<(AttemptStatus, u64)> = reasons
            .iter()
            .map(|reason| (reason.status, reason.count))
            .collect();
        assert_eq!(
            seen,
            [
                (AttemptStatus::Timeout, 2),
                (AttemptStatus::Failed, 1),
                (AttemptStatus::Succeeded, 1)
            ]
        );
        assert_eq!(reasons[0].reason, "600 s were over");
        assert!(reasons[2].reason.contains("reward"), "{}", reasons[2].reason);
        let mut interrupted = attempt(AttemptStatus::Failed, "stopped");
        interrupted
            .metadata
            .get_or_insert_default()
            .insert(semconv::ATTEMPT_INTERRUPTED.to_owned(), json!(true));
        tally.count_reason(&interrupted, &[]);
        assert_eq!(tally.reasons(), reasons, "it says nothing about the task");
    }

    #[test]
    fn reasons_that_all_differ_do_not_fill_the_memory() {
        let mut tally = Tally::default();
        for index in 0..10_000 {
            tally.count_reason(&attempt(AttemptStatus::Failed, &format!("request {index}")), &[]);
        }
        let reasons = tally.reasons();
        assert_eq!(reasons.len(), MAX_REASONS + 1);
        assert_eq!(
            (reasons[0].reason.as_str(), reasons[0].count),
            (OTHER_REASONS, 9_950)
        );
    }

    #[test]
    fn each_model_of_a_role_counts_for_itself() {
        let mut tally = Tally::default();
        for model in ["b", "a", "b"] {
            tally.count_usage(ModelUsage::of_call("agent", Some(model), Some(1), None));
        }
        let calls: Vec<u64> = tally.usage().iter().map(|usage| usage.calls).collect();
        assert_eq!(calls, [1, 2]);
    }

    #[test]
    fn absurd_numbers_of_tokens_do_not_overflow() {
        let mut tally = Tally::default();
        for _ in 0..2 {
            tally.count_usage(ModelUsage::of_call("agent", None, Some(u64::MAX), Some(u64::MAX)));
        }
        assert_eq!(tally.total_usage().tokens(), u64::MAX);
    }

    #[test]
    fn a_curve_keeps_count_order_and_mean() {
        for len in [1, 2, 127, 128, 129, 255, 256, 257, 1000, 5000] {
            let rewards: Vec<f64> = (0..len).map(|index| f64::from(index).sin()).collect();
            let mut curve = Curve::default();
            for (index, reward) in rewards.iter().enumerate() {
                curve.push(*reward, index as f64);
            }
            let points = curve.points();
            assert!(points.len() <= MAX_POINTS && 2 * points.len() >= rewards.len().min(MAX_POINTS));
            assert_eq!(points[points.len() - 1].rewarded, rewards.len() as u64);
            let mut from = 0;
            for point in points {
                let upto = point.rewarded as usize;
                let mean = rewards[from..upto].iter().sum::<f64>() / (upto - from) as f64;
                assert!((point.mean_reward - mean).abs() < 1e-9);
                assert_eq!(point.seconds, (upto - 1) as f64);
                from = upto;
            }
        }
    }
}
