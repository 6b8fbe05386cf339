//! Rules over the health of a run, and who is told when one is broken.
//!
//! [`Watch`] decides, and is pure: what has happened and the time go in, alerts come out. [`Alerts`] says which rules hold and
//! who is told besides the log. This module knows no trainer and no store.

mod rules;
mod watch;
mod webhook;

use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::webhook::Webhook;
pub use self::{
    rules::{Alert, AlertRule},
    watch::{AttemptSeen, Watch},
};

/// What a run is watched for.
///
/// The default catches a run that quietly produces nothing: more than half of the last 50 rollouts fail, more than half of
/// those that succeed have no reward, more than a quarter run into a time limit, nothing ends for 15 minutes, a rollout waits
/// in the queue for an hour, or the run ends without a reward. Shares count from 10 rollouts on.
///
/// ```
/// use std::time::Duration;
/// use lightning_core::alerts::Alerts;
///
/// let alerts = Alerts::default().failures(0.2).no_progress(Duration::from_secs(300));
/// assert_ne!(alerts, Alerts::none());
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    failures: Option<f64>,
    missing_rewards: Option<f64>,
    time_outs: Option<f64>,
    no_progress: Option<f64>,
    oldest_queued: Option<f64>,
    no_reward_at_all: bool,
    webhook: Option<String>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            failures: Some(0.5),
            missing_rewards: Some(0.5),
            time_outs: Some(0.25),
            no_progress: Some(900.0),
            oldest_queued: Some(3600.0),
            no_reward_at_all: true,
            webhook: None,
        }
    }
}

impl Alerts {
    /// Nothing.
    pub fn none() -> Self {
        Self {
            failures: None,
            missing_rewards: None,
            time_outs: None,
            no_progress: None,
            oldest_queued: None,
            no_reward_at_all: false,
            webhook: None,
        }
    }

    /// More than this share of the last rollouts fail, from 0 to 1.
    #[must_use]
    pub fn failures(mut self, share: f64) -> Self {
        self.failures = Some(share);
        self
    }

    /// More than this share of the last rollouts that succeeded have no reward, from 0 to 1.
    #[must_use]
    pub fn missing_rewards(mut self, share: f64) -> Self {
        self.missing_rewards = Some(share);
        self
    }

    /// More than this share of the last rollouts run into a time limit, from 0 to 1.
    #[must_use]
    pub fn time_outs(mut self, share: f64) -> Self {
        self.time_outs = Some(share);
        self
    }

    /// No rollout ends for so long.
    #[must_use]
    pub fn no_progress(mut self, time: Duration) -> Self {
        self.no_progress = Some(time.as_secs_f64());
        self
    }

    /// A rollout waits in the queue for longer than this.
    #[must_use]
    pub fn oldest_queued(mut self, time: Duration) -> Self {
        self.oldest_queued = Some(time.as_secs_f64());
        self
    }

    /// The run ends, and none of its rollouts has a reward.
    #[must_use]
    pub fn no_reward_at_all(mut self, alert: bool) -> Self {
        self.no_reward_at_all = alert;
        self
    }

    /// Where alerts are sent as JSON by POST, besides the log. It never slows the run: what cannot be delivered is dropped and
    /// logged. Needs the feature `client`.
    #[must_use]
    pub fn webhook(mut self, url: impl Into<String>) -> Self {
        self.webhook = Some(url.into());
        self
    }

    /// Where alerts are sent.
    pub(crate) fn webhook_url(&self) -> Option<&str> {
        self.webhook.as_deref()
    }
}
