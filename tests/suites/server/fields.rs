//! The routes that take a body, and what each field may be.

use serde_json::{Value, json};

/// What a field may be, and so what it may not.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// Anything at all.
    Any,
    Text,
    /// One of some words.
    Word,
    Integer,
    /// An integer from 0.
    Count,
    Number,
    Object,
    List,
}

/// A field: where it is in the body, what it may be, whether it must be there, and whether it may be null.
pub(crate) struct Field(
    pub(crate) &'static str,
    pub(crate) Kind,
    pub(crate) bool,
    pub(crate) bool,
);

const REQUIRED: bool = true;
const OPTIONAL: bool = false;
const NULLABLE: bool = true;
const NEVER_NULL: bool = false;

/// A route with a body that is right in every field.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) body: Value,
    pub(crate) fields: Vec<Field>,
}

fn config_fields(prefix: &'static [&'static str; 4]) -> Vec<Field> {
    vec![
        Field(prefix[0], Kind::Number, OPTIONAL, NULLABLE),
        Field(prefix[1], Kind::Number, OPTIONAL, NULLABLE),
        Field(prefix[2], Kind::Count, OPTIONAL, NEVER_NULL),
        Field(prefix[3], Kind::List, OPTIONAL, NEVER_NULL),
    ]
}

fn search_fields(lists: &[&'static str], texts: &[&'static str], logic: bool) -> Vec<Field> {
    let mut fields = vec![
        Field("limit", Kind::Integer, OPTIONAL, NEVER_NULL),
        Field("offset", Kind::Count, OPTIONAL, NEVER_NULL),
        Field("sort_by", Kind::Word, OPTIONAL, NULLABLE),
        Field("sort_order", Kind::Word, OPTIONAL, NEVER_NULL),
    ];
    if logic {
        fields.push(Field("filter_logic", Kind::Word, OPTIONAL, NEVER_NULL));
    }
    fields.extend(
        lists
            .iter()
            .map(|list| Field(list, Kind::List, OPTIONAL, NULLABLE)),
    );
    fields.extend(
        texts
            .iter()
            .map(|text| Field(text, Kind::Text, OPTIONAL, NULLABLE)),
    );
    fields
}

fn span() -> Value {
    json!({
        "rollout_id": "ro-none", "attempt_id": "at-none", "sequence_id": 1,
        "trace_id": "0123456789abcdef0123456789abcdef", "span_id": "0123456789abcdef", "parent_id": "fedcba9876543210",
        "name": "n", "status": {"status_code": "OK", "description": "d"}, "attributes": {"a": 1},
        "events": [{"name": "e", "attributes": {}, "timestamp": 1.0}],
        "links": [{"context": {"trace_id": "t", "span_id": "s", "is_remote": false, "trace_state": {}}, "attributes": {}}],
        "start_time": 1.0, "end_time": 2.0,
        "context": {"trace_id": "t", "span_id": "s", "is_remote": false, "trace_state": {}},
        "parent": {"trace_id": "t", "span_id": "s", "is_remote": false, "trace_state": {}},
        "resource": {"attributes": {}, "schema_url": ""},
    })
}

