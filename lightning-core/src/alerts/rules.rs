//! What can be wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::Timestamp;

/// Which rule is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum AlertRule {
    /// Too many rollouts fail.
    Failures,
    /// Too many rollouts have no reward.
    MissingRewards,
    /// Too many rollouts run into a time limit.
    TimeOuts,
    /// No rollout ends.
    NoProgress,
    /// A rollout waits for too long.
    OldestQueued,
    /// The run ended without any reward.
    NoRewardAtAll,
}

/// A rule was broken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Alert {
    /// Which one.
    pub rule: AlertRule,
    /// What is wrong, with figures and what to look at.
    pub message: String,
    /// Since when.
    pub raised: Timestamp,
    /// When all was well again; `None` as long as it is not.
    pub cleared: Option<Timestamp>,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
