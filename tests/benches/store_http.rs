//! What a store costs over HTTP, in processor time of the server for each operation.
//!
//! `cargo bench -p lightning-tests --features full --bench store_http`. Ours runs beside a bare axum router whose handlers
//! read and write the same types and keep nothing, behind a layer that does what stands around ours: who is let in, a request
//! id, caught panics, figures, an event for the log. Both answer the same bytes from the same driver, in alternating rounds,
//! and medians are printed with their ratio. With `LIGHTNING_PYTHON` naming an interpreter that has `agentlightning`, the
//! reference's server is driven likewise.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    panic::AssertUnwindSafe,
    process::{Child, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures::FutureExt as _;
use lightning_core::{
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, Store},
    types::{Attempt, AttemptPatch, AttemptedRollout, NewRollout, Rollout, RolloutSnapshot, Span},
};
use lightning_tests::tier;
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value as Kind},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span as ProtoSpan},
};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

const ROUNDS: usize = 7;
const REQUESTS: usize = 3_000;
const EXPORTS: usize = 100;
const SPANS_PER_EXPORT: usize = 50;
const LIVES: usize = 100;

/// A server, and where its processor time can be read.
struct Server {
    address: SocketAddr,
    clock: Clock,
}

enum Clock {
    /// The thread of this process that serves.
    Thread(u32),
    Process(Child),
}

impl Server {
    /// Processor time so far.
    fn cpu(&self) -> Duration {
        match &self.clock {
            Clock::Thread(id) => {
                let line = fs::read_to_string(format!("/proc/self/task/{id}/schedstat")).unwrap();
                Duration::from_nanos(line.split(' ').next().unwrap().parse().unwrap())
            }
            Clock::Process(process) => {
                let stat = fs::read_to_string(format!("/proc/{}/stat", process.id())).unwrap();
                let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
                let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
                Duration::from_millis(ticks * 10)
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Clock::Process(process) = &mut self.clock {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Serves on a thread of its own, until the program ends.
fn serve<F: Future<Output = ()>>(make: impl FnOnce(std::net::TcpListener) -> F + Send + 'static) -> Server {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let id = fs::read_link("/proc/thread-self").unwrap();
        tell.send(id.file_name().unwrap().to_str().unwrap().parse().unwrap())
            .unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { make(listener).await });
    });
    Server {
        address,
        clock: Clock::Thread(told.recv().unwrap()),
    }
}

fn ours() -> (Server, Arc<dyn Store>) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let shared = store.clone();
    let server = serve(move |listener| async move {
        let server = StoreServer::on(listener, shared, ServerOptions::default()).unwrap();
        server.serve(CancellationToken::new()).await;
    });
    (server, store)
}

#[derive(Serialize, Deserialize)]
struct Enqueue {
    rollouts: Vec<NewRollout>,
}

/// What a route of ours counts.
#[derive(Default)]
struct Figures {
    answered: [AtomicU64; 5],
    nanoseconds: AtomicU64,
}

/// Whether the caller is let in, and the id of the request.
fn known(headers: &HeaderMap) -> (bool, String) {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let is_local = text(header::HOST)
        .is_none_or(|host| host.eq_ignore_ascii_case("localhost") || host.parse::<SocketAddr>().is_ok());
    let id = text(HeaderName::from_static("x-request-id"));
    let id = id.map_or_else(|| format!("{:016x}", rand::random::<u64>()), str::to_owned);
    (is_local && text(header::ORIGIN).is_none(), id)
}

/// What stands around each handler of ours.
async fn around(State(figures): State<Arc<Figures>>, request: Request, next: Next) -> Response {
    let began = Instant::now();
    let (is_let_in, id) = known(request.headers());
    if !is_let_in {
        return StatusCode::FORBIDDEN.into_response();
    }
    let method = request.method().clone();
    let answered = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    let mut answer = answered.unwrap_or_else(|_| StatusCode::INTERNAL_SERVER_ERROR.into_response());
    let (status, took) = (answer.status().as_u16(), began.elapsed());
    tracing::debug!(id, %method, status, seconds = took.as_secs_f64(), "answered");
    figures.answered[usize::from(status / 100 - 1).min(4)].fetch_add(1, Ordering::Relaxed);
    let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    figures.nanoseconds.fetch_add(took, Ordering::Relaxed);
    let headers = answer.headers_mut();
    let features = HeaderValue::from_static("wait,idempotency,batch,fleet,records");
    headers.insert(HeaderName::from_static("lightning-features"), features);
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("x-request-id"), id);
    }
    answer
}

