//! The bodies of requests, and those answers that are not records of [`types`](crate::types).
//!
//! Unknown fields are passed over, as the reference does. A field that may be left out but not be null is an
//! [`Update`], so that the two can be told apart.

use serde::{Deserialize, Serialize};

use super::{ErrorBody, Object, WireError};
use crate::{
    store::{EndOfAttempt, ImportOutcome, PurgeTarget, Record, SpanOutcome},
    types::{
        AttemptId, AttemptStatus, JsonObject, NewRollout, ResourcesId, RolloutConfig, RolloutId, RolloutMode,
        RolloutStatus, TaskInput, Timestamp, Update, WorkerId,
    },
};

#[derive(Serialize, Deserialize)]
pub(crate) struct EnqueueBody {
    pub(crate) rollouts: Vec<Object<RolloutBody>>,
}

/// A [`NewRollout`].
#[derive(Serialize, Deserialize)]
pub(crate) struct RolloutBody {
    pub(crate) input: TaskInput,
    #[serde(default)]
    pub(crate) mode: Option<RolloutMode>,
    #[serde(default)]
    pub(crate) resources_id: Option<ResourcesId>,
    #[serde(default)]
    pub(crate) config: Option<Object<RolloutConfig>>,
    #[serde(default)]
    pub(crate) metadata: Option<JsonObject>,
}

impl From<NewRollout> for RolloutBody {
    fn from(rollout: NewRollout) -> Self {
        Self {
            input: rollout.input,
            mode: rollout.mode,
            resources_id: rollout.resources_id,
            config: rollout.config.map(Object),
            metadata: rollout.metadata,
        }
    }
}

impl From<RolloutBody> for NewRollout {
    fn from(body: RolloutBody) -> Self {
        Self {
            input: body.input,
            mode: body.mode,
            resources_id: body.resources_id,
            config: body.config.map(|Object(config)| config),
            metadata: body.metadata,
        }
    }
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DequeueBody {
    #[serde(default = "one")]
    pub(crate) limit: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker_id: Option<WorkerId>,
    /// How long to wait for something to come, in seconds (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) wait: Option<f64>,
    /// Claims one rollout for each of these, in place of `limit` for `worker_id` (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) worker_ids: Option<Vec<WorkerId>>,
}

/// Tells workers to stop; all that there are if null (ours).
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct DrainBody {
    #[serde(default)]
    pub(crate) worker_ids: Option<Vec<WorkerId>>,
}

/// Workers that ask for nothing more (ours).
#[derive(Serialize, Deserialize)]
pub(crate) struct LeaveBody {
    pub(crate) worker_ids: Vec<WorkerId>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct DrainAnswer {
    pub(crate) told: usize,
}

fn one() -> i64 {
    1
}

impl Default for DequeueBody {
    fn default() -> Self {
        Self {
            limit: one(),
            worker_id: None,
            wait: None,
            worker_ids: None,
        }
    }
}

/// The fields of a [`RolloutBody`] once more, because errors within a flattened struct cannot name their field.
#[derive(Serialize, Deserialize)]
pub(crate) struct StartBody {
    pub(crate) input: TaskInput,
    #[serde(default)]
    pub(crate) mode: Option<RolloutMode>,
    #[serde(default)]
    pub(crate) resources_id: Option<ResourcesId>,
    #[serde(default)]
    pub(crate) config: Option<Object<RolloutConfig>>,
    #[serde(default)]
    pub(crate) metadata: Option<JsonObject>,
    #[serde(default)]
    pub(crate) worker_id: Option<WorkerId>,
}

impl StartBody {
    #[cfg(feature = "client")]
    pub(crate) fn new(rollout: NewRollout, worker_id: Option<WorkerId>) -> Self {
        Self {
            input: rollout.input,
            mode: rollout.mode,
            resources_id: rollout.resources_id,
            config: rollout.config.map(Object),
            metadata: rollout.metadata,
            worker_id,
        }
    }

