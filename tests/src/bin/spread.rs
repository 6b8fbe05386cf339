//! A program whose run is spread over processes, for the suite `spreading` to get in the way of.
//!
//! `spread SETTINGS`, with the settings as JSON. Every process says what it does on the same standard output, a line each.

use std::{
    future::pending,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use lightning_core::{
    agent::{Hook, HookFuture, RolloutEnd, agent_fn},
    client::StoreClient,
    execution::{ClientServer, Role, RunnerLimits, role},
    prelude::*,
    server::{self, ServerOptions, Tokens},
    store::{MemoryStore, open_url},
    types::{AttemptQuery, AttemptStatus, NewRollout, RolloutConfig, RolloutQuery},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// What a test asks for; what it leaves out is as in most tests.
#[derive(Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// How many rollouts the algorithm enqueues.
    tasks: u64,
    /// What the algorithm does when they have ended: `return`, `fail`, `wait` to be asked to stop, `hang`.
    then: String,
    /// How long the agent takes for a rollout, in milliseconds; for ever if null.
    takes: Option<u64>,
    /// The task that the agent never ends, if it is its first attempt.
    hangs_on: Option<u64>,
    runners: usize,
    per_process: usize,
    max_rollouts: Option<u64>,
    role: Option<String>,
    url: Option<String>,
    port: Option<u16>,
    /// The URL of the store that is served; in memory if null.
    store: Option<String>,
    run_dir: Option<PathBuf>,
    /// The limits and retries of rollouts.
    timeout: Option<f64>,
    unresponsive: Option<f64>,
    attempts: u32,
    /// How long the steps of stopping take, in milliseconds.
    stop_grace: u64,
    cancel_grace: u64,
    orphan_grace: u64,
    restarts: u32,
    memory: Option<u64>,
    /// How many bytes the agent takes for a rollout.
    hoards: usize,
    rollout_time: Option<u64>,
    keep_runners: bool,
    patience: u64,
    /// The task whose first attempt computes without awaiting, until something is written to the pipe `computes_until`.
    computes_on: Option<u64>,
    computes_until: Option<PathBuf>,
    /// A folder in which every runner leaves its name with its first rollout, which it holds until all of them have.
    meet: Option<PathBuf>,
    /// Has the run's evaluator enqueue the rollouts, so that they are found again when the run is resumed.
    evaluate: bool,
    /// A file with the token that runners show, and one of the role `admin`, a line each; the store asks for them then.
    tokens: Option<PathBuf>,
    /// Another token that runners show.
    shows: Option<String>,
    /// Ends runners before they come to `fit`: `return` or `other`, another `fit` first.
    before: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            tasks: 8,
            then: "return".to_owned(),
            takes: Some(1),
            hangs_on: None,
            runners: 4,
            per_process: 1,
            max_rollouts: None,
            role: None,
            url: None,
            port: None,
            store: None,
            run_dir: None,
            timeout: Some(60.0),
            // Longer than the busiest machine leaves a process without a turn.
            unresponsive: Some(20.0),
            attempts: 10,
            stop_grace: 300,
            cancel_grace: 500,
            orphan_grace: 1000,
            restarts: 50,
            memory: None,
            hoards: 0,
            rollout_time: None,
            keep_runners: false,
            patience: 60_000,
            computes_on: None,
            computes_until: None,
            meet: None,
            evaluate: false,
            tokens: None,
            shows: None,
            before: None,
        }
    }
}

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A test that has gone away does not listen. One write for a line, so that those of other processes do not mix.
    let _ = out
        .write_all(format!("{line}\n").as_bytes())
        .and_then(|()| out.flush());
}