fn span_fields(prefix: &str) -> Vec<Field> {
    let at = |path: &str| -> &'static str { format!("{prefix}{path}").leak() };
    vec![
        Field(at("rollout_id"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("attempt_id"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("sequence_id"), Kind::Count, REQUIRED, NEVER_NULL),
        Field(at("trace_id"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("span_id"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("parent_id"), Kind::Text, OPTIONAL, NULLABLE),
        Field(at("name"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("status"), Kind::Object, REQUIRED, NEVER_NULL),
        Field(at("status.status_code"), Kind::Word, REQUIRED, NEVER_NULL),
        Field(at("status.description"), Kind::Text, OPTIONAL, NULLABLE),
        Field(at("attributes"), Kind::Object, OPTIONAL, NEVER_NULL),
        Field(at("events"), Kind::List, OPTIONAL, NEVER_NULL),
        Field(at("events.0.name"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("events.0.attributes"), Kind::Object, OPTIONAL, NEVER_NULL),
        Field(at("events.0.timestamp"), Kind::Number, OPTIONAL, NULLABLE),
        Field(at("links"), Kind::List, OPTIONAL, NEVER_NULL),
        Field(at("links.0.context"), Kind::Object, REQUIRED, NEVER_NULL),
        Field(at("links.0.context.trace_id"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("links.0.attributes"), Kind::Object, OPTIONAL, NULLABLE),
        Field(at("start_time"), Kind::Number, OPTIONAL, NULLABLE),
        Field(at("end_time"), Kind::Number, OPTIONAL, NULLABLE),
        Field(at("context"), Kind::Object, OPTIONAL, NULLABLE),
        Field(at("context.span_id"), Kind::Text, REQUIRED, NEVER_NULL),
        Field(at("parent"), Kind::Object, OPTIONAL, NULLABLE),
        Field(at("parent.trace_state"), Kind::Object, OPTIONAL, NEVER_NULL),
        Field(at("resource"), Kind::Object, OPTIONAL, NEVER_NULL),
        Field(at("resource.attributes"), Kind::Object, OPTIONAL, NEVER_NULL),
        Field(at("resource.schema_url"), Kind::Text, OPTIONAL, NEVER_NULL),
    ]
}

/// Every route that takes a body.
pub(crate) fn routes() -> Vec<Route> {
    const LIMITS: &[&str; 4] = &[
        "config.timeout_seconds",
        "config.unresponsive_seconds",
        "config.max_attempts",
        "config.retry_condition",
    ];
    const FIRST_LIMITS: &[&str; 4] = &[
        "rollouts.0.config.timeout_seconds",
        "rollouts.0.config.unresponsive_seconds",
        "rollouts.0.config.max_attempts",
        "rollouts.0.config.retry_condition",
    ];
    let config = || json!({"timeout_seconds": 1.0, "unresponsive_seconds": 1.0, "max_attempts": 2, "retry_condition": ["failed"]});
    let rollout =
        || json!({"input": 1, "mode": "train", "resources_id": "r", "config": config(), "metadata": {}});
    let mut start = rollout();
    start["worker_id"] = "w".into();
    let mut start_fields = vec![
        Field("input", Kind::Any, REQUIRED, NULLABLE),
        Field("mode", Kind::Word, OPTIONAL, NULLABLE),
        Field("resources_id", Kind::Text, OPTIONAL, NULLABLE),
        Field("config", Kind::Object, OPTIONAL, NULLABLE),
        Field("metadata", Kind::Object, OPTIONAL, NULLABLE),
        Field("worker_id", Kind::Text, OPTIONAL, NULLABLE),
    ];
    start_fields.extend(config_fields(LIMITS));
    let mut enqueue_fields = vec![
        Field("rollouts", Kind::List, REQUIRED, NEVER_NULL),
        Field("rollouts.0.input", Kind::Any, REQUIRED, NULLABLE),
        Field("rollouts.0.mode", Kind::Word, OPTIONAL, NULLABLE),
        Field("rollouts.0.resources_id", Kind::Text, OPTIONAL, NULLABLE),
        Field("rollouts.0.config", Kind::Object, OPTIONAL, NULLABLE),
        Field("rollouts.0.metadata", Kind::Object, OPTIONAL, NULLABLE),
    ];
    enqueue_fields.extend(config_fields(FIRST_LIMITS));
    let mut update = rollout();
    update["status"] = "failed".into();
    let mut update_fields = vec![
        Field("input", Kind::Any, OPTIONAL, NULLABLE),
        Field("mode", Kind::Word, OPTIONAL, NULLABLE),
        Field("resources_id", Kind::Text, OPTIONAL, NULLABLE),
        Field("status", Kind::Word, OPTIONAL, NEVER_NULL),
        Field("config", Kind::Object, OPTIONAL, NEVER_NULL),
        Field("metadata", Kind::Object, OPTIONAL, NULLABLE),
    ];
    update_fields.extend(config_fields(LIMITS));
    let attempt_fields = || {
        vec![
            Field("status", Kind::Word, OPTIONAL, NEVER_NULL),
            Field("worker_id", Kind::Text, OPTIONAL, NEVER_NULL),
            Field("last_heartbeat_time", Kind::Number, OPTIONAL, NEVER_NULL),
            Field("metadata", Kind::Object, OPTIONAL, NEVER_NULL),
        ]
    };
    let attempt =
        || json!({"status": "failed", "worker_id": "w", "last_heartbeat_time": 1.5, "metadata": {}});
    let resources = || {
        json!({
            "a": {"resource_type": "llm", "endpoint": "e", "model": "m", "api_key": "k", "sampling_parameters": {}},
            "b": {"resource_type": "prompt_template", "template": "t", "engine": "jinja"},
            "c": {"resource_type": "proxy_llm", "endpoint": "e", "model": "m"},
        })
    };
    let resources_fields = || {
        vec![
            Field("a", Kind::Object, OPTIONAL, NEVER_NULL),
            Field("a.resource_type", Kind::Text, REQUIRED, NEVER_NULL),
            Field("a.endpoint", Kind::Text, REQUIRED, NEVER_NULL),
            Field("a.model", Kind::Text, REQUIRED, NEVER_NULL),
            Field("a.api_key", Kind::Text, OPTIONAL, NULLABLE),
            Field("a.sampling_parameters", Kind::Object, OPTIONAL, NEVER_NULL),
            Field("b.template", Kind::Text, REQUIRED, NEVER_NULL),
            Field("b.engine", Kind::Word, OPTIONAL, NEVER_NULL),
            Field("c.endpoint", Kind::Text, REQUIRED, NEVER_NULL),
        ]
    };
    let ids = || {
        vec![
            Field("rollout_id", Kind::Text, REQUIRED, NEVER_NULL),
            Field("attempt_id", Kind::Text, REQUIRED, NEVER_NULL),
        ]
    };
    let texts = [
        "attempt_id",
        "trace_id",
        "trace_id_contains",
        "span_id",
        "span_id_contains",
        "parent_id",
        "parent_id_contains",
        "name",
        "name_contains",
    ];
    let mut spans_fields = search_fields(&[], &texts, true);
    spans_fields.push(Field("rollout_id", Kind::Text, REQUIRED, NEVER_NULL));
    let mut batch_fields = span_fields("spans.0.");
    batch_fields.push(Field("spans", Kind::List, REQUIRED, NEVER_NULL));
    vec![
        Route {
            path: "/queues/rollouts/enqueue",
            body: json!({"rollouts": [rollout()]}),
            fields: enqueue_fields,
        },
        Route {
            path: "/queues/rollouts/dequeue",
            body: json!({"limit": 1, "worker_id": "w", "wait": 0.0, "worker_ids": null}),
            fields: vec![
                Field("worker_ids", Kind::List, OPTIONAL, NULLABLE),
                Field("limit", Kind::Integer, OPTIONAL, NEVER_NULL),
                Field("worker_id", Kind::Text, OPTIONAL, NULLABLE),
                Field("wait", Kind::Number, OPTIONAL, NULLABLE),
            ],
        },
        Route {
            path: "/queues/rollouts/leave",
            body: json!({"worker_ids": ["w"]}),
            fields: vec![
                Field("worker_ids", Kind::List, REQUIRED, NEVER_NULL),
                Field("worker_ids.0", Kind::Text, OPTIONAL, NEVER_NULL),
            ],
        },
        Route {
            path: "/queues/rollouts/drain",
            body: json!({"worker_ids": ["w"]}),
            fields: vec![
                Field("worker_ids", Kind::List, OPTIONAL, NULLABLE),
                Field("worker_ids.0", Kind::Text, OPTIONAL, NEVER_NULL),
            ],
        },
        Route {
            path: "/rollouts",
            body: start,
            fields: start_fields,
        },
        Route {
            path: "/rollouts/search",
            body: json!({}),
            fields: search_fields(&["status_in", "rollout_id_in"], &["rollout_id_contains"], true),
        },
        Route {
            path: "/rollouts/{rollout}",
            body: update,
            fields: update_fields,
        },
        Route {
            path: "/rollouts/{rollout}/attempts",
            body: json!({"worker_id": "w"}),
            fields: vec![Field("worker_id", Kind::Text, OPTIONAL, NULLABLE)],
        },
        Route {
            path: "/rollouts/{rollout}/attempts/search",
            body: json!({}),
            fields: search_fields(&[], &[], false),
        },
        Route {
            path: "/rollouts/{rollout}/attempts/{attempt}",
            body: attempt(),
            fields: attempt_fields(),
        },
        Route {
            path: "/rollouts/{rollout}/attempts/latest",
            body: attempt(),
            fields: attempt_fields(),
        },
        Route {
            path: "/workers/search",
            body: json!({}),
            fields: search_fields(&["status_in"], &["worker_id_contains"], true),
        },
        Route {
            path: "/workers/w",
            body: json!({"heartbeat_stats": {}}),
            fields: vec![Field("heartbeat_stats", Kind::Object, OPTIONAL, NEVER_NULL)],
        },
        Route {
            path: "/resources",
            body: resources(),
            fields: resources_fields(),
        },
        Route {
            path: "/resources/mine",
            body: resources(),
            fields: resources_fields(),
        },
        Route {
            path: "/spans",
            body: span(),
            fields: span_fields(""),
        },
        Route {
            path: "/spans/batch",
            body: json!({"spans": [span()]}),
            fields: batch_fields,
        },
        Route {
            path: "/spans/search",
            body: json!({"rollout_id": "r"}),
            fields: spans_fields,
        },
        Route {
            path: "/spans/next",
            body: json!({"rollout_id": "r", "attempt_id": "a"}),
            fields: ids(),
        },
        Route {
            path: "/spans/next/batch",
            body: json!({"targets": [{"rollout_id": "r", "attempt_id": "a"}]}),
            fields: vec![
                Field("targets", Kind::List, REQUIRED, NEVER_NULL),
                Field("targets.0.rollout_id", Kind::Text, REQUIRED, NEVER_NULL),
                Field("targets.0.attempt_id", Kind::Text, REQUIRED, NEVER_NULL),
            ],
        },
        Route {
            path: "/waits/rollouts",
            body: json!({"rollout_ids": ["r"], "timeout": 0.0}),
            fields: vec![
                Field("rollout_ids", Kind::List, REQUIRED, NEVER_NULL),
                Field("rollout_ids.0", Kind::Text, OPTIONAL, NEVER_NULL),
                Field("timeout", Kind::Number, OPTIONAL, NULLABLE),
            ],
        },
        Route {
            path: "/records/import",
            body: json!({"records": []}),
            fields: vec![Field("records", Kind::List, REQUIRED, NEVER_NULL)],
        },
        Route {
            path: "/records/purge",
            body: json!({"rollouts": [], "resources": []}),
            fields: vec![
                Field("rollouts", Kind::List, OPTIONAL, NEVER_NULL),
                Field("resources", Kind::List, OPTIONAL, NEVER_NULL),
            ],
        },
        Route {
            path: "/waits/attempts",
            body: json!({"rollout_id": "r", "attempt_id": "a", "timeout": 0.0}),
            fields: ids()
                .into_iter()
                .chain([Field("timeout", Kind::Number, OPTIONAL, NULLABLE)])
                .collect(),
        },
    ]
}

impl Kind {
    /// Values that are wrong, null aside.
    pub(crate) fn wrong(self) -> Vec<Value> {
        let (text, number, truth, list, object) =
            (json!("text"), json!(7), json!(true), json!([[]]), json!({"x": 1}));
        match self {
            Self::Any => vec![],
            Self::Text => vec![number, truth, list, object],
            Self::Word => vec![json!("nonsense"), json!(""), number, truth, list, object],
            Self::Integer => vec![text, truth, list, object, json!(1.5), json!(1e300)],
            Self::Count => vec![text, truth, list, object, json!(1.5), json!(1e300), json!(-1)],
            Self::Number => vec![text, truth, list, object],
            Self::Object => vec![text, number, truth, list],
            Self::List => vec![
                text,
                number,
                truth,
                object,
                json!([[[]]]),
                json!([{"x": [[]]}]),
                json!([[]]),
            ],
        }
    }
}
