//! Agents that are programs: started, watched, and stopped.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::said::Program;
use crate::{
    run::RunContext,
    runner::{RunnerError, RunnerReport, StopSignal},
    server::{ServerOptions, StoreServer},
    store::{AttemptRef, EndOfAttempt, LayeredStore, Store, StoreError, StoreLayer},
    terminal::Screen,
    trainer::{Fleet, FleetWork},
    types::{
        AttemptId, AttemptPatch, AttemptQuery, AttemptStatus, AttemptedRollout, RolloutId, SpanAttemptFilter,
        SpanQuery, WorkerId,
    },
};

/// A program that lives for less is taken for one that cannot work.
const SHORT_LIFE: Duration = Duration::from_secs(60);
/// How many short lives in a row are enough.
const SHORT_LIVES: u32 = 3;
/// The pause before a program that failed is started again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// How much of a line is shown.
const LINE: usize = 2000;
/// How many lines of a program that failed are told.
const LAST_LINES: usize = 15;

/// Programs that are runners. They meet the algorithm at a server of this process over the run's store.
pub(super) struct Programs {
    program: Arc<Program>,
    folder: PathBuf,
    quiet: bool,
}

impl Programs {
    /// Programs that are started in this folder.
    pub(super) fn new(program: Program, folder: &Path, quiet: bool) -> Self {
        Self {
            program: Arc::new(program),
            folder: folder.to_owned(),
            quiet,
        }
    }
}

impl Fleet for Programs {
    fn run(&self, work: FleetWork) -> BoxFuture<'static, Result<RunnerReport, RunnerError>> {
        let starter = Starter {
            program: Arc::clone(&self.program),
            folder: self.folder.clone(),
            screen: (!self.quiet).then(Screen::stderr),
            url: String::new(),
            run_id: work.run.id().to_owned(),
        };
        Box::pin(run(starter, work))
    }
}

async fn run(mut starter: Starter, work: FleetWork) -> Result<RunnerReport, RunnerError> {
    let FleetWork {
        store,
        run,
        stop,
        mut wanted,
    } = work;
    let (claims, mut claimed) = mpsc::unbounded_channel();
    let seen: Arc<dyn Store> = Arc::new(LayeredStore::new(Arc::clone(&store), Claims(claims)));
    let server = StoreServer::bind("127.0.0.1:0", seen, ServerOptions::default());
    let server = server
        .await
        .map_err(|error| RunnerError::Program(error.to_string()))?;
    starter.url = server.url();
    let closing = CancellationToken::new();
    // All of these tasks end with the set.
    let mut serving = JoinSet::new();
    serving.spawn(server.serve(closing.clone()));
    let mut attempts: JoinSet<bool> = JoinSet::new();
    let mut programs: JoinSet<Result<Ended, RunnerError>> = JoinSet::new();
    let mut signals: Vec<StopSignal> = Vec::new();
    let mut report = RunnerReport::default();
    let mut number = 0;
    let ended = loop {
        let now = wanted.now();
        while signals.len() < now && !stop.is_stopping() {
            let signal = stop.child();
            signals.push(signal.clone());
            programs.spawn(starter.clone().keep_running(number, signal));
            number += 1;
        }
        for signal in signals.drain(now.min(signals.len())..) {
            signal.stop();
        }
        tokio::select! {
            biased;
            Some(claim) = claimed.recv() => {
                attempts.spawn(follow(Arc::clone(&store), run.clone(), claim, stop.clone()));
            }
            Some(Ok(succeeded)) = attempts.join_next() => {
                report.attempts += 1;
                report.succeeded += u64::from(succeeded);
            }
            ended = programs.join_next() => match ended {
                Some(Ok(Ok(Ended::AsTold))) => {}
                Some(Ok(Ok(Ended::ByItself))) if !programs.is_empty() => {}
                Some(Ok(Ok(Ended::ByItself))) => break Err(RunnerError::Program(format!(
                    "`{}` ended by itself, all of them, before the algorithm did; a runner goes on until it is stopped",
                    starter.name()
                ))),
                Some(Ok(Err(error))) => break Err(error),
                Some(Err(_)) => {}
                None => break Ok(()),
            },
            () = wanted.changed() => {}
        }
    };
    // Whatever they had, nobody executes any more: it is followed to an end that is written down.
    stop.abort();
    while programs.join_next().await.is_some() {}
    closing.cancel();
    while serving.join_next().await.is_some() {}
    while let Ok(claim) = claimed.try_recv() {
        attempts.spawn(follow(Arc::clone(&store), run.clone(), claim, stop.clone()));
    }
    while let Some(succeeded) = attempts.join_next().await {
        report.attempts += 1;
        report.succeeded += u64::from(succeeded.unwrap_or(false));
    }
    ended.map(|()| report)
}

/// Notes what is claimed.
struct Claims(mpsc::UnboundedSender<(RolloutId, AttemptId)>);

impl StoreLayer for Claims {
    fn claimed(&self, _: &[WorkerId], outcome: Result<&[AttemptedRollout], &StoreError>) {
        for claimed in outcome.unwrap_or_default() {
            // Nobody listens any more once the programs have ended.
            let _ = self
                .0
                .send((claimed.rollout_id.clone(), claimed.attempt.attempt_id.clone()));
        }
    }
}

