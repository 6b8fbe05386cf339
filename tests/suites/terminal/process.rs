//! Logs and progress of a whole process.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
};

use lightning_tests::tier;
use serde_json::Value;

use crate::tty::Tty;

fn watched(scenario: &str, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_watched"));
    command.arg(scenario).stdin(Stdio::null());
    for name in ["LIGHTNING_LOG", "LIGHTNING_LOG_FORMAT", "NO_COLOR", "TERM"] {
        command.env_remove(name);
    }
    command.env("RUST_BACKTRACE", "0").envs(variables.iter().copied());
    command
}

/// What it wrote to standard output and to standard error.
fn words(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

fn logs(variables: &[(&str, &str)]) -> (String, String) {
    let output = watched("logs", variables).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    words(&output)
}

/// The lines without their times.
fn lines(logs: &str) -> Vec<&str> {
    logs.lines().map(|line| line.split_once(' ').unwrap().1).collect()
}

/// The rollout that the program says it recorded.
fn rollout(stdout: &str) -> &str {
    let rest = stdout.split_once(" of ").unwrap().1;
    rest.split_once(':').unwrap().0
}

#[test]
fn without_a_variable_lightning_informs_and_others_warn() {
    let (stdout, stderr) = logs(&[]);
    assert_eq!(
        lines(&stderr)[..2],
        [
            " WARN lightning::runner: the attempt failed error=\"not found\" worker_id=w-1",
            " INFO lightning::trainer: the run begins",
        ]
    );
    let of_agent = lines(&stderr)[2];
    assert!(
        of_agent.starts_with(" WARN my_agent: the answer is empty attempt_id=at-"),
        "{stderr}"
    );
    assert!(
        of_agent.ends_with(&format!(" rollout_id={}", rollout(&stdout))),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
}

#[test]
fn levels_are_set_by_target() {
    let (_, stderr) = logs(&[("LIGHTNING_LOG", "off,lightning::run=debug,lightning_agents=info")]);
    let expected = [
        "DEBUG lightning::run: details",
        " INFO lightning_agents: of somebody else",
    ];
    assert_eq!(lines(&stderr), expected);
}

#[test]
fn spans_are_recorded_whatever_is_logged_and_never_logged() {
    for levels in ["off", "trace"] {
        let (stdout, stderr) = logs(&[("LIGHTNING_LOG", levels)]);
        assert!(stdout.starts_with("recorded search of ro-"), "{levels}: {stdout}");
        assert!(stdout.ends_with(": 1 events\n"), "{levels}: {stdout}");
        assert!(
            !stderr.contains("search") && !stderr.contains("never shown"),
            "{levels}: {stderr}"
        );
        assert_eq!(stderr.is_empty(), levels == "off", "{stderr}");
    }
}

#[test]
fn logs_can_be_json() {
    let (stdout, stderr) = logs(&[("LIGHTNING_LOG_FORMAT", "json")]);
    let lines: Vec<Value> = stderr
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let first = &lines[0];
    assert_eq!(
        (&first["level"], &first["target"]),
        (&"WARN".into(), &"lightning::runner".into())
    );
    let fields =
        serde_json::json!({ "message": "the attempt failed", "error": "not found", "worker_id": "w-1" });
    assert_eq!(first["fields"], fields);
    assert!(first["timestamp"].as_str().unwrap().ends_with('Z'), "{first}");
    assert_eq!(lines[2]["fields"]["rollout_id"], rollout(&stdout));
}

#[test]
fn logs_that_cannot_be_set_up_say_why() {
    let cases = [
        ("twice", "", "Initialised"),
        ("foreign", "", "ForeignSubscriber"),
        ("logs", "info,lightning=loud", "lightning=loud"),
    ];
    for (scenario, levels, said) in cases {
        let output = watched(scenario, &[("LIGHTNING_LOG", levels)]).output().unwrap();
        let (_, stderr) = words(&output);
        assert_eq!(output.status.code(), Some(1), "{scenario}: {stderr}");
        assert!(
            stderr.contains(said) && !stderr.contains("panicked"),
            "{scenario}: {stderr}"
        );
    }
}

#[test]
fn where_there_is_no_terminal_progress_is_a_few_lines_without_control_characters() {
    // NO_COLOR and TERM are for terminals.
    let output = watched("bars", &[("TERM", "xterm-256color")]).output().unwrap();
    let (stdout, stderr) = words(&output);
    assert_eq!(stdout, "done\n");
    assert!(!stderr.contains('\u{1b}') && !stderr.contains('\r'), "{stderr:?}");
    let of = |label: &str| stderr.lines().filter(|line| line.starts_with(label)).count();
    // On a machine that has much else to do there may be more than the first and the last, but never one for each step.
    for label in ["evaluating candidates", "answers"] {
        assert!((2..10).contains(&of(label)), "{label}: {stderr}");
    }
    assert!(stderr.ends_with("the end\n"), "{stderr}");
}

#[test]
fn a_process_whose_standard_error_is_closed_goes_on() {
    for scenario in ["bars", "logs"] {
        let mut child = watched(scenario, &[])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stderr.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{scenario}: {output:?}");
        assert!(!output.stdout.is_empty(), "{scenario}");
    }
}

/// What a terminal shows at the end of the program, and what it was sent.
fn on_a_terminal(scenario: &str, variables: &[(&str, &str)]) -> Option<(Vec<String>, String)> {
    let program = watched(scenario, variables);
    let mut script = tier::terminal()?.command(&format!("{} {scenario}", program.get_program().display()));
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    let output = script.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let mut tty = Tty::new(80);
    tty.write_all(&output.stdout).unwrap();
    Some((tty.shows(), words(&output).0))
}

#[test]
fn on_a_terminal_bars_come_and_go_and_leave_the_logs_whole() {
    let Some((shown, written)) = on_a_terminal("bars", &[("TERM", "xterm")]) else {
        return;
    };
    assert!(written.contains("━╸─"), "there were bars: {written:?}");
    assert!(
        written.contains("\u{1b}[33m WARN"),
        "there were colours: {written:?}"
    );
    let is_log = |line: &String| line.contains("Z  WARN lightning::runner: the attempt failed step=");
    let (logs, others): (Vec<String>, Vec<String>) = shown.iter().cloned().partition(is_log);
    assert_eq!(logs.len(), 5, "{shown:#?}");
    assert!(!others.iter().any(|line| line.contains(['━', '─'])), "{shown:#?}");
    assert!(
        others.contains(&"out of ideas".to_owned()),
        "the panic's message is whole: {shown:#?}"
    );
    let end = &others[others.len() - 4..];
    assert!(
        end[0].starts_with("evaluating candidates of the second generation: 50/50 in "),
        "{shown:#?}"
    );
    assert!(end[1].starts_with("answers: 150 in "), "{shown:#?}");
    assert_eq!(end[2..], ["the end", "done"]);
}

#[test]
fn colours_can_be_switched_off_and_a_dumb_terminal_has_no_bars() {
    let variables = [("TERM", "xterm"), ("NO_COLOR", "1")];
    if let Some((_, written)) = on_a_terminal("bars", &variables) {
        assert!(
            written.contains("━╸─") && !written.contains("\u{1b}[33m"),
            "{written:?}"
        );
    }
    if let Some((shown, written)) = on_a_terminal("bars", &[("TERM", "dumb")]) {
        assert!(!written.contains('\u{1b}'), "{written:?}");
        assert_eq!(shown[0], "evaluating candidates of the second generation: 0/50");
    }
}
