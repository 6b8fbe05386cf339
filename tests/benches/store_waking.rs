//! How long a caller over HTTP waits after what it waits for has happened, among 1 000 that are parked; and what they cost
//! while they are.
//!
//! `cargo bench -p lightning-tests --features full --bench store_waking`. Each of 1 000 connections has asked to wait for a
//! rollout of its own, and rollouts are ended one by one; measured is the time from the call of `update_attempt(succeeded)`
//! to the moment at which the answer has arrived. Beside it, the least that there can be: handlers of axum that are parked
//! on Tokio's `Notify` and answer the same bytes, notified one by one. Rounds of both alternate; the medians over the rounds
//! are printed. The targets are a ratio of 1.3 at the median and of 2 at the 99th percentile.
//!
//! Before that, the 1 000 are parked for a minute, or for `LIGHTNING_PARKED_SECONDS`, and the processor time is told that
//! this process has used meanwhile, clients included.

use std::{
    fs,
    future::Future,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, extract::Path, routing::post};
use lightning_core::{
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, Store},
    types::{AttemptPatch, AttemptStatus, NewRollout, RolloutId},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::{Notify, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

const WAITERS: usize = 1_000;
const WOKEN: usize = 500;
const ROUNDS: usize = 7;

/// The moments at which answers arrive.
type Arrivals = mpsc::UnboundedReceiver<Instant>;

/// Callers that have asked and wait for their answers.
struct Parked {
    arrivals: Arrivals,
    callers: JoinSet<()>,
}

/// Sends each request on a connection of its own.
async fn park(address: SocketAddr, requests: Vec<(String, String)>) -> Parked {
    let (arrived, arrivals) = mpsc::unbounded_channel();
    let mut callers = JoinSet::new();
    for (path, body) in requests {
        let arrived = arrived.clone();
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.set_nodelay(true).unwrap();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(request.as_bytes()).await.unwrap();
        callers.spawn(async move {
            let mut buffer = vec![0; 4096];
            let count = connection.read(&mut buffer).await.unwrap();
            let now = Instant::now();
            assert!(
                buffer[..count].starts_with(b"HTTP/1.1 200"),
                "{}",
                String::from_utf8_lossy(&buffer)
            );
            let _ = arrived.send(now);
        });
    }
    Parked { arrivals, callers }
}

/// Wakes some of the callers one by one; gives how long each took, sorted.
async fn wake<F: Future<Output = ()>>(mut parked: Parked, wake_one: impl Fn(usize) -> F) -> Vec<Duration> {
    let mut took = Vec::with_capacity(WOKEN);
    for index in 0..WOKEN {
        let began = Instant::now();
        wake_one(index * (WAITERS / WOKEN)).await;
        took.push(parked.arrivals.recv().await.expect("the caller has an answer") - began);
    }
    parked.callers.shutdown().await;
    took.sort();
    took
}

/// Our server with callers that wait for rollouts.
async fn at_the_store() -> (Arc<dyn Store>, Vec<RolloutId>, Parked, CancellationToken) {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let server = StoreServer::bind("127.0.0.1:0", Arc::clone(&store), ServerOptions::default())
        .await
        .unwrap();
    let (address, stop) = (server.address(), CancellationToken::new());
    tokio::spawn(server.serve(stop.clone()));
    let (mut ids, mut requests) = (Vec::new(), Vec::new());
    for index in 0..WAITERS {
        let new = NewRollout::new(json!(index));
        let id = store.start_rollout(new, None).await.unwrap().rollout.rollout_id;
        let body = json!({"rollout_ids": [id], "timeout": null}).to_string();
        requests.push(("/v1/agl/waits/rollouts".to_owned(), body));
        ids.push(id);
    }
    let parked = park(address, requests).await;
    while store.statistics().await.unwrap().extra["waiters"] != WAITERS as u64 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (store, ids, parked, stop)
}

async fn through_the_store() -> Vec<Duration> {
    let (store, ids, parked, stop) = at_the_store().await;
    let took = wake(parked, |index| {
        let (store, id) = (Arc::clone(&store), ids[index].clone());
        async move {
            let done = AttemptPatch::status(AttemptStatus::Succeeded);
            store.update_attempt(id, "latest".into(), done).await.unwrap();
        }
    })
    .await;
    stop.cancel();
    took
}

async fn bare(answer: String) -> Vec<Duration> {
    let notifies: Arc<Vec<Notify>> = Arc::new((0..WAITERS).map(|_| Notify::new()).collect());
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let (known, counts) = (Arc::clone(&notifies), Arc::clone(&asked));
    let wait = post(async move |Path(index): Path<usize>, body: axum::body::Bytes| {
        drop(body);
        counts.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        known[index].notified().await;
        ([("content-type", "application/json")], answer.clone())
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move {
        axum::serve(listener, Router::new().route("/wait/{index}", wait))
            .await
            .unwrap();
    });
    let requests = (0..WAITERS).map(|index| (format!("/wait/{index}"), "{}".to_owned()));
    let parked = park(address, requests.collect()).await;
    while asked.load(std::sync::atomic::Ordering::SeqCst) != WAITERS {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = wake(parked, |index| {
        notifies[index].notify_one();
        std::future::ready(())
    })
    .await;
    serving.abort();
    took
}

/// The processor time that this process has used.
fn cpu_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn parked_for(time: Duration) {
    let (_store, _, mut parked, stop) = at_the_store().await;
    let before = cpu_time();
    tokio::time::sleep(time).await;
    let used = cpu_time() - before;
    println!("{WAITERS} callers parked for {time:?} used {used:?} of processor time, clients included");
    parked.callers.shutdown().await;
    stop.cancel();
}

fn median(values: impl Iterator<Item = Duration>) -> f64 {
    let mut values: Vec<Duration> = values.collect();
    values.sort();
    values[values.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let seconds = std::env::var("LIGHTNING_PARKED_SECONDS").ok();
    let seconds = seconds.map_or(60, |seconds| seconds.parse().expect("a number of seconds"));
    runtime.block_on(parked_for(Duration::from_secs(seconds)));
    // As long as what ours answers with.
    let answer = runtime.block_on(async {
        let store = MemoryStore::new();
        let rollout = store.enqueue_rollout(NewRollout::new(json!(1))).await.unwrap();
        serde_json::to_string(&[rollout]).unwrap()
    });
    let (mut store, mut notify) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        store.push(runtime.block_on(async { tokio::spawn(through_the_store()).await.unwrap() }));
        let answer = answer.clone();
        notify.push(runtime.block_on(async { tokio::spawn(bare(answer)).await.unwrap() }));
    }
    println!("{WOKEN} of {WAITERS} parked callers woken one by one, 2 threads, median of {ROUNDS} rounds");
    for (name, at) in [("p50", WOKEN / 2), ("p99", WOKEN * 99 / 100)] {
        let of = |rounds: &[Vec<Duration>]| median(rounds.iter().map(|round| round[at]));
        let (store, notify) = (of(&store), of(&notify));
        println!(
            "{name}   store {store:>7.1} µs   bare notify {notify:>7.1} µs   ratio {:>5.2}",
            store / notify
        );
    }
}
