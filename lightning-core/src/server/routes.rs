//! The routes and their handlers.

use std::time::Duration;

use axum::{
    Json as JsonAnswer, Router,
    extract::{DefaultBodyLimit, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Value, json};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use super::{
    app::Shared,
    extract::{Ids, Json, Key, OptionalJson, Query, QueryFields},
    openapi,
    options::ServerOptions,
    otlp,
    refusal::{Problem, Refusal},
    secrets::Viewer,
    table::{self, Route, Who, get, post},
    tokens::Role,
};
use crate::{
    ids::{IdSource as _, RandomIds},
    store::{Answer, AttemptRef, Command, RequestKey, SpanOutcome, StoreError, StoreFuture, lifecycle},
    types::{
        AttemptId, AttemptPatch, AttemptedRollout, NamedResources, NewRollout, Resource, ResourcesId,
        RolloutConfig, RolloutId, RolloutPatch, Span, Update, WorkerId,
    },
    wire::{
        self, AttemptSearch, AttemptUpdateBody, AttemptWaitBody, DequeueBody, DrainAnswer, DrainBody,
        EndBody, EnqueueBody, IdTargetsBody, LeaveBody, NextIdAnswer, NextIdBody, NextIdsAnswer, Object,
        OutcomeBody, OutcomesAnswer, PurgeBody, RecordsBody, ResourcesSearch, RolloutSearch,
        RolloutUpdateBody, SpanSearch, SpansBody, StartAttemptBody, StartBody, VersionQuery, WaitBody,
        WorkerSearch, WorkerUpdateBody,
    },
};

type Result<T = Response> = std::result::Result<T, Refusal>;

/// Makes rollouts, changes them and resources: what algorithms do.
const ADMIN: Who = Who::Roles(&[Role::Admin]);
/// Claims, records and reports: what runners do.
const WORK: Who = Who::Roles(&[Role::Admin, Role::Runner]);
/// Looks at what there is altogether.
const LOOK: Who = Who::Roles(&[Role::Admin, Role::Read]);
/// Looks at one rollout, at one set of resources, at one worker, whose id is known.
const ALL: Who = Who::Roles(&Role::ALL);

/// All routes. Where a fixed word stands beside an id, both methods are routed for both: a rollout may be called `search`.
pub(super) fn table() -> Vec<Route> {
    let attempts = "/rollouts/{rollout_id}/attempts";
    let attempt = |rest: &str| format!("{attempts}/{rest}");
    let agl = [
        get("/health", Who::Anybody, health),
        post("/queues/rollouts/enqueue", ADMIN, enqueue),
        post("/queues/rollouts/dequeue", WORK, dequeue),
        post("/queues/rollouts/drain", ADMIN, drain),
        post("/queues/rollouts/leave", WORK, leave),
        get("/rollouts", LOOK, query_rollouts),
        post("/rollouts", ADMIN, start_rollout),
        post("/rollouts/search", LOOK, search_rollouts),
        get("/rollouts/search", ALL, get_rollout_called_search),
        get("/rollouts/{rollout_id}", ALL, get_rollout),
        post("/rollouts/{rollout_id}", ADMIN, update_rollout),
        get(attempts, ALL, query_attempts),
        post(attempts, ADMIN, start_attempt),
        post(&attempt("search"), ALL, search_attempts),
        get(&attempt("latest"), ALL, get_latest_attempt),
        post(&attempt("latest"), WORK, update_latest_attempt),
        post(&attempt("{attempt_id}"), WORK, update_attempt),
        get("/workers", LOOK, query_workers),
        post("/workers/search", LOOK, search_workers),
        get("/workers/search", ALL, get_worker_called_search),
        get("/workers/{worker_id}", ALL, get_worker),
        post("/workers/{worker_id}", WORK, update_worker),
        get("/resources", LOOK, query_resources),
        post("/resources", ADMIN, add_resources),
        get("/resources/latest", ALL, get_latest_resources),
        post("/resources/latest", ADMIN, update_resources_called_latest),
        get("/resources/{resources_id}", ALL, get_resources),
        post("/resources/{resources_id}", ADMIN, update_resources),
        get("/spans", ALL, query_spans),
        post("/spans", WORK, add_span),
        post("/spans/search", ALL, search_spans),
        post("/spans/next", WORK, next_sequence_id),
        post("/spans/batch", WORK, add_spans),
        post("/spans/next/batch", WORK, next_sequence_ids),
        post("/waits/rollouts", ADMIN, wait_for_rollouts),
        post("/waits/attempts", WORK, wait_for_attempt_end),
        post("/records/import", ADMIN, import),
        post("/records/purge", ADMIN, purge),
        get("/statistics", LOOK, statistics),
    ];
    let others = [
        post(wire::OTLP_TRACES, WORK, otlp::traces),
        post("/v1/metrics", WORK, otlp::not_taken),
        post("/v1/logs", WORK, otlp::not_taken),
        post("/v1/development/profiles", WORK, otlp::not_taken),
        get("/v1/openapi.json", ALL, describe),
        get("/v1/prometheus", LOOK, prometheus),
        get("/v1/prometheus/", LOOK, prometheus),
    ];
    agl.into_iter()
        .map(|route| route.below(wire::PREFIX))
        .chain(others)
        .collect()
}

pub(super) fn router(app: Shared, options: &ServerOptions) -> Router {
    let routes = table::router(&app, table())
        // Bodies are read, and limited, by the extractors.
        .layer(DefaultBodyLimit::disable())
        .with_state(app);
    match cors(&options.cors_origins) {
        None => routes,
        Some(cors) => routes.layer(cors),
    }
}

fn cors(origins: &[String]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let own = [wire::FEATURES_HEADER, wire::REQUEST_ID_HEADER].map(HeaderName::from_static);
    let layer = CorsLayer::new()
        .allow_methods([Method::GET, Method::POST])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(own);
    Some(if origins.iter().any(|origin| origin == "*") {
        layer.allow_origin(AllowOrigin::any())
    } else {
        let origins = origins
            .iter()
            .filter_map(|origin| HeaderValue::from_str(origin).ok());
        layer
            .allow_origin(AllowOrigin::list(origins))
            .allow_credentials(true)
    })
}

// ---- answers

fn ok(body: impl Serialize) -> Result {
    Ok(JsonAnswer(body).into_response())
}

fn created(body: impl Serialize) -> Result {
    Ok((StatusCode::CREATED, JsonAnswer(body)).into_response())
}

/// Takes the answer to a command out of the variant that the contract promises.
macro_rules! answer {
    ($app:ident, $key:expr, $command:expr => $variant:ident) => {
        match $app.execute($command, $key).await? {
            Answer::$variant(answer) => answer,
            _ => return Err(unexpected(stringify!($variant))),
        }
    };
}

fn unexpected(wanted: &str) -> Refusal {
    Refusal::Store(StoreError::Internal {
        reason: format!("a store did not answer with {wanted}"),
        source: None,
    })
}

async fn health() -> Result {
    ok(json!({"status": "ok"}))
}

async fn prometheus(State(app): State<Shared>) -> Result {
    let page = app.metrics.render(&*app.store).await?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, content_type)], page).into_response())
}