/// Handlers that read and write what ours do, and keep nothing.
fn bare(rollout: Rollout, started: AttemptedRollout) -> Server {
    serve(move |listener| async move {
        listener.set_nonblocking(true).unwrap();
        let snapshot = RolloutSnapshot {
            rollout: started.rollout.clone(),
            attempt: Some(started.attempt.clone()),
        };
        let attempt = started.attempt.clone();
        let agl = Router::new()
            .route(
                "/queues/rollouts/enqueue",
                post(async move |Json(body): Json<Enqueue>| {
                    drop(body);
                    (StatusCode::CREATED, Json(vec![rollout.clone()]))
                }),
            )
            .route(
                "/queues/rollouts/dequeue",
                post(async move |Json(body): Json<Value>| {
                    drop(body);
                    Json(vec![started.clone()])
                }),
            )
            .route(
                "/rollouts/{id}",
                get(async move |Path(id): Path<String>| {
                    drop(id);
                    Json(snapshot.clone())
                }),
            )
            .route(
                "/rollouts/{id}/attempts/{attempt}",
                post(
                    async move |Path(ids): Path<(String, String)>, Json(patch): Json<AttemptPatch>| {
                        drop((ids, patch));
                        Json::<Attempt>(attempt.clone())
                    },
                ),
            )
            .route(
                "/spans",
                post(async |Json(span): Json<Span>| (StatusCode::CREATED, Json(span))),
            );
        let traces = post(async |body: axum::body::Bytes| {
            drop(ExportTraceServiceRequest::decode(&*body).unwrap());
            StatusCode::OK
        });
        let router = Router::new()
            .nest("/v1/agl", agl)
            .route("/v1/traces", traces)
            .layer(from_fn_with_state(Arc::new(Figures::default()), around));
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        axum::serve(listener, router).await.unwrap();
    })
}

