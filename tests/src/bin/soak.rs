//! Many runners at a store for a long time, with everything in their way that networks and agents do.
//!
//! `cargo run --release -p lightning-tests --features full --bin soak -- SECONDS [RUNNERS]`: 60 s and 200 runners if not
//! given. Every runner is a client of its own, behind a relay that breaks its connections at random and now and then cuts it
//! off for good, as a machine that dies does; then another one takes its place. Agents are slow, hang, fail and panic. The
//! report says whether every rollout ended exactly once, whether memory stayed flat, and whether anything was logged that was
//! not brought about here; the exit status says whether all of that is so.
#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::{
    collections::{BTreeMap, HashSet},
    future::pending,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    net::SocketAddr,
    process::ExitCode,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use lightning_core::{
    agent::agent_fn,
    client::StoreClient,
    runner::{Runner, StopSignal},
    server::{ServerOptions, StoreServer},
    store::{SqliteStore, Store},
    types::{
        AttemptQuery, AttemptStatus, NewRollout, PageRequest, Rollout, RolloutConfig, RolloutId,
        RolloutQuery, RolloutStatus,
    },
};
use lightning_tests::scratch::Scratch;
use serde_json::json;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, layer::SubscriberExt as _};

/// How many rollouts are waited for together, and how many such groups there are at once.
const GROUP: usize = 25;
const GROUPS: usize = 24;
/// After how much of it a runner counts as gone. A busy machine does not make one so.
const SILENCE: Duration = Duration::from_secs(8);
/// How long a rollout may take at most. A tenth of all attempts comes to nothing, so that among ten thousands of rollouts there
/// is one with five of them in a row, each of which waits for its turn and then runs into a limit.
const LONGEST: Duration = Duration::from_secs(600);
/// What may be logged, because it is what somebody sees who is cut off, or whose agent hangs or fails.
const BROUGHT_ABOUT: [&str; 7] = [
    "the store is unavailable; trying again",
    "the heartbeat of a worker did not arrive",
    "the heartbeat of an attempt did not arrive",
    "the end of an attempt cannot be waited for; a cancellation will not be noticed meanwhile",
    "an attempt whose runner was dropped could not be ended; its time limits will",
    "an attempt that nobody works on could not be ended; its time limits will",
    "spans could not be stored; trying again",
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

#[derive(Default)]
struct Counts {
    cuts: AtomicU64,
    kills: AtomicU64,
    slow: AtomicU64,
    hung: AtomicU64,
    failed: AtomicU64,
    panicked: AtomicU64,
    began: AtomicU64,
}

impl Counts {
    fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

/// Passes connections on, and breaks each after a while; all for good once it is `dead`.
async fn relay(listener: TcpListener, to: SocketAddr, dead: CancellationToken, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        let mut near = tokio::select! {
            () = dead.cancelled() => return,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => match accepted {
                Ok((near, _)) => near,
                Err(_) => continue,
            },
        };
        let counts = counts.clone();
        connections.spawn(async move {
            let Ok(mut far) = TcpStream::connect(to).await else {
                return;
            };
            let (_, _) = (near.set_nodelay(true), far.set_nodelay(true));
            let life = Duration::from_millis(rand::random_range(200..20_000));
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = tokio::time::sleep(life) => Counts::count(&counts.cuts),
            }
        });
    }
}

/// A runner behind a relay, until it is cut off; then the next one, until it is told to stop by the store.
async fn be_runners(to: SocketAddr, counts: Arc<Counts>, ending: CancellationToken) {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let dead = CancellationToken::new();
        let link = tokio::spawn(relay(listener, to, dead.clone(), counts.clone()));
        let client = StoreClient::builder(format!("http://{address}"))
            .retry_for(Duration::from_secs(10))
            .build()
            .expect("the address is right");
        let seen = counts.clone();
        let agent = agent_fn(move |task: u64, _| {
            let counts = seen.clone();
            async move {
                Counts::count(&counts.began);
                match rand::random_range(0..1000) {
                    0..5 => {
                        Counts::count(&counts.hung);
                        pending::<()>().await;
                    }
                    5..10 => {
                        Counts::count(&counts.panicked);
                        panic!("brought about");
                    }
                    10..20 => {
                        Counts::count(&counts.failed);
                        anyhow::bail!("brought about");
                    }
                    20..30 => {
                        Counts::count(&counts.slow);
                        tokio::time::sleep(Duration::from_secs(8)).await;
                    }
                    _ => tokio::time::sleep(Duration::from_millis(rand::random_range(0..5000))).await,
                }
                Ok((task % 10) as f64)
            }
        });
        let stop = StopSignal::new();
        let runner = Runner::builder(agent, Arc::new(client))
            .heartbeat(Duration::from_secs(2))
            .build();
        let life = Duration::from_millis(rand::random_range(2_000..100_000));
        let killed = tokio::select! {
            ended = runner.iter(&stop) => match ended {
                Ok(_) => false,
                Err(error) => {
                    tracing::error!(error = %error, "a runner failed");
                    false
                }
            },
            // First the link, so that it can leave no last words.
            () = async { tokio::time::sleep(life).await; dead.cancel() }, if !ending.is_cancelled() => true,
        };
        if killed {
            Counts::count(&counts.kills);
        }
        dead.cancel();
        let _ = link.await;
        if !killed || ending.is_cancelled() {
            return;
        }
    }
}