async fn describe() -> Result {
    ok(openapi::document())
}

async fn statistics(State(app): State<Shared>, viewer: Viewer) -> Result {
    viewer.ok(app.store.statistics().await?)
}

// ---- the queue

async fn enqueue(State(app): State<Shared>, Key(key): Key, Json(body): Json<EnqueueBody>) -> Result {
    for (index, Object(new)) in body.rollouts.iter().enumerate() {
        check_config(new.config.as_ref(), || {
            vec!["body".into(), "rollouts".into(), index.into()]
        })?;
    }
    let rollouts = body.rollouts.into_iter().map(|Object(new)| new.into()).collect();
    created(answer!(app, key, Command::EnqueueRollouts { rollouts } => Enqueued))
}

/// Refuses limits that make no sense as the malformed field that they are.
fn check_config(config: Option<&Object<RolloutConfig>>, place: impl FnOnce() -> Vec<Value>) -> Result<()> {
    match config.map_or(Ok(()), |Object(config)| lifecycle::check_config(config)) {
        Ok(()) => Ok(()),
        Err(StoreError::Invalid { field, problem }) => {
            let mut loc = place();
            loc.extend(field.split('.').map(Value::from));
            Err(Problem {
                kind: "value_error",
                loc,
                msg: problem,
            }
            .into())
        }
        Err(other) => Err(other.into()),
    }
}

