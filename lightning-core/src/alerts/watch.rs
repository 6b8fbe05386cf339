//! Decides which rules are broken.

use std::collections::VecDeque;

use super::{Alert, AlertRule, Alerts};
use crate::types::Timestamp;

/// Shares are those of so many rollouts, the last ones.
const WINDOW: usize = 50;
/// From so many rollouts on a share says something.
const AT_LEAST: usize = 10;

/// An attempt that has ended, as far as health goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AttemptSeen {
    /// Whether it succeeded.
    pub succeeded: bool,
    /// Whether it has a reward.
    pub rewarded: bool,
    /// Whether a time limit ended it.
    pub timed_out: bool,
}

/// Watches a run. Each alert is raised once, and again only after all was well in between.
///
/// ```
/// use lightning_core::{alerts::{AlertRule, Alerts, AttemptSeen, Watch}, types::Timestamp};
///
/// let at = Timestamp::from_secs_f64;
/// let mut watch = Watch::new(Alerts::default(), at(0.0));
/// for second in 1..=10 {
///     watch.attempt_ended(AttemptSeen::default(), at(f64::from(second)));
/// }
/// assert_eq!(watch.check(at(11.0))[0].rule, AlertRule::Failures);
/// assert!(watch.check(at(12.0)).is_empty(), "it is told once");
/// ```
#[derive(Debug)]
pub struct Watch {
    alerts: Alerts,
    last_progress: Timestamp,
    oldest_queued: Option<Timestamp>,
    window: VecDeque<AttemptSeen>,
    ended: u64,
    rewarded: u64,
    raised: Vec<Alert>,
}

impl Watch {
    /// Watches a run that begins now.
    pub fn new(alerts: Alerts, now: Timestamp) -> Self {
        Self {
            alerts,
            last_progress: now,
            oldest_queued: None,
            window: VecDeque::with_capacity(WINDOW),
            ended: 0,
            rewarded: 0,
            raised: Vec::new(),
        }
    }

    /// Other rules hold from now on. What is raised by one that holds no more clears with the next check.
    pub fn set_alerts(&mut self, alerts: Alerts) {
        self.alerts = alerts;
    }

    /// An attempt has ended.
    pub fn attempt_ended(&mut self, attempt: AttemptSeen, now: Timestamp) {
        self.last_progress = now;
        self.ended += 1;
        self.rewarded += u64::from(attempt.rewarded);
        if self.window.len() == WINDOW {
            self.window.pop_front();
        }
        self.window.push_back(attempt);
    }

    /// Since when the rollout waits that has waited longest; `None` if none does.
    pub fn oldest_queued(&mut self, since: Option<Timestamp>) {
        self.oldest_queued = since;
    }

    /// Which alerts are new.
    pub fn check(&mut self, now: Timestamp) -> Vec<Alert> {
        let problems = [
            (AlertRule::Failures, self.failures()),
            (AlertRule::MissingRewards, self.missing_rewards()),
            (AlertRule::TimeOuts, self.time_outs()),
            (AlertRule::NoProgress, self.no_progress(now)),
            (AlertRule::OldestQueued, self.waiting_long(now)),
        ];
        let news = problems
            .into_iter()
            .filter_map(|(rule, problem)| self.judge(rule, problem, now));
        news.collect()
    }

    /// Which alerts are new because the run has ended with a result.
    pub fn end(&mut self, now: Timestamp) -> Vec<Alert> {
        // What waits or rests now need no longer go on.
        self.oldest_queued = None;
        let nothing = self.alerts.no_reward_at_all && self.ended > 0 && self.rewarded == 0;
        let problem = nothing.then(|| {
            format!(
                "the run ended and none of its {} rollouts has a reward; let the agent return one, and look at a rollout's spans",
                self.ended
            )
        });
        self.judge(AlertRule::NoRewardAtAll, problem, now)
            .into_iter()
            .collect()
    }

