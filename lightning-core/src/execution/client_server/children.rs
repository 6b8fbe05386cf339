//! The processes that are started as runners: this program once more.

use std::{
    env, ffi::OsString, path::PathBuf, process::ExitStatus, process::Stdio, sync::Arc, time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStdin, Command},
    time::Instant,
};

use super::Delays;
use crate::{
    execution::{RunnerProcess, StoreAccess},
    runner::{RunnerError, RunnerReport, StopSignal},
};

/// From which age on the end of a process counts as the first one.
const LONG_LIFE: Duration = Duration::from_secs(30);
/// How long to wait before a process is started again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// This program, as it is started for runners.
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<OsString>,
    processes: Vec<RunnerProcess>,
    /// What is told to each of them on its standard input.
    access: Vec<u8>,
}

impl Program {
    /// The program that is running.
    pub(super) fn this(processes: Vec<RunnerProcess>, access: &StoreAccess) -> Result<Self, String> {
        // By this name, it is the same program also when the file was replaced since.
        let path = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            env::current_exe().map_err(|error| format!("this program's file cannot be found: {error}"))?
        };
        Ok(Self {
            path,
            arguments: env::args_os().collect(),
            processes,
            access: access.line().map_err(|error| error.to_string())?,
        })
    }

    pub(super) fn count(&self) -> usize {
        self.processes.len()
    }

    /// Starts a process. It lives until the answer's input is let go of, and somewhat longer.
    async fn start(&self, place: usize) -> Result<(Child, Option<ChildStdin>), String> {
        let process = self.processes.get(place).ok_or("there is no such process")?;
        let process = serde_json::to_string(process).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.path);
        #[cfg(unix)]
        {
            if let Some(name) = self.arguments.first() {
                command.arg0(name);
            }
            // Ctrl-C concerns the process that was started by hand; it tells the others.
            command.process_group(0);
        }
        command
            .args(self.arguments.iter().skip(1))
            .env(RunnerProcess::VARIABLE, process)
            .stdin(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let mut lifeline = child.stdin.take();
        if let Some(lifeline) = &mut lifeline {
            // One that has ended meanwhile is seen to by those who wait for it.
            let _ = lifeline.write_all(&self.access).await;
        }
        Ok((child, lifeline))
    }
}

/// Keeps a process of runners going until `stop` says otherwise: one that ends before its time is started again.
///
/// To stop is what the store tells the runners; to abort is told here.
pub(super) async fn supervise(
    program: Arc<Program>,
    place: usize,
    stop: StopSignal,
    delays: Delays,
    restarts: u32,
) -> Result<RunnerReport, RunnerError> {
    let mut failures = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let failed = |how: String| RunnerError::Process { place, how };
        let (child, lifeline) = program.start(place).await.map_err(failed)?;
        let (began, id) = (Instant::now(), child.id());
        tracing::debug!(target: "lightning::trainer", place, pid = id, "a process of runners was started");
        let status = watch(child, lifeline, &stop, delays).await;
        if stop.is_stopping() {
            return Ok(RunnerReport::default());
        }
        let how = match status {
            Ok(status) if status.code() == Some(DONE) => return Ok(RunnerReport::default()),
            Ok(status) if status.success() => "it returned before it came to `fit`".to_owned(),
            Ok(status) => status.to_string(),
            Err(error) => format!("it cannot be waited for: {error}"),
        };
        if began.elapsed() >= LONG_LIFE {
            (failures, pause) = (0, FIRST_PAUSE);
        }
        failures += 1;
        if failures > restarts {
            return Err(failed(how));
        }
        tracing::warn!(
            target: "lightning::trainer",
            place,
            pid = id,
            how,
            "a process of runners ended before its time; it is started again, and what it worked on ends by its time limits"
        );
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.stopping() => return Ok(RunnerReport::default()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What a process of runners exits with when they have nothing more to do. Not 0, which is also the end of a program that
/// never came to `fit`.
pub(crate) const DONE: i32 = 79;

async fn watch(
    mut child: Child,
    lifeline: Option<ChildStdin>,
    stop: &StopSignal,
    delays: Delays,
) -> std::io::Result<ExitStatus> {
    tokio::select! {
        biased;
        status = child.wait() => return status,
        () = stop.aborting() => {}
    }
    drop(lifeline);
    if let Ok(status) = tokio::time::timeout(delays.cancel, child.wait()).await {
        return status;
    }
    terminate(&child);
    if let Ok(status) = tokio::time::timeout(delays.kill, child.wait()).await {
        return status;
    }
    kill(&mut child);
    child.wait().await
}

/// SIGTERM to the process and to what it has started.
#[cfg(unix)]
fn terminate(child: &Child) {
    signal(child, rustix::process::Signal::TERM);
}

#[cfg(not(unix))]
fn terminate(_: &Child) {}

/// SIGKILL to the process and to what it has started.
fn kill(child: &mut Child) {
    #[cfg(unix)]
    signal(child, rustix::process::Signal::KILL);
    // It may have ended meanwhile.
    let _ = child.start_kill();
}

#[cfg(unix)]
fn signal(child: &Child, signal: rustix::process::Signal) {
    let id = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = id.and_then(rustix::process::Pid::from_raw) {
        tracing::warn!(
            target: "lightning::trainer",
            pid = group.as_raw_nonzero().get(),
            signal = signal.as_raw(),
            "a process of runners does not end"
        );
        // It may have ended meanwhile; it has not been waited for, so its id is still its own.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