/// The sum over rollouts of what says how one ended; it does not depend on their order.
fn fingerprint(rollout: &Rollout) -> u64 {
    let mut hasher = DefaultHasher::new();
    let ended = rollout.end_time.map(|time| time.as_secs_f64().to_bits());
    (rollout.rollout_id.as_str(), rollout.status.as_str(), ended).hash(&mut hasher);
    hasher.finish()
}

/// Enqueues group after group, and looks at what became of each.
async fn drive(store: Arc<dyn Store>, until: Instant) -> anyhow::Result<(u64, u64, Vec<String>)> {
    let (mut ended, mut sum, mut wrong) = (0, 0u64, Vec::new());
    let config = RolloutConfig {
        timeout_seconds: Some(12.0),
        unresponsive_seconds: Some(SILENCE.as_secs_f64()),
        max_attempts: 1000,
        retry_condition: vec![
            AttemptStatus::Failed,
            AttemptStatus::Timeout,
            AttemptStatus::Unresponsive,
        ],
    };
    while Instant::now() < until {
        let new = (0..GROUP).map(|task| NewRollout::new(json!(task)).config(config.clone()));
        let made = store.enqueue_many_rollouts(new.collect()).await?;
        let ids: Vec<RolloutId> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
        let done = store.wait_for_rollouts(&ids, Some(LONGEST)).await?;
        if done.len() != ids.len() {
            wrong.push(format!(
                "{} of {} rollouts did not end within {} s",
                ids.len() - done.len(),
                ids.len(),
                LONGEST.as_secs()
            ));
        }
        for rollout in done {
            ended += 1;
            sum = sum.wrapping_add(fingerprint(&rollout));
            if rollout.status != RolloutStatus::Succeeded {
                wrong.push(format!(
                    "{} ended as {}",
                    rollout.rollout_id,
                    rollout.status.as_str()
                ));
            }
        }
    }
    Ok((ended, sum, wrong))
}

/// What is stored of the rollouts after all.
#[derive(Default)]
struct Stored {
    count: u64,
    sum: u64,
    /// Attempts that were taken for dead and given to others, then revived by a late span, whose runner was killed before it
    /// could report.
    revived: u64,
    wrong: Vec<String>,
}

