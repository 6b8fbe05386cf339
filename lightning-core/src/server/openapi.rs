//! The description of the interface for programs, in the form of OpenAPI 3.1.
//!
//! It is written as two short tables and spelled out when it is asked for: the types themselves know nothing of HTTP.

use serde_json::{Map, Value, json};

use crate::wire;

/// A route: method, path below the prefix, what it does, the query's fields, the body, the status and the answer.
struct Route(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    u16,
    &'static str,
);

const PAGE: &str = "limit?: integer; offset?: integer; sort_by?: string|null; sort_order?: SortOrder";

/// Types are written as: a JSON type, `any`, the name of a schema, `[T]` for a list, `{T}` for an object of values,
/// alternatives with `|`. A `?` behind the name of a field says that it may be left out; `…` stands for [`PAGE`].
const ROUTES: &[Route] = &[
    Route(
        "get",
        "/health",
        "Whether the server is there",
        "",
        "",
        200,
        "object",
    ),
    Route(
        "post",
        "/queues/rollouts/enqueue",
        "Make rollouts and put them into the queue",
        "",
        "EnqueueManyRolloutsRequest",
        201,
        "[Rollout]",
    ),
    Route(
        "post",
        "/queues/rollouts/dequeue",
        "Claim rollouts from the queue",
        "",
        "DequeueManyRolloutsRequest|null",
        200,
        "[AttemptedRollout]",
    ),
    Route(
        "post",
        "/queues/rollouts/drain",
        "Tell workers to stop (ours)",
        "",
        "DrainWorkersRequest",
        200,
        "DrainWorkersAnswer",
    ),
    Route(
        "post",
        "/queues/rollouts/leave",
        "Say that workers ask for nothing more (ours)",
        "",
        "LeaveRequest",
        200,
        "DrainWorkersAnswer",
    ),
    Route(
        "post",
        "/rollouts",
        "Make a rollout together with its first attempt",
        "",
        "RolloutRequest",
        201,
        "AttemptedRollout",
    ),
    Route(
        "get",
        "/rollouts",
        "Find rollouts",
        "status_in?: [RolloutStatus]; rollout_id_in?: [string]; rollout_id_contains?: string; filter_logic?: FilterLogic; …",
        "",
        200,
        "RolloutPage",
    ),
    Route(
        "post",
        "/rollouts/search",
        "Find rollouts",
        "",
        "QueryRolloutsRequest",
        200,
        "RolloutPage",
    ),
    Route(
        "get",
        "/rollouts/{rollout_id}",
        "A rollout with its latest attempt",
        "",
        "",
        200,
        "AttemptedRollout|Rollout|null",
    ),
    Route(
        "post",
        "/rollouts/{rollout_id}",
        "Change a rollout",
        "",
        "UpdateRolloutRequest",
        200,
        "Rollout",
    ),
    Route(
        "get",
        "/rollouts/{rollout_id}/attempts",
        "The attempts of a rollout",
        "…",
        "",
        200,
        "AttemptPage",
    ),
    Route(
        "post",
        "/rollouts/{rollout_id}/attempts",
        "Begin a further attempt",
        "",
        "StartAttemptRequest|null",
        201,
        "AttemptedRollout",
    ),
    Route(
        "post",
        "/rollouts/{rollout_id}/attempts/search",
        "The attempts of a rollout",
        "",
        "QueryAttemptsRequest",
        200,
        "AttemptPage",
    ),
    Route(
        "get",
        "/rollouts/{rollout_id}/attempts/latest",
        "The latest attempt",
        "",
        "",
        200,
        "Attempt|null",
    ),
    Route(
        "post",
        "/rollouts/{rollout_id}/attempts/{attempt_id}",
        "Change an attempt, or the `latest`",
        "",
        "UpdateAttemptRequest",
        200,
        "Attempt",
    ),
    Route(
        "get",
        "/workers",
        "Find workers",
        "status_in?: [WorkerStatus]; worker_id_contains?: string; filter_logic?: FilterLogic; …",
        "",
        200,
        "WorkerPage",
    ),
    Route(
        "post",
        "/workers/search",
        "Find workers",
        "",
        "QueryWorkersRequest",
        200,
        "WorkerPage",
    ),
    Route(
        "get",
        "/workers/{worker_id}",
        "A worker",
        "",
        "",
        200,
        "Worker|null",
    ),
    Route(
        "post",
        "/workers/{worker_id}",
        "A heartbeat of a worker",
        "",
        "UpdateWorkerRequest|null",
        200,
        "Worker",
    ),
    Route(
        "get",
        "/resources",
        "Find sets of resources",
        "resources_id?: string; resources_id_contains?: string; …",
        "",
        200,
        "ResourcesPage",
    ),
    Route(
        "post",
        "/resources",
        "Store resources under a fresh id",
        "",
        "{Resource}",
        201,
        "ResourcesUpdate",
    ),
    Route(
        "get",
        "/resources/latest",
        "The resources that were stored last",
        "",
        "",
        200,
        "ResourcesUpdate|null",
    ),
    Route(
        "get",
        "/resources/{resources_id}",
        "A set of resources, in a version (ours) or its latest",
        "version?: integer",
        "",
        200,
        "ResourcesUpdate|null",
    ),
    Route(
        "post",
        "/resources/{resources_id}",
        "Store the next version of resources",
        "",
        "{Resource}",
        200,
        "ResourcesUpdate",
    ),
    Route(
        "post",
        "/spans",
        "Store a span; null if it is there already",
        "",
        "Span",
        201,
        "Span|null",
    ),
    Route(
        "get",
        "/spans",
        "Find spans of a rollout",
        "rollout_id: string; attempt_id?: string; trace_id?: string; trace_id_contains?: string; span_id?: string; span_id_contains?: string; parent_id?: string; parent_id_contains?: string; name?: string; name_contains?: string; filter_logic?: FilterLogic; …",
        "",
        200,
        "SpanPage",
    ),
    Route(
        "post",
        "/spans/search",
        "Find spans of a rollout",
        "",
        "QuerySpansRequest",
        200,
        "SpanPage",
    ),
    Route(
        "post",
        "/spans/next",
        "Draw a sequence id",
        "",
        "NextSequenceIdRequest",
        200,
        "NextSequenceIdResponse",
    ),
    Route(
        "post",
        "/spans/batch",
        "Store spans, each for itself (ours)",
        "",
        "SpansRequest",
        200,
        "SpansResponse",
    ),
    Route(
        "post",
        "/spans/next/batch",
        "Draw sequence ids (ours)",
        "",
        "NextSequenceIdsRequest",
        200,
        "NextSequenceIdsResponse",
    ),
    Route(
        "post",
        "/waits/rollouts",
        "Wait until rollouts have ended",
        "",
        "WaitForRolloutsRequest",
        200,
        "[Rollout]",
    ),
    Route(
        "post",
        "/waits/attempts",
        "Wait until work on an attempt has become pointless (ours)",
        "",
        "WaitForAttemptRequest",
        200,
        "EndOfAttempt|null",
    ),
    Route(
        "post",
        "/records/import",
        "Take in records as another store kept them (ours)",
        "",
        "ImportRequest",
        200,
        "object",
    ),
    Route(
        "post",
        "/records/purge",
        "Take out for good what has ended (ours)",
        "",
        "PurgeRequest",
        200,
        "object",
    ),
    Route(
        "get",
        "/statistics",
        "Figures on the store",
        "",
        "",
        200,
        "object",
    ),
];

