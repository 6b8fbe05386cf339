//! What the proxy itself says, in the shape that the clients of each family read.

use std::{fmt, time::Duration};

use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{self, HeaderValue},
};
use serde_json::json;

use super::tee::Outgoing;
use crate::llm_proxy::ApiFamily;

/// An answer of the proxy's own that is no success.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    message: String,
    /// What programs tell it by.
    code: Option<&'static str>,
    retry_after: Option<Duration>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: format!("{message} (says the LLM proxy)"),
            code: None,
            retry_after: None,
        }
    }

    pub(super) fn bad(message: impl fmt::Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    #[must_use]
    pub(super) fn code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    #[must_use]
    pub(super) fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    pub(super) fn into_response(self, family: ApiFamily) -> Response<Outgoing> {
        let kind = kind(self.status, family);
        let body = match family {
            ApiFamily::OpenAi => {
                json!({"error": {"message": self.message, "type": kind, "param": null, "code": self.code}})
            }
            ApiFamily::Anthropic => {
                json!({"type": "error", "error": {"type": kind, "message": self.message}})
            }
        };
        let mut response = json_answer(self.status, &body);
        if let Some(after) = self.retry_after {
            let seconds = after.as_millis().div_ceil(1000).max(1);
            let seconds = HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX));
            response.headers_mut().insert(header::RETRY_AFTER, seconds);
        }
        response
    }
}

fn kind(status: StatusCode, family: ApiFamily) -> &'static str {
    match (status.as_u16(), family) {
        (401, _) => "authentication_error",
        (403, _) => "permission_error",
        (429, _) => "rate_limit_error",
        (404, ApiFamily::Anthropic) => "not_found_error",
        (413, ApiFamily::Anthropic) => "request_too_large",
        (400..500, _) => "invalid_request_error",
        (_, ApiFamily::OpenAi) => "server_error",
        (_, ApiFamily::Anthropic) => "api_error",
    }
}

pub(super) fn json_answer(status: StatusCode, body: &serde_json::Value) -> Response<Outgoing> {
    answer(status, "application/json", body.to_string())
}

pub(super) fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::Whole(Full::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
