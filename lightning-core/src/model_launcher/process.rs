//! One process: started, waited for, ended with all that belongs to it.

use std::{
    collections::VecDeque,
    io,
    net::TcpListener,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, ChildStdin, Command},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{LaunchError, ModelState, Spec};
use crate::transport::Probe;

/// Where servers listen: nobody but this machine is to reach them past the proxy.
const HOST: &str = "127.0.0.1";
/// How often another port is tried, if somebody took the one that was free.
const PORTS: u32 = 3;
/// How long the server may take to answer whether it is ready.
const ASKING: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// How much of a line is kept, in bytes, and how many lines.
const LINE: usize = 2000;
const LAST_LINES: usize = 20;
/// How long the last output may take to arrive once the process is gone.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What `sh` does with a grace in seconds and a command. It becomes the command, and leaves behind a guard in the same process
/// group, which waits for the end of our pipe and then ends the group, itself included. The guard is no child of the command,
/// which might wait for all of its children; and it keeps the group's id from being given to others while it lives.
#[cfg(unix)]
const GUARDED: &str = r#"exec 3<&0 </dev/null
( (
    exec >/dev/null 2>&1
    trap '' TERM INT HUP
    read -r _ <&3
    kill -s TERM -- "-$$"
    sleep "$1"
    kill -s KILL -- "-$$"
) & )
shift
exec 3<&-
exec "$@""#;

/// A process that was started. Dropped, its group is killed.
pub(super) struct Process {
    child: Child,
    /// Its process group, until that was killed.
    #[cfg(unix)]
    group: Option<rustix::process::Pid>,
    /// The guard waits for its end.
    _lifeline: Option<ChildStdin>,
    output: JoinSet<()>,
    last_lines: LastLines,
    url: String,
}

/// Starts a server and waits until it is ready.
pub(super) async fn launch(spec: &Spec, checkpoint: &str) -> Result<Process, LaunchError> {
    let mut ports = 1;
    loop {
        let (mut process, port) = Process::start(spec, checkpoint)?;
        let failed = match process.come_up(spec).await {
            Ok(()) => return Ok(process),
            Err(error) => error,
        };
        process.end(spec.stop_grace).await;
        // Between our look and its start somebody may have taken the port.
        let taken = spec.port.is_none() && TcpListener::bind((HOST, port)).is_err();
        if !taken || ports == PORTS || !matches!(failed, LaunchError::ExitedEarly { .. }) {
            return Err(failed);
        }
        ports += 1;
    }
}

