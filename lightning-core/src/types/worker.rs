//! Workers: the runners as the store sees them.

use serde::{Deserialize, Serialize};

use super::{AttemptId, JsonObject, RolloutId, Timestamp, WorkerId};

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorkerStatus {
    /// It asked for work and got none, or ended its attempt.
    Idle,
    /// It executes an attempt.
    Busy,
    /// It sent a heartbeat but never asked for work, or its attempt ran into a time limit.
    Unknown,
}

impl WorkerStatus {
    /// The status as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Unknown => "unknown",
        }
    }
}

/// A runner as the store sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Worker {
    /// Chosen by the runner.
    pub worker_id: WorkerId,
    /// What it is doing.
    pub status: WorkerStatus,
    /// The statistics of its last heartbeat that carried any (`cpu_usage_pct`, `mem_used_gb`, …).
    #[serde(default)]
    pub heartbeat_stats: Option<JsonObject>,
    /// When it last sent a heartbeat.
    #[serde(default)]
    pub last_heartbeat_time: Option<Timestamp>,
    /// When it last asked for work.
    #[serde(default)]
    pub last_dequeue_time: Option<Timestamp>,
    /// When it last became busy.
    #[serde(default)]
    pub last_busy_time: Option<Timestamp>,
    /// When it last became idle.
    #[serde(default)]
    pub last_idle_time: Option<Timestamp>,
    /// The rollout that it executes.
    #[serde(default)]
    pub current_rollout_id: Option<RolloutId>,
    /// The attempt that it executes.
    #[serde(default)]
    pub current_attempt_id: Option<AttemptId>,
}