/// The names of words, and the words.
const WORDS: &[(&str, &[&str])] = &[
    (
        "RolloutStatus",
        &[
            "queuing",
            "preparing",
            "running",
            "requeuing",
            "succeeded",
            "failed",
            "cancelled",
        ],
    ),
    (
        "AttemptStatus",
        &[
            "preparing",
            "running",
            "succeeded",
            "failed",
            "timeout",
            "unresponsive",
        ],
    ),
    ("WorkerStatus", &["idle", "busy", "unknown"]),
    ("RolloutMode", &["train", "val", "test"]),
    ("StatusCode", &["UNSET", "OK", "ERROR"]),
    ("TemplateEngine", &["f-string", "jinja", "poml"]),
    ("SortOrder", &["asc", "desc"]),
    ("FilterLogic", &["and", "or"]),
    ("ResourceType", &["llm", "proxy_llm", "prompt_template", "json"]),
];

const ROLLOUT: &str = "rollout_id: string; input: any; start_time: number; end_time?: number|null; mode?: RolloutMode|null; \
     resources_id?: string|null; status?: RolloutStatus; config?: RolloutConfig; metadata?: object|null";
const NEW_ROLLOUT: &str = "input: any; mode?: RolloutMode|null; resources_id?: string|null; config?: RolloutConfig|null; \
     metadata?: object|null";
