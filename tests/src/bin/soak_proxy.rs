//! The LLM proxy at the highest rate for a long time, while the store that it records in is stopped and started again.
//!
//! `cargo run --release -p lightning-tests --features proxy --bin soak_proxy -- SECONDS [CALLERS [ROOM]]`: 60 s, 16 callers, and
//! room for the proxy's usual 10 000 calls in its queue, if not given. Each caller makes call after call, a quarter of them streamed, for one rollout after the other. The proxy records
//! them over HTTP at a store whose server is away half of the time: stopped in order, or cut off in the middle of whatever it
//! does. Of every rollout it is counted in the end how many of its calls the store has, and how many it was told of that
//! got lost; both have to make up those that were made. The report says whether they do, whether every answer was right to the
//! byte, and whether memory stayed flat; the exit status says whether all of that is so.
#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lightning_core::{
    client::StoreClient,
    llm_proxy::{ControlProxy as _, ProxyModel, ReverseProxy},
    semconv,
    server::{ServerOptions, StoreServer},
    store::{AttemptRef, MemoryStore, Store},
    types::{AttemptId, AttemptPatch, AttemptStatus, NewRollout, RolloutId, SpanQuery},
};
use lightning_tests::instant::{self, Answers, content_length, position};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, layer::SubscriberExt as _};

/// How many calls a rollout makes.
const CALLS: u64 = 100;
/// What may be logged, because it is what somebody sees whose store is away.
const BROUGHT_ABOUT: [&str; 3] = [
    "calls of models could not be recorded; trying again",
    "calls of an attempt were not recorded: the store did not take them in time",
    "calls of models were not recorded: the store did not take them in time",
];

/// What was logged as a warning or worse, by its message.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<BTreeMap<String, u64>>>);

impl<S: tracing::Subscriber> Layer<S> for Logged {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if *event.metadata().level() > tracing::Level::WARN {
            return;
        }
        let mut message = Message::default();
        event.record(&mut message);
        *self.0.lock().unwrap().entry(message.0).or_default() += 1;
    }
}

#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}

/// What was found wrong, the first of it.
#[derive(Clone, Default)]
struct Wrong(Arc<Mutex<Vec<String>>>);

impl Wrong {
    fn say(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    recorded: AtomicU64,
    lost: AtomicU64,
    rollouts: AtomicU64,
    /// Whether the store is there.
    is_up: AtomicBool,
    /// Microseconds of plain calls while the store was away, and while it was there.
    times: [Mutex<Vec<u32>>; 2],
}

/// The door of the store: it is always there, but leads to the server only while there is one.
async fn door(listener: TcpListener, server: watch::Receiver<Option<(SocketAddr, CancellationToken)>>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((mut near, _)) = listener.accept().await else {
            continue;
        };
        while connections.try_join_next().is_some() {}
        let Some((address, cut)) = server.borrow().clone() else {
            continue;
        };
        connections.spawn(async move {
            let Ok(mut far) = TcpStream::connect(address).await else {
                return;
            };
            let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = cut.cancelled() => {}
            }
        });
    }
}

/// Starts and stops the server of the store, at the door, until the time is over; it leaves one that runs.
async fn keep_stopping(
    store: Arc<dyn Store>,
    at_door: watch::Sender<Option<(SocketAddr, CancellationToken)>>,
    counts: Arc<Counts>,
    (until, period): (Instant, Duration),
) -> anyhow::Result<u64> {
    let mut stops = 0;
    loop {
        let server = StoreServer::bind("127.0.0.1:0", Arc::clone(&store), ServerOptions::default()).await?;
        let (address, stop, cut) = (
            server.address(),
            CancellationToken::new(),
            CancellationToken::new(),
        );
        let serving = tokio::spawn(server.serve(stop.clone()));
        at_door.send_replace(Some((address, cut.clone())));
        counts.is_up.store(true, Ordering::Relaxed);
        tokio::time::sleep(period).await;
        if Instant::now() + period >= until {
            // It serves for as long as the runtime is there.
            return Ok(stops);
        }
        stops += 1;
        counts.is_up.store(false, Ordering::Relaxed);
        if stops % 2 == 0 {
            // In order: requests under way are answered.
            at_door.send_replace(None);
            stop.cancel();
            let _ = tokio::time::timeout(Duration::from_secs(10), serving).await;
        } else {
            // In the middle of whatever it does.
            serving.abort();
            at_door.send_replace(None);
        }
        cut.cancel();
        tokio::time::sleep(period).await;
    }
}

/// A connection of an agent's.
struct Caller {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Caller {
    async fn connect(to: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            read: Vec::new(),
        })
    }

    /// One call: whether the answer is what the model said, to the byte.
    async fn call(&mut self, path: &str, streams: bool, answers: &Answers) -> anyhow::Result<bool> {
        let body = json!({
            "model": "m", "messages": [{"role": "user", "content": "word ".repeat(100)}], "stream": streams,
        })
        .to_string();
        let request = format!(
            "POST {path}/v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.read.clear();
        loop {
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Ok(false);
            }
            let Some(end) = position(&self.read, b"\r\n\r\n") else {
                continue;
            };
            let (head, body) = (&self.read[..end], &self.read[end + 4..]);
            if !head.starts_with(b"HTTP/1.1 200") {
                return Ok(false);
            }
            if streams {
                if body.ends_with(b"\r\n0\r\n\r\n") {
                    return Ok(unchunked(body).is_some_and(|body| body == answers.stream.as_bytes()));
                }
            } else if body.len() >= content_length(head) {
                return Ok(body == answers.plain.as_bytes());
            }
        }
    }
}