/// Runs every task, and tells what became of each.
#[algo]
async fn run_all(
    run: RunContext,
    store: Arc<dyn Store>,
    #[param] tasks: u64,
    #[param] then: String,
    #[param] evaluate: bool,
) -> anyhow::Result<Value> {
    if evaluate {
        let tasks: Vec<u64> = (0..tasks).collect();
        let evaluation = run.evaluator().tasks(&tasks).evaluate().await?;
        return Ok(json!({"succeeded": evaluation.outcomes().len() - evaluation.failed()}));
    }
    let new = (0..tasks).map(|task| NewRollout::new(json!(task))).collect();
    let ids: Vec<_> = store
        .enqueue_many_rollouts(new)
        .await?
        .into_iter()
        .map(|made| made.rollout_id)
        .collect();
    if let Some(port) = listening() {
        say(&format!("serves {port}"));
    }
    say("enqueued");
    let ended = tokio::select! {
        ended = store.wait_for_rollouts(&ids, None) => ended?,
        () = run.cancelled(), if then != "hang" => Vec::new(),
    };
    for rollout in &ended {
        let end = json!({"task": rollout.input, "status": rollout.status, "end_time": rollout.end_time});
        say(&format!("ended as: {end}"));
    }
    say("all ended");
    match then.as_str() {
        "fail" => anyhow::bail!("the algorithm was told to fail"),
        "wait" => run.cancelled().await,
        "hang" => pending().await,
        _ => {}
    }
    let succeeded = ended
        .iter()
        .filter(|rollout| rollout.status.as_str() == "succeeded")
        .count();
    Ok(json!({"succeeded": succeeded}))
}

/// Says when an attempt has been reported on.
struct Reported;

impl Hook for Reported {
    fn on_rollout_end<'a>(&'a self, cx: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        let (rollout, attempt) = (cx.rollout(), &end.attempt);
        say(&format!(
            "reported {} {} {}",
            rollout.input,
            attempt.sequence_id,
            attempt.status.as_str()
        ));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// The port on which this process listens.
fn listening() -> Option<u16> {
    let open = std::fs::read_dir("/proc/self/fd").ok()?.flatten();
    let open = open.filter_map(|entry| std::fs::read_link(entry.path()).ok());
    let open: Vec<_> = open.map(|target| target.to_string_lossy().into_owned()).collect();
    let sockets = std::fs::read_to_string("/proc/self/net/tcp").ok()?;
    sockets.lines().skip(1).find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (address, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
        // The state of those who listen.
        let is_ours = *state == "0A" && open.contains(&format!("socket:[{inode}]"));
        let port = address.rsplit_once(':')?.1;
        is_ours.then(|| u16::from_str_radix(port, 16).ok()).flatten()
    })
}

/// How many files of these folders are locked, by whomever.
fn locked_files(folders: &[PathBuf]) -> usize {
    let entries = folders.iter().filter_map(|folder| std::fs::read_dir(folder).ok());
    let files = entries
        .flatten()
        .flatten()
        .filter_map(|entry| std::fs::File::open(entry.path()).ok());
    files
        .filter(|file| matches!(file.try_lock(), Err(std::fs::TryLockError::WouldBlock)))
        .count()
}

/// The locks that the system knows to be this process's.
fn own_locks() -> usize {
    let me = std::process::id().to_string();
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let owners = locks.lines().filter_map(|line| line.split_whitespace().nth(4));
    owners.filter(|owner| *owner == me).count()
}

/// What runs may not leave behind: tasks, threads, processes, sockets of this process, its locks, and locks of its files.
fn belongings(folders: &[PathBuf]) -> Value {
    let list = |path: &str| {
        std::fs::read_dir(path)
            .into_iter()
            .flatten()
            .flatten()
            .collect::<Vec<_>>()
    };
    let me = std::process::id().to_string();
    let is_child = |entry: &std::fs::DirEntry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The parent is the second field behind the name, which is in brackets.
        let parent = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1).map(str::to_owned));
        parent.as_deref() == Some(&me)
    };
    let sockets = list("/proc/self/fd")
        .iter()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count();
    let threads = list("/proc/self/task")
        .iter()
        .filter_map(|entry| std::fs::read_to_string(entry.path().join("comm")).ok())
        .filter(|name| name.starts_with("lightning-"))
        .count();
    json!({
        "tasks": tokio::runtime::Handle::current().metrics().num_alive_tasks(),
        "processes": list("/proc").iter().filter(|entry| is_child(entry)).count(),
        "sockets": sockets,
        "threads": threads,
        "locks": own_locks(),
        "locked_files": locked_files(folders),
    })
}