const LLM: &str = "resource_type?: ResourceType; endpoint: string; model: string; api_key?: string|null; \
     sampling_parameters?: object";
const SPAN_FILTERS: &str = "rollout_id: string; attempt_id?: string|null; trace_id?: string|null; \
     trace_id_contains?: string|null; span_id?: string|null; span_id_contains?: string|null; parent_id?: string|null; \
     parent_id_contains?: string|null; name?: string|null; name_contains?: string|null; filter_logic?: FilterLogic; …";

/// The schemas and their fields; `…` stands for those of a query's page.
const SCHEMAS: &[(&str, &[&str])] = &[
    ("Rollout", &[ROLLOUT]),
    ("AttemptedRollout", &[ROLLOUT, "attempt: Attempt"]),
    (
        "RolloutConfig",
        &[
            "timeout_seconds?: number|null; unresponsive_seconds?: number|null; max_attempts?: integer; retry_condition?: [AttemptStatus]",
        ],
    ),
    (
        "Attempt",
        &[
            "rollout_id: string; attempt_id: string; sequence_id: integer; start_time: number; end_time?: number|null; status?: AttemptStatus; worker_id?: string|null; last_heartbeat_time?: number|null; metadata?: object|null",
        ],
    ),
    ("EnqueueRolloutRequest", &[NEW_ROLLOUT]),
    ("RolloutRequest", &[NEW_ROLLOUT, "worker_id?: string|null"]),
    (
        "EnqueueManyRolloutsRequest",
        &["rollouts: [EnqueueRolloutRequest]"],
    ),
    (
        "DequeueManyRolloutsRequest",
        &["limit?: integer; worker_id?: string|null; wait?: number|null; worker_ids?: [string]|null"],
    ),
    ("DrainWorkersRequest", &["worker_ids?: [string]|null"]),
    ("LeaveRequest", &["worker_ids: [string]"]),
    ("DrainWorkersAnswer", &["told: integer"]),
    ("StartAttemptRequest", &["worker_id?: string|null"]),
    (
        "UpdateRolloutRequest",
        &[
            "input?: any|null; mode?: RolloutMode|null; resources_id?: string|null; status?: RolloutStatus|null; config?: RolloutConfig|null; metadata?: object|null",
        ],
    ),
    (
        "UpdateAttemptRequest",
        &[
            "status?: AttemptStatus|null; worker_id?: string|null; last_heartbeat_time?: number|null; metadata?: object|null",
        ],
    ),
    ("UpdateWorkerRequest", &["heartbeat_stats?: object|null"]),
    (
        "QueryRolloutsRequest",
        &[
            "status_in?: [RolloutStatus]|null; rollout_id_in?: [string]|null; rollout_id_contains?: string|null; filter_logic?: FilterLogic; …",
        ],
    ),
    ("QueryAttemptsRequest", &["…"]),
    (
        "QueryWorkersRequest",
        &["status_in?: [WorkerStatus]|null; worker_id_contains?: string|null; filter_logic?: FilterLogic; …"],
    ),
    ("QuerySpansRequest", &[SPAN_FILTERS]),
    (
        "RolloutPage",
        &["items: [AttemptedRollout|Rollout]; limit: integer; offset: integer; total: integer"],
    ),
    (
        "AttemptPage",
        &["items: [Attempt]; limit: integer; offset: integer; total: integer"],
    ),
    (
        "WorkerPage",
        &["items: [Worker]; limit: integer; offset: integer; total: integer"],
    ),
    (
        "ResourcesPage",
        &["items: [ResourcesUpdate]; limit: integer; offset: integer; total: integer"],
    ),
    (
        "SpanPage",
        &["items: [Span]; limit: integer; offset: integer; total: integer"],
    ),
    (
        "Worker",
        &[
            "worker_id: string; status?: WorkerStatus; heartbeat_stats?: object|null; last_heartbeat_time?: number|null; last_dequeue_time?: number|null; last_busy_time?: number|null; last_idle_time?: number|null; current_rollout_id?: string|null; current_attempt_id?: string|null",
        ],
    ),
    (
        "ResourcesUpdate",
        &[
            "resources_id: string; create_time: number; update_time: number; version: integer; resources: {Resource}",
        ],
    ),
    ("LLM", &[LLM]),
    ("ProxyLLM", &[LLM]),
    (
        "PromptTemplate",
        &["resource_type?: ResourceType; template: string; engine?: TemplateEngine"],
    ),
    ("JsonResource", &["resource_type: ResourceType; value: any"]),
    (
        "Span",
        &[
            "rollout_id: string; attempt_id: string; sequence_id: integer; trace_id: string; span_id: string; parent_id?: string|null; name: string; status: TraceStatus; attributes?: object; events?: [Event]; links?: [Link]; start_time?: number|null; end_time?: number|null; context?: SpanContext|null; parent?: SpanContext|null; resource?: OtelResource",
        ],
    ),
    (
        "TraceStatus",
        &["status_code: StatusCode; description?: string|null"],
    ),
    (
        "Event",
        &["name: string; attributes?: object; timestamp?: number|null"],
    ),
    ("Link", &["context: SpanContext; attributes?: object|null"]),
    (
        "SpanContext",
        &["trace_id: string; span_id: string; is_remote?: boolean; trace_state?: object"],
    ),
    ("OtelResource", &["attributes?: object; schema_url?: string"]),
    (
        "NextSequenceIdRequest",
        &["rollout_id: string; attempt_id: string"],
    ),
    ("NextSequenceIdResponse", &["sequence_id: integer"]),
    ("NextSequenceIdsRequest", &["targets: [NextSequenceIdRequest]"]),
    ("NextSequenceIdsResponse", &["sequence_ids: [integer]"]),
    ("SpansRequest", &["spans: [Span]"]),
    ("SpansResponse", &["outcomes: [SpanOutcome]"]),
    (
        "SpanOutcome",
        &["outcome: string; detail?: any; error_type?: string; error?: object"],
    ),
    (
        "WaitForRolloutsRequest",
        &["rollout_ids: [string]; timeout?: number|null"],
    ),
    (
        "WaitForAttemptRequest",
        &["rollout_id: string; attempt_id: string; timeout?: number|null"],
    ),
    ("ImportRequest", &["records: [object]"]),
    ("PurgeTarget", &["rollout_id: string; spans?: integer|null"]),
    (
        "PurgeRequest",
        &["rollouts?: [PurgeTarget]; resources?: [string]"],
    ),
    ("EndOfAttempt", &["reason: string; status?: string; by?: string"]),
    (
        "Error",
        &["detail: any; error_type?: string; error_id?: string; error?: object"],
    ),
];