    #[cfg(feature = "server")]
    pub(crate) fn into_parts(self) -> (NewRollout, Option<WorkerId>) {
        let rollout = NewRollout {
            input: self.input,
            mode: self.mode,
            resources_id: self.resources_id,
            config: self.config.map(|Object(config)| config),
            metadata: self.metadata,
        };
        (rollout, self.worker_id)
    }
}

#[derive(Default, Serialize, Deserialize)]
pub(crate) struct StartAttemptBody {
    #[serde(default)]
    pub(crate) worker_id: Option<WorkerId>,
}

#[cfg(feature = "server")]
#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RolloutUpdateBody {
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) input: Update<TaskInput>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) mode: Update<RolloutMode>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) resources_id: Update<ResourcesId>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) status: Update<RolloutStatus>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) config: Update<Object<RolloutConfig>>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) metadata: Update<JsonObject>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct AttemptUpdateBody {
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) status: Update<AttemptStatus>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) worker_id: Update<WorkerId>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) last_heartbeat_time: Update<Timestamp>,
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) metadata: Update<JsonObject>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct WorkerUpdateBody {
    #[serde(skip_serializing_if = "Update::is_keep")]
    pub(crate) heartbeat_stats: Update<JsonObject>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NextIdBody {
    pub(crate) rollout_id: RolloutId,
    pub(crate) attempt_id: AttemptId,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NextIdAnswer {
    pub(crate) sequence_id: u64,
}

/// Many sequence ids at once (ours).
#[derive(Serialize, Deserialize)]
pub(crate) struct IdTargetsBody {
    pub(crate) targets: Vec<Object<NextIdBody>>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct NextIdsAnswer {
    pub(crate) sequence_ids: Vec<u64>,
}

/// Many spans at once (ours).
#[cfg(feature = "server")]
#[derive(Serialize, Deserialize)]
pub(crate) struct SpansBody {
    pub(crate) spans: Vec<crate::types::Span>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct OutcomesAnswer {
    pub(crate) outcomes: Vec<OutcomeBody>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(crate) enum OutcomeBody {
    Stored,
    Duplicate,
    Rejected(ErrorBody),
}

impl From<SpanOutcome> for OutcomeBody {
    fn from(outcome: SpanOutcome) -> Self {
        match outcome {
            SpanOutcome::Stored => Self::Stored,
            SpanOutcome::Duplicate => Self::Duplicate,
            SpanOutcome::Rejected(error) => Self::Rejected(ErrorBody::of(&error)),
        }
    }
}

impl From<OutcomeBody> for SpanOutcome {
    fn from(outcome: OutcomeBody) -> Self {
        match outcome {
            OutcomeBody::Stored => Self::Stored,
            OutcomeBody::Duplicate => Self::Duplicate,
            OutcomeBody::Rejected(body) => {
                let problem = body.text();
                let error = body.error.unwrap_or(WireError::Invalid {
                    field: "spans".to_owned(),
                    problem,
                });
                Self::Rejected(error.into_store_error(None))
            }
        }
    }
}

impl From<ImportOutcome> for OutcomeBody {
    fn from(outcome: ImportOutcome) -> Self {
        match outcome {
            ImportOutcome::Stored => Self::Stored,
            ImportOutcome::Known => Self::Duplicate,
            ImportOutcome::Rejected(error) => Self::Rejected(ErrorBody::of(&error)),
        }
    }
}

impl From<OutcomeBody> for ImportOutcome {
    fn from(outcome: OutcomeBody) -> Self {
        match SpanOutcome::from(outcome) {
            SpanOutcome::Stored => Self::Stored,
            SpanOutcome::Duplicate => Self::Known,
            SpanOutcome::Rejected(error) => Self::Rejected(error),
        }
    }
}

/// Records of another store (ours).
#[derive(Serialize, Deserialize)]
pub(crate) struct RecordsBody {
    pub(crate) records: Vec<Record>,
}

/// What is to be taken out for good (ours).
#[derive(Serialize, Deserialize)]
pub(crate) struct PurgeBody {
    #[serde(default)]
    pub(crate) rollouts: Vec<Object<PurgeTarget>>,
    #[serde(default)]
    pub(crate) resources: Vec<ResourcesId>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct WaitBody {
    pub(crate) rollout_ids: Vec<RolloutId>,
    /// In seconds; without end if null.
    #[serde(default)]
    pub(crate) timeout: Option<f64>,
}

/// Waits for the end of an attempt (ours).
#[derive(Serialize, Deserialize)]
pub(crate) struct AttemptWaitBody {
    pub(crate) rollout_id: RolloutId,
    pub(crate) attempt_id: AttemptId,
    /// In seconds; without end if null.
    #[serde(default)]
    pub(crate) timeout: Option<f64>,
}

/// The answer to [`AttemptWaitBody`]; null when the time was over first.
#[derive(Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub(crate) enum EndBody {
    RolloutEnded { status: RolloutStatus },
    AttemptEnded { status: AttemptStatus },
    Superseded { by: AttemptId },
}

impl From<EndOfAttempt> for EndBody {
    fn from(end: EndOfAttempt) -> Self {
        match end {
            EndOfAttempt::RolloutEnded(status) => Self::RolloutEnded { status },
            EndOfAttempt::AttemptEnded(status) => Self::AttemptEnded { status },
            EndOfAttempt::Superseded { by } => Self::Superseded { by },
        }
    }
}

impl From<EndBody> for EndOfAttempt {
    fn from(end: EndBody) -> Self {
        match end {
            EndBody::RolloutEnded { status } => Self::RolloutEnded(status),
            EndBody::AttemptEnded { status } => Self::AttemptEnded(status),
            EndBody::Superseded { by } => Self::Superseded { by },
        }
    }
}

/// Which version of resources is wanted (ours); the latest if left out.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct VersionQuery {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) version: Option<u64>,
}
