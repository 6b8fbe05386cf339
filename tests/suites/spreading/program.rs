//! The program whose run is spread over processes, and what it says.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use serde_json::Value;

pub(crate) const SIGINT: i32 = 2;
pub(crate) const SIGKILL: i32 = 9;
pub(crate) const SIGTERM: i32 = 15;
pub(crate) const SIGCONT: i32 = 18;
pub(crate) const SIGSTOP: i32 = 19;

/// How long to wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program whose run is under way. What its processes say comes in the order in which they say it.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    pub(crate) said: Vec<String>,
}

/// What a program said after all, and how it ended.
pub(crate) struct Ended {
    pub(crate) said: Vec<String>,
    pub(crate) status: ExitStatus,
}

/// What became of a rollout.
#[derive(Debug)]
pub(crate) struct Rollout {
    pub(crate) task: u64,
    pub(crate) status: String,
    pub(crate) attempts: Vec<String>,
    pub(crate) workers: Vec<String>,
    pub(crate) end_time: Option<f64>,
}

pub(crate) fn start(settings: &Value) -> Program {
    start_with(settings, &[])
}

pub(crate) fn start_with(settings: &Value, environment: &[(&str, &str)]) -> Program {
    start_in(None, settings, environment)
}

/// With everything that it logs in a file.
pub(crate) fn start_logged(settings: &Value, log: &Path) -> Program {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spread"));
    command
        .env("SPREAD_LOG", "trace")
        .stderr(std::fs::File::create(log).unwrap());
    start_command(command, settings)
}

/// On a machine, which is a network namespace.
pub(crate) fn start_in(machine: Option<&str>, settings: &Value, environment: &[(&str, &str)]) -> Program {
    let program = env!("CARGO_BIN_EXE_spread");
    let mut command = match machine {
        None => Command::new(program),
        Some(machine) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", machine, program]);
            command
        }
    };
    command.envs(environment.iter().copied());
    if std::env::var_os("SPREAD_LOG").is_none() {
        command.stderr(Stdio::null());
    }
    start_command(command, settings)
}

fn start_command(mut command: Command, settings: &Value) -> Program {
    command
        .arg(settings.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, lines) = channel();
    // It ends with the last process that holds the output.
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    Program {
        child,
        lines,
        said: Vec::new(),
    }
}

impl Program {
    /// The next line that begins so, without that.
    pub(crate) fn until(&mut self, begin: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(error) => panic!("`{begin}` did not come ({error}); it said {:#?}", self.said),
            };
            self.said.push(line.clone());
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim().to_owned();
            }
        }
    }

    /// The next time that an agent begins: the task, the attempt, the process.
    pub(crate) fn until_begun(&mut self) -> (u64, u64, u32) {
        began(&self.until("began "))
    }

    /// The process that was started by hand.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn send(&self, signal: i32) {
        send(self.child.id(), signal);
    }

    /// How long it takes until all of its processes have ended.
    pub(crate) fn until_all_gone(&mut self) -> Duration {
        let began = Instant::now();
        loop {
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.said.push(line),
                Err(RecvTimeoutError::Disconnected) => return began.elapsed(),
                Err(RecvTimeoutError::Timeout) => panic!("a process is left; they said {:#?}", self.said),
            }
        }
    }

    /// Waits for the end of all processes.
    pub(crate) fn end(mut self) -> Ended {
        self.until_all_gone();
        let said = std::mem::take(&mut self.said);
        let status = self.child.wait().unwrap();
        Ended { said, status }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind: what this one has started ends with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    /// The one line that begins so, without that.
    pub(crate) fn line(&self, begin: &str) -> &str {
        let found: Vec<_> = self
            .said
            .iter()
            .filter_map(|line| line.strip_prefix(begin))
            .collect();
        match &found[..] {
            [only] => only.trim(),
            _ => panic!("`{begin}` should be said once: {:#?}", self.said),
        }
    }

    pub(crate) fn json(&self, begin: &str) -> Value {
        serde_json::from_str(self.line(begin)).unwrap()
    }

    pub(crate) fn rollouts(&self) -> Vec<Rollout> {
        let lines = self.said.iter().filter_map(|line| line.strip_prefix("rollout: "));
        lines.map(rollout).collect()
    }

    /// The processes in which agents began.
    pub(crate) fn processes(&self) -> BTreeSet<u32> {
        let begun = self.said.iter().filter_map(|line| line.strip_prefix("began "));
        begun.map(|line| began(line).2).collect()
    }

    /// Every rollout has succeeded, by one attempt only, and no attempt is open.
    pub(crate) fn every_rollout_succeeded_once(&self, tasks: u64) {
        self.every_rollout_succeeded(tasks);
        for rollout in self.rollouts() {
            let succeeded = rollout
                .attempts
                .iter()
                .filter(|status| *status == "succeeded")
                .count();
            assert_eq!(succeeded, 1, "{rollout:?}");
        }
    }

    /// Every rollout is there once and has succeeded, and no attempt is open. One that was cut off may report late that it
    /// has succeeded as well.
    pub(crate) fn every_rollout_succeeded(&self, tasks: u64) {
        let mut rollouts = self.rollouts();
        rollouts.sort_by_key(|rollout| rollout.task);
        let found: Vec<u64> = rollouts.iter().map(|rollout| rollout.task).collect();
        assert_eq!(found, (0..tasks).collect::<Vec<_>>(), "{:#?}", self.said);
        for rollout in &rollouts {
            assert_eq!(rollout.status, "succeeded", "{rollout:?}");
            assert!(
                rollout.attempts.iter().any(|status| status == "succeeded"),
                "{rollout:?}"
            );
        }
        self.no_attempt_is_open();
    }

    pub(crate) fn no_attempt_is_open(&self) {
        for rollout in self.rollouts() {
            let open = |status: &String| ["preparing", "running"].contains(&status.as_str());
            assert!(
                !rollout.attempts.iter().any(open),
                "{rollout:?} of {:#?}",
                self.said
            );
        }
    }

    /// Neither a task nor a process, a thread, a socket, a lock is left.
    pub(crate) fn nothing_is_left(&self) {
        let left = self.json("left: ");
        assert_eq!(left["after"], left["before"], "{:#?}", self.said);
        assert_eq!(left["after"]["processes"], 0);
        assert_eq!(left["after"]["locks"], 0);
        assert_eq!(left["after"]["locked_files"], 0);
    }
}

