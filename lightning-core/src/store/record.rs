//! Records as one store gives them to another, and what is taken out of a store for good.

use serde::{Deserialize, Serialize};

use super::StoreError;
use crate::types::{Attempt, ResourcesId, ResourcesUpdate, Rollout, RolloutId, Span, Worker};

/// A record with everything that it has: ids, statuses and times are those that it was given elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Record {
    /// One version of a set of resources. Versions come in their order, from the first.
    Resources(ResourcesUpdate),
    /// A rollout with all its attempts.
    Rollout(RolloutRecord),
    /// A span of an attempt that is there already.
    Span(Box<Span>),
    /// A worker.
    Worker(Box<Worker>),
}

/// A rollout with all its attempts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutRecord {
    /// The rollout.
    pub rollout: Rollout,
    /// Its attempts, by sequence id, from 1.
    #[serde(default)]
    pub attempts: Vec<Attempt>,
}

/// What became of one record that was to be taken in.
#[derive(Clone, Debug, PartialEq)]
pub enum ImportOutcome {
    /// It is there now.
    Stored,
    /// It was there already, just as it is.
    Known,
    /// It contradicts itself, or another record of its name is there. The other records are not affected.
    Rejected(StoreError),
}

/// A rollout to be taken out for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeTarget {
    /// The rollout.
    pub rollout_id: RolloutId,
    /// Only if it has just so many spans: those that were kept elsewhere. `None` for any number.
    #[serde(default)]
    pub spans: Option<u64>,
}

impl From<RolloutId> for PurgeTarget {
    fn from(rollout_id: RolloutId) -> Self {
        Self {
            rollout_id,
            spans: None,
        }
    }
}

/// What was taken out for good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purged {
    /// These rollouts. Those that have not ended, have another number of spans, or are not there are missing.
    pub rollouts: Vec<RolloutId>,
    /// How many attempts went with them.
    pub attempts: u64,
    /// How many spans went with them.
    pub spans: u64,
    /// These sets of resources. The latest one, and those that a rollout names, are missing.
    pub resources: Vec<ResourcesId>,
}

/// Why a record is not taken in whose name is known.
pub(super) fn differs(what: impl std::fmt::Display) -> StoreError {
    StoreError::invalid("record", format!("{what} is there already, and differs"))
}

/// Why a version of resources is not taken in that contradicts the earlier ones.
pub(super) fn made_at_another_time(id: &ResourcesId, version: u64) -> StoreError {
    StoreError::invalid(
        "record",
        format!("resources {id} were made at another time than version {version} says"),
    )
}

/// Why a version of resources is not taken in.
pub(super) fn lacks_version(id: &ResourcesId, version: u64, known: u64) -> StoreError {
    StoreError::invalid(
        "record",
        format!("resources {id} have {known} versions here, so version {version} cannot follow"),
    )
}