async fn dequeue(
    State(app): State<Shared>,
    headers: HeaderMap,
    Key(key): Key,
    OptionalJson(body): OptionalJson<DequeueBody>,
) -> Result {
    let body = body.unwrap_or_default();
    if let Some(workers) = body.worker_ids {
        let key = key.unwrap_or_else(|| RandomIds.hex(32).into());
        let wait = body.wait.map_or(Duration::ZERO, duration);
        return ok(parked(&app, app.store.dequeue_for_workers(workers, wait, key)).await?);
    }
    let Ok(limit @ 1..) = usize::try_from(body.limit) else {
        return ok(json!([]));
    };
    let claimed = match body.wait {
        None => {
            let worker_id = body.worker_id;
            answer!(app, key, Command::DequeueRollouts { limit, worker_id } => Dequeued)
        }
        Some(wait) => claim(&app, limit, body.worker_id, duration(wait), key).await?,
    };
    if !announces(&headers, wire::JSON_RESOURCES) {
        warn_of_json(&app, &claimed).await;
    }
    ok(claimed)
}

/// Parks until there is something in the queue, or the server stops.
async fn claim(
    app: &Shared,
    limit: usize,
    worker_id: Option<WorkerId>,
    wait: Duration,
    key: Option<RequestKey>,
) -> Result<Vec<AttemptedRollout>> {
    let claim = match key {
        Some(key) => app.store.dequeue_or_wait_once(limit, worker_id, wait, key),
        None => app.store.dequeue_or_wait(limit, worker_id, wait),
    };
    parked(app, claim).await
}

async fn parked<T>(app: &Shared, claim: StoreFuture<'_, T>) -> Result<T> {
    tokio::select! {
        biased;
        claimed = claim => Ok(claimed?),
        () = app.draining.cancelled() => Err(stopping()),
    }
}

/// A worker says that it asks for nothing more. Unlike to send others away, that is for those who work to do.
async fn leave(State(app): State<Shared>, _: Key, Json(body): Json<LeaveBody>) -> Result {
    let told = app.store.drain_workers(Some(body.worker_ids)).await?;
    ok(DrainAnswer { told })
}

async fn drain(State(app): State<Shared>, _: Key, Json(body): Json<DrainBody>) -> Result {
    let told = app.store.drain_workers(body.worker_ids).await?;
    ok(DrainAnswer { told })
}

/// What those get who are parked when the server stops: an empty answer would look like the end of their wait.
fn stopping() -> Refusal {
    Refusal::Store(StoreError::Unavailable {
        reason: "the server is shutting down".to_owned(),
        source: None,
    })
}

/// Seconds as a duration; what is longer than one can be is as long as one can be.
fn duration(seconds: f64) -> Duration {
    if seconds > 0.0 {
        Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
    } else {
        Duration::ZERO
    }
}

fn announces(headers: &HeaderMap, feature: &str) -> bool {
    let announced = headers
        .get(wire::FEATURES_HEADER)
        .and_then(|value| value.to_str().ok());
    announced.is_some_and(|announced| wire::names_feature(announced, feature))
}

/// Warns of resources that the Python client cannot read: its runner would leave the attempt open.
async fn warn_of_json(app: &Shared, claimed: &[AttemptedRollout]) {
    for rollout in claimed {
        let Some(resources_id) = &rollout.resources_id else {
            continue;
        };
        if let Ok(Some(update)) = app.store.get_resources_by_id(resources_id, None).await
            && update
                .resources
                .iter()
                .any(|(_, resource)| matches!(resource, Resource::Json(_)))
        {
            tracing::warn!(
                target: "lightning::server",
                rollout_id = %rollout.rollout_id,
                worker_id = rollout.attempt.worker_id.as_ref().map(AsRef::<str>::as_ref),
                %resources_id,
                "the rollout uses a resource of the kind `json`, which a worker in Python cannot read"
            );
        }
    }
}

