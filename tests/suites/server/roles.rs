//! Which role opens which route, and what each sees.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    io,
    sync::{Arc, Mutex},
};

use lightning_core::{
    agent::{RolloutContext, agent_fn},
    client::StoreClient,
    emitter::emit_message,
    runner::{Runner, StopSignal},
    server::{Access, Role, ServerOptions, Tokens, access},
    store::{LayeredStore, MemoryStore, Store, StoreError, StoreLayer},
    testing::assert_rollout,
    types::{Llm, NamedResources, NewRollout, Resource, Span},
};
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use crate::raw::{Answer, Server, contents};

/// Who comes: what the test calls them, and what they show.
const CALLERS: [(&str, Option<&str>); 5] = [
    ("nobody", None),
    ("stranger", Some("Bearer token-of-a-stranger")),
    ("read", Some("Bearer token-of-a-reader")),
    // As Python's client shows it: `x:token-of-a-runner`.
    ("runner", Some("Basic eDp0b2tlbi1vZi1hLXJ1bm5lcg==")),
    ("admin", Some("Bearer token-of-an-admin")),
];

fn options() -> ServerOptions {
    let mut options = ServerOptions::default();
    options.tokens = Tokens::new()
        .with(Role::Admin, "the-admin", "token-of-an-admin")
        .with(Role::Runner, "the-runner", "token-of-a-runner")
        .with(Role::Read, "the-reader", "token-of-a-reader");
    options
}

/// Every route, and who may call it. A change here is a change of what a stolen token is worth.
const TABLE: &str = "\
GET  /v1/agl/health                                      nobody stranger read runner admin
POST /v1/agl/queues/rollouts/enqueue                     admin
POST /v1/agl/queues/rollouts/dequeue                     runner admin
POST /v1/agl/queues/rollouts/drain                       admin
GET  /v1/agl/rollouts                                    read admin
POST /v1/agl/rollouts                                    admin
POST /v1/agl/rollouts/search                             read admin
GET  /v1/agl/rollouts/search                             read runner admin
GET  /v1/agl/rollouts/{rollout_id}                       read runner admin
POST /v1/agl/rollouts/{rollout_id}                       admin
GET  /v1/agl/rollouts/{rollout_id}/attempts              read runner admin
POST /v1/agl/rollouts/{rollout_id}/attempts              admin
POST /v1/agl/rollouts/{rollout_id}/attempts/search       read runner admin
GET  /v1/agl/rollouts/{rollout_id}/attempts/latest       read runner admin
POST /v1/agl/rollouts/{rollout_id}/attempts/latest       runner admin
POST /v1/agl/rollouts/{rollout_id}/attempts/{attempt_id} runner admin
GET  /v1/agl/workers                                     read admin
POST /v1/agl/workers/search                              read admin
GET  /v1/agl/workers/search                              read runner admin
GET  /v1/agl/workers/{worker_id}                         read runner admin
POST /v1/agl/workers/{worker_id}                         runner admin
GET  /v1/agl/resources                                   read admin
POST /v1/agl/resources                                   admin
GET  /v1/agl/resources/latest                            read runner admin
POST /v1/agl/resources/latest                            admin
GET  /v1/agl/resources/{resources_id}                    read runner admin
POST /v1/agl/resources/{resources_id}                    admin
GET  /v1/agl/spans                                       read runner admin
POST /v1/agl/spans                                       runner admin
POST /v1/agl/spans/search                                read runner admin
POST /v1/agl/spans/next                                  runner admin
POST /v1/agl/spans/batch                                 runner admin
POST /v1/agl/spans/next/batch                            runner admin
POST /v1/agl/waits/rollouts                              admin
POST /v1/agl/waits/attempts                              runner admin
POST /v1/agl/records/import                              admin
POST /v1/agl/records/purge                               admin
GET  /v1/agl/statistics                                  read admin
POST /v1/traces                                          runner admin
POST /v1/metrics                                         runner admin
POST /v1/logs                                            runner admin
POST /v1/development/profiles                            runner admin
GET  /v1/openapi.json                                    read runner admin
GET  /v1/prometheus                                      read admin
GET  /v1/prometheus/                                     read admin
";

async fn call(server: &Server, method: &str, path: &str, shown: Option<&str>, body: &[u8]) -> Answer {
    let mut headers = vec!["content-type: application/json".to_owned()];
    headers.extend(shown.map(|shown| format!("authorization: {shown}")));
    let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
    server.send(method, path, &headers, body).await
}

