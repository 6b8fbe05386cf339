//! Every mutation of a store as data.
//!
//! A command can be logged, sent, kept and repeated. With a [`RequestKey`] it is carried out once, however often it
//! arrives: repetitions get the first answer.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{ImportOutcome, PurgeTarget, Purged, Record, StoreError};
use crate::types::{
    Attempt, AttemptId, AttemptPatch, AttemptedRollout, JsonObject, NamedResources, NewRollout, ResourcesId,
    ResourcesUpdate, Rollout, RolloutId, RolloutPatch, Span, Worker, WorkerId,
};

/// Names a command, so that a store carries it out once. Chosen by the caller; any text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RequestKey(Arc<str>);

impl RequestKey {
    /// The key as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<S: Into<Arc<str>>> From<S> for RequestKey {
    fn from(text: S) -> Self {
        Self(text.into())
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which attempt of a rollout is meant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(from = "AttemptId", into = "AttemptId")]
pub enum AttemptRef {
    /// The one with the greatest sequence id (`latest` on the wire).
    Latest,
    /// The one with this id.
    Id(AttemptId),
}

impl From<AttemptId> for AttemptRef {
    fn from(id: AttemptId) -> Self {
        if id == "latest" {
            Self::Latest
        } else {
            Self::Id(id)
        }
    }
}

impl From<&AttemptId> for AttemptRef {
    fn from(id: &AttemptId) -> Self {
        id.clone().into()
    }
}

impl From<&str> for AttemptRef {
    fn from(id: &str) -> Self {
        AttemptId::from(id).into()
    }
}

impl From<AttemptRef> for AttemptId {
    fn from(which: AttemptRef) -> Self {
        match which {
            AttemptRef::Latest => "latest".into(),
            AttemptRef::Id(id) => id,
        }
    }
}

/// A mutation of a store.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "command", rename_all = "snake_case")]
pub enum Command {
    /// Makes rollouts and puts them at the tail of the queue, in this order. All or none are made.
    EnqueueRollouts {
        /// The rollouts to be made.
        rollouts: Vec<NewRollout>,
    },
    /// Makes a rollout together with its first attempt; it never enters the queue.
    StartRollout {
        /// The rollout to be made.
        rollout: NewRollout,
        /// Who executes it.
        worker_id: Option<WorkerId>,
    },
    /// Takes rollouts from the head of the queue and makes an attempt for each.
    DequeueRollouts {
        /// How many at most.
        limit: usize,
        /// Who executes them.
        worker_id: Option<WorkerId>,
    },
    /// Makes a further attempt of a rollout, whatever its status and its `max_attempts`.
    StartAttempt {
        /// The rollout.
        rollout_id: RolloutId,
        /// Who executes it.
        worker_id: Option<WorkerId>,
    },
    /// Stores spans, each for itself.
    AddSpans {
        /// The spans.
        spans: Vec<Span>,
    },
    /// Changes a rollout.
    UpdateRollout {
        /// The rollout.
        rollout_id: RolloutId,
        /// The changes.
        patch: RolloutPatch,
    },
    /// Changes an attempt.
    UpdateAttempt {
        /// The rollout.
        rollout_id: RolloutId,
        /// The attempt.
        attempt: AttemptRef,
        /// The changes.
        patch: AttemptPatch,
    },
    /// Stores resources under a fresh id.
    AddResources {
        /// The resources.
        resources: NamedResources,
    },
    /// Stores the next version of resources; the first one, if the id is new.
    UpdateResources {
        /// Which resources.
        resources_id: ResourcesId,
        /// The resources.
        resources: NamedResources,
    },
    /// Draws sequence ids, one for each entry, in this order.
    NextSequenceIds {
        /// For which rollouts and attempts.
        targets: Vec<(RolloutId, AttemptId)>,
    },
    /// Records a heartbeat of a worker.
    UpdateWorker {
        /// The worker.
        worker_id: WorkerId,
        /// Its statistics; those of the last heartbeat stay if `None`.
        heartbeat_stats: Option<JsonObject>,
    },
    /// Takes records in as another store kept them, each for itself and in this order.
    Import {
        /// The records.
        records: Vec<Record>,
    },
    /// Takes rollouts that have ended out for good, with their attempts and spans; and then sets of resources, in all
    /// versions, that no rollout names any more.
    Purge {
        /// The rollouts.
        rollouts: Vec<PurgeTarget>,
        /// The sets of resources.
        resources: Vec<ResourcesId>,
    },
}

/// A command with the key that makes it repeatable.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is to be done.
    pub command: Command,
    /// Carries the command out once, however often it arrives. Without a key, every arrival counts.
    pub key: Option<RequestKey>,
}

impl Request {
    /// The command under a key.
    pub fn keyed(command: Command, key: impl Into<RequestKey>) -> Self {
        Self {
            command,
            key: Some(key.into()),
        }
    }
}

impl From<Command> for Request {
    fn from(command: Command) -> Self {
        Self { command, key: None }
    }
}

/// What became of one span of a batch.
#[derive(Clone, Debug, PartialEq)]
pub enum SpanOutcome {
    /// It is stored.
    Stored,
    /// A span with the same rollout, attempt and span id is there already; this one was dropped.
    Duplicate,
    /// It cannot be stored. The other spans of the batch are not affected.
    Rejected(StoreError),
}

/// The answer to a command. Which variant comes for which command is part of the contract.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// To [`EnqueueRollouts`](Command::EnqueueRollouts): the rollouts as they were made.
    Enqueued(Vec<Rollout>),
    /// To [`DequeueRollouts`](Command::DequeueRollouts), possibly empty.
    Dequeued(Vec<AttemptedRollout>),
    /// To [`StartRollout`](Command::StartRollout) and [`StartAttempt`](Command::StartAttempt).
    Started(Box<AttemptedRollout>),
    /// To [`AddSpans`](Command::AddSpans): one outcome for each span, in order.
    Spans(Vec<SpanOutcome>),
    /// To [`UpdateRollout`](Command::UpdateRollout): the rollout after the change.
    Rollout(Box<Rollout>),
    /// To [`UpdateAttempt`](Command::UpdateAttempt): the attempt after the change.
    Attempt(Box<Attempt>),
    /// To [`AddResources`](Command::AddResources) and [`UpdateResources`](Command::UpdateResources).
    Resources(ResourcesUpdate),
    /// To [`NextSequenceIds`](Command::NextSequenceIds): one for each target, in order.
    SequenceIds(Vec<u64>),
    /// To [`UpdateWorker`](Command::UpdateWorker): the worker after the heartbeat.
    Worker(Box<Worker>),
    /// To [`Import`](Command::Import): one outcome for each record, in order.
    Imported(Vec<ImportOutcome>),
    /// To [`Purge`](Command::Purge).
    Purged(Purged),
}