// ---- rollouts

async fn start_rollout(State(app): State<Shared>, Key(key): Key, Json(body): Json<StartBody>) -> Result {
    check_config(body.config.as_ref(), || vec!["body".into()])?;
    let (rollout, worker_id): (NewRollout, _) = body.into_parts();
    created(answer!(app, key, Command::StartRollout { rollout, worker_id } => Started))
}

impl QueryFields for RolloutSearch {
    const LISTS: &'static [&'static str] = &["status_in", "rollout_id_in"];
}

async fn query_rollouts(
    State(app): State<Shared>,
    viewer: Viewer,
    Query(search): Query<RolloutSearch>,
) -> Result {
    viewer.ok(app.store.query_rollouts(search.try_into()?).await?)
}

async fn search_rollouts(
    State(app): State<Shared>,
    viewer: Viewer,
    Json(search): Json<RolloutSearch>,
) -> Result {
    viewer.ok(app.store.query_rollouts(search.try_into()?).await?)
}

async fn get_rollout(State(app): State<Shared>, viewer: Viewer, Ids(id): Ids<RolloutId>) -> Result {
    viewer.ok(app.store.get_rollout_by_id(&id).await?)
}

async fn get_rollout_called_search(State(app): State<Shared>, viewer: Viewer) -> Result {
    viewer.ok(app.store.get_rollout_by_id(&"search".into()).await?)
}

/// A field that may be left out but not be null.
fn not_null<T>(field: &'static str, update: Update<T>) -> Result<Option<T>> {
    match update {
        Update::Keep => Ok(None),
        Update::Clear => Err(Refusal::Null(field)),
        Update::Set(value) => Ok(Some(value)),
    }
}

async fn update_rollout(
    State(app): State<Shared>,
    Ids(rollout_id): Ids<RolloutId>,
    Key(key): Key,
    Json(body): Json<RolloutUpdateBody>,
) -> Result {
    let config = not_null("config", body.config)?;
    check_config(config.as_ref(), || vec!["body".into()])?;
    let patch = RolloutPatch {
        input: body.input,
        mode: body.mode,
        resources_id: body.resources_id,
        status: not_null("status", body.status)?,
        config: config.map(|Object(config)| config),
        metadata: body.metadata,
    };
    ok(answer!(app, key, Command::UpdateRollout { rollout_id, patch } => Rollout))
}

// ---- attempts

impl QueryFields for AttemptSearch {
    const LISTS: &'static [&'static str] = &[];
}

async fn query_attempts(
    State(app): State<Shared>,
    viewer: Viewer,
    Ids(id): Ids<RolloutId>,
    Query(search): Query<AttemptSearch>,
) -> Result {
    viewer.ok(app.store.query_attempts(&id, search.try_into()?).await?)
}

async fn search_attempts(
    State(app): State<Shared>,
    viewer: Viewer,
    Ids(id): Ids<RolloutId>,
    Json(search): Json<AttemptSearch>,
) -> Result {
    viewer.ok(app.store.query_attempts(&id, search.try_into()?).await?)
}

async fn start_attempt(
    State(app): State<Shared>,
    Ids(rollout_id): Ids<RolloutId>,
    Key(key): Key,
    OptionalJson(body): OptionalJson<StartAttemptBody>,
) -> Result {
    let StartAttemptBody { worker_id } = body.unwrap_or_default();
    created(answer!(app, key, Command::StartAttempt { rollout_id, worker_id } => Started))
}

async fn get_latest_attempt(State(app): State<Shared>, viewer: Viewer, Ids(id): Ids<RolloutId>) -> Result {
    viewer.ok(app.store.get_latest_attempt(&id).await?)
}

async fn update_latest_attempt(
    state: State<Shared>,
    Ids(rollout_id): Ids<RolloutId>,
    key: Key,
    body: Json<AttemptUpdateBody>,
) -> Result {
    update_attempt(state, Ids((rollout_id, "latest".into())), key, body).await
}