fn real(path: &str) -> String {
    path.replace("{rollout_id}", "ro-x")
        .replace("{attempt_id}", "at-x")
        .replace("{worker_id}", "w")
        .replace("{resources_id}", "rs-x")
}

/// Whether the caller was let in; a refusal has to be complete.
fn was_let_in(answer: &Answer, caller: &str, route: &str) -> bool {
    assert!(answer.header("x-request-id").is_some(), "{caller} {route}");
    let knows_no_token = matches!(caller, "nobody" | "stranger");
    match answer.status {
        401 => {
            assert!(knows_no_token, "{caller} {route}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(
                challenge,
                Some("Bearer, Basic realm=\"lightning\""),
                "{caller} {route}"
            );
            false
        }
        403 => {
            assert!(!knows_no_token, "{caller} {route}");
            assert!(
                answer.text().contains(&format!("role `{caller}`")),
                "{}",
                answer.text()
            );
            false
        }
        _ => true,
    }
}

#[tokio::test]
async fn every_route_opens_to_its_roles_and_to_nobody_else() {
    let server = Server::with(options()).await;
    let before = contents(&*server.store).await;
    let mut table = String::new();
    let mut refused = 0;
    for Access {
        method,
        path,
        roles,
        open,
        ..
    } in access()
    {
        let mut let_in = Vec::new();
        for (caller, shown) in CALLERS {
            let route = format!("{method} {path}");
            // The body is none that any route takes, so that nothing is changed and nobody parked.
            let answer = call(&server, method, &real(&path), shown, b"[0]").await;
            if was_let_in(&answer, caller, &route) {
                let_in.push(caller);
            } else {
                refused += 1;
            }
            let said = match Role::from_name(caller) {
                Some(role) => roles.contains(&role),
                None => open,
            };
            assert_eq!(let_in.last() == Some(&caller), said, "{caller} {route}");
        }
        writeln!(table, "{method:4} {path:51} {}", let_in.join(" ")).unwrap();
    }
    assert_eq!(table, TABLE);
    assert_eq!(contents(&*server.store).await, before);

    let page = call(&server, "GET", "/v1/prometheus", CALLERS[4].1, b"")
        .await
        .text();
    let counted: u64 = page
        .lines()
        .filter(|line| line.starts_with("lightning_http_refused_total"))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, refused, "{page}");
    for reason in ["no_token", "unknown_token", "role"] {
        assert!(page.contains(&format!("reason=\"{reason}\"")), "{page}");
    }
}

#[tokio::test]
async fn what_is_not_routed_is_told_to_those_only_who_have_a_token() {
    let server = Server::with(options()).await;
    for (caller, shown) in CALLERS {
        let has_token = !matches!(caller, "nobody" | "stranger");
        for (method, path, otherwise) in [
            ("GET", "/", 404),
            ("GET", "/v1/agl/nowhere", 404),
            ("DELETE", "/v1/agl/rollouts", 405),
            ("GET", "/v1/agl/spans/next", 405),
            ("OPTIONS", "/v1/agl/health", 405),
            ("HEAD", "/v1/agl/resources/latest", 200),
        ] {
            let answer = call(&server, method, path, shown, b"").await;
            let expected = if has_token { otherwise } else { 401 };
            assert_eq!(answer.status, expected, "{caller} {method} {path}");
        }
    }
    let head = call(&server, "HEAD", "/v1/agl/resources", CALLERS[3].1, b"").await;
    assert_eq!(head.status, 403);
}

/// Everything that is described for programs is in the table.
#[tokio::test]
async fn what_is_described_is_in_the_table() {
    let server = Server::start().await;
    let document = server.get("/v1/openapi.json").await.expect(200);
    let table: BTreeSet<(String, String)> = access()
        .into_iter()
        .map(|route| (route.method.to_lowercase(), route.path))
        .collect();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            assert!(table.contains(&(method.clone(), path.clone())), "{method} {path}");
        }
    }
}

