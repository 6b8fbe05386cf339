//! What the LLM proxy costs beside a bare byte forwarder.
//!
//! `cargo bench -p lightning-tests --features full --bench proxy`. The forwarder is hyper's server and hyper's client with
//! nothing in between: it reads no body, keeps nothing and knows one backend. Both stand before the same scripted backend and
//! get the same requests, in alternating rounds; medians are printed. Throughput is compared by processor time of the server's
//! thread for each request, latency and time to the first byte at one connection, as what each adds to a direct call.

use std::{
    convert::Infallible,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
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
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

const ROUNDS: usize = 7;
const CONNECTIONS: usize = 8;
const REQUESTS: usize = 4_000;
const LATENCIES: usize = 1_000;
const EVENTS: usize = 50;

/// A server on a thread of its own.
#[derive(Clone)]
struct Server {
    address: SocketAddr,
    thread: String,
    prefix: String,
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
            thread: thread.recv().unwrap(),
        }
    }

    /// Processor time so far.
    fn cpu(&self) -> Duration {
        let line = fs::read_to_string(&self.thread).unwrap();
        Duration::from_nanos(line.split(' ').next().unwrap().parse().unwrap())
    }
}

/// Answers every request at once: with an object, or with a stream of events.
async fn backend(ready: mpsc::Sender<(SocketAddr, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    ready
        .send((listener.local_addr().unwrap(), String::new()))
        .unwrap();
    let answer = json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "word ".repeat(200)},
            "finish_reason": "stop", "token_ids": (0..200).collect::<Vec<u32>>()}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 200, "total_tokens": 300},
    });
    let body = answer.to_string();
    let plain = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let event = json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m",
        "choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": null}],
    });
    let event = format!("data: {event}\n\n");
    let event = format!("{:x}\r\n{event}\r\n", event.len());
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let stream = format!("{head}{}e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n", event.repeat(EVENTS));
    let answers = Arc::new((plain, stream));
    loop {
        let (mut connection, _) = listener.accept().await.unwrap();
        connection.set_nodelay(true).unwrap();
        let answers = Arc::clone(&answers);
        tokio::spawn(async move {
            let mut bytes = Vec::new();
            loop {
                let text = String::from_utf8_lossy(&bytes).into_owned();
                if let Some((head, body)) = text.split_once("\r\n\r\n")
                    && body.len() >= length(head)
                {
                    let answer = if body.contains("\"stream\":true") {
                        &answers.1
                    } else {
                        &answers.0
                    };
                    if connection.write_all(answer.as_bytes()).await.is_err() {
                        return;
                    }
                    bytes.clear();
                    continue;
                }
                match connection.read_buf(&mut bytes).await {
                    Ok(1..) => {}
                    _ => return,
                }
            }
        });
    }
}

fn length(head: &str) -> usize {
    let line = head.lines().find_map(|line| {
        line.to_ascii_lowercase()
            .strip_prefix("content-length:")
            .map(str::to_owned)
    });
    line.map_or(0, |length| length.trim().parse().unwrap())
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
            let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
                continue;
            };
            let head = std::str::from_utf8(&bytes[..end]).unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            let complete = match length(head) {
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
fn cost(server: &Server, streams: bool) -> Duration {
    let mut callers: Vec<Caller> = (0..CONNECTIONS).map(|_| Caller::new(server, streams)).collect();
    for caller in &mut callers {
        caller.call();
    }
    let before = server.cpu();
    thread::scope(|scope| {
        for caller in &mut callers {
            scope.spawn(|| {
                for _ in 0..REQUESTS / CONNECTIONS {
                    caller.call();
                }
            });
        }
    });
    // What is recorded afterwards counts too.
    #[expect(
        clippy::disallowed_methods,
        reason = "a benchmark, in which nothing else runs"
    )]
    thread::sleep(Duration::from_millis(300));
    (server.cpu() - before) / u32::try_from(REQUESTS).unwrap()
}

/// Times at one connection: to the first byte, and to the last; sorted.
fn latencies(server: &Server, streams: bool) -> [Vec<Duration>; 2] {
    let mut caller = Caller::new(server, streams);
    for _ in 0..50 {
        caller.call();
    }
    let (mut first, mut last): (Vec<_>, Vec<_>) = (0..LATENCIES).map(|_| caller.call()).unzip();
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
                costs.push(micros(cost(server, streams)));
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
            let direct = &latencies(&backend, streams)[which];
            for (place, server) in [&bare, &ours].into_iter().enumerate() {
                let through = &latencies(server, streams)[which];
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
}
