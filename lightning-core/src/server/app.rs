//! What all handlers share, and what happens around each of them.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    auth::{TokenDigest, Visitors},
    metrics::Metrics,
    options::ServerOptions,
    refusal::{Failure, Refusal},
};
use crate::{
    ids::{IdSource as _, RandomIds},
    store::{Answer, Command, Request as StoreRequest, RequestKey, Store, StoreError},
    wire,
};

/// The state of every handler.
pub(super) type Shared = Arc<App>;

pub(super) struct App {
    pub(super) store: Arc<dyn Store>,
    pub(super) metrics: Metrics,
    pub(super) max_body_bytes: usize,
    pub(super) body_timeout: Duration,
    /// Cancelled when the server stops: who is parked gets an answer then.
    pub(super) draining: CancellationToken,
    token: Option<TokenDigest>,
    visitors: Visitors,
    features: HeaderValue,
}

impl App {
    pub(super) fn new(store: Arc<dyn Store>, options: &ServerOptions, draining: CancellationToken) -> Shared {
        let mut features = vec![wire::WAIT, wire::IDEMPOTENCY, wire::BATCH, wire::FLEET];
        if store.capabilities().durable {
            features.push(wire::DURABLE);
        }
        let features = HeaderValue::from_str(&features.join(","));
        Arc::new(Self {
            store,
            metrics: Metrics::new(),
            max_body_bytes: options.max_body_bytes,
            body_timeout: options.body_timeout,
            draining,
            token: options.token.as_ref().map(TokenDigest::of),
            visitors: Visitors::new(options),
            features: features.unwrap_or_else(|_| HeaderValue::from_static(wire::WAIT)),
        })
    }

    /// Has the store carry out a command.
    pub(super) async fn execute(
        &self,
        command: Command,
        key: Option<RequestKey>,
    ) -> Result<Answer, StoreError> {
        let name = name_of(&command);
        let answer = self.store.execute(StoreRequest { command, key }).await;
        self.metrics.command(name, &answer);
        answer
    }
}

/// What a command is called in metrics.
fn name_of(command: &Command) -> &'static str {
    match command {
        Command::EnqueueRollouts { .. } => "enqueue_rollouts",
        Command::StartRollout { .. } => "start_rollout",
        Command::DequeueRollouts { .. } => "dequeue_rollouts",
        Command::StartAttempt { .. } => "start_attempt",
        Command::AddSpans { .. } => "add_spans",
        Command::UpdateRollout { .. } => "update_rollout",
        Command::UpdateAttempt { .. } => "update_attempt",
        Command::AddResources { .. } => "add_resources",
        Command::UpdateResources { .. } => "update_resources",
        Command::NextSequenceIds { .. } => "next_sequence_ids",
        Command::UpdateWorker { .. } => "update_worker",
    }
}

/// What happens around every handler: who may call it, what its answer says besides, what the log and the metrics hear.
pub(super) async fn around(State(app): State<Shared>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let request_id = request_id(request.headers());
    let route = request.extensions().get::<MatchedPath>().cloned();
    let method = request.method().clone();
    let is_open = request.uri().path() == "/v1/agl/health";
    let admitted = is_open
        || app
            .token
            .as_ref()
            .is_none_or(|token| token.is_shown_in(request.headers()));
    let mut answer = if let Some(reason) = app.visitors.refuse(request.headers()) {
        Refusal::Status(StatusCode::FORBIDDEN, reason).into_response()
    } else if !admitted {
        unauthorized()
    } else {
        let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
        answer.unwrap_or_else(|_| {
            let error = StoreError::Internal {
                reason: "a handler panicked".to_owned(),
                source: None,
            };
            Refusal::Store(error).into_response()
        })
    };
    let route = route.as_ref().map_or("(none)", MatchedPath::as_str);
    if let Some(Failure(error)) = answer.extensions_mut().remove::<Failure>() {
        tracing::error!(
            target: "lightning::server",
            request_id,
            %method,
            route,
            error = &error as &dyn std::error::Error,
            "a request failed"
        );
        let body = wire::ErrorBody {
            error_id: Some(request_id.clone()),
            ..wire::ErrorBody::of(&error)
        };
        answer = (StatusCode::INTERNAL_SERVER_ERROR, Json(body)).into_response();
    }
    let took = began.elapsed();
    tracing::debug!(
        target: "lightning::server",
        request_id,
        %method,
        route,
        status = answer.status().as_u16(),
        seconds = took.as_secs_f64(),
        "answered"
    );
    app.metrics.answered(&method, route, answer.status(), took);
    let headers = answer.headers_mut();
    headers.insert(
        HeaderName::from_static(wire::FEATURES_HEADER),
        app.features.clone(),
    );
    if let Ok(value) = HeaderValue::from_str(&request_id) {
        headers.insert(HeaderName::from_static(wire::REQUEST_ID_HEADER), value);
    }
    answer
}

fn unauthorized() -> Response {
    let detail =
        "a token is needed: send `Authorization: Bearer TOKEN`, or use http://x:TOKEN@host as the address";
    let mut answer = Refusal::Status(StatusCode::UNAUTHORIZED, detail.to_owned()).into_response();
    let challenge = HeaderValue::from_static("Bearer, Basic realm=\"lightning\"");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    answer
}

/// The caller's own id of the request if it is one, else a fresh one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers
        .get(wire::REQUEST_ID_HEADER)
        .and_then(|value| value.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) => {
            id.to_owned()
        }
        _ => RandomIds.hex(16),
    }
}