/// A store with a secret wherever one can be, and the ids of what is in it.
async fn full_of_secrets(store: &dyn Store) -> [String; 4] {
    let unknown: Resource =
        serde_json::from_value(json!({"resource_type": "vault", "ticket": "sk-hidden"})).unwrap();
    let resources = NamedResources::new()
        .with(
            "main",
            Llm::new("http://u:sk-hidden@h/v1", "m")
                .with_api_key("sk-hidden")
                .with_sampling_parameter("extra_headers", json!({"Authorization": "Bearer sk-hidden"})),
        )
        .with(
            "proxy",
            lightning_core::types::ProxyLlm::new("http://h", "m").with_api_key("sk-hidden"),
        )
        .with(
            "mine",
            json!({"password": "sk-hidden", "rows": [{"api_key": "sk-hidden"}]}),
        )
        .with("new", unknown);
    let set = store.add_resources(resources).await.unwrap();
    let mut new = NewRollout::new(json!({"llm": {"api_key": "sk-hidden"}}));
    new.metadata = serde_json::from_value(json!({"apiKey": "sk-hidden"})).unwrap();
    let started = store.start_rollout(new, Some("w-1".into())).await.unwrap();
    let (rollout, attempt) = (started.rollout_id.clone(), started.attempt.attempt_id.clone());
    let mut span = Span::new(
        rollout.clone(),
        attempt.clone(),
        1,
        "t",
        "s",
        "agentlightning.object",
    );
    span.attributes
        .insert("llm.api_key".to_owned(), json!("sk-hidden"));
    span.attributes.insert(
        "agentlightning.object.json".to_owned(),
        json!(json!({"api_key": "sk-hidden"}).to_string()),
    );
    store.add_span(span).await.unwrap();
    let stats = json!({"access_token": "sk-hidden"}).as_object().cloned();
    store.update_worker("w-1".into(), stats).await.unwrap();
    [
        rollout.to_string(),
        attempt.to_string(),
        "w-1".to_owned(),
        set.resources_id.to_string(),
    ]
}

#[tokio::test]
async fn who_only_looks_sees_everything_but_secrets() {
    let server = Server::with(options()).await;
    let [rollout, attempt, worker, resources] = full_of_secrets(&*server.store).await;
    let mut seen = Vec::new();
    let mut redacted = 0;
    for route in access()
        .into_iter()
        .filter(|route| route.roles.contains(&Role::Read))
    {
        let path = route
            .path
            .replace("{rollout_id}", &rollout)
            .replace("{attempt_id}", &attempt)
            .replace("{worker_id}", &worker)
            .replace("{resources_id}", &resources);
        let path = if route.method == "GET" && path.ends_with("/spans") {
            format!("{path}?rollout_id={rollout}")
        } else {
            path
        };
        let body = json!({"rollout_id": rollout}).to_string();
        let body = if route.path.ends_with("/spans/search") {
            &*body
        } else {
            "{}"
        };
        let shown = call(&server, route.method, &path, CALLERS[2].1, body.as_bytes()).await;
        assert_eq!(shown.status, 200, "{path} {}", shown.text());
        assert!(
            !shown.text().contains("sk-hidden"),
            "{path} shows a secret: {}",
            shown.text()
        );
        redacted += shown.text().matches("[redacted]").count();
        // The same asked by an admin, to see that there was something to hide.
        let whole = call(&server, route.method, &path, CALLERS[4].1, body.as_bytes()).await;
        if whole.text().contains("sk-hidden") {
            seen.push(route.path);
        }
    }
    assert_eq!(
        seen,
        [
            "/v1/agl/rollouts",
            "/v1/agl/rollouts/search",
            "/v1/agl/rollouts/{rollout_id}",
            "/v1/agl/workers",
            "/v1/agl/workers/search",
            "/v1/agl/workers/{worker_id}",
            "/v1/agl/resources",
            "/v1/agl/resources/latest",
            "/v1/agl/resources/{resources_id}",
            "/v1/agl/spans",
            "/v1/agl/spans/search",
        ]
    );
    assert!(redacted > 20, "{redacted}");

    // A runner needs the key to call the model.
    let path = format!("/v1/agl/resources/{resources}");
    let needed = call(&server, "GET", &path, CALLERS[3].1, b"").await.expect(200);
    assert_eq!(needed["resources"]["main"]["api_key"], "sk-hidden");
    // What is no secret is the same for all.
    let mut read = call(&server, "GET", &path, CALLERS[2].1, b"").await.expect(200);
    assert_eq!(read["resources"]["main"]["model"], "m");
    for field in ["resources_id", "create_time", "update_time", "version"] {
        assert_eq!(read[field].take(), needed[field], "{field}");
    }
}

