//! What all handlers share, and what happens around each of them.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use futures::FutureExt as _;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    auth::{Shown, Visitors, shown_in},
    metrics::{Metrics, RouteFigures},
    options::ServerOptions,
    refusal::{Failure, Refusal},
    secrets::OnlyLooks,
    table::Who,
    tokens::{Bearer, Role, Tokens},
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
    tokens: Tokens,
    /// Set for good when the server is made: tokens that vanish later open nothing.
    asks_for_tokens: bool,
    visitors: Visitors,
    features: HeaderValue,
}

impl App {
    pub(super) fn new(store: Arc<dyn Store>, options: &ServerOptions, draining: CancellationToken) -> Shared {
        let mut features = vec![
            wire::WAIT,
            wire::IDEMPOTENCY,
            wire::BATCH,
            wire::FLEET,
            wire::RECORDS,
        ];
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
            tokens: options.tokens.clone(),
            asks_for_tokens: !options.tokens.is_empty(),
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
        Command::Import { .. } => "import",
        Command::Purge { .. } => "purge",
    }
}

/// What stands before a route.
pub(super) struct Guard {
    app: Shared,
    path: Box<str>,
    /// The route's method; none for what is not routed.
    method: Option<Method>,
    who: Who,
    figures: RouteFigures,
}

impl Guard {
    pub(super) fn new(app: Shared, path: &str, method: Option<Method>, who: Who) -> Self {
        let figures = Metrics::route(method.as_ref(), path);
        Self {
            app,
            path: path.into(),
            method,
            who,
            figures,
        }
    }

    /// Who calls, if the caller is let in.
    fn admit(&self, request: &Request) -> Result<Option<Bearer>, Box<Turned>> {
        if let Some((reason, detail)) = self.app.visitors.refuse(request.headers()) {
            return Err(Box::new(Turned {
                reason,
                bearer: None,
                answer: Refusal::Status(StatusCode::FORBIDDEN, detail).into_response(),
            }));
        }
        let Who::Roles(roles) = self.who else {
            return Ok(None);
        };
        if !self.app.asks_for_tokens {
            return Ok(None);
        }
        let bearer = match shown_in(request.headers(), &self.app.tokens) {
            Shown::Known(bearer) => bearer,
            Shown::Nothing => {
                let detail = "a token is needed: send `Authorization: Bearer TOKEN`, or use http://x:TOKEN@host as the \
                              address";
                return Err(Turned::away("no_token", detail));
            }
            Shown::Unknown => {
                return Err(Turned::away(
                    "unknown_token",
                    "the token is not one of this store's",
                ));
            }
        };
        if roles.contains(&bearer.role) {
            return Ok(Some(bearer));
        }
        let allowed: Vec<&str> = roles.iter().map(|role| role.as_str()).collect();
        let detail = format!(
            "a token of the role `{}` does not open {} {}: that takes `{}`",
            bearer.role,
            self.method.as_ref().map_or("", Method::as_str),
            self.path,
            allowed.join("` or `")
        );
        Err(Box::new(Turned {
            reason: "role",
            bearer: Some(bearer),
            answer: Refusal::Status(StatusCode::FORBIDDEN, detail).into_response(),
        }))
    }
}

/// A caller who was not let in.
struct Turned {
    reason: &'static str,
    bearer: Option<Bearer>,
    answer: Response,
}

impl Turned {
    /// For want of a token.
    fn away(reason: &'static str, detail: &str) -> Box<Self> {
        let mut answer = Refusal::Status(StatusCode::UNAUTHORIZED, detail.to_owned()).into_response();
        let challenge = HeaderValue::from_static("Bearer, Basic realm=\"lightning\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        Box::new(Self {
            reason,
            bearer: None,
            answer,
        })
    }
}

/// What happens around every handler: who may call it, what its answer says besides, what the log and the metrics hear.
pub(super) async fn around(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let began = Instant::now();
    let app = &guard.app;
    let request_id = request_id(request.headers());
    let method = request.method().clone();
    let mut answer = match guard.admit(&request) {
        Err(turned) => {
            let Turned {
                reason,
                bearer,
                answer,
            } = *turned;
            app.metrics.refused(reason);
            tracing::warn!(
                target: "lightning::server",
                request_id,
                %method,
                route = &*guard.path,
                status = answer.status().as_u16(),
                reason,
                token = bearer.as_ref().map(|bearer| &*bearer.name),
                "refused a request"
            );
            answer
        }
        Ok(bearer) => {
            if bearer.is_some_and(|bearer| bearer.role == Role::Read) {
                request.extensions_mut().insert(OnlyLooks);
            }
            let answer = AssertUnwindSafe(next.run(request)).catch_unwind().await;
            answer.unwrap_or_else(|_| {
                let error = StoreError::Internal {
                    reason: "a handler panicked".to_owned(),
                    source: None,
                };
                Refusal::Store(error).into_response()
            })
        }
    };
    if let Some(Failure(error)) = answer.extensions_mut().remove::<Failure>() {
        tracing::error!(
            target: "lightning::server",
            request_id,
            %method,
            route = &*guard.path,
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
        route = &*guard.path,
        status = answer.status().as_u16(),
        seconds = took.as_secs_f64(),
        "answered"
    );
    let figures = &guard.figures;
    app.metrics.answered(figures, &method, answer.status(), took);
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
