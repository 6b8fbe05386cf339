//! Every field of every route: of the wrong type, missing, null, out of range, nested too deeply, not in UTF-8. Each is
//! answered with a 4xx whose detail names the field, and leaves the store as it was.

use lightning_core::{
    server::ServerOptions,
    store::Store,
    types::{NewRollout, RolloutQuery, SpanQuery, WorkerQuery},
};
use serde_json::{Value, json};

use crate::raw::Server;

/// What a field may be, and so what it may not.
#[derive(Clone, Copy)]
enum Kind {
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
struct Field(&'static str, Kind, bool, bool);

const REQUIRED: bool = true;
const OPTIONAL: bool = false;
const NULLABLE: bool = true;
const NEVER_NULL: bool = false;

/// A route with a body that is right in every field.
struct Route {
    path: &'static str,
    body: Value,
    fields: Vec<Field>,
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

fn routes() -> Vec<Route> {
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
            body: json!({"limit": 1, "worker_id": "w", "wait": 0.0}),
            fields: vec![
                Field("limit", Kind::Integer, OPTIONAL, NEVER_NULL),
                Field("worker_id", Kind::Text, OPTIONAL, NULLABLE),
                Field("wait", Kind::Number, OPTIONAL, NULLABLE),
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
    fn wrong(self) -> Vec<Value> {
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

/// The place in `body` that a path such as `rollouts.0.mode` leads to, made if it is not there.
fn place<'a>(body: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.')
        .fold(body, |value, segment| match segment.parse::<usize>() {
            Ok(index) => &mut value[index],
            Err(_) => &mut value[segment],
        })
}

fn last_name(path: &str) -> &str {
    path.rsplit('.')
        .find(|segment| segment.parse::<usize>().is_err())
        .unwrap()
}

/// Everything that a store shows of itself.
async fn contents(store: &dyn Store) -> Value {
    let mut statistics = json!(store.statistics().await.unwrap());
    statistics["uptime"] = Value::Null;
    let rollouts = store.query_rollouts(RolloutQuery::default()).await.unwrap();
    let workers = store.query_workers(WorkerQuery::default()).await.unwrap();
    let resources = store.query_resources(Default::default()).await.unwrap();
    let mut spans = Vec::new();
    for rollout in &rollouts.items {
        spans.push(
            store
                .query_spans(SpanQuery::of(rollout.rollout_id.clone()))
                .await
                .unwrap(),
        );
    }
    json!([statistics, rollouts, workers, resources, spans])
}

/// A server with a rollout in the queue, and one with an attempt, whose ids stand for those in the paths.
struct Prepared {
    server: Server,
    rollout: String,
    attempt: String,
    before: Value,
}

async fn prepared(options: ServerOptions) -> Prepared {
    let server = Server::with(options).await;
    server
        .store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap();
    let started = server
        .store
        .start_rollout(NewRollout::new(json!(2)), Some("w".into()))
        .await
        .unwrap();
    let before = contents(&*server.store).await;
    Prepared {
        rollout: started.rollout_id.to_string(),
        attempt: started.attempt.attempt_id.to_string(),
        server,
        before,
    }
}

impl Prepared {
    fn path(&self, route: &str) -> String {
        let path = route
            .replace("{rollout}", &self.rollout)
            .replace("{attempt}", &self.attempt);
        format!("/v1/agl{path}")
    }

    async fn refuses(&self, route: &Route, body: &[u8], field: &str, what: &str) {
        let answer = self.server.post_bytes(&self.path(route.path), body).await;
        let sent = String::from_utf8_lossy(&body[..body.len().min(300)]).into_owned();
        let context = format!(
            "{} with {field} {what}: {sent}\n{} {}",
            route.path,
            answer.status,
            answer.text()
        );
        assert!((400..500).contains(&answer.status), "{context}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(field), "the field is not named: {context}");
    }

    async fn is_unchanged(&self, route: &Route) {
        assert_eq!(contents(&*self.server.store).await, self.before, "{}", route.path);
    }
}

#[tokio::test]
async fn every_field_of_the_wrong_type_is_refused_by_name() {
    let prepared = prepared(ServerOptions::default()).await;
    for route in routes() {
        for Field(path, kind, required, nullable) in &route.fields {
            let with = |value: Value| {
                let mut body = route.body.clone();
                *place(&mut body, path) = value;
                body.to_string().into_bytes()
            };
            for wrong in kind.wrong() {
                prepared
                    .refuses(&route, &with(wrong), last_name(path), "of the wrong type")
                    .await;
            }
            if !nullable {
                prepared
                    .refuses(&route, &with(Value::Null), last_name(path), "null")
                    .await;
            }
            if *required {
                let mut body = route.body.clone();
                let (object, name) = match path.rsplit_once('.') {
                    None => (&mut body, *path),
                    Some((parent, name)) => (place(&mut body, parent), name),
                };
                object.as_object_mut().unwrap().remove(name);
                prepared
                    .refuses(&route, body.to_string().as_bytes(), name, "missing")
                    .await;
            }
        }
        prepared.is_unchanged(&route).await;
    }
}

#[tokio::test]
async fn every_field_that_is_nested_too_deeply_is_refused_by_name() {
    let prepared = prepared(ServerOptions::default()).await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for route in routes() {
        for Field(path, ..) in &route.fields {
            let mut body = route.body.clone();
            *place(&mut body, path) = json!("DEEP");
            let body = body.to_string().replace("\"DEEP\"", &deep);
            prepared
                .refuses(&route, body.as_bytes(), last_name(path), "nested too deeply")
                .await;
        }
        prepared.is_unchanged(&route).await;
    }
}

#[tokio::test]
async fn every_text_that_is_not_in_utf8_is_refused_by_name() {
    let prepared = prepared(ServerOptions::default()).await;
    for route in routes() {
        for Field(path, ..) in &route.fields {
            let mut body = route.body.clone();
            *place(&mut body, path) = json!("BYTES");
            let body = body.to_string();
            let at = body.find("BYTES").unwrap();
            let body = [&body.as_bytes()[..at], b"\xff\xfe", &body.as_bytes()[at + 5..]].concat();
            prepared
                .refuses(&route, &body, last_name(path), "in another encoding")
                .await;
        }
        prepared.is_unchanged(&route).await;
    }
}

#[tokio::test]
async fn bodies_that_are_too_large_are_refused_with_the_limit() {
    let mut options = ServerOptions::default();
    options.max_body_bytes = 10_000;
    let prepared = prepared(options).await;
    for route in routes() {
        for Field(path, ..) in &route.fields {
            let mut body = route.body.clone();
            *place(&mut body, path) = "x".repeat(10_000).into();
            let answer = prepared.server.post(&prepared.path(route.path), &body).await;
            assert_eq!(answer.status, 413, "{}", route.path);
            assert!(
                answer.text().contains("larger than 10000 bytes"),
                "{}",
                answer.text()
            );
        }
        prepared.is_unchanged(&route).await;
    }
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let prepared = prepared(ServerOptions::default()).await;
    for route in routes() {
        let path = prepared.path(route.path);
        for body in [
            "{",
            "nonsense",
            "[]",
            "7",
            "\"text\"",
            "{}}",
            "{\"a\":1,}",
            "\u{feff}{}",
        ] {
            let answer = prepared.server.post_bytes(&path, body.as_bytes()).await;
            assert_eq!(answer.status, 422, "{path} {body} {}", answer.text());
            assert_eq!(answer.json()["detail"][0]["loc"][0], "body");
        }
        for headers in [
            &[][..],
            &["content-type: text/plain"],
            &["content-type: application/x-www-form-urlencoded"],
        ] {
            let body = route.body.to_string();
            let answer = prepared
                .server
                .send("POST", &path, headers, body.as_bytes())
                .await;
            assert_eq!(answer.status, 422, "{path} {headers:?}");
            assert!(answer.text().contains("content-type"), "{}", answer.text());
        }
        let latin = ["content-type: application/json", "idempotency-key: \u{fc}"];
        let mut raw = crate::raw::request("POST", &path, &latin, route.body.to_string().as_bytes());
        let at = raw
            .windows(2)
            .position(|pair| pair == "\u{fc}".as_bytes())
            .unwrap();
        raw.splice(at..at + 2, [0xfc]);
        let mut connection = prepared.server.connect().await;
        tokio::io::AsyncWriteExt::write_all(&mut connection, &raw)
            .await
            .unwrap();
        let answer = crate::raw::read(&mut connection).await;
        // What reads only has no use for a key.
        if !path.contains("search") && !path.contains("waits") {
            assert_eq!(answer.status, 422, "{path}");
            assert!(
                answer.text().contains("idempotency-key"),
                "{path} {}",
                answer.text()
            );
        }
        prepared.is_unchanged(&route).await;
    }
}

#[tokio::test]
async fn a_body_that_must_be_there_is_missed() {
    let prepared = prepared(ServerOptions::default()).await;
    let may_be_empty = [
        "/queues/rollouts/dequeue",
        "/rollouts/{rollout}/attempts",
        "/workers/w",
    ];
    for route in routes()
        .iter()
        .filter(|route| !may_be_empty.contains(&route.path))
    {
        let answer = prepared
            .server
            .send("POST", &prepared.path(route.path), &[], b"")
            .await;
        assert_eq!(answer.status, 422, "{}", route.path);
        assert_eq!(answer.json()["detail"][0]["loc"], json!(["body"]));
        prepared.is_unchanged(route).await;
    }
}

#[tokio::test]
async fn secrets_are_not_repeated() {
    let server = Server::start().await;
    for body in [
        json!({"a": {"resource_type": "llm", "endpoint": "e", "model": "m", "api_key": 123_456_789}}),
        json!({"a": "sk-123456789"}),
        json!("sk-123456789"),
    ] {
        let answer = server.post("/v1/agl/resources", &body).await;
        assert_eq!(answer.status, 422);
        assert!(!answer.text().contains("123456789"), "{}", answer.text());
    }
}

#[tokio::test]
async fn every_field_of_a_query_string_is_checked() {
    let prepared = prepared(ServerOptions::default()).await;
    let rollouts = ["status_in", "rollout_id_in", "rollout_id_contains"];
    let spans = [
        "attempt_id",
        "trace_id",
        "span_id",
        "parent_id",
        "name",
        "name_contains",
    ];
    let routes: [(&str, &str, bool, &[&str]); 5] = [
        ("/rollouts", "", true, &rollouts),
        ("/rollouts/{rollout}/attempts", "", false, &[]),
        ("/workers", "", true, &["status_in", "worker_id_contains"]),
        (
            "/resources",
            "",
            false,
            &["resources_id", "resources_id_contains"],
        ),
        ("/spans", "rollout_id=r&", true, &spans),
    ];
    for (route, given, logic, texts) in routes {
        let refused = async |query: &str, status: u16, field: &str| {
            let path = format!("{}?{given}{query}", prepared.path(route));
            let answer = prepared.server.get(&path).await;
            assert_eq!(answer.status, status, "{path} {}", answer.text());
            assert!(
                answer.json()["detail"].to_string().contains(field),
                "{path} {}",
                answer.text()
            );
        };
        for value in ["x", "1.5", "", "99999999999999999999", "true"] {
            refused(&format!("limit={value}"), 422, "limit").await;
            refused(&format!("offset={value}"), 422, "offset").await;
        }
        refused("limit=0", 400, "limit").await;
        refused("limit=-2", 400, "limit").await;
        refused("offset=-1", 400, "offset").await;
        refused("sort_by=nonsense", 400, "sort_by").await;
        refused("sort_order=up", 422, "sort_order").await;
        if logic {
            refused("filter_logic=xor", 422, "filter_logic").await;
        }
        for text in texts {
            refused(&format!("{text}=%FF"), 422, text).await;
        }
        if texts.contains(&"status_in") {
            refused("status_in=idle&status_in=nonsense", 422, "status_in").await;
        }
    }
    let answer = prepared.server.get("/v1/agl/spans").await;
    assert_eq!(
        answer.expect(422)["detail"][0]["loc"],
        json!(["query", "rollout_id"])
    );
    let answer = prepared.server.get("/v1/agl/rollouts/%FF").await;
    assert_eq!(answer.expect(422)["detail"][0]["loc"][0], "path");
    let answer = prepared.server.get("/v1/agl/resources/x?version=first").await;
    assert_eq!(
        answer.expect(422)["detail"][0]["loc"],
        json!(["query", "version"])
    );
}
