//! What the writer of the crash test says, line by line, and what its killer reads.
//!
//! A line is only said after the store has acknowledged what it tells, but for [`Said::Tries`], which is said before.

use lightning_core::{
    store::{Command, Request},
    types::{AttemptId, AttemptStatus, NewRollout, RolloutConfig, RolloutId},
};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// One line of the writer.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// The store is open.
    Open,
    /// It is about to enqueue this batch.
    Tries(Batch),
    /// The batch was enqueued, as these rollouts.
    Enqueued(Batch, Vec<RolloutId>),
    /// A rollout was claimed.
    Claimed(RolloutId, AttemptId),
    /// A sequence id was drawn.
    Drew(RolloutId, u64),
    /// Spans of these ids were stored together, the first with this tag in its name.
    Stored(RolloutId, AttemptId, Vec<String>),
    /// An attempt was reported as ended.
    Ended(RolloutId, AttemptId, AttemptStatus),
    /// Resources were stored as this version, which they hold as a number.
    Resources(u64, u64),
    /// So long was the write-ahead log when what is said next was acknowledged.
    Synced(u64),
}

/// Rollouts that are enqueued together, under a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Batch {
    /// Names it, over all lives of the store.
    pub key: String,
    /// How many rollouts it has.
    pub size: usize,
}

impl Batch {
    /// The command, which is the same however often it is made.
    pub fn request(&self) -> Request {
        let config = RolloutConfig {
            timeout_seconds: Some(0.4),
            unresponsive_seconds: Some(0.2),
            max_attempts: 2,
            retry_condition: vec![AttemptStatus::Timeout, AttemptStatus::Unresponsive],
        };
        let new = |n| {
            let input = json!({ "batch": self.key, "n": n, "text": "x".repeat(40 * n) });
            NewRollout::new(input).config(config.clone())
        };
        let rollouts = (0..self.size).map(new).collect();
        Request::keyed(Command::EnqueueRollouts { rollouts }, self.key.as_str())
    }
}

/// The set of resources that is updated all the time.
pub const RESOURCES: &str = "rs-crash";
