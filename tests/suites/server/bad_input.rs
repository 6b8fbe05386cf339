//! Every field of every route: of the wrong type, missing, null, out of range, nested too deeply, not in UTF-8. Each is
//! answered with a 4xx whose detail names the field, and leaves the store as it was.

use lightning_core::{server::ServerOptions, types::NewRollout};
use serde_json::{Value, json};

use crate::{
    fields::{Field, Route, routes},
    raw::{Server, contents},
};

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
