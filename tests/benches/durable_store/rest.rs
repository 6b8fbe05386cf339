//! Over HTTP, against the memory store behind the same server.

use std::{sync::Arc, time::Instant};

use lightning_core::{
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, SqliteStore, Store},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use super::{ROUNDS, compare, folder, task};

const CONNECTIONS: usize = 256;
const REQUESTS_EACH: usize = 40;

pub fn run() {
    let folder = folder();
    let memory = Served::start(Arc::new(MemoryStore::new()));
    let durable = Served::start(Arc::new(SqliteStore::open(folder.path("store.db")).unwrap()));
    let driver = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut rates = [Vec::new(), Vec::new()];
    let mut costs = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        for (side, served) in [&durable, &memory].into_iter().enumerate() {
            let before = server_time();
            let began = Instant::now();
            driver.block_on(drive(&served.address));
            let requests = (CONNECTIONS * REQUESTS_EACH) as f64;
            rates[side].push(requests / began.elapsed().as_secs_f64());
            costs[side].push((server_time() - before) / requests);
        }
    }
    let [durable_rates, memory_rates] = &rates;
    compare(
        "256 connections, writes over HTTP",
        "1/s",
        durable_rates,
        memory_rates,
        "≥ 0.75",
    );
    let [durable_costs, memory_costs] = &costs;
    compare(
        "256 connections, the server's processor time for a write (memory against durable)",
        "ns",
        memory_costs,
        durable_costs,
        "≥ 0.75",
    );
}

/// A server in a runtime of its own, so that its processor time can be told from the driver's.
struct Served {
    address: String,
    stop: CancellationToken,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Served {
    fn start(store: Arc<dyn Store>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(1)
                .thread_name("server")
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let server = StoreServer::on(listener, store, ServerOptions::default()).unwrap();
                tokio::spawn(server.serve(stopped)).await.unwrap();
            });
        });
        Self {
            address,
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
        self.thread.take().map(std::thread::JoinHandle::join);
    }
}

/// Nanoseconds that the threads of servers and stores have run; 0 where the system does not tell.
fn server_time() -> f64 {
    let Ok(threads) = std::fs::read_dir("/proc/self/task") else {
        return 0.0;
    };
    let mut total = 0.0;
    for thread in threads.flatten() {
        let read = |name: &str| std::fs::read_to_string(thread.path().join(name)).unwrap_or_default();
        let name = read("comm");
        if name.starts_with("server") || name.starts_with("store-") {
            let ran = read("schedstat");
            total += ran
                .split(' ')
                .next()
                .and_then(|ran| ran.parse().ok())
                .unwrap_or(0.0);
        }
    }
    total
}

async fn drive(address: &str) {
    let body = serde_json::json!({ "rollouts": [task()] }).to_string();
    let request = format!(
        "POST /v1/agl/queues/rollouts/enqueue HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let local = tokio::task::LocalSet::new();
    for _ in 0..CONNECTIONS {
        let (address, request) = (address.to_owned(), request.clone());
        local.spawn_local(async move {
            let mut connection = TcpStream::connect(address).await.unwrap();
            let mut answer = Vec::with_capacity(4096);
            for _ in 0..REQUESTS_EACH {
                connection.write_all(request.as_bytes()).await.unwrap();
                read_answer(&mut connection, &mut answer).await;
            }
        });
    }
    local.await;
}

/// Reads one answer, whose length its head tells.
async fn read_answer(connection: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    loop {
        assert_ne!(
            connection.read_buf(answer).await.unwrap(),
            0,
            "the server hung up"
        );
        let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = std::str::from_utf8(&answer[..end]).unwrap().to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 201"), "{head}");
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        if answer.len() >= end + 4 + length {
            return;
        }
    }
}
