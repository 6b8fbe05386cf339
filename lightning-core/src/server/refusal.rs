//! Answers that are no success, in the shapes that FastAPI and the reference give them.

use axum::{
    Json,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    store::StoreError,
    wire::{ErrorBody, status_of},
};

/// Why a request was not carried out.
#[derive(Debug)]
pub(super) enum Refusal {
    /// The request cannot be read: 422, with a list of what is wrong where.
    Malformed(Problem),
    /// A field is null that must not be: 400.
    Null(&'static str),
    /// Another mistake of the caller.
    Status(StatusCode, String),
    /// The store did not do it.
    Store(StoreError),
}

/// What is wrong with a request, and where.
#[derive(Debug, Serialize)]
pub(super) struct Problem {
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    /// `body`, `query`, `path` or `header`, and then the way to the field.
    pub(super) loc: Vec<Value>,
    pub(super) msg: String,
}

/// In an answer's extensions: what the log should say of an internal error.
#[derive(Clone, Debug)]
pub(super) struct Failure(pub(super) StoreError);

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Problem> for Refusal {
    fn from(problem: Problem) -> Self {
        Self::Malformed(problem)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Malformed(problem) => (
                StatusCode::UNPROCESSABLE_ENTITY,
                Json(json!({"detail": [problem]})),
            )
                .into_response(),
            Self::Null(field) => {
                let detail = format!("{field} is invalid; it cannot be a null value.");
                (StatusCode::BAD_REQUEST, Json(json!({"detail": detail}))).into_response()
            }
            Self::Status(status, detail) => (status, Json(json!({"detail": detail}))).into_response(),
            Self::Store(error) => {
                let status = StatusCode::from_u16(status_of(&error));
                let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                let mut answer = (status, Json(ErrorBody::of(&error))).into_response();
                if status == StatusCode::SERVICE_UNAVAILABLE {
                    let headers = answer.headers_mut();
                    headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
                }
                if status == StatusCode::INTERNAL_SERVER_ERROR {
                    answer.extensions_mut().insert(Failure(error));
                }
                answer
            }
        }
    }
}