/// Waits for the end of an attempt and counts it; ends it as failed when nobody is left who could.
async fn follow(
    store: Arc<dyn Store>,
    run: RunContext,
    (rollout_id, attempt_id): (RolloutId, AttemptId),
    stop: StopSignal,
) -> bool {
    tokio::select! {
        biased;
        // An attempt that cannot be looked for has no end that could be counted.
        ended = store.wait_for_attempt_end(&rollout_id, &attempt_id) => match ended {
            Ok(EndOfAttempt::RolloutEnded(_) | EndOfAttempt::AttemptEnded(_) | EndOfAttempt::Superseded { .. }) => {}
            Err(_) => return false,
        },
        () = stop.aborting() => {
            let patch = AttemptPatch::status(AttemptStatus::Failed);
            let attempt = AttemptRef::Id(attempt_id.clone());
            // It may have ended meanwhile; then that end counts.
            let _ = store.update_attempt(rollout_id.clone(), attempt, patch).await;
        }
    }
    let attempts = store.query_attempts(&rollout_id, AttemptQuery::default()).await;
    let attempts = attempts.map(|page| page.items).unwrap_or_default();
    let ended = attempts
        .into_iter()
        .find(|attempt| attempt.attempt_id == attempt_id);
    let spans = store
        .query_spans(SpanQuery {
            attempt: SpanAttemptFilter::Id(attempt_id),
            ..SpanQuery::of(rollout_id)
        })
        .await;
    let spans = spans.map(|page| page.items).unwrap_or_default();
    match ended {
        Some(attempt) => {
            run.attempt_ended(&attempt, &spans);
            attempt.status == AttemptStatus::Succeeded
        }
        None => {
            run.count_attempt(false, &spans);
            false
        }
    }
}

/// How a program came to its end.
enum Ended {
    /// It was told to.
    AsTold,
    /// It had enough.
    ByItself,
}

/// Starts programs.
#[derive(Clone)]
struct Starter {
    program: Arc<Program>,
    folder: PathBuf,
    screen: Option<Screen>,
    url: String,
    run_id: String,
}

impl Starter {
    fn name(&self) -> &str {
        self.program.command.first().map_or("", String::as_str)
    }

    /// Keeps one program running until it is told to stop; starts it again when it fails, unless it fails at once.
    async fn keep_running(self, number: usize, stop: StopSignal) -> Result<Ended, RunnerError> {
        let (mut short_lives, mut pause) = (0, FIRST_PAUSE);
        loop {
            let (began, last_lines) = (Instant::now(), LastLines::default());
            let mut life = self.start(number, &last_lines)?;
            let status = tokio::select! {
                status = life.child.wait() => status,
                () = stop.stopping() => {
                    life.end(&stop).await;
                    return Ok(Ended::AsTold);
                }
            };
            let status = status.map_err(|error| self.failed(&format!("cannot be waited for: {error}")))?;
            drop(life.lifeline);
            life.output.join_all().await;
            if status.success() {
                return Ok(Ended::ByItself);
            }
            tracing::warn!(
                target: "lightning::program",
                program = self.name(),
                worker = number,
                status = %shown(status),
                "a program failed"
            );
            if began.elapsed() >= SHORT_LIFE {
                (short_lives, pause) = (0, FIRST_PAUSE);
            }
            short_lives += 1;
            if short_lives >= SHORT_LIVES {
                let problem = format!("{SHORT_LIVES} times in a row, with {}{last_lines}", shown(status));
                return Err(self.failed(&format!("failed {problem}")));
            }
            tokio::select! {
                () = sleep(pause) => pause *= 2,
                () = stop.stopping() => return Ok(Ended::AsTold),
            }
        }
    }

    fn failed(&self, problem: &str) -> RunnerError {
        RunnerError::Program(format!("`{}` {problem}", self.name()))
    }

    fn start(&self, number: usize, last_lines: &LastLines) -> Result<Life, RunnerError> {
        let (name, arguments) = self
            .program
            .command
            .split_first()
            .ok_or_else(|| self.failed("is no program: the command is empty"))?;
        let mut command = Command::new(name);
        command.args(arguments);
        if !self.folder.as_os_str().is_empty() {
            command.current_dir(&self.folder);
        }
        // What is meant for this process, and keys of the store that the program does not talk to.
        for (name, _) in std::env::vars_os() {
            if name
                .to_str()
                .is_some_and(|name| name.starts_with(super::layers::PREFIX) || name == "LIGHTNING_TOKEN")
            {
                command.env_remove(name);
            }
        }
        command
            .env("LIGHTNING_STORE", &self.url)
            .env("LIGHTNING_WORKER", number.to_string())
            .env("LIGHTNING_RUN", &self.run_id)
            // Where OpenTelemetry's own exporters look, in every language.
            .env(
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
                format!("{}/v1/traces", self.url),
            )
            .envs(
                self.program
                    .environment
                    .iter()
                    .map(|(name, value)| (name, value.expose())),
            )
            // Its end tells the program that this process is gone, however it went.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C asks the algorithm for its best result; the programs go on until we stop them.
        #[cfg(unix)]
        command.process_group(0);
        let started = command.spawn();
        let mut child = started.map_err(|error| self.failed(&format!("cannot be started: {error}")))?;
        let mut output = JoinSet::new();
        let label = format!("{}-{number}", self.program.name.as_deref().unwrap_or("agent"));
        if let Some(out) = child.stdout.take() {
            output.spawn(pass_on(
                out,
                label.clone(),
                self.screen.clone(),
                last_lines.clone(),
            ));
        }
        if let Some(out) = child.stderr.take() {
            output.spawn(pass_on(out, label, self.screen.clone(), last_lines.clone()));
        }
        let lifeline = Lifeline::of(&child);
        Ok(Life {
            child,
            output,
            lifeline,
        })
    }
}