async fn update_attempt(
    State(app): State<Shared>,
    Ids((rollout_id, attempt_id)): Ids<(RolloutId, AttemptId)>,
    Key(key): Key,
    Json(body): Json<AttemptUpdateBody>,
) -> Result {
    let patch = AttemptPatch {
        status: not_null("status", body.status)?,
        worker_id: not_null("worker_id", body.worker_id)?,
        last_heartbeat_time: not_null("last_heartbeat_time", body.last_heartbeat_time)?,
        metadata: not_null("metadata", body.metadata)?,
    };
    let command = Command::UpdateAttempt {
        rollout_id,
        attempt: AttemptRef::from(attempt_id),
        patch,
    };
    ok(answer!(app, key, command => Attempt))
}

// ---- workers

impl QueryFields for WorkerSearch {
    const LISTS: &'static [&'static str] = &["status_in"];
}

async fn query_workers(
    State(app): State<Shared>,
    viewer: Viewer,
    Query(search): Query<WorkerSearch>,
) -> Result {
    viewer.ok(app.store.query_workers(search.try_into()?).await?)
}

async fn search_workers(
    State(app): State<Shared>,
    viewer: Viewer,
    Json(search): Json<WorkerSearch>,
) -> Result {
    viewer.ok(app.store.query_workers(search.try_into()?).await?)
}

async fn get_worker(State(app): State<Shared>, viewer: Viewer, Ids(id): Ids<WorkerId>) -> Result {
    viewer.ok(app.store.get_worker_by_id(&id).await?)
}

async fn get_worker_called_search(State(app): State<Shared>, viewer: Viewer) -> Result {
    viewer.ok(app.store.get_worker_by_id(&"search".into()).await?)
}

async fn update_worker(
    State(app): State<Shared>,
    Ids(worker_id): Ids<WorkerId>,
    Key(key): Key,
    OptionalJson(body): OptionalJson<WorkerUpdateBody>,
) -> Result {
    let heartbeat_stats = not_null("heartbeat_stats", body.unwrap_or_default().heartbeat_stats)?;
    let command = Command::UpdateWorker {
        worker_id,
        heartbeat_stats,
    };
    ok(answer!(app, key, command => Worker))
}

// ---- resources

impl QueryFields for ResourcesSearch {
    const LISTS: &'static [&'static str] = &[];
}

impl QueryFields for VersionQuery {
    const LISTS: &'static [&'static str] = &[];
}

async fn query_resources(
    State(app): State<Shared>,
    viewer: Viewer,
    Query(search): Query<ResourcesSearch>,
) -> Result {
    viewer.ok(app.store.query_resources(search.try_into()?).await?)
}

async fn add_resources(
    State(app): State<Shared>,
    Key(key): Key,
    Json(resources): Json<NamedResources>,
) -> Result {
    created(answer!(app, key, Command::AddResources { resources } => Resources))
}

async fn get_latest_resources(State(app): State<Shared>, viewer: Viewer) -> Result {
    viewer.ok(app.store.get_latest_resources().await?)
}

async fn get_resources(
    State(app): State<Shared>,
    viewer: Viewer,
    Ids(id): Ids<ResourcesId>,
    Query(VersionQuery { version }): Query<VersionQuery>,
) -> Result {
    viewer.ok(app.store.get_resources_by_id(&id, version).await?)
}

async fn update_resources(
    State(app): State<Shared>,
    Ids(resources_id): Ids<ResourcesId>,
    Key(key): Key,
    Json(resources): Json<NamedResources>,
) -> Result {
    let command = Command::UpdateResources {
        resources_id,
        resources,
    };
    ok(answer!(app, key, command => Resources))
}

async fn update_resources_called_latest(
    state: State<Shared>,
    key: Key,
    body: Json<NamedResources>,
) -> Result {
    update_resources(state, Ids("latest".into()), key, body).await
}

// ---- spans

impl QueryFields for SpanSearch {
    const LISTS: &'static [&'static str] = &[];
}

