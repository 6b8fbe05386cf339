//! What the LLM proxy costs beside a bare byte forwarder.
//!
//! `cargo bench -p lightning-tests --features proxy --bench proxy`. The forwarder is hyper's server and hyper's client with
//! nothing in between: it reads no body, keeps nothing and knows one backend. Both stand before the same scripted backend and
//! get the same requests, in alternating rounds; medians are printed. Throughput is compared by processor time of the server's
//! thread for each request, latency and time to the first byte at one connection, as what each adds to a direct call.
//!
//! With `LIGHTNING_LITELLM=path/to/python`, an interpreter that has `litellm[proxy]`, LiteLLM's proxy is measured too, with one
//! worker before the same backend; neither records anything then.

use std::{
    convert::Infallible,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use hyper::{Request, Response, Uri, body::Incoming, header, server::conn::http1, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use lightning_core::{
    llm_proxy::{ControlProxy as _, ProxyModel, ReverseProxy},
    store::{MemoryStore, Store},
    types::NewRollout,
};
use lightning_tests::{
    instant::{self, Answers, content_length, position},
    scratch::Scratch,
};
use serde_json::json;
use tokio::net::TcpListener;

const ROUNDS: usize = 7;
const CONNECTIONS: usize = 8;
const REQUESTS: usize = 4_000;
const LATENCIES: usize = 1_000;
/// For LiteLLM, which takes its time.
const FEW: usize = 400;

/// A server on a thread of its own.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    /// What tells its processor time.
    cpu: Cpu,
    prefix: String,
}

#[derive(Clone)]
enum Cpu {
    /// Of a thread, in nanoseconds.
    Thread(String),
    /// Of all threads of a process, in hundredths of a second.
    Process(String),
}

impl Server {
    /// Runs `serve` on a thread of its own; it says where it listens.
    fn start<F: Future<Output = ()>>(
        serve: impl FnOnce(mpsc::Sender<(SocketAddr, String)>) -> F + Send + 'static,
    ) -> Self {
        let (sender, ready) = mpsc::channel();
        let (named, thread) = mpsc::channel();
        thread::spawn(move || {
            let thread = fs::read_link("/proc/thread-self").unwrap();
            named
                .send(format!("/proc/{}/schedstat", thread.display()))
                .unwrap();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(serve(sender));
        });
        let (address, prefix) = ready.recv().unwrap();
        Self {
            address,
            prefix,
            cpu: Cpu::Thread(thread.recv().unwrap()),
        }
    }

    /// Processor time so far.
    fn cpu(&self) -> Duration {
        match &self.cpu {
            Cpu::Thread(file) => {
                let line = fs::read_to_string(file).unwrap();
                Duration::from_nanos(line.split(' ').next().unwrap().parse().unwrap())
            }
            Cpu::Process(file) => {
                let line = fs::read_to_string(file).unwrap();
                // The name, which may hold spaces, ends in the last bracket; then come fields from the third on.
                let (_, fields) = line.rsplit_once(')').unwrap();
                let fields = fields.split_whitespace().skip(11).take(2);
                Duration::from_millis(fields.map(|ticks| ticks.parse::<u64>().unwrap() * 10).sum())
            }
        }
    }
}

/// LiteLLM's proxy as a process, until it is dropped.
struct LiteLlm {
    process: Child,
    server: Server,
    _folder: Scratch,
}

impl LiteLlm {
    fn start(python: &str, backend: SocketAddr) -> Self {
        let folder = Scratch::fast();
        let config = folder.path("litellm.yaml");
        let text = format!(
            "model_list:\n  - model_name: m\n    litellm_params:\n      model: openai/m\n      \
             api_base: http://{backend}/v1\n      api_key: none\nlitellm_settings:\n  num_retries: 0\n  telemetry: false\n"
        );
        fs::write(&config, text).unwrap();
        let address = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .unwrap();
        let run = "from litellm.proxy.proxy_cli import run_server; run_server()";
        let process = Command::new(python)
            .args(["-c", run, "--host", "127.0.0.1", "--num_workers", "1", "--port"])
            .arg(address.port().to_string())
            .arg("--config")
            .arg(&config)
            .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
            .env("LITELLM_LOG", "ERROR")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let began = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(
                began.elapsed() < Duration::from_secs(180),
                "LiteLLM does not listen"
            );
            pause(Duration::from_millis(200));
        }
        let server = Server {
            address,
            cpu: Cpu::Process(format!("/proc/{}/stat", process.id())),
            prefix: String::new(),
        };
        Self {
            process,
            server,
            _folder: folder,
        }
    }
}