/// What the table opens to runners is what ours needs.
#[tokio::test]
async fn a_runner_of_ours_works_with_the_token_of_a_runner() {
    let server = Server::with(options()).await;
    let resources = NamedResources::new().with("main", Llm::new("http://h/v1", "m").with_api_key("sk"));
    server.store.add_resources(resources).await.unwrap();
    let id = server
        .store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let client = StoreClient::builder(server.url())
        .token("token-of-a-runner")
        .build()
        .unwrap();
    let store: Arc<dyn Store> = Arc::new(client);
    let agent = agent_fn(|_: Value, rollout: RolloutContext| async move {
        assert_eq!(rollout.resources().llm().unwrap().api_key, Some("sk".into()));
        emit_message("working").unwrap();
        1.0
    });
    let runner = Runner::builder(agent, Arc::clone(&store))
        .max_rollouts(Some(1))
        .build();
    runner.iter(&StopSignal::new()).await.unwrap();
    assert_rollout(&*server.store, &id)
        .await
        .succeeded()
        .attempts(1)
        .reward(1.0);
    assert_eq!(
        server
            .store
            .query_workers(Default::default())
            .await
            .unwrap()
            .total,
        1
    );

    let refused = store
        .enqueue_rollout(NewRollout::new(json!(2)))
        .await
        .unwrap_err();
    assert!(
        matches!(refused, StoreError::Invalid { field: "access", .. }),
        "{refused:?}"
    );
    assert!(refused.to_string().contains("that takes `admin`"), "{refused}");
}

#[tokio::test]
async fn tokens_are_exchanged_while_the_server_runs() {
    let options = options();
    let tokens = options.tokens.clone();
    let server = Server::with(options).await;
    let status = async |shown| call(&server, "GET", "/v1/agl/rollouts", shown, b"").await.status;
    assert_eq!(status(CALLERS[4].1).await, 200);
    tokens.replace(&Tokens::new().with(Role::Read, "new", "token-of-somebody-new"));
    assert_eq!(status(CALLERS[4].1).await, 401);
    assert_eq!(status(Some("Bearer token-of-somebody-new")).await, 200);
    // Tokens that vanish do not open the store.
    tokens.replace(&Tokens::new());
    for shown in [None, CALLERS[4].1, Some("Bearer "), Some("Basic Og==")] {
        assert_eq!(status(shown).await, 401);
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test]
async fn refusals_are_logged_and_no_token_ever_is() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let server = Server::with(options()).await;
    let mut answers = String::new();
    let mut expected = Vec::new();
    for route in access() {
        for (caller, shown) in CALLERS {
            let id = format!("{caller}-{}", expected.len());
            let mut headers = vec![
                "content-type: application/json".to_owned(),
                format!("x-request-id: {id}"),
            ];
            headers.extend(shown.map(|shown| format!("authorization: {shown}")));
            let headers: Vec<&str> = headers.iter().map(String::as_str).collect();
            let answer = server
                .send(route.method, &real(&route.path), &headers, b"[0]")
                .await;
            expected.push((id, answer.status, route.path.clone()));
            answers += &answer.head;
            answers += &answer.text();
        }
    }
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for (id, status, path) in expected {
        let line = log.lines().find(|line| {
            line.contains("refused a request") && line.contains(&format!("request_id=\"{id}\""))
        });
        match status {
            401 | 403 => {
                let line = line.unwrap_or_else(|| panic!("{id} {path} is not in the log"));
                assert!(
                    line.contains(&format!("status={status}")) && line.contains("WARN"),
                    "{line}"
                );
                assert_eq!(status == 403, line.contains("token=\"the-"), "{line}");
            }
            _ => assert_eq!(line, None),
        }
    }
    for (_, shown) in CALLERS {
        let Some((_, token)) = shown.and_then(|shown| shown.split_once(' ')) else {
            continue;
        };
        for (place, text) in [("log", &log), ("answers", &answers)] {
            assert!(!text.contains(token), "the {place} shows {token}");
            assert!(!text.contains("token-of-a"), "the {place} shows a token");
        }
    }
}

/// Breaks as soon as it is used.
struct Panics;

impl StoreLayer for Panics {
    fn before(&self, _: &'static str) -> Result<(), StoreError> {
        panic!("a defect")
    }
}

#[tokio::test]
async fn a_panic_shows_no_token() {
    let told = Arc::new(Mutex::new(String::new()));
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new({
        let told = told.clone();
        move |panic| {
            let backtrace = std::backtrace::Backtrace::force_capture();
            told.lock()
                .unwrap()
                .push_str(&format!("{panic:?} {panic} {backtrace}"));
            hook(panic);
        }
    }));
    let store = LayeredStore::new(Arc::new(MemoryStore::new()), Panics);
    let server = Server::over(Arc::new(store), options()).await;
    let answer = call(&server, "GET", "/v1/agl/rollouts/ro-1", CALLERS[4].1, b"").await;
    let told = told.lock().unwrap().clone();
    assert_eq!(answer.status, 500);
    assert!(told.contains("a defect"), "{told}");
    assert!(!(told + &answer.head + &answer.text()).contains("token-of"));
}
