//! Rollouts: one task, to be executed by an agent, over as many attempts as its configuration allows.

use std::{ops::Deref, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attempt, AttemptStatus, JsonObject, ResourcesId, RolloutId, Timestamp, Update};

/// The task of a rollout: any JSON. Shared, since a rollout is handed around more often than its task is read.
pub type TaskInput = Arc<Value>;

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutStatus {
    /// Waits in the queue for its first attempt.
    Queuing,
    /// Claimed by a worker; nothing was heard of the attempt yet.
    Preparing,
    /// Its latest attempt stored a span.
    Running,
    /// Its latest attempt failed and it waits in the queue for another.
    Requeuing,
    /// Ended well. Terminal.
    Succeeded,
    /// Ended with an error and no attempt left. Terminal.
    Failed,
    /// Withdrawn. Terminal.
    Cancelled,
}

impl RolloutStatus {
    /// Every status, in the order of a rollout's life.
    pub const ALL: [Self; 7] = [
        Self::Queuing,
        Self::Preparing,
        Self::Running,
        Self::Requeuing,
        Self::Succeeded,
        Self::Failed,
        Self::Cancelled,
    ];

    /// Whether the rollout has ended.
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Cancelled)
    }

    /// Whether the rollout waits for a worker.
    pub const fn is_queueing(self) -> bool {
        matches!(self, Self::Queuing | Self::Requeuing)
    }

    /// Whether a worker executes the rollout.
    pub const fn is_active(self) -> bool {
        matches!(self, Self::Preparing | Self::Running)
    }

    /// The status as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Queuing => "queuing",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Requeuing => "requeuing",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// What a rollout is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RolloutMode {
    /// Learning.
    Train,
    /// Choosing between candidates.
    Val,
    /// The final measurement.
    Test,
}

impl RolloutMode {
    /// All modes.
    pub const ALL: [Self; 3] = [Self::Train, Self::Val, Self::Test];

    /// The mode as it is written on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
            Self::Test => "test",
        }
    }
}

/// Time limits and retries of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RolloutConfig {
    /// How long an attempt may take, in seconds from its start; no limit if `None`.
    pub timeout_seconds: Option<f64>,
    /// How long an attempt may be silent, in seconds; no limit if `None`.
    pub unresponsive_seconds: Option<f64>,
    /// How many attempts there may be in all, at least 1.
    pub max_attempts: u32,
    /// The statuses of an attempt after which another one is made.
    pub retry_condition: Vec<AttemptStatus>,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            timeout_seconds: None,
            unresponsive_seconds: None,
            max_attempts: 1,
            retry_condition: Vec::new(),
        }
    }
}

/// One task and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Unique within the store.
    pub rollout_id: RolloutId,
    /// The task.
    pub input: TaskInput,
    /// When the rollout was created.
    pub start_time: Timestamp,
    /// When it reached a terminal status.
    #[serde(default)]
    pub end_time: Option<Timestamp>,
    /// What it is for.
    #[serde(default)]
    pub mode: Option<RolloutMode>,
    /// The resources that the agent is to use.
    #[serde(default)]
    pub resources_id: Option<ResourcesId>,
    /// Where it stands.
    pub status: RolloutStatus,
    /// Its time limits and retries.
    #[serde(default)]
    pub config: RolloutConfig,
    /// Free-form notes.
    #[serde(default)]
    pub metadata: Option<JsonObject>,
}

/// A rollout as it is claimed: together with the attempt that was made for the claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptedRollout {
    /// The rollout.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// Its latest attempt.
    pub attempt: Attempt,
}

impl Deref for AttemptedRollout {
    type Target = Rollout;

    fn deref(&self) -> &Rollout {
        &self.rollout
    }
}

/// A rollout as a query shows it: with its latest attempt, once there is one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutSnapshot {
    /// The rollout.
    #[serde(flatten)]
    pub rollout: Rollout,
    /// Its latest attempt. Left out of the JSON form where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
}

impl Deref for RolloutSnapshot {
    type Target = Rollout;

    fn deref(&self) -> &Rollout {
        &self.rollout
    }
}

/// A rollout to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRollout {
    /// The task.
    pub input: TaskInput,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<RolloutMode>,
    /// The resources that the agent is to use; the latest ones, if there are any, where this is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources_id: Option<ResourcesId>,
    /// Time limits and retries; none where this is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<RolloutConfig>,
    /// Free-form notes; `{}` where this is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<JsonObject>,
}

impl NewRollout {
    /// A rollout of `input` with nothing else set.
    pub fn new(input: impl Into<TaskInput>) -> Self {
        Self {
            input: input.into(),
            mode: None,
            resources_id: None,
            config: None,
            metadata: None,
        }
    }

    /// Says what it is for.
    #[must_use]
    pub fn mode(mut self, mode: RolloutMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// Pins the resources.
    #[must_use]
    pub fn resources_id(mut self, resources_id: impl Into<ResourcesId>) -> Self {
        self.resources_id = Some(resources_id.into());
        self
    }

    /// Sets time limits and retries.
    #[must_use]
    pub fn config(mut self, config: RolloutConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// Attaches notes.
    #[must_use]
    pub fn metadata(mut self, metadata: JsonObject) -> Self {
        self.metadata = Some(metadata);
        self
    }
}

/// The fields that `update_rollout` may set; those left out stay as they are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RolloutPatch {
    /// The task; clearing it makes it JSON null.
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub input: Update<TaskInput>,
    /// What it is for.
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub mode: Update<RolloutMode>,
    /// The resources that the agent is to use.
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub resources_id: Update<ResourcesId>,
    /// The new status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<RolloutStatus>,
    /// Replaces the configuration as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config: Option<RolloutConfig>,
    /// Replaces the notes as a whole.
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub metadata: Update<JsonObject>,
}

impl RolloutPatch {
    /// Only a new status.
    pub fn status(status: RolloutStatus) -> Self {
        Self {
            status: Some(status),
            ..Self::default()
        }
    }
}