impl Drop for LiteLlm {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark, in which nothing else runs"
)]
fn pause(duration: Duration) {
    thread::sleep(duration);
}

/// Answers every request at once: with an object, or with a stream of events.
async fn backend(ready: mpsc::Sender<(SocketAddr, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready
        .send((listener.local_addr().unwrap(), String::new()))
        .unwrap();
    instant::serve(listener, Arc::new(Answers::new())).await;
}

/// The bare forwarder.
async fn forwarder(backend: SocketAddr, ready: mpsc::Sender<(SocketAddr, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready
        .send((listener.local_addr().unwrap(), String::new()))
        .unwrap();
    let mut http = HttpConnector::new();
    http.set_nodelay(true);
    let client: Client<HttpConnector, Incoming> = Client::builder(TokioExecutor::new()).build(http);
    loop {
        let (connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        let client = client.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            let client = client.clone();
            async move {
                let uri: Uri = format!("http://{backend}{}", request.uri().path())
                    .parse()
                    .unwrap();
                *request.uri_mut() = uri;
                request.headers_mut().remove(header::HOST);
                let answer: Response<Incoming> = client.request(request).await.unwrap();
                Ok::<_, Infallible>(answer)
            }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(connection), service));
    }
}

/// Our proxy. With a store, calls belong to an attempt and are recorded, on the same thread.
async fn proxy(backend: SocketAddr, records: bool, ready: mpsc::Sender<(SocketAddr, String)>) {
    let mut builder = ReverseProxy::builder().model(ProxyModel::new("m", format!("http://{backend}/v1")));
    let mut prefix = String::new();
    if records {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let started = store
            .start_rollout(NewRollout::new(json!(0)), None)
            .await
            .unwrap();
        prefix = format!(
            "/rollout/{}/attempt/{}",
            started.rollout_id, started.attempt.attempt_id
        );
        builder = builder.store(store);
    }
    let proxy = builder.build().unwrap();
    proxy.start().await.unwrap();
    ready.send((proxy.address().unwrap(), prefix)).unwrap();
    std::future::pending::<()>().await;
}

/// A client's connection, and what it reads into.
struct Caller {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Caller {
    fn new(server: &Server, streams: bool) -> Self {
        let stream = TcpStream::connect(server.address).unwrap();
        stream.set_nodelay(true).unwrap();
        let body = json!({
            "messages": [{"role": "user", "content": "word ".repeat(200)}],
            "model": "m", "stream": streams, "temperature": 1.0,
        })
        .to_string();
        let request = format!(
            "POST {}/v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             authorization: Bearer none\r\naccept: application/json\r\nuser-agent: bench\r\ncontent-length: {}\r\n\r\n{body}",
            server.prefix,
            body.len()
        );
        Self {
            stream,
            request: request.into_bytes(),
            buffer: vec![0; 1 << 18],
        }
    }

    /// One call; gives when the first and the last byte of the answer were there.
    fn call(&mut self) -> (Duration, Duration) {
        let began = Instant::now();
        self.stream.write_all(&self.request).unwrap();
        let (mut filled, mut first) = (0, None);
        loop {
            let count = self.stream.read(&mut self.buffer[filled..]).unwrap();
            assert!(count > 0, "the connection was closed");
            first.get_or_insert_with(|| began.elapsed());
            filled += count;
            let bytes = &self.buffer[..filled];
            let Some(end) = position(bytes, b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&bytes[..end]).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let complete = match content_length(head.as_bytes()) {
                0 => bytes.ends_with(b"\r\n0\r\n\r\n"),
                length => filled >= end + 4 + length,
            };
            if complete {
                return (first.unwrap(), began.elapsed());
            }
        }
    }
}

/// Processor time of the server for each request.
fn cost(server: &Server, streams: bool, requests: usize) -> Duration {
    let mut callers: Vec<Caller> = (0..CONNECTIONS).map(|_| Caller::new(server, streams)).collect();
    for caller in &mut callers {
        caller.call();
    }
    let before = server.cpu();
    thread::scope(|scope| {
        for caller in &mut callers {
            scope.spawn(|| {
                for _ in 0..requests / CONNECTIONS {
                    caller.call();
                }
            });
        }
    });
    // What is recorded afterwards counts too.
    pause(Duration::from_millis(300));
    (server.cpu() - before) / u32::try_from(requests).unwrap()
}

/// Times at one connection: to the first byte, and to the last; sorted.
fn latencies(server: &Server, streams: bool, count: usize) -> [Vec<Duration>; 2] {
    let mut caller = Caller::new(server, streams);
    for _ in 0..50 {
        caller.call();
    }
    let (mut first, mut last): (Vec<_>, Vec<_>) = (0..count).map(|_| caller.call()).unzip();
    first.sort();
    last.sort();
    [first, last]
}

fn median<T: Copy + PartialOrd>(mut values: Vec<T>) -> T {
    values.sort_by(|a, b| a.partial_cmp(b).expect("no NaN"));
    values[values.len() / 2]
}

fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

fn main() {
    let backend = Server::start(backend);
    let address = backend.address;
    let bare = Server::start(move |ready| forwarder(address, ready));
    let ours = Server::start(move |ready| proxy(address, false, ready));
    let recording = Server::start(move |ready| proxy(address, true, ready));
    println!(
        "processor time of the server for a request, {CONNECTIONS} connections, {ROUNDS} rounds of {REQUESTS}"
    );
    for (what, streams) in [
        ("plain, 1 kB in and 2 kB out", false),
        ("a stream of 50 events", true),
    ] {
        let mut costs = [const { Vec::new() }; 3];
        for _ in 0..ROUNDS {
            for (server, costs) in [&bare, &ours, &recording].into_iter().zip(&mut costs) {
                costs.push(micros(cost(server, streams, REQUESTS)));
            }
        }
        let ratio = |place: usize| {
            let ratios = costs[0].iter().zip(&costs[place]).map(|(bare, ours)| bare / ours);
            median(ratios.collect())
        };
        let (unrecorded, recorded) = (ratio(1), ratio(2));
        let [bare, ours, recording] = costs.map(median);
        println!(
            "  {what}: forwarder {bare:.1} µs, proxy {ours:.1} µs: {unrecorded:.2} of its requests (target 0.80)"
        );
        println!("  {what}, recorded in memory: {recording:.1} µs: {recorded:.2}");
    }
    println!("added to a direct call at one connection, {ROUNDS} rounds of {LATENCIES}");
    for (what, streams, which) in [
        ("last byte, plain", false, 1),
        ("first byte of a stream", true, 0),
    ] {
        let mut added = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let direct = &latencies(&backend, streams, LATENCIES)[which];
            for (place, server) in [&bare, &ours].into_iter().enumerate() {
                let through = &latencies(server, streams, LATENCIES)[which];
                for (half, rank) in [LATENCIES / 2, LATENCIES * 99 / 100].into_iter().enumerate() {
                    added[place * 2 + half].push(micros(through[rank]) - micros(direct[rank]));
                }
            }
        }
        let [bare_50, bare_99, ours_50, ours_99] = added.map(median);
        println!(
            "  {what}: forwarder p50 {bare_50:.0} µs, p99 {bare_99:.0} µs; proxy p50 {ours_50:.0} µs, p99 {ours_99:.0} µs: \
             {:.2} of its p99 (target 2)",
            ours_99 / bare_99
        );
    }
    match std::env::var("LIGHTNING_LITELLM") {
        Ok(python) => beside_litellm(&python, &backend, &ours),
        Err(_) => println!("LiteLLM was not asked for (LIGHTNING_LITELLM)"),
    }
}

/// The same requests through LiteLLM's proxy.
fn beside_litellm(python: &str, backend: &Server, ours: &Server) {
    let theirs = LiteLlm::start(python, backend.address);
    println!("beside LiteLLM with one worker, {ROUNDS} rounds of {FEW}");
    for (what, streams) in [("plain", false), ("a stream of 50 events", true)] {
        // Time for each request: of the processor; until the first byte and the last at one connection.
        let mut times = [const { Vec::new() }; 6];
        for _ in 0..ROUNDS {
            for (place, server) in [ours, &theirs.server].into_iter().enumerate() {
                times[place].push(micros(cost(server, streams, FEW)));
                let [first, last] = latencies(server, streams, FEW);
                times[place + 2].push(micros(first[FEW / 2]));
                times[place + 4].push(micros(last[FEW / 2]));
            }
        }
        let [cpu, their_cpu, first, their_first, last, their_last] = times.map(median);
        println!(
            "  {what}: processor time {cpu:.0} µs and {their_cpu:.0} µs: {:.0} times; first byte after {first:.0} µs and \
             {their_first:.0} µs, last one after {last:.0} µs and {their_last:.0} µs (p50 at one connection)",
            their_cpu / cpu
        );
    }
}