fn python() -> Option<Server> {
    let python = tier::python()?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let mut command = python.script("store_server.py");
    command
        .arg(free.port().to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let process = command.spawn().unwrap();
    while TcpStream::connect(free).is_err() {
        thread::yield_now();
    }
    Some(Server {
        address: free,
        clock: Clock::Process(process),
    })
}

/// A connection that is kept open.
struct Driver(TcpStream);

impl Driver {
    fn to(server: &Server) -> Self {
        let connection = TcpStream::connect(server.address).unwrap();
        connection.set_nodelay(true).unwrap();
        Self(connection)
    }

    fn get(&mut self, path: &str) -> Vec<u8> {
        self.exchange(
            format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes(),
            b"",
        )
    }

    fn post(&mut self, path: &str, body: &Value) -> Value {
        let answer = self.send(path, "application/json", body.to_string().as_bytes());
        serde_json::from_slice(&answer).unwrap_or_default()
    }

    fn send(&mut self, path: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.exchange(head.as_bytes(), body)
    }

    fn exchange(&mut self, head: &[u8], body: &[u8]) -> Vec<u8> {
        self.0.write_all(&[head, body].concat()).unwrap();
        let mut bytes = Vec::new();
        let mut buffer = [0; 65_536];
        loop {
            let count = self.0.read(&mut buffer).unwrap();
            assert!(count > 0, "the server closed the connection");
            bytes.extend_from_slice(&buffer[..count]);
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            assert!(head.starts_with("http/1.1 20"), "{head}");
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if bytes.len() >= end + 4 + length {
                return bytes.split_off(end + 4);
            }
        }
    }
}

fn span(rollout: &str, attempt: &str, number: usize) -> Value {
    json!({
        "rollout_id": rollout, "attempt_id": attempt, "sequence_id": number, "trace_id": format!("{number:032x}"),
        "span_id": format!("{number:016x}"), "parent_id": null, "name": "openai.chat.completion",
        "status": {"status_code": "OK", "description": null},
        "attributes": {"gen_ai.prompt.0.content": "x".repeat(700), "gen_ai.usage.input_tokens": 700, "gen_ai.temperature": 0.7},
        "events": [], "links": [], "start_time": 1.5, "end_time": 2.5, "context": null, "parent": null,
        "resource": {"attributes": {"service.name": "agent"}, "schema_url": ""},
    })
}

fn export(rollout: &str, attempt: &str, number: usize) -> Vec<u8> {
    let text = |key: &str, value: String| KeyValue {
        key: key.to_owned(),
        value: Some(AnyValue {
            value: Some(Kind::StringValue(value)),
        }),
        ..KeyValue::default()
    };
    let spans = (0..SPANS_PER_EXPORT).map(|index| ProtoSpan {
        trace_id: vec![7; 16],
        span_id: (1 + (number * SPANS_PER_EXPORT + index) as u64)
            .to_be_bytes()
            .to_vec(),
        name: "openai.chat.completion".to_owned(),
        start_time_unix_nano: 1_500_000_000,
        end_time_unix_nano: 2_500_000_000,
        attributes: vec![
            text("gen_ai.prompt.0.content", "x".repeat(700)),
            text("gen_ai.request.model", "m".to_owned()),
        ],
        ..ProtoSpan::default()
    });
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: vec![
                    text("agentlightning.rollout_id", rollout.to_owned()),
                    text("agentlightning.attempt_id", attempt.to_owned()),
                ],
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans {
                spans: spans.collect(),
                ..ScopeSpans::default()
            }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec()
}

/// A request that is made again and again, with a number that is different each time.
type Operation<'a> = &'a dyn Fn(&mut Driver, usize);

/// Processor time of the server for each of so many operations.
fn cost(server: &Server, operations: usize, work: impl FnOnce(&mut Driver)) -> f64 {
    let mut driver = Driver::to(server);
    let before = server.cpu();
    work(&mut driver);
    (server.cpu() - before).as_secs_f64() / operations as f64 * 1e6
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// One rollout from the queue to its end, with 15 spans.
fn life(driver: &mut Driver) {
    driver.post(
        "/v1/agl/queues/rollouts/enqueue",
        &json!({"rollouts": [{"input": {"question": "What is 6 × 7?"}}]}),
    );
    let claimed = driver.post("/v1/agl/queues/rollouts/dequeue", &json!({"worker_id": "w"}));
    let (rollout, attempt) = (
        claimed[0]["rollout_id"].as_str().unwrap(),
        claimed[0]["attempt"]["attempt_id"].as_str().unwrap(),
    );
    for number in 1..=15 {
        driver.post("/v1/agl/spans", &span(rollout, attempt, number));
    }
    driver.post(
        &format!("/v1/agl/rollouts/{rollout}/attempts/{attempt}"),
        &json!({"status": "succeeded"}),
    );
    driver.get(&format!("/v1/agl/rollouts/{rollout}"));
}

fn main() {
    let (ours, store) = ours();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (rollout, started) = runtime.block_on(async {
        let input = json!({"question": "What is 6 × 7?"});
        let rollout = store
            .enqueue_rollout(NewRollout::new(input.clone()))
            .await
            .unwrap();
        store.dequeue_rollout(None).await.unwrap();
        (
            rollout,
            store.start_rollout(NewRollout::new(input), None).await.unwrap(),
        )
    });
    let (id, attempt) = (
        started.rollout_id.to_string(),
        started.attempt.attempt_id.to_string(),
    );
    let bare = bare(rollout, started);

    println!("µs of the server's processor time for each operation; medians of {ROUNDS} rounds");
    println!(
        "{:<28} {:>8} {:>8} {:>16}",
        "operation", "ours", "bare", "bare ÷ ours"
    );
    let mut serial = 0;
    let paths = [
        format!("/v1/agl/rollouts/{id}"),
        format!("/v1/agl/rollouts/{id}/attempts/{attempt}"),
    ];
    let [read_path, update_path] = &paths;
    let operations: [(&str, Operation<'_>); 4] = [
        ("read a rollout", &|driver, _| drop(driver.get(read_path))),
        ("update an attempt", &|driver, _| {
            driver.post(update_path, &json!({"last_heartbeat_time": 1.5}));
        }),
        ("enqueue and claim", &|driver, _| {
            driver.post(
                "/v1/agl/queues/rollouts/enqueue",
                &json!({"rollouts": [{"input": {"question": "What is 6 × 7?"}}]}),
            );
            driver.post("/v1/agl/queues/rollouts/dequeue", &json!({"worker_id": "w"}));
        }),
        ("store a span of 1 KiB", &|driver, number| {
            driver.post("/v1/agl/spans", &span(&id, &attempt, number));
        }),
    ];
    for (name, operation) in operations {
        let (mut our_figures, mut bare_figures) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            for (server, figures) in [(&ours, &mut our_figures), (&bare, &mut bare_figures)] {
                serial += REQUESTS;
                figures.push(cost(server, REQUESTS, |driver| {
                    (0..REQUESTS).for_each(|n| operation(driver, serial + n));
                }));
            }
        }
        print_row(name, median(our_figures), median(bare_figures));
    }

    let (mut our_figures, mut bare_figures) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let exports: Vec<Vec<u8>> = (0..EXPORTS)
            .map(|n| export(&id, &attempt, (1 << 32) + round * EXPORTS + n))
            .collect();
        for (server, figures) in [(&ours, &mut our_figures), (&bare, &mut bare_figures)] {
            figures.push(cost(server, EXPORTS * SPANS_PER_EXPORT, |driver| {
                for export in &exports {
                    driver.send("/v1/traces", "application/x-protobuf", export);
                }
            }));
        }
    }
    print_row(
        "a span of an OTLP export",
        median(our_figures),
        median(bare_figures),
    );

    let Some(theirs) = python() else { return };
    println!("{:<28} {:>8} {:>8} {:>16}", "", "ours", "Python", "Python ÷ ours");
    let (mut our_figures, mut their_figures) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        for (server, figures) in [(&ours, &mut our_figures), (&theirs, &mut their_figures)] {
            figures.push(cost(server, LIVES, |driver| {
                (0..LIVES).for_each(|_| life(driver));
            }));
        }
    }
    print_row("a life with 15 spans", median(our_figures), median(their_figures));
}

fn print_row(name: &str, ours: f64, other: f64) {
    println!("{name:<28} {ours:>8.1} {other:>8.1} {:>16.2}", other / ours);
}
