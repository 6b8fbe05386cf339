//! Processes that are killed, or held.

use std::time::Duration;

use serde_json::json;

use crate::program::{SIGCONT, SIGKILL, SIGSTOP, is_there, send, start, until_gone};

#[test]
fn runners_may_be_killed_at_any_time() {
    let mut program = start(&json!({"tasks": 30, "takes": 50, "unresponsive": 0.5}));
    // In the middle of a rollout, one runner after the other, and some of their successors.
    for _ in 0..8 {
        let (_, _, process) = program.until_begun();
        // It may have been killed while it said so.
        if is_there(process) {
            send(process, SIGKILL);
        }
    }
    let ended = program.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    ended.every_rollout_succeeded_once(30);
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
    let mut program = start(&json!({"tasks": 12, "takes": 20}));
    for _ in 0..3 {
        let process = program.until("role runner").parse().unwrap();
        send(process, SIGKILL);
    }
    let ended = program.end();
    ended.every_rollout_succeeded_once(12);
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
    let mut program = start(&json!({"tasks": 8, "takes": null}));
    let processes: Vec<u32> = (0..4).map(|_| program.until_begun().2).collect();
    program.send(SIGKILL);
    let took = program.until_all_gone();
    assert!(took < Duration::from_secs(2), "{took:?}");
    processes.into_iter().for_each(until_gone);
}

#[test]
fn nothing_outlives_a_parent_that_was_killed_while_it_started_others() {
    for round in 0..4 {
        let mut program = start(&json!({"tasks": 8, "takes": null, "runners": 8}));
        for _ in 0..=round {
            program.until("role runner");
        }
        program.send(SIGKILL);
        let took = program.until_all_gone();
        assert!(took < Duration::from_secs(4), "{took:?}");
    }
}

#[test]
fn a_runner_that_was_held_changes_nothing_when_it_wakes() {
    let mut program = start(&json!({"tasks": 4, "takes": 300, "unresponsive": 0.5, "then": "wait"}));
    let (task, _, held) = program.until_begun();
    send(held, SIGSTOP);
    // The others do its work as well.
    program.until("all ended");
    // It ends what it was at and reports that, or hears first that nobody waits for it any more.
    send(held, SIGCONT);
    program.send(crate::program::SIGINT);
    let ended = program.end();
    ended.nothing_is_left();
    ended.no_attempt_is_open();
    let rollouts = ended.rollouts();
    assert!(
        rollouts.iter().all(|rollout| rollout.status == "succeeded"),
        "{rollouts:?}"
    );
    let concerned = rollouts.iter().find(|rollout| rollout.task == task).unwrap();
    assert_eq!(concerned.attempts[1..], ["succeeded"], "{concerned:?}");
    assert!(concerned.attempts[0] != "running", "{concerned:?}");
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
    assert_eq!(slow.attempts, ["failed", "succeeded"]);
}