/// What the interface is, for programs.
pub(super) fn document() -> Value {
    let mut paths = Map::new();
    for Route(method, path, summary, query, body, status, answer) in ROUTES {
        let mut parameters: Vec<Value> = path
            .split('/')
            .filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
            .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
            .collect();
        parameters.extend(fields(query).map(|(name, required, of)| {
            json!({"name": name, "in": "query", "required": required, "schema": schema(of)})
        }));
        let content = |of: &str| json!({"application/json": {"schema": schema(of)}});
        let mut operation = json!({
            "summary": summary,
            "parameters": parameters,
            "responses": {
                status.to_string(): {"description": "Done", "content": content(answer)},
                "4XX": {"description": "A mistake of the caller", "content": content("Error")},
                "5XX": {"description": "A fault of the server", "content": content("Error")},
            },
        });
        if !body.is_empty() {
            operation["requestBody"] =
                json!({"required": !body.ends_with("|null"), "content": content(body)});
        }
        add(&mut paths, &format!("{}{path}", wire::PREFIX), method, operation);
    }
    for (path, summary, status) in [
        (
            wire::OTLP_TRACES,
            "Take traces of OpenTelemetry, as protobuf or JSON",
            "200",
        ),
        ("/v1/metrics", "Not taken", "501"),
        ("/v1/logs", "Not taken", "501"),
        ("/v1/development/profiles", "Not taken", "501"),
    ] {
        let operation =
            json!({"summary": summary, "parameters": [], "responses": {status: {"description": summary}}});
        add(&mut paths, path, "post", operation);
    }
    let words = WORDS
        .iter()
        .map(|(name, words)| ((*name).to_owned(), json!({"type": "string", "enum": words})));
    let objects = SCHEMAS
        .iter()
        .map(|(name, parts)| ((*name).to_owned(), object(parts)));
    let mut schemas: Map<String, Value> = words.chain(objects).collect();
    let kinds = ["LLM", "ProxyLLM", "PromptTemplate", "JsonResource"].map(schema);
    schemas.insert("Resource".to_owned(), json!({"anyOf": kinds}));
    json!({
        "openapi": "3.1.0",
        "info": {"title": "Lightning store", "version": env!("CARGO_PKG_VERSION")},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "basic": {"type": "http", "scheme": "basic"},
            },
        },
        "security": [{}, {"bearer": []}, {"basic": []}],
    })
}