/// The pieces of a chunked body.
fn unchunked(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut whole = Vec::new();
    loop {
        let end = position(body, b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..end]).ok()?, 16).ok()?;
        if length == 0 {
            return Some(whole);
        }
        whole.extend(body.get(end + 2..end + 2 + length)?);
        body = body.get(end + 4 + length..)?;
    }
}

/// What everybody has to do with.
#[derive(Clone)]
struct World {
    store: Arc<dyn Store>,
    proxy: ReverseProxy,
    counts: Arc<Counts>,
    wrong: Wrong,
    answers: Arc<Answers>,
}

impl World {
    /// Makes the calls of one rollout after the other. What was recorded of them is looked at by others.
    async fn call(
        self,
        until: Instant,
        done: tokio::sync::mpsc::UnboundedSender<(RolloutId, AttemptId, u64)>,
    ) -> anyhow::Result<()> {
        let address = self.proxy.address().expect("it was started");
        let mut caller = Caller::connect(address).await?;
        while Instant::now() < until {
            let made = self.store.start_rollout(NewRollout::new(json!(0)), None).await?;
            let whose = (made.rollout.rollout_id, made.attempt.attempt_id);
            let path = format!("/rollout/{}/attempt/{}", whose.0, whose.1);
            let mut count = 0;
            for number in 0..CALLS {
                let streams = number % 4 == 3;
                let was_up = self.counts.is_up.load(Ordering::Relaxed);
                let began = Instant::now();
                let right = caller.call(&path, streams, &self.answers).await;
                let took = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                self.counts.calls.fetch_add(1, Ordering::Relaxed);
                if !matches!(right, Ok(true)) {
                    let seen = String::from_utf8_lossy(&caller.read)
                        .chars()
                        .take(300)
                        .collect::<String>();
                    self.wrong
                        .say(format!("call {number} of {}: {right:?}, {seen}", whose.0));
                    caller = Caller::connect(address).await?;
                }
                // One of sixteen is enough for a quantile, and takes little.
                if number % 16 == 0 {
                    self.counts.times[usize::from(was_up)].lock().unwrap().push(took);
                }
                count += 1;
                if Instant::now() >= until {
                    break;
                }
            }
            done.send((whose.0, whose.1, count))?;
        }
        Ok(())
    }

    /// Waits for the recordings of a rollout, counts them, and takes the rollout out of the store.
    async fn count(self, (rollout, attempt, made): (RolloutId, AttemptId, u64)) -> anyhow::Result<()> {
        self.proxy.recorded(&rollout, &attempt).await?;
        let (mut recorded, mut lost, mut spans) = (0, 0, 0);
        let found = self.store.query_spans(SpanQuery::of(rollout.clone())).await?;
        for span in found.items {
            spans += 1;
            match span.name.as_str() {
                semconv::PROXY_REQUEST => recorded += 1,
                semconv::CALLS_DROPPED => {
                    lost += span.attributes[semconv::CALLS_DROPPED_COUNT]
                        .as_u64()
                        .unwrap_or_default();
                }
                _ => {}
            }
        }
        if recorded + lost != made {
            let problem =
                format!("{rollout}: of {made} calls {recorded} are recorded and {lost} are told of as lost");
            self.wrong.say(problem);
        }
        self.counts.recorded.fetch_add(recorded, Ordering::Relaxed);
        self.counts.lost.fetch_add(lost, Ordering::Relaxed);
        self.counts.rollouts.fetch_add(1, Ordering::Relaxed);
        let ended = AttemptPatch {
            status: Some(AttemptStatus::Succeeded),
            ..AttemptPatch::default()
        };
        self.store
            .update_attempt(rollout.clone(), AttemptRef::Id(attempt), ended)
            .await?;
        let purged = self.store.purge(vec![rollout.clone().into()], Vec::new()).await?;
        if purged.spans != spans {
            self.wrong
                .say(format!("{rollout} had {spans} spans, then {}", purged.spans));
        }
        Ok(())
    }
}

/// The memory of this process that is in use, in MiB.
fn memory() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm
        .split_whitespace()
        .nth(1)
        .and_then(|pages| pages.parse().ok())
        .unwrap_or(0.0);
    pages * 4096.0 / (1 << 20) as f64
}