    /// When to [`check`](Self::check) next if nothing happens before; `None` if time alone breaks no rule.
    pub fn next_check(&self, now: Timestamp) -> Option<Timestamp> {
        let is_raised = |rule| self.is_raised(rule);
        let progress = self.alerts.no_progress.map(|limit| self.last_progress + limit);
        let queue = self
            .alerts
            .oldest_queued
            .map(|limit| self.oldest_queued.unwrap_or(now) + limit);
        // What is raised already is looked at again after as long.
        let again = |rule, at: Timestamp, limit: Option<f64>| {
            if is_raised(rule) || at <= now {
                now + limit.unwrap_or_default().max(1.0)
            } else {
                at
            }
        };
        [
            progress.map(|at| again(AlertRule::NoProgress, at, self.alerts.no_progress)),
            queue.map(|at| again(AlertRule::OldestQueued, at, self.alerts.oldest_queued)),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Whether the age of the queue matters.
    pub fn wants_oldest_queued(&self) -> bool {
        self.alerts.oldest_queued.is_some()
    }

    /// All alerts so far.
    pub fn raised(&self) -> &[Alert] {
        &self.raised
    }

    fn is_raised(&self, rule: AlertRule) -> bool {
        let open = |alert: &&Alert| alert.rule == rule && alert.cleared.is_none();
        self.raised.iter().any(|alert| open(&alert))
    }

    fn judge(&mut self, rule: AlertRule, problem: Option<String>, now: Timestamp) -> Option<Alert> {
        let open = self
            .raised
            .iter_mut()
            .find(|alert| alert.rule == rule && alert.cleared.is_none());
        match (open, problem) {
            (Some(alert), None) => {
                alert.cleared = Some(now);
                None
            }
            (None, Some(message)) => {
                let alert = Alert {
                    rule,
                    message,
                    raised: now,
                    cleared: None,
                };
                self.raised.push(alert.clone());
                Some(alert)
            }
            (Some(_), Some(_)) | (None, None) => None,
        }
    }

    /// How many of the last rollouts are so, if that is more than the share allows: "12 of the last 20".
    fn above(
        &self,
        share: Option<f64>,
        among: impl Fn(&AttemptSeen) -> bool,
        are: impl Fn(&AttemptSeen) -> bool,
    ) -> Option<String> {
        let share = share?;
        let total = self.window.iter().filter(|attempt| among(attempt)).count();
        let count = self
            .window
            .iter()
            .filter(|attempt| among(attempt) && are(attempt))
            .count();
        (total >= AT_LEAST && count as f64 > share * total as f64)
            .then(|| format!("{count} of the last {total}"))
    }

    fn failures(&self) -> Option<String> {
        let failed = |attempt: &AttemptSeen| !attempt.succeeded;
        let many = self.above(self.alerts.failures, |_| true, failed)?;
        Some(format!(
            "{many} rollouts failed; look at the reason of one of them"
        ))
    }

    fn missing_rewards(&self) -> Option<String> {
        let succeeded = |attempt: &AttemptSeen| attempt.succeeded;
        let without = |attempt: &AttemptSeen| !attempt.rewarded;
        let many = self.above(self.alerts.missing_rewards, succeeded, without)?;
        Some(format!(
            "{many} rollouts that succeeded have no reward; let the agent return one"
        ))
    }

    fn time_outs(&self) -> Option<String> {
        let timed_out = |attempt: &AttemptSeen| attempt.timed_out;
        let many = self.above(self.alerts.time_outs, |_| true, timed_out)?;
        Some(format!(
            "{many} rollouts ran into a time limit; see whether the model answers, or raise `timeout_seconds`"
        ))
    }

    fn no_progress(&self, now: Timestamp) -> Option<String> {
        let rest = now - self.last_progress;
        (rest >= self.alerts.no_progress?).then(|| {
            format!("no rollout has ended for {rest:.0} s; see whether runners and the algorithm are at work")
        })
    }

    fn waiting_long(&self, now: Timestamp) -> Option<String> {
        let wait = now - self.oldest_queued?;
        (wait >= self.alerts.oldest_queued?)
            .then(|| format!("a rollout has been waiting in the queue for {wait:.0} s; start more runners"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const GOOD: AttemptSeen = AttemptSeen {
        succeeded: true,
        rewarded: true,
        timed_out: false,
    };

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(seconds)
    }

    fn rules(alerts: &[Alert]) -> Vec<AlertRule> {
        alerts.iter().map(|alert| alert.rule).collect()
    }

    fn after(attempts: &[(usize, AttemptSeen)]) -> Vec<AlertRule> {
        let mut watch = Watch::new(Alerts::default(), at(0.0));
        for (count, attempt) in attempts {
            for _ in 0..*count {
                watch.attempt_ended(*attempt, at(1.0));
            }
        }
        rules(&watch.check(at(2.0)))
    }

    #[test]
    fn shares_count_from_ten_rollouts_on_and_over_the_last_fifty() {
        let failed = AttemptSeen::default();
        let timed_out = AttemptSeen {
            timed_out: true,
            ..failed
        };
        let unrewarded = AttemptSeen {
            rewarded: false,
            ..GOOD
        };
        assert_eq!(after(&[(9, failed)]), []);
        assert_eq!(after(&[(10, failed)]), [AlertRule::Failures]);
        assert_eq!(after(&[(5, GOOD), (5, failed)]), [], "not more than the share");
        assert_eq!(after(&[(1000, GOOD), (26, failed)]), [AlertRule::Failures]);
        assert_eq!(after(&[(1000, failed), (50, GOOD)]), []);
        assert_eq!(after(&[(7, GOOD), (3, timed_out)]), [AlertRule::TimeOuts]);
        assert_eq!(after(&[(4, GOOD), (6, unrewarded)]), [AlertRule::MissingRewards]);
        assert_eq!(
            after(&[(9, unrewarded), (9, failed)]),
            [],
            "what failed is not missing a reward"
        );
    }

    #[test]
    fn an_alert_is_raised_once_and_again_after_it_has_cleared() {
        let mut watch = Watch::new(Alerts::default(), at(0.0));
        for _ in 0..10 {
            watch.attempt_ended(AttemptSeen::default(), at(1.0));
        }
        assert_eq!(watch.check(at(1.0)).len(), 1);
        assert_eq!(watch.check(at(2.0)), []);
        for _ in 0..10 {
            watch.attempt_ended(GOOD, at(3.0));
        }
        assert_eq!(watch.check(at(3.0)), []);
        assert_eq!(watch.raised()[0].cleared, Some(at(3.0)));
        watch.attempt_ended(AttemptSeen::default(), at(4.0));
        assert_eq!(rules(&watch.check(at(4.0))), [AlertRule::Failures]);
        assert_eq!(watch.raised().len(), 2);
    }

    #[test]
    fn time_alone_breaks_rules_at_the_moment_that_was_foretold() {
        let alerts = Alerts::none()
            .no_progress(Duration::from_secs(60))
            .oldest_queued(Duration::from_secs(30));
        let mut watch = Watch::new(alerts, at(0.0));
        assert_eq!(watch.next_check(at(0.0)), Some(at(30.0)));
        watch.oldest_queued(Some(at(20.0)));
        assert_eq!(
            (watch.check(at(49.0)), watch.next_check(at(49.0))),
            (vec![], Some(at(50.0)))
        );
        assert_eq!(rules(&watch.check(at(50.0))), [AlertRule::OldestQueued]);
        assert_eq!(watch.next_check(at(50.0)), Some(at(60.0)));
        assert_eq!(rules(&watch.check(at(60.0))), [AlertRule::NoProgress]);
        assert!(watch.next_check(at(60.0)) > Some(at(60.0)), "time goes on");
        watch.attempt_ended(GOOD, at(61.0));
        watch.oldest_queued(None);
        watch.check(at(61.0));
        assert!(watch.raised().iter().all(|alert| alert.cleared == Some(at(61.0))));
        assert_eq!(Watch::new(Alerts::none(), at(0.0)).next_check(at(0.0)), None);
    }

    #[test]
    fn a_run_that_quietly_produces_nothing_is_told_at_its_end() {
        let unrewarded = AttemptSeen {
            rewarded: false,
            ..GOOD
        };
        let end = |attempts: &[AttemptSeen]| {
            let mut watch = Watch::new(Alerts::default(), at(0.0));
            for attempt in attempts {
                watch.attempt_ended(*attempt, at(1.0));
            }
            rules(&watch.end(at(2.0)))
        };
        assert_eq!(end(&[unrewarded; 3]), [AlertRule::NoRewardAtAll]);
        assert_eq!(end(&[unrewarded, GOOD]), []);
        assert_eq!(end(&[]), [], "an algorithm may need no rollouts");
    }
}