#[tokio::main]
async fn main() -> ExitCode {
    let settings = std::env::args().nth(1).unwrap_or_default();
    let settings: Settings = match serde_json::from_str(&settings) {
        Ok(settings) => settings,
        Err(error) => {
            say(&format!("usage: spread SETTINGS, but {error}"));
            return ExitCode::FAILURE;
        }
    };
    let logging = lightning_core::logging::Logging::new()
        .levels(&std::env::var("SPREAD_LOG").unwrap_or("warn".to_owned()));
    if let Err(error) = logging.map(|logging| logging.install()) {
        say(&format!("logging: {error}"));
    }
    say(&format!("role {} {}", role(), std::process::id()));
    if role() == Role::Runner && settings.before.as_deref() == Some("return") {
        return ExitCode::SUCCESS;
    }
    let folders = folders(&settings);
    // Before there is a store.
    let before = belongings(&folders);
    let (takes, hangs_on, hoards) = (settings.takes, settings.hangs_on, settings.hoards);
    let (computes_on, computes_until) = (settings.computes_on, settings.computes_until.clone());
    let (watched, meet, runners) = (folders.clone(), settings.meet.clone(), settings.runners);
    let agent = agent_fn(move |task: u64, cx: RolloutContext| {
        let (computes_until, watched, meet) = (computes_until.clone(), watched.clone(), meet.clone());
        async move {
            let attempt = cx.attempt().sequence_id;
            say(&format!("began {task} {attempt} {}", std::process::id()));
            if !watched.is_empty() {
                say(&format!("locked files: {}", locked_files(&watched)));
            }
            if let Some(folder) = &meet {
                all_here(folder, cx.worker_id().as_str(), runners).await;
            }
            let hoard = vec![1u8; hoards];
            match takes {
                Some(_) if computes_on == Some(task) && attempt == 1 => {
                    let until = computes_until.unwrap_or_default();
                    // It blocks its thread until somebody has written.
                    let told = std::fs::read(until);
                    say(&format!("computed {}", told.is_ok()));
                }
                Some(_) if hangs_on == Some(task) && attempt == 1 => pending().await,
                Some(takes) => tokio::time::sleep(Duration::from_millis(takes)).await,
                None => pending().await,
            }
            if !hoard.is_empty() {
                say(&format!(
                    "hoarded {}",
                    hoard.iter().filter(|byte| **byte == 1).count()
                ));
            }
            say(&format!("ended {task} {attempt} {}", std::process::id()));
            1.0
        }
    });
    if let Some(url) = &settings.url
        && settings.role.as_deref() == Some("only")
    {
        return only(&settings, url, agent).await;
    }
    let mut strategy = ClientServer::new()
        .runners_per_process(settings.per_process)
        .restarts(settings.restarts)
        .keep_runners(settings.keep_runners)
        .stop_grace(Duration::from_millis(settings.stop_grace))
        .cancel_grace(Duration::from_millis(settings.cancel_grace))
        .kill_grace(Duration::from_millis(500))
        .orphan_grace(Duration::from_millis(settings.orphan_grace));
    if let Some(tokens) = &settings.tokens {
        let text = std::fs::read_to_string(tokens).expect("the file of tokens");
        let mut lines = text.lines();
        let mut line = || lines.next().expect("a token").to_owned();
        let (runner, admin) = (line(), line());
        let mut options = ServerOptions::default();
        options.tokens = Tokens::new()
            .with(server::Role::Runner, "runners", runner.clone())
            .with(server::Role::Admin, "me", admin);
        strategy = strategy
            .server_options(options)
            .runner_token(settings.shows.clone().unwrap_or(runner));
    }
    if let Some(role) = &settings.role {
        match role.parse() {
            Ok(role) => strategy = strategy.role(role),
            Err(problem) => {
                say(&format!("{role} {problem}"));
                return ExitCode::FAILURE;
            }
        }
    }
    if let Some(url) = &settings.url {
        strategy = strategy.store_url(url);
    }
    if let Some(port) = settings.port {
        strategy = strategy.port(port);
    }
    let store: Arc<dyn Store> = match &settings.store {
        _ if role() == Role::Runner => Arc::new(MemoryStore::new()),
        None if settings.url.is_some() => {
            let url = settings.url.clone().unwrap_or_default();
            Arc::new(StoreClient::connect(url).await.expect("the store answers"))
        }
        None => Arc::new(MemoryStore::new()),
        Some(url) => open_url(url).expect("the store can be opened"),
    };
    let mut builder = Trainer::builder()
        .quiet()
        .algorithm(run_all::algorithm(
            settings.tasks,
            settings.then.clone(),
            settings.evaluate,
        ))
        .store(Arc::clone(&store))
        .strategy(strategy)
        .n_runners(settings.runners)
        .runner_limits(limits(&settings))
        .hook(Arc::new(Reported))
        .heartbeat(Duration::from_millis(100))
        .store_patience(Duration::from_millis(settings.patience))
        .rollout_config(RolloutConfig {
            timeout_seconds: settings.timeout,
            unresponsive_seconds: settings.unresponsive,
            max_attempts: settings.attempts,
            retry_condition: vec![
                AttemptStatus::Failed,
                AttemptStatus::Timeout,
                AttemptStatus::Unresponsive,
            ],
        });
    if let Some(limit) = settings.max_rollouts {
        builder = builder.max_rollouts(limit);
    }
    if let Some(run_dir) = &settings.run_dir {
        builder = builder.run_dir(run_dir);
    }
    let trainer = builder.build().expect("the trainer is complete");
    if role() == Role::Runner && settings.before.as_deref() == Some("other") {
        let other = agent_fn(|_: u64, _: RolloutContext| async { 0.0 });
        let Err(error) = trainer.fit(other, None, None).await else {
            return ExitCode::SUCCESS;
        };
        say(&format!("error: {error}"));
        return ExitCode::FAILURE;
    }
    let code = match trainer.fit(agent, None, None).await {
        Ok(report) => {
            say(&format!(
                "report: {}",
                json!({
                    "output": report.output, "counted": report.rollouts.succeeded, "stopped": report.stopped,
                    "rewarded": report.rollouts.rewarded,
                })
            ));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    };
    tell_attempts(&*store).await;
    // The store keeps its time limits by a task, which ends with it.
    drop((trainer, store));
    // A connection that was closed is let go of a little later than it was closed.
    let mut after = belongings(&folders);
    for _ in 0..200 {
        if after == before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        after = belongings(&folders);
    }
    say(&format!("left: {}", json!({"before": before, "after": after})));
    code
}

/// Leaves a runner's name, and resolves when so many have done so.
async fn all_here(folder: &Path, name: &str, runners: usize) {
    std::fs::write(folder.join(name), "").expect("the folder is there");
    while std::fs::read_dir(folder).map_or(0, Iterator::count) < runners {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Where the run and its store have files.
fn folders(settings: &Settings) -> Vec<PathBuf> {
    let store = settings
        .store
        .as_deref()
        .and_then(|url| url.strip_prefix("sqlite:"));
    let store = store
        .and_then(|file| Path::new(file).parent())
        .map(Path::to_owned);
    store.into_iter().chain(settings.run_dir.clone()).collect()
}

fn limits(settings: &Settings) -> RunnerLimits {
    let mut limits = RunnerLimits::new();
    if let Some(bytes) = settings.memory {
        limits = limits.memory_bytes(bytes);
    }
    if let Some(milliseconds) = settings.rollout_time {
        limits = limits.rollout_time(Duration::from_millis(milliseconds));
    }
    limits
}

/// Runners without an algorithm.
async fn only(settings: &Settings, url: &str, agent: impl Agent<u64>) -> ExitCode {
    let mut builder = Trainer::builder()
        .quiet()
        .n_runners(settings.runners)
        .runner_limits(limits(settings))
        .heartbeat(Duration::from_millis(100))
        .store_patience(Duration::from_millis(settings.patience));
    if let Some(limit) = settings.max_rollouts {
        builder = builder.max_rollouts(limit);
    }
    let runners = builder.runner_only(url).expect("there are runners");
    match runners
        .stop_grace(Duration::from_millis(settings.stop_grace))
        .run(agent)
        .await
    {
        Ok(report) => {
            say(&format!("report: {}", json!({"attempts": report.attempts})));
            ExitCode::SUCCESS
        }
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// What became of every rollout: its input, its status, and those of its attempts.
async fn tell_attempts(store: &dyn Store) {
    let Ok(rollouts) = store.query_rollouts(RolloutQuery::default()).await else {
        return;
    };
    for rollout in rollouts.items {
        let attempts = store
            .query_attempts(&rollout.rollout_id, AttemptQuery::default())
            .await;
        let attempts = attempts.map(|page| page.items).unwrap_or_default();
        let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.status.as_str()).collect();
        let workers: Vec<_> = attempts
            .iter()
            .filter_map(|attempt| attempt.worker_id.as_ref())
            .collect();
        say(&format!(
            "rollout: {}",
            json!({
                "task": rollout.input, "status": rollout.status, "end_time": rollout.end_time, "attempts": statuses,
                "workers": workers,
            })
        ));
    }
}