/// A program that runs.
struct Life {
    child: Child,
    output: JoinSet<()>,
    lifeline: Lifeline,
}

/// Ends a program, and all that it has started, when this process is gone, however it went: a shell waits for the end of its
/// input, which only this process holds. (A signal at the death of the parent would take `unsafe` code.)
struct Lifeline(Option<Child>);

impl Lifeline {
    #[cfg(unix)]
    fn of(program: &Child) -> Self {
        // A program that asks for it has two seconds to end by itself.
        const WAIT: &str = "cat >/dev/null; kill -s TERM -- \"-$1\"; sleep 2; kill -s KILL -- \"-$1\"";
        let Some(group) = program.id() else {
            return Self(None);
        };
        let started = Command::new("sh")
            .args(["-c", WAIT, "lightning-lifeline", &group.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .kill_on_drop(true)
            .spawn();
        if let Err(error) = &started {
            tracing::warn!(
                target: "lightning::program",
                %error,
                "there is no shell; a program may live on if this process is killed"
            );
        }
        Self(started.ok())
    }

    #[cfg(not(unix))]
    fn of(_: &Child) -> Self {
        Self(None)
    }
}

impl Drop for Lifeline {
    /// The program has ended. The shell goes before the end of its input tells it something else.
    fn drop(&mut self) {
        if let Some(shell) = &mut self.0 {
            let _ = shell.start_kill();
        }
    }
}

impl Life {
    /// Asks the program to end, and ends it when the patience is over.
    async fn end(mut self, stop: &StopSignal) {
        drop(self.child.stdin.take());
        self.signal(Signal::Terminate);
        tokio::select! {
            _ = self.child.wait() => {}
            () = stop.aborting() => {}
        }
        // What it has started itself goes with it.
        self.signal(Signal::Kill);
        let _ = self.child.wait().await;
        drop(self.lifeline);
        self.output.abort_all();
    }

    #[cfg(unix)]
    fn signal(&self, signal: Signal) {
        use rustix::process::{Pid, Signal as Number, kill_process_group};

        let id = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let number = match signal {
            Signal::Terminate => Number::TERM,
            Signal::Kill => Number::KILL,
        };
        if let Some(id) = id {
            // It fails if the program has just ended.
            let _ = kill_process_group(id, number);
        }
    }

    #[cfg(not(unix))]
    fn signal(&mut self, signal: Signal) {
        if let Signal::Kill = signal {
            let _ = self.child.start_kill();
        }
    }
}

#[derive(Clone, Copy)]
enum Signal {
    Terminate,
    Kill,
}

fn shown(status: ExitStatus) -> String {
    status.to_string()
}

/// The last lines that a program wrote.
#[derive(Clone, Default)]
struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

impl std::fmt::Display for LastLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !lines.is_empty() {
            f.write_str("; the last it wrote:")?;
        }
        lines.iter().try_for_each(|line| write!(f, "\n  {line}"))
    }
}

/// Shows what a program writes, line by line, above the bars of the run.
async fn pass_on(mut out: impl AsyncRead + Unpin, label: String, screen: Option<Screen>, last: LastLines) {
    let (mut line, mut buffer) = (Vec::new(), vec![0; 8192]);
    loop {
        let read = out.read(&mut buffer).await.unwrap_or(0);
        for byte in &buffer[..read] {
            match byte {
                b'\n' => tell(&mut line, &label, screen.as_ref(), &last),
                byte if line.len() < LINE => line.push(*byte),
                // What is longer than a screen shows is cut.
                _ => {}
            }
        }
        if read == 0 {
            if !line.is_empty() {
                tell(&mut line, &label, screen.as_ref(), &last);
            }
            return;
        }
    }
}

fn tell(line: &mut Vec<u8>, label: &str, screen: Option<&Screen>, last: &LastLines) {
    let text = String::from_utf8_lossy(line);
    // What moves the cursor would tear the screen.
    let text: String = text
        .trim_end()
        .chars()
        .map(|c| {
            if c.is_control() && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect();
    line.clear();
    if let Some(screen) = screen {
        screen.print(&format!("{label} | {text}"));
    }
    last.push(&text);
}