fn add(paths: &mut Map<String, Value>, path: &str, method: &str, operation: Value) {
    let entry = paths.entry(path).or_insert_with(|| json!({}));
    entry[method] = operation;
}

fn object(parts: &[&'static str]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, is_required, of) in parts.iter().flat_map(|part| fields(part)) {
        properties.insert(name.to_owned(), schema(of));
        if is_required {
            required.push(name);
        }
    }
    json!({"type": "object", "properties": properties, "required": required})
}

/// The fields of a row: their names, whether they are required, their types.
fn fields(row: &'static str) -> impl Iterator<Item = (&'static str, bool, &'static str)> {
    let rows = row
        .split("; ")
        .flat_map(|field| if field == "…" { PAGE } else { field }.split("; "));
    rows.filter_map(|field| {
        let (name, of) = field.split_once(": ")?;
        Some(match name.strip_suffix('?') {
            Some(name) => (name, false, of),
            None => (name, true, of),
        })
    })
}

fn schema(of: &str) -> Value {
    if let Some(items) = of.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return json!({"type": "array", "items": schema(items)});
    }
    if of.contains('|') {
        let options: Vec<Value> = of.split('|').map(schema).collect();
        return json!({"anyOf": options});
    }
    if let Some(values) = of.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) {
        return json!({"type": "object", "additionalProperties": schema(values)});
    }
    match of {
        "any" => json!({}),
        "string" | "integer" | "number" | "boolean" | "object" | "null" => json!({"type": of}),
        name => json!({"$ref": format!("#/components/schemas/{name}")}),
    }
}
