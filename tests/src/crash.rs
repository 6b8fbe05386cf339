//! What the writer of the crash test says, line by line, and what its killer reads.
//!
//! A line is only said after the store has acknowledged what it tells, but for [`Said::Tries`], [`Said::Imports`] and
//! [`Said::Purges`], which are said before.

use lightning_core::{
    store::{Command, Record, Request, RolloutRecord},
    types::{
        Attempt, AttemptId, AttemptStatus, NewRollout, Rollout, RolloutConfig, RolloutId, RolloutStatus,
        Span, Timestamp,
    },
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
    /// It is about to import the [records] of this rollout.
    Imports(RolloutId),
    /// They were imported.
    Imported(RolloutId),
    /// It is about to purge this rollout.
    Purges(RolloutId),
    /// It was purged.
    Purged(RolloutId),
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

/// How many spans an imported rollout has.
pub const IMPORTED_SPANS: usize = 2;

/// A rollout that ended elsewhere, with its attempt and its spans.
pub fn records(id: &RolloutId) -> Vec<Record> {
    let now = Timestamp::from_secs_f64(1e9);
    let attempt_id = AttemptId::from("at-1");
    let rollout = Rollout {
        rollout_id: id.clone(),
        input: json!("from elsewhere").into(),
        start_time: now,
        end_time: Some(now + 2.0),
        mode: None,
        resources_id: None,
        status: RolloutStatus::Succeeded,
        config: RolloutConfig::default(),
        metadata: None,
    };
    let attempt = Attempt {
        rollout_id: id.clone(),
        attempt_id: attempt_id.clone(),
        sequence_id: 1,
        start_time: now,
        end_time: Some(now + 2.0),
        status: AttemptStatus::Succeeded,
        worker_id: None,
        last_heartbeat_time: None,
        metadata: None,
    };
    let mut records = vec![Record::Rollout(RolloutRecord {
        rollout,
        attempts: vec![attempt],
    })];
    for number in 1..=IMPORTED_SPANS {
        let name = format!("{IMPORTED_SPANS} together");
        let span_id = format!("{number:016x}");
        let mut span = Span::new(
            id.clone(),
            attempt_id.clone(),
            number as u64,
            "0".repeat(32),
            span_id,
            name,
        );
        span.attributes.insert("reward".to_owned(), json!(0.1 + 0.2));
        records.push(Record::Span(Box::new(span)));
    }
    records
}

/// The set of resources that is updated all the time.
pub const RESOURCES: &str = "rs-crash";
