//! Processes that are killed, or held.

use std::time::Duration;

use serde_json::json;

use crate::program::{SIGCONT, SIGKILL, SIGSTOP, is_there, send, start, try_send, until_gone};

#[test]
fn runners_may_be_killed_at_any_time() {
    let mut program = start(&json!({"tasks": 30, "takes": 50, "unresponsive": 0.5}));
    // In the middle of a rollout, one runner after the other, and some of their successors.
    for _ in 0..8 {
        let (_, _, process) = program.until_begun();
        // It may have been killed since it said so.
        try_send(process, SIGKILL);
    }
    let ended = program.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    ended.every_rollout_succeeded(30);
    ended.nothing_is_left();
    let retried = ended
        .rollouts()
        .iter()
        .filter(|rollout| rollout.attempts.len() > 1)
        .count();
    assert!(retried > 0, "somebody was killed at work: {:#?}", ended.said);
    assert!(ended.processes().len() > 4);
}

#[test]
fn runners_may_be_killed_before_they_have_begun() {
    let mut program = start(&json!({"tasks": 12, "takes": 20, "unresponsive": 1.0}));
    for _ in 0..3 {
        let process = program.until("role runner").parse().unwrap();
        send(process, SIGKILL);
    }
    let ended = program.end();
    ended.every_rollout_succeeded(12);
    ended.nothing_is_left();
}

#[test]
fn runners_that_are_killed_again_and_again_end_the_run() {
    let mut program = start(&json!({"takes": null, "runners": 1, "restarts": 2}));
    for _ in 0..3 {
        let process = program.until("role runner").parse().unwrap();
        send(process, SIGKILL);
    }
    let ended = program.end();
    assert!(ended.line("error: ").contains("signal: 9"), "{:#?}", ended.said);
    ended.nothing_is_left();
}

#[test]
fn nothing_outlives_a_parent_that_was_killed() {
    let mut program = start(&json!({"tasks": 8, "takes": null, "orphan_grace": 300}));
    let processes: Vec<u32> = (0..4).map(|_| program.until_begun().2).collect();
    program.send(SIGKILL);
    let took = program.until_all_gone();
    assert!(took < Duration::from_secs(2), "{took:?}");
    processes.into_iter().for_each(until_gone);
}

#[test]
fn nothing_outlives_a_parent_that_was_killed_while_it_started_others() {
    for round in 0..4 {
        let mut program = start(&json!({"tasks": 8, "takes": null, "runners": 8, "orphan_grace": 300}));
        for _ in 0..=round {
            program.until("role runner");
        }
        program.send(SIGKILL);
        let took = program.until_all_gone();
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

/// The agent computes while it is held, and is done before its runner can hear that nobody waits for it any more.
#[test]
fn a_runner_that_was_held_reports_late_and_changes_nothing() {
    let scratch = lightning_tests::scratch::Scratch::fast();
    let pipe = scratch.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut program = start(&json!({
        "tasks": 4, "takes": 1, "unresponsive": 0.5, "then": "wait", "computes_on": 0, "computes_until": pipe,
    }));
    let held = loop {
        let (task, attempt, process) = program.until_begun();
        if (task, attempt) == (0, 1) {
            break process;
        }
    };
    send(held, SIGSTOP);
    // The others do its work as well.
    program.until("all ended");
    send(held, SIGCONT);
    std::fs::write(&pipe, "go on").unwrap();
    program.until("reported 0 1 succeeded");
    program.send(crate::program::SIGINT);
    let ended = program.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    ended.nothing_is_left();
    ended.every_rollout_succeeded(4);
    let at_first = ended
        .said
        .iter()
        .filter_map(|line| line.strip_prefix("ended as: "));
    let at_first: Vec<serde_json::Value> = at_first.map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(at_first.len(), 4, "{:#?}", ended.said);
    for rollout in ended.rollouts() {
        let before = at_first
            .iter()
            .find(|before| before["task"] == rollout.task)
            .unwrap();
        assert_eq!(before["status"], "succeeded");
        assert_eq!(before["end_time"].as_f64(), rollout.end_time, "{rollout:?}");
    }
    let rollouts = ended.rollouts();
    let concerned = rollouts.iter().find(|rollout| rollout.task == 0).unwrap();
    // Its own attempt says what it did; the one that counts is the other's.
    assert!(concerned.attempts.len() >= 2, "{concerned:?}");
    assert_eq!(concerned.attempts.first().map(String::as_str), Some("succeeded"));
    assert_eq!(concerned.attempts.last().map(String::as_str), Some("succeeded"));
    assert_ne!(concerned.workers.first(), concerned.workers.last());
}

#[test]
fn a_runner_that_is_held_as_the_run_ends_is_killed() {
    let mut program = start(&json!({"tasks": 4, "takes": 50, "unresponsive": 0.5}));
    let (_, _, held) = program.until_begun();
    send(held, SIGSTOP);
    let ended = program.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    assert!(!is_there(held));
    let rollouts = ended.rollouts();
    assert!(
        rollouts.iter().all(|rollout| rollout.status == "succeeded"),
        "{rollouts:?}"
    );
    ended.no_attempt_is_open();
    ended.nothing_is_left();
}

#[test]
fn a_runner_that_takes_too_much_memory_is_replaced() {
    // 1 GiB is not to be had; a process that tries to is ended by its allocator.
    let limited = json!({"tasks": 1, "runners": 1, "memory": 400 << 20, "hoards": 1 << 30, "restarts": 1, "attempts": 9});
    let ended = start(&limited).end();
    assert!(
        ended.line("error: ").contains("ended before its time"),
        "{:#?}",
        ended.said
    );
    assert!(!ended.said.iter().any(|line| line.starts_with("hoarded")));
    let enough = json!({"tasks": 1, "runners": 1, "memory": 4u64 << 30, "hoards": 1 << 28});
    start(&enough).end().every_rollout_succeeded_once(1);
}

#[test]
fn an_agent_that_takes_too_long_for_its_runner_is_dropped() {
    let ended = start(&json!({"tasks": 3, "hangs_on": 1, "rollout_time": 300})).end();
    ended.every_rollout_succeeded_once(3);
    let slow = ended
        .rollouts()
        .into_iter()
        .find(|rollout| rollout.task == 1)
        .unwrap();
    assert_eq!(slow.attempts.first().map(String::as_str), Some("failed"));
}

#[test]
fn a_run_that_is_resumed_does_not_wait_for_what_its_runners_had() {
    let scratch = lightning_tests::scratch::Scratch::fast();
    // No limit would free them within the patience of the test.
    let settings = |takes: Option<u64>| {
        json!({
            "store": format!("sqlite:{}", scratch.path("run.db").display()), "run_dir": scratch.path("run"), "tasks": 4,
            "takes": takes, "evaluate": true, "timeout": 600.0, "unresponsive": 600.0,
        })
    };
    let mut program = start(&settings(None));
    for _ in 0..4 {
        program.until_begun();
    }
    program.send(SIGKILL);
    program.until_all_gone();
    let ended = start(&settings(Some(1))).end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    ended.every_rollout_succeeded_once(4);
    for rollout in ended.rollouts() {
        assert_eq!(rollout.attempts, ["failed", "succeeded"], "{rollout:?}");
    }
    ended.nothing_is_left();
}