impl Process {
    fn start(spec: &Spec, checkpoint: &str) -> Result<(Self, u16), LaunchError> {
        let program = spec.program();
        let refused = |source: io::Error| LaunchError::Start {
            program: program.to_owned(),
            source: Arc::new(source),
        };
        let port = match spec.port {
            Some(port) => port,
            None => TcpListener::bind((HOST, 0))
                .and_then(|free| free.local_addr())
                .map_err(refused)?
                .port(),
        };
        let filled = |text: &str| fill(text, checkpoint, port);
        let parts = spec.command.iter().map(|part| filled(part)).collect();
        let mut command = guarded(parts, spec.stop_grace);
        if let Some(folder) = &spec.folder {
            command.current_dir(folder);
        }
        for (name, value) in &spec.environment {
            command.env(name, filled(value.expose()));
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // Ctrl-C concerns the process that was started by hand.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(refused)?;
        let (mut output, last_lines) = (JoinSet::new(), LastLines::default());
        if let Some(out) = child.stdout.take() {
            output.spawn(listen(out, program.to_owned(), last_lines.clone()));
        }
        if let Some(out) = child.stderr.take() {
            output.spawn(listen(out, program.to_owned(), last_lines.clone()));
        }
        let id = child.id();
        tracing::info!(target: "lightning::model", program, checkpoint, port, pid = id, "a server of a model was started");
        let process = Self {
            #[cfg(unix)]
            group: id
                .and_then(|id| i32::try_from(id).ok())
                .and_then(rustix::process::Pid::from_raw),
            _lifeline: child.stdin.take(),
            child,
            output,
            last_lines,
            url: format!("http://{HOST}:{port}"),
        };
        Ok((process, port))
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn ready(&self, checkpoint: &str) -> ModelState {
        ModelState::Ready {
            url: self.url.clone(),
            checkpoint: checkpoint.to_owned(),
        }
    }

    /// Waits until the server says that it is ready.
    async fn come_up(&mut self, spec: &Spec) -> Result<(), LaunchError> {
        let url = format!("{}/{}", self.url, spec.health_path.trim_start_matches('/'));
        let probe = Probe::new(&url, ASKING).map_err(|problem| LaunchError::Http { problem })?;
        let mut last = "gave no answer".to_owned();
        let asking = async {
            let mut pause = FIRST_PAUSE;
            while let Err(problem) = probe.ask().await {
                last = problem;
                // Servers tell nobody when they are ready, so this is asked again and again.
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        };
        let (program, within) = (spec.program().to_owned(), spec.start_timeout);
        tokio::select! {
            biased;
            how = self.ended() => {
                let output = self.last_lines.to_string();
                return Err(LaunchError::ExitedEarly { program, how, output });
            }
            () = asking => return Ok(()),
            () = sleep(within) => {}
        }
        let output = self.last_lines.to_string();
        Err(LaunchError::Unhealthy {
            program,
            url,
            within,
            last,
            output,
        })
    }

    /// Waits for the end of the process, and ends what it has left behind. Says how it ended. Cancel safe.
    pub(super) async fn ended(&mut self) -> String {
        let status = self.child.wait().await;
        self.kill_group();
        let rest = async { while self.output.join_next().await.is_some() {} };
        // Who has left the group may hold the pipe.
        let _ = timeout(LAST_WORDS, rest).await;
        match status {
            Ok(status) => status.to_string(),
            Err(error) => format!("an end that cannot be told: {error}"),
        }
    }

    /// The last that it wrote.
    pub(super) fn said(&self) -> String {
        self.last_lines.to_string()
    }

    /// TERM to the group, KILL after the grace, and to what is left.
    pub(super) async fn end(mut self, grace: Duration) {
        #[cfg(unix)]
        if let Some(group) = self.group {
            // It may have ended meanwhile.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::TERM);
        }
        #[cfg(not(unix))]
        let _ = self.child.start_kill();
        if timeout(grace, self.child.wait()).await.is_err() {
            tracing::warn!(target: "lightning::model", url = self.url, "a server does not end, so it is killed");
        }
        self.kill_group();
        let _ = self.child.start_kill();
        let _ = self.child.wait().await;
    }

    fn kill_group(&mut self) {
        // The guard is in the group as long as it was not killed here, so that its id is still its own.
        #[cfg(unix)]
        if let Some(group) = self.group.take() {
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_group();
    }
}

impl Spec {
    pub(super) fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// What runs a command, and ends it with us.
#[cfg(unix)]
fn guarded(parts: Vec<String>, grace: Duration) -> Command {
    let mut command = Command::new("/bin/sh");
    // POSIX's `sleep` counts whole seconds.
    let seconds = grace.as_secs() + u64::from(grace.subsec_nanos() > 0);
    command
        .args(["-c", GUARDED, "lightning-model"])
        .arg(seconds.to_string())
        .args(parts);
    command
}

#[cfg(not(unix))]
fn guarded(parts: Vec<String>, _: Duration) -> Command {
    let mut parts = parts.into_iter();
    let mut command = Command::new(parts.next().unwrap_or_default());
    command.args(parts);
    command
}

/// Replaces the placeholders. All other braces stay: arguments may be JSON.
fn fill(text: &str, checkpoint: &str, port: u16) -> String {
    let (mut filled, mut rest) = (String::new(), text);
    let port = port.to_string();
    let places = [("{checkpoint}", checkpoint), ("{port}", &port), ("{host}", HOST)];
    while let Some(at) = rest.find('{') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        match places.iter().find(|(name, _)| rest.starts_with(name)) {
            Some((name, value)) => {
                filled.push_str(value);
                rest = &rest[name.len()..];
            }
            None => {
                filled.push('{');
                rest = &rest[1..];
            }
        }
    }
    filled + rest
}

/// The last lines that a process wrote.
#[derive(Clone, Default)]
struct LastLines(Arc<Mutex<VecDeque<String>>>);

impl LastLines {
    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
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

/// Keeps the last lines, and logs each at `debug`.
async fn listen(mut out: impl AsyncRead + Unpin, program: String, last: LastLines) {
    let (mut line, mut buffer) = (Vec::new(), vec![0; 8192]);
    let tell = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        line.clear();
        if !text.is_empty() {
            tracing::debug!(target: "lightning::model", program, line = text, "a server says");
            last.push(text);
        }
    };
    loop {
        let read = out.read(&mut buffer).await.unwrap_or(0);
        for byte in &buffer[..read] {
            match byte {
                b'\n' => tell(&mut line),
                byte if line.len() < LINE => line.push(*byte),
                // What is longer is cut.
                _ => {}
            }
        }
        if read == 0 {
            tell(&mut line);
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_replaced_wherever_they_stand_and_other_braces_stay() {
        for (text, filled) in [
            ("{checkpoint}", "/a {port}"),
            ("--port={port}", "--port=80"),
            ("{host}:{port}/{checkpoint}", "127.0.0.1:80//a {port}"),
            (r#"{"port": {port}, "x": {}}"#, r#"{"port": 80, "x": {}}"#),
            ("{{port}}", "{80}"),
            ("{", "{"),
            ("é{por", "é{por"),
            ("", ""),
        ] {
            assert_eq!(fill(text, "/a {port}", 80), filled, "{text}");
        }
    }
}
