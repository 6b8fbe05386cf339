//! Errors on the wire: texts as the reference has them, and beside them what a client needs to restore the
//! [`StoreError`].

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    store::{NotFound, StoreError},
    types::{AttemptId, RolloutId},
};

/// The body of an answer that is no success.
#[derive(Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// A text, or for malformed requests a list of what is wrong where.
    pub(crate) detail: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_type: Option<String>,
    /// Names the failure in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error_id: Option<String>,
    /// The error itself (ours).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<WireError>,
}

impl ErrorBody {
    /// The error as a client may see it: of an internal one nothing but that it is.
    pub(crate) fn of(error: &StoreError) -> Self {
        let detail = match error {
            StoreError::Internal { .. } => "Internal server error".to_owned(),
            other => other.to_string(),
        };
        Self {
            detail: detail.into(),
            error_type: Some(type_of(error).to_owned()),
            error_id: None,
            error: Some(error.into()),
        }
    }

    /// The detail as one text.
    pub(crate) fn text(&self) -> String {
        match &self.detail {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

/// Python's name for an error of that kind.
fn type_of(error: &StoreError) -> &'static str {
    match error {
        StoreError::NotFound(_) | StoreError::Invalid { .. } | StoreError::KeyReused { .. } => "ValueError",
        StoreError::Draining => "StopIteration",
        StoreError::Unavailable { .. } => "ConnectionError",
        StoreError::Internal { .. } => "InternalError",
    }
}

/// The status of an answer with that error.
#[cfg(feature = "server")]
pub(crate) fn status_of(error: &StoreError) -> u16 {
    match error {
        StoreError::NotFound(_) => 404,
        StoreError::Invalid { .. } => 400,
        StoreError::KeyReused { .. } => 409,
        StoreError::Draining => 410,
        StoreError::Unavailable { .. } => 503,
        StoreError::Internal { .. } => 500,
    }
}

/// A [`StoreError`] as data.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum WireError {
    RolloutNotFound {
        rollout_id: RolloutId,
    },
    UpdatedRolloutNotFound {
        rollout_id: RolloutId,
    },
    AttemptNotFound {
        rollout_id: RolloutId,
        attempt_id: AttemptId,
    },
    NoAttempts {
        rollout_id: RolloutId,
    },
    Invalid {
        field: String,
        problem: String,
    },
    KeyReused {
        key: String,
    },
    Draining,
    Unavailable {
        reason: String,
    },
    Internal,
}

impl From<&StoreError> for WireError {
    fn from(error: &StoreError) -> Self {
        match error.clone() {
            StoreError::NotFound(NotFound::Rollout(rollout_id)) => Self::RolloutNotFound { rollout_id },
            StoreError::NotFound(NotFound::UpdatedRollout(rollout_id)) => {
                Self::UpdatedRolloutNotFound { rollout_id }
            }
            StoreError::NotFound(NotFound::Attempt {
                rollout_id,
                attempt_id,
            }) => Self::AttemptNotFound {
                rollout_id,
                attempt_id,
            },
            StoreError::NotFound(NotFound::NoAttempts(rollout_id)) => Self::NoAttempts { rollout_id },
            StoreError::Invalid { field, problem } => Self::Invalid {
                field: field.to_owned(),
                problem,
            },
            StoreError::KeyReused { key } => Self::KeyReused { key },
            StoreError::Draining => Self::Draining,
            StoreError::Unavailable { reason, .. } => Self::Unavailable { reason },
            StoreError::Internal { .. } => Self::Internal,
        }
    }
}

/// The fields that a store complains of. An error holds the name as a constant, so it is looked up here.
const FIELDS: &[&str] = &[
    "command",
    "config.max_attempts",
    "config.timeout_seconds",
    "config.unresponsive_seconds",
    "limit",
    "offset",
    "record",
    "sequence_id",
    "sort_by",
    "status",
];

impl WireError {
    /// The error as the store gave it. `error_id` is what the server calls an internal one.
    pub(crate) fn into_store_error(self, error_id: Option<&str>) -> StoreError {
        match self {
            Self::RolloutNotFound { rollout_id } => NotFound::Rollout(rollout_id).into(),
            Self::UpdatedRolloutNotFound { rollout_id } => NotFound::UpdatedRollout(rollout_id).into(),
            Self::AttemptNotFound {
                rollout_id,
                attempt_id,
            } => NotFound::Attempt {
                rollout_id,
                attempt_id,
            }
            .into(),
            Self::NoAttempts { rollout_id } => NotFound::NoAttempts(rollout_id).into(),
            Self::Invalid { field, problem } => match FIELDS.iter().find(|known| **known == field) {
                Some(known) => StoreError::invalid(known, problem),
                None => StoreError::invalid("request", format!("`{field}`: {problem}")),
            },
            Self::KeyReused { key } => StoreError::KeyReused { key },
            Self::Draining => StoreError::Draining,
            Self::Unavailable { reason } => StoreError::Unavailable { reason, source: None },
            Self::Internal => StoreError::Internal {
                reason: match error_id {
                    Some(id) => format!("the server failed; its log tells more of error {id}"),
                    None => "the server failed; its log tells more".to_owned(),
                },
                source: None,
            },
        }
    }
}
