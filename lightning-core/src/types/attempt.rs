//! Attempts: one execution of a rollout by one worker.

use serde::{Deserialize, Serialize};

use super::{AttemptId, JsonObject, RolloutId, Timestamp, WorkerId};
use crate::semconv;

/// Where an attempt stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AttemptStatus {
    /// Claimed; nothing was heard of it yet.
    Preparing,
    /// It stored a span.
    Running,
    /// It ended well. Terminal.
    Succeeded,
    /// It ended with an error. Terminal.
    Failed,
    /// It ran longer than `timeout_seconds`. Terminal.
    Timeout,
    /// It was silent for longer than `unresponsive_seconds`. A span revives it.
    Unresponsive,
}

impl AttemptStatus {
    /// Whether the attempt has ended.
    pub const fn is_terminal(self) -> bool {
        !matches!(self, Self::Preparing | Self::Running)
    }

    /// The status as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
            Self::Unresponsive => "unresponsive",
        }
    }
}

/// One execution of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// The rollout that is executed.
    pub rollout_id: RolloutId,
    /// Unique within the rollout.
    pub attempt_id: AttemptId,
    /// Counts the attempts of the rollout, from 1.
    pub sequence_id: u32,
    /// When the attempt was created.
    pub start_time: Timestamp,
    /// When it reached a terminal status.
    #[serde(default)]
    pub end_time: Option<Timestamp>,
    /// Where it stands.
    pub status: AttemptStatus,
    /// The worker that executes it.
    #[serde(default)]
    pub worker_id: Option<WorkerId>,
    /// When the attempt was last heard of: a span, or a heartbeat of its runner.
    #[serde(default)]
    pub last_heartbeat_time: Option<Timestamp>,
    /// Free-form notes, such as the reason of a failure.
    #[serde(default)]
    pub metadata: Option<JsonObject>,
}

impl Attempt {
    /// Why it failed, in the words of whoever ended it.
    pub fn reason(&self) -> Option<&str> {
        self.metadata.as_ref()?.get(semconv::ATTEMPT_REASON)?.as_str()
    }

    /// Whether it failed only because whoever executed it was stopped, which says nothing about the task.
    pub fn was_interrupted(&self) -> bool {
        let note = |notes: &JsonObject| notes.get(semconv::ATTEMPT_INTERRUPTED).cloned();
        self.metadata.as_ref().and_then(note) == Some(true.into())
    }
}

/// The fields that `update_attempt` may set; those left out stay as they are, and none can be made null.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttemptPatch {
    /// The new status, which also moves the rollout if the attempt is its latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AttemptStatus>,
    /// The worker that executes the attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker_id: Option<WorkerId>,
    /// When the attempt was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_heartbeat_time: Option<Timestamp>,
    /// Replaces the metadata as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
}

impl AttemptPatch {
    /// Only a new status.
    pub fn status(status: AttemptStatus) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }

    /// Ends the attempt as failed, because whoever executed it was stopped for this reason. That says nothing about the task:
    /// a run that is resumed executes it again.
    pub fn interrupted(reason: impl Into<String>) -> Self {
        Self {
            metadata: Some(JsonObject::from_iter([
                (semconv::ATTEMPT_REASON.to_owned(), reason.into().into()),
                (semconv::ATTEMPT_INTERRUPTED.to_owned(), true.into()),
            ])),
            ..Self::status(AttemptStatus::Failed)
        }
    }

    /// Only a sign of life at `time`.
    pub fn heartbeat(time: Timestamp) -> Self {
        Self {
            last_heartbeat_time: Some(time),
            ..Self::default()
        }
    }
}