async fn query_spans(State(app): State<Shared>, viewer: Viewer, Query(search): Query<SpanSearch>) -> Result {
    viewer.ok(app.store.query_spans(search.try_into()?).await?)
}

async fn search_spans(State(app): State<Shared>, viewer: Viewer, Json(search): Json<SpanSearch>) -> Result {
    viewer.ok(app.store.query_spans(search.try_into()?).await?)
}

async fn add_span(State(app): State<Shared>, Key(key): Key, Json(span): Json<Span>) -> Result {
    // It is written down before it is given away: that is cheaper than a copy.
    let written = serde_json::value::to_raw_value(&span).map_err(|error| {
        let problem = format!("cannot be written as JSON: {error}");
        Refusal::Store(StoreError::invalid("command", problem))
    })?;
    let spans = vec![span];
    let outcomes = answer!(app, key, Command::AddSpans { spans } => Spans);
    match outcomes.into_iter().next() {
        Some(SpanOutcome::Stored) => created(written),
        Some(SpanOutcome::Duplicate) => created(Value::Null),
        Some(SpanOutcome::Rejected(error)) => Err(error.into()),
        None => Err(unexpected("one outcome")),
    }
}

async fn add_spans(State(app): State<Shared>, Key(key): Key, Json(body): Json<SpansBody>) -> Result {
    let outcomes = answer!(app, key, Command::AddSpans { spans: body.spans } => Spans);
    let outcomes = outcomes.into_iter().map(OutcomeBody::from).collect();
    ok(OutcomesAnswer { outcomes })
}

async fn next_sequence_id(State(app): State<Shared>, Key(key): Key, Json(body): Json<NextIdBody>) -> Result {
    let targets = vec![(body.rollout_id, body.attempt_id)];
    let ids = answer!(app, key, Command::NextSequenceIds { targets } => SequenceIds);
    match ids.first() {
        Some(&sequence_id) => ok(NextIdAnswer { sequence_id }),
        None => Err(unexpected("one sequence id")),
    }
}

async fn next_sequence_ids(
    State(app): State<Shared>,
    Key(key): Key,
    Json(body): Json<IdTargetsBody>,
) -> Result {
    let targets = body
        .targets
        .into_iter()
        .map(|Object(target)| (target.rollout_id, target.attempt_id));
    let targets = targets.collect();
    let sequence_ids = answer!(app, key, Command::NextSequenceIds { targets } => SequenceIds);
    ok(NextIdsAnswer { sequence_ids })
}

// ---- whole records

async fn import(State(app): State<Shared>, Key(key): Key, Json(body): Json<RecordsBody>) -> Result {
    let outcomes = answer!(app, key, Command::Import { records: body.records } => Imported);
    let outcomes = outcomes.into_iter().map(OutcomeBody::from).collect();
    ok(OutcomesAnswer { outcomes })
}

async fn purge(State(app): State<Shared>, Key(key): Key, Json(body): Json<PurgeBody>) -> Result {
    let command = Command::Purge {
        rollouts: body.rollouts.into_iter().map(|Object(target)| target).collect(),
        resources: body.resources,
    };
    ok(answer!(app, key, command => Purged))
}

// ---- waits

async fn wait_for_rollouts(State(app): State<Shared>, Json(body): Json<WaitBody>) -> Result {
    tokio::select! {
        biased;
        ended = app.store.wait_for_rollouts(&body.rollout_ids, body.timeout.map(duration)) => ok(ended?),
        () = app.draining.cancelled() => Err(stopping()),
    }
}

async fn wait_for_attempt_end(State(app): State<Shared>, Json(body): Json<AttemptWaitBody>) -> Result {
    let patience = async {
        match body.timeout {
            None => std::future::pending().await,
            Some(seconds) => tokio::time::sleep(duration(seconds)).await,
        }
    };
    tokio::select! {
        biased;
        end = app.store.wait_for_attempt_end(&body.rollout_id, &body.attempt_id) => ok(EndBody::from(end?)),
        () = patience => ok(Value::Null),
        () = app.draining.cancelled() => Err(stopping()),
    }
}