/// All rollouts once more: each as it was when it ended, with no attempt open.
async fn look_again(store: &dyn Store) -> anyhow::Result<Stored> {
    let mut stored = Stored::default();
    let mut seen = HashSet::new();
    loop {
        let query = RolloutQuery {
            page: PageRequest {
                limit: Some(1000),
                offset: usize::try_from(stored.count)?,
            },
            ..RolloutQuery::default()
        };
        let page = store.query_rollouts(query).await?;
        if page.items.is_empty() {
            return Ok(stored);
        }
        for found in page.items {
            stored.count += 1;
            stored.sum = stored.sum.wrapping_add(fingerprint(&found.rollout));
            let id = found.rollout.rollout_id.clone();
            let attempts = store.query_attempts(&id, AttemptQuery::default()).await?.items;
            for (place, attempt) in attempts.iter().enumerate() {
                if attempt.status == AttemptStatus::Running && place + 1 < attempts.len() {
                    stored.revived += 1;
                } else if !attempt.status.is_terminal() {
                    let known = attempts.iter().map(|attempt| attempt.status.as_str());
                    let known: Vec<_> = known.collect();
                    stored
                        .wrong
                        .push(format!("an attempt of {id} is open: {known:?}, {attempt:?}"));
                }
            }
            if attempts.is_empty() {
                stored.wrong.push(format!("{id} has no attempt"));
            }
            let mut hasher = DefaultHasher::new();
            id.as_str().hash(&mut hasher);
            if !seen.insert(hasher.finish()) {
                stored.wrong.push(format!("{id} is there twice"));
            }
        }
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

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let seconds: f64 = arguments.next().map_or(Ok(60.0), |seconds| seconds.parse())?;
    let runners: usize = arguments.next().map_or(Ok(200), |runners| runners.parse())?;
    let logged = Logged::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(logged.clone()))?;
    std::panic::set_hook(Box::new(|panic| {
        if panic.payload().downcast_ref::<&str>() != Some(&"brought about") {
            println!("panic: {panic}");
            tracing::error!("something panicked");
        }
    }));

    let scratch = Scratch::fast();
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(scratch.path("soak.db"))?);
    let server = StoreServer::bind("127.0.0.1:0", store.clone(), ServerOptions::default()).await?;
    let address = server.address();
    let closing = CancellationToken::new();
    let serving = tokio::spawn(server.serve(closing.clone()));

    let (counts, ending) = (Arc::new(Counts::default()), CancellationToken::new());
    let mut fleet = JoinSet::new();
    for _ in 0..runners {
        fleet.spawn(be_runners(address, counts.clone(), ending.clone()));
    }
    let began = Instant::now();
    let until = began + Duration::from_secs_f64(seconds);
    let mut drivers = JoinSet::new();
    for _ in 0..GROUPS {
        drivers.spawn(drive(store.clone(), until));
    }
    let measuring = tokio::spawn(async move {
        let mut measured = Vec::new();
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs_f64(seconds / 20.0)).await;
            measured.push(memory());
        }
        measured
    });
    let (mut ended, mut sum, mut wrong) = (0, 0u64, Vec::new());
    while let Some(driver) = drivers.join_next().await {
        let (more, part, problems) = driver??;
        ended += more;
        sum = sum.wrapping_add(part);
        wrong.extend(problems);
    }
    let took = began.elapsed();
    let measured = measuring.await?;

    ending.cancel();
    let all_ended = tokio::time::timeout(Duration::from_secs(60), async {
        // One that has just taken the place of another may not be known yet.
        while !fleet.is_empty() {
            store.drain_workers(None).await?;
            let stopped = async { while fleet.join_next().await.is_some() {} };
            let _ = tokio::time::timeout(Duration::from_secs(1), stopped).await;
        }
        anyhow::Ok(())
    });
    match all_ended.await {
        Ok(ended) => ended?,
        Err(_) => wrong.push(format!(
            "{} runners did not stop when the store told them to",
            fleet.len()
        )),
    }
    fleet.shutdown().await;
    // What those had who were cut off last is given up by its limits.
    tokio::time::sleep(SILENCE + Duration::from_secs(2)).await;
    let stored = look_again(&*store).await?;
    wrong.extend(stored.wrong);
    if (stored.count, stored.sum) != (ended, sum) {
        wrong.push(format!(
            "of {ended} rollouts that ended, {} are stored, or some have changed since",
            stored.count
        ));
    }
    closing.cancel();
    serving.await?;

    // What is in use after a third of the time is what is needed.
    let settled = measured.get(measured.len() / 3).copied().unwrap_or(0.0);
    let last = measured.last().copied().unwrap_or(0.0);
    if last > settled * 1.3 + 32.0 {
        wrong.push(format!("memory grew from {settled:.0} to {last:.0} MiB"));
    }
    println!(
        "{runners} runners for {:.0} s: {ended} rollouts ended, {} attempts",
        took.as_secs_f64(),
        get(&counts.began)
    );
    println!(
        "brought about: {} connections cut, {} runners killed, {} agents slow, {} hung, {} failed, {} panicked",
        get(&counts.cuts),
        get(&counts.kills),
        get(&counts.slow),
        get(&counts.hung),
        get(&counts.failed),
        get(&counts.panicked)
    );
    println!(
        "{} attempts were revived by late spans of runners that were killed before they could report",
        stored.revived
    );
    let figures: Vec<String> = measured.iter().map(|mib| format!("{mib:.0}")).collect();
    println!("memory in MiB over time: {}", figures.join(" "));
    for (message, times) in &*logged.0.lock().unwrap() {
        let known = BROUGHT_ABOUT.contains(&message.as_str());
        println!(
            "logged {times:>6} times: {message}{}",
            if known { "" } else { " (not brought about)" }
        );
        if !known {
            wrong.push(format!("logged: {message}"));
        }
    }
    if wrong.is_empty() {
        println!("every rollout ended exactly once");
        return Ok(ExitCode::SUCCESS);
    }
    println!("{} problems, the first of them:", wrong.len());
    for problem in wrong.iter().take(20) {
        println!("  {problem}");
    }
    Ok(ExitCode::FAILURE)
}
