//! Ctrl-C and other ends that come from outside, on a program of its own.
#![cfg(unix)]

use std::{
    io::{BufRead as _, BufReader},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use lightning_core::run::RunFolder;
use serde_json::{Value, json};

const SIGINT: i32 = 2;
const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

/// A program whose run is under way.
struct Program {
    child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

impl Program {
    fn start(mode: &str, run_dir: &RunFolder) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_stoppable"))
            .arg(mode)
            .arg(run_dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut program = Self { child, lines };
        program.expect("ready");
        program
    }

    fn expect(&mut self, line: &str) {
        assert_eq!(self.lines.next().unwrap().unwrap(), line);
    }

    fn send(&self, signal: i32) {
        let status = Command::new("kill")
            .args([format!("-{signal}"), self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// The rest of what it says, and how it ended.
    fn end(mut self) -> (Vec<String>, ExitStatus) {
        let rest = self.lines.by_ref().map(Result::unwrap).collect();
        (rest, self.child.wait().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed leaves nothing behind; one that did not has seen its end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn json_of(folder: &RunFolder, name: &str) -> Value {
    serde_json::from_slice(&folder.read(name).unwrap().unwrap()).unwrap()
}

#[test]
fn asked_once_the_algorithm_saves_and_returns_its_best() {
    for signal in [SIGINT, SIGTERM] {
        let folder = RunFolder::temporary();
        let program = Program::start("cooperative", &folder);
        program.send(signal);
        let (said, status) = program.end();
        assert_eq!(
            said,
            ["stopped: Some(Cancelled)", "attempt: failed"],
            "signal {signal}"
        );
        assert!(status.success());
        let report = json_of(&folder, "report.json");
        assert_eq!(report["stopped"], "cancelled");
        assert_eq!(report["output"], json_of(&folder, "checkpoint.json")["state"]);
        assert_eq!(json_of(&folder, "run.json")["state"], "succeeded");
    }
}

#[test]
fn asked_twice_the_run_is_aborted_and_no_attempt_is_left_open() {
    let folder = RunFolder::temporary();
    let program = Program::start("stubborn", &folder);
    // Two signals of one kind may arrive as one.
    program.send(SIGINT);
    program.send(SIGTERM);
    let (said, status) = program.end();
    assert_eq!(
        said,
        [
            "error: the algorithm `stubborn` was aborted, because the process was asked twice to stop",
            "attempt: failed"
        ]
    );
    assert_eq!(status.code(), Some(1));
    let record = json_of(&folder, "run.json");
    assert_eq!(record["state"], "failed");
    assert!(
        record["error"].as_str().unwrap().contains("asked twice"),
        "{record}"
    );
}

#[test]
fn asked_a_third_time_the_process_ends_even_if_the_algorithm_cannot_be_stopped() {
    let folder = RunFolder::temporary();
    let mut program = Program::start("blocked", &folder);
    program.send(SIGINT);
    program.send(SIGTERM);
    program.expect("error: the algorithm `blocked` was aborted, because the process was asked twice to stop");
    program.send(SIGINT);
    let (_, status) = program.end();
    assert_eq!(status.signal(), Some(SIGINT));
}

#[test]
fn after_a_run_ctrl_c_does_what_it_always_does() {
    let folder = RunFolder::temporary();
    let mut program = Program::start("quick", &folder);
    for line in [
        "stopped: None",
        "attempt: succeeded",
        "threads of runs: 0",
        "idle",
    ] {
        program.expect(line);
    }
    program.send(SIGINT);
    assert_eq!(program.end().1.signal(), Some(SIGINT));
}

#[test]
fn a_trainer_that_does_not_listen_leaves_signals_alone() {
    let folder = RunFolder::temporary();
    let program = Program::start("unheard", &folder);
    // Whoever starts the tests in the background may have had SIGINT ignored, which a program that does not listen inherits.
    program.send(SIGTERM);
    assert_eq!(program.end().1.signal(), Some(SIGTERM));
}

#[test]
fn a_run_that_was_killed_leaves_its_folder_to_the_next() {
    let folder = RunFolder::temporary();
    let program = Program::start("cooperative", &folder);
    assert!(folder.lock().is_err(), "the run has the folder");
    program.send(SIGKILL);
    assert_eq!(program.end().1.signal(), Some(SIGKILL));
    assert_eq!(json_of(&folder, "run.json")["state"], json!("running"));
    assert!(json_of(&folder, "checkpoint.json")["state"].as_u64() >= Some(1));

    let program = Program::start("cooperative", &folder);
    program.send(SIGINT);
    let (_, status) = program.end();
    assert!(status.success());
    assert_eq!(json_of(&folder, "run.json")["state"], json!("succeeded"));
}