fn began(rest: &str) -> (u64, u64, u32) {
    let mut fields = rest.split_whitespace().map(|field| field.parse::<u64>().unwrap());
    let mut next = || fields.next().unwrap();
    let (task, attempt, process) = (next(), next(), next());
    (task, attempt, u32::try_from(process).unwrap())
}

fn rollout(line: &str) -> Rollout {
    let line: Value = serde_json::from_str(line).unwrap();
    let texts = |field: &str| {
        let list = line[field].as_array().unwrap();
        list.iter()
            .map(|text| text.as_str().unwrap().to_owned())
            .collect()
    };
    Rollout {
        task: line["task"].as_u64().unwrap(),
        status: line["status"].as_str().unwrap().to_owned(),
        attempts: texts("attempts"),
        workers: texts("workers"),
        end_time: line["end_time"].as_f64(),
    }
}

pub(crate) fn send(process: u32, signal: i32) {
    assert!(try_send(process, signal), "{process} has gone");
}

/// Whether the process was there.
pub(crate) fn try_send(process: u32, signal: i32) -> bool {
    let status = Command::new("kill")
        .args([format!("-{signal}"), process.to_string()])
        .stderr(Stdio::null())
        .status();
    status.unwrap().success()
}

pub(crate) fn is_there(process: u32) -> bool {
    // One that has ended, and that nobody has asked for how, is a zombie until the machine sees to it.
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let state = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().next().map(str::to_owned));
    state.is_some_and(|state| !matches!(&*state, "Z" | "X"))
}

/// Waits for the end of a process whose pipe has closed: the system closes the files of one that ends before it takes the
/// process out of its list.
pub(crate) fn until_gone(process: u32) {
    let began = Instant::now();
    while is_there(process) {
        assert!(began.elapsed() < PATIENCE, "{process} is still there");
        std::thread::yield_now();
    }
}

/// The program `lightning store`, which ends with this.
pub(crate) struct StoreProgram(Child);

impl StoreProgram {
    /// On this machine, and its address.
    pub(crate) fn start() -> (Self, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lightning_under_test"));
        command.args(["store", "--port", "0"]);
        Self::of(command)
    }

    /// By a command of one's own.
    pub(crate) fn of(mut command: Command) -> (Self, String) {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut said)
            .unwrap();
        let url = said
            .trim()
            .split_once(" listens on ")
            .map(|(_, url)| url.to_owned());
        (Self(child), url.unwrap_or_else(|| panic!("{said:?}")))
    }
}

impl Drop for StoreProgram {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