fn quantile(times: &Mutex<Vec<u32>>, rank: f64) -> f64 {
    let mut times = times.lock().unwrap().clone();
    times.sort_unstable();
    let place = (times.len() as f64 * rank) as usize;
    f64::from(
        times
            .get(place.min(times.len().saturating_sub(1)))
            .copied()
            .unwrap_or(0),
    ) / 1e3
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(60.0), |seconds| seconds.parse())?;
    let callers: usize = arguments.next().map_or(Ok(16), |callers| callers.parse())?;
    let room: usize = arguments.next().map_or(Ok(10_000), |room| room.parse())?;
    let logged = Logged::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(logged.clone()))?;

    let answers = Arc::new(Answers::new());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let model = format!("http://{}/v1", listener.local_addr()?);
    tokio::spawn(instant::serve(listener, Arc::clone(&answers)));

    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let store_url = format!("http://{}", listener.local_addr()?);
    let (at_door, behind) = watch::channel(None);
    tokio::spawn(door(listener, behind));
    let client = StoreClient::builder(store_url)
        .retry_for(Duration::ZERO)
        .build()?;
    let proxy = ReverseProxy::builder()
        .model(ProxyModel::new("m", model))
        .store(Arc::new(client))
        .max_waiting_records(room, 256 << 20)
        .record_patience(Duration::from_secs(3600))
        .stop_grace(Duration::from_secs(120))
        .build()?;
    proxy.start().await?;

    let world = World {
        store: Arc::clone(&store),
        proxy: proxy.clone(),
        counts: Arc::default(),
        wrong: Wrong::default(),
        answers,
    };
    let (counts, wrong) = (Arc::clone(&world.counts), world.wrong.clone());
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    // Away as often as that it is there for the last third of a short run, and every half minute of a long one.
    let period = Duration::from_secs_f64((seconds / 6.0).min(30.0));
    let stopping = tokio::spawn(keep_stopping(
        store,
        at_door,
        Arc::clone(&counts),
        (until, period),
    ));
    let measuring = tokio::spawn(async move {
        let mut measured = Vec::new();
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs_f64(seconds / 20.0)).await;
            measured.push(memory());
        }
        measured
    });
    let (done, mut rollouts) = tokio::sync::mpsc::unbounded_channel();
    let mut calling = JoinSet::new();
    for _ in 0..callers {
        calling.spawn(world.clone().call(until, done.clone()));
    }
    drop(done);
    let counting = tokio::spawn(async move {
        let mut counting = JoinSet::new();
        while let Some(whose) = rollouts.recv().await {
            counting.spawn(world.clone().count(whose));
            while let Some(counted) = counting.try_join_next() {
                counted??;
            }
        }
        while let Some(counted) = counting.join_next().await {
            counted??;
        }
        anyhow::Ok(())
    });
    while let Some(caller) = calling.join_next().await {
        caller??;
    }
    let took = began.elapsed().as_secs_f64();
    let measured = measuring.await?;
    let stops = stopping.await??;
    match tokio::time::timeout(Duration::from_secs(300), counting).await {
        Ok(counted) => counted??,
        Err(_) => {
            wrong.say("what is not recorded was not settled within 300 s of the store's return".to_owned());
        }
    }
    proxy.stop().await?;

    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let (calls, recorded, lost) = (get(&counts.calls), get(&counts.recorded), get(&counts.lost));
    if recorded + lost != calls {
        wrong.say(format!(
            "{calls} calls were made, {recorded} recorded and {lost} told of as lost"
        ));
    }
    if stops < 2 || lost == 0 || recorded == 0 {
        wrong.say(format!(
            "it proves nothing: {stops} stops, {recorded} calls recorded, {lost} lost"
        ));
    }
    // What is in use after the store was away for the first time is what is needed.
    let settled = measured[..=measured.len() / 2]
        .iter()
        .copied()
        .fold(0.0, f64::max);
    let last = measured.last().copied().unwrap_or(0.0);
    if last > settled * 1.3 + 32.0 {
        wrong.say(format!("memory grew from {settled:.0} to {last:.0} MiB"));
    }
    println!(
        "{callers} callers for {took:.0} s: {calls} calls of {} rollouts, {:.0} a second; the store was stopped {stops} times",
        get(&counts.rollouts),
        calls as f64 / took
    );
    println!(
        "{recorded} calls are recorded and {lost} told of as lost, together {}",
        recorded + lost
    );
    for (name, times) in ["away", "there"].iter().zip(&counts.times) {
        println!(
            "a call took {:.2} ms (p50) and {:.2} ms (p99) while the store was {name}",
            quantile(times, 0.5),
            quantile(times, 0.99)
        );
    }
    let figures: Vec<String> = measured.iter().map(|mib| format!("{mib:.0}")).collect();
    println!("memory in MiB over time: {}", figures.join(" "));
    for (message, times) in &*logged.0.lock().unwrap() {
        let known = BROUGHT_ABOUT.contains(&message.as_str());
        println!(
            "logged {times:>6} times: {message}{}",
            if known { "" } else { " (not brought about)" }
        );
        if !known {
            wrong.say(format!("logged: {message}"));
        }
    }
    let wrong = wrong.0.lock().unwrap();
    if wrong.is_empty() {
        println!("every call was answered to the byte, and is recorded or told of as lost");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} problems, the first of them:", wrong.len());
    for problem in wrong.iter().take(20) {
        println!("  {problem}");
    }
    Ok(ExitCode::FAILURE)
}
