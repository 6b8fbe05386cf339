//! OTLP over HTTP: traces are stored; logs, metrics and profiles are not taken.

use std::io::Read as _;

use axum::{
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use flate2::{Compression, read::MultiGzDecoder, write::GzEncoder};

use super::{
    app::Shared,
    extract::{self, Key},
    refusal::{Failure, Refusal},
};
use crate::{
    store::{Answer, Command, RequestKey, SpanOutcome, StoreError},
    wire::otlp::{self, Arrived, Encoding, Rejections},
};

/// gRPC's codes for what can go wrong here.
const INVALID_ARGUMENT: i32 = 3;
const RESOURCE_EXHAUSTED: i32 = 8;
const INTERNAL: i32 = 13;
const UNAVAILABLE: i32 = 14;

/// An answer as it has to be written.
struct Reply<'a> {
    encoding: Encoding,
    headers: &'a HeaderMap,
}

pub(super) async fn traces(State(app): State<Shared>, Key(key): Key, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let content_type = content_type
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let encoding = Encoding::from_content_type(content_type);
    let reply = Reply {
        encoding: encoding.unwrap_or(Encoding::Protobuf),
        headers: &parts.headers,
    };
    let Some(encoding) = encoding else {
        let message = format!(
            "the content type {content_type:?} is not taken; send application/x-protobuf or application/json"
        );
        return reply.refusal(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, &message);
    };
    let body = match read(&app, &parts.headers, body).await {
        Ok(body) => body,
        Err((status, message)) => {
            let code = if status == StatusCode::PAYLOAD_TOO_LARGE {
                RESOURCE_EXHAUSTED
            } else {
                INVALID_ARGUMENT
            };
            return reply.refusal(status, code, &message);
        }
    };
    let arrived = match otlp::decode(&body, encoding) {
        Ok(arrived) => arrived,
        Err(message) => return reply.refusal(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, &message),
    };
    drop(body);
    match store(&app, arrived, key).await {
        Ok(rejected) => reply.write(StatusCode::OK, otlp::success(&rejected, encoding)),
        Err(error) => reply.failure(error),
    }
}

pub(super) async fn not_taken() -> Response {
    let detail = "this store takes traces only".to_owned();
    Refusal::Status(StatusCode::NOT_IMPLEMENTED, detail).into_response()
}

/// Reads the body and inflates it, as far as it is allowed to grow.
async fn read(app: &Shared, headers: &HeaderMap, body: Body) -> Result<Bytes, (StatusCode, String)> {
    let limit = app.max_body_bytes;
    let body = match extract::read(body, limit, app.body_timeout).await {
        Ok(body) => body,
        Err(Refusal::Status(status, message)) => return Err((status, message)),
        Err(_) => return Err((StatusCode::BAD_REQUEST, "the body could not be read".to_owned())),
    };
    let bad = |message: String| (StatusCode::BAD_REQUEST, message);
    let content_encoding = headers.get(header::CONTENT_ENCODING);
    match content_encoding
        .map(|value| value.as_bytes().to_ascii_lowercase())
        .as_deref()
    {
        None | Some(b"" | b"identity") => Ok(body),
        Some(b"gzip") if body.is_empty() => Ok(body),
        Some(b"gzip") => {
            let mut inflated = Vec::new();
            // One byte more than allowed tells a body that is too large from one that just fits.
            let allowed = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
            let read = MultiGzDecoder::new(&*body)
                .take(allowed)
                .read_to_end(&mut inflated);
            match read {
                Err(error) => Err(bad(format!("the body is no gzip: {error}"))),
                Ok(size) if size > limit => Err((StatusCode::PAYLOAD_TOO_LARGE, extract::too_large(limit))),
                Ok(_) => Ok(inflated.into()),
            }
        }
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            Err(bad(format!(
                "the content encoding {other:?} is not taken; send gzip or none"
            )))
        }
    }
}

/// Stores the spans that arrived, each for itself, and draws the sequence ids that they lack.
async fn store(app: &Shared, arrived: Arrived, key: Option<RequestKey>) -> Result<Rejections, StoreError> {
    let Arrived {
        mut spans,
        mut rejected,
    } = arrived;
    let lacking = || spans.iter().filter(|arrived| arrived.needs_sequence_id);
    let targets: Vec<_> = lacking()
        .map(|arrived| (arrived.span.rollout_id.clone(), arrived.span.attempt_id.clone()))
        .collect();
    if !targets.is_empty() {
        // Ids drawn twice for a repeated request would make it another command, so they have a key of their own.
        let ids_key = key
            .as_ref()
            .map(|key| RequestKey::from(format!("{}/sequence-ids", key.as_str())));
        let answer = app.execute(Command::NextSequenceIds { targets }, ids_key).await?;
        let Answer::SequenceIds(ids) = answer else {
            return Err(unexpected("NextSequenceIds"));
        };
        let lacking = spans.iter_mut().filter(|arrived| arrived.needs_sequence_id);
        for (arrived, id) in lacking.zip(ids) {
            arrived.span.sequence_id = id;
        }
    }
    if spans.is_empty() {
        return Ok(rejected);
    }
    let spans = spans.into_iter().map(|arrived| arrived.span).collect();
    let Answer::Spans(outcomes) = app.execute(Command::AddSpans { spans }, key).await? else {
        return Err(unexpected("AddSpans"));
    };
    for outcome in outcomes {
        if let SpanOutcome::Rejected(error) = outcome {
            rejected.add(|| error.to_string());
        }
    }
    Ok(rejected)
}

fn unexpected(command: &str) -> StoreError {
    StoreError::Internal {
        reason: format!("a store gave another answer to {command}"),
        source: None,
    }
}

impl Reply<'_> {
    fn refusal(&self, status: StatusCode, code: i32, message: &str) -> Response {
        self.write(status, otlp::refusal(code, message, self.encoding))
    }

    fn failure(&self, error: StoreError) -> Response {
        match &error {
            StoreError::Unavailable { .. } => {
                self.refusal(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, &error.to_string())
            }
            StoreError::NotFound(_)
            | StoreError::Invalid { .. }
            | StoreError::KeyReused { .. }
            | StoreError::Draining => {
                self.refusal(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, &error.to_string())
            }
            StoreError::Internal { .. } => {
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                let mut answer = self.refusal(status, INTERNAL, "Internal server error");
                answer.extensions_mut().insert(Failure(error));
                answer
            }
        }
    }

    /// The body in the encoding of the request, compressed if the caller can read that.
    fn write(&self, status: StatusCode, body: Vec<u8>) -> Response {
        let content_type = HeaderValue::from_static(self.encoding.content_type());
        let mut answer = (status, [(header::CONTENT_TYPE, content_type)]).into_response();
        let body = match self.takes_gzip().then(|| deflated(&body)).flatten() {
            None => body,
            Some(deflated) => {
                let gzip = HeaderValue::from_static("gzip");
                answer.headers_mut().insert(header::CONTENT_ENCODING, gzip);
                deflated
            }
        };
        *answer.body_mut() = Body::from(body);
        answer
    }

    fn takes_gzip(&self) -> bool {
        let accepted = self
            .headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok());
        accepted.unwrap_or_default().split(',').any(|entry| {
            let mut parts = entry.split(';').map(str::trim);
            let is_gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
            is_gzip && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
        })
    }
}

fn deflated(body: &[u8]) -> Option<Vec<u8>> {
    use std::io::Write as _;
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok()
}
