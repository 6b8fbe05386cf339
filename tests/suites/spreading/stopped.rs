//! Runs that are asked to end, or end by an error.

use serde_json::{Value, json};

use crate::program::{SIGINT, SIGTERM, StoreProgram, start, until_gone};

/// Runners that are dropped have all the time they need to say so.
fn patient(mut settings: Value) -> Value {
    settings["cancel_grace"] = 30_000.into();
    settings["orphan_grace"] = 30_000.into();
    settings
}

#[test]
fn asked_once_the_algorithm_returns_and_the_runners_follow() {
    for signal in [SIGINT, SIGTERM] {
        let mut program = start(&patient(json!({"tasks": 4, "takes": null, "then": "wait"})));
        for _ in 0..4 {
            program.until_begun();
        }
        program.send(signal);
        let ended = program.end();
        assert!(ended.status.success(), "{:#?}", ended.said);
        assert_eq!(ended.json("report: ")["stopped"], "cancelled");
        // Their agents did not end within the grace, so they were dropped, and said so.
        for rollout in ended.rollouts() {
            assert_eq!(
                rollout.attempts.last().map(String::as_str),
                Some("failed"),
                "{:#?}",
                ended.said
            );
        }
        ended.nothing_is_left();
    }
}

#[test]
fn asked_twice_the_run_is_aborted() {
    let mut program = start(&patient(json!({"tasks": 4, "takes": null, "then": "hang"})));
    let processes: Vec<u32> = (0..4).map(|_| program.until_begun().2).collect();
    // Two signals of one kind may arrive as one.
    program.send(SIGINT);
    program.send(SIGTERM);
    let ended = program.end();
    assert!(ended.line("error: ").contains("asked twice"), "{:#?}", ended.said);
    processes.into_iter().for_each(until_gone);
    ended.no_attempt_is_open();
    ended.nothing_is_left();
}

#[test]
fn an_algorithm_that_fails_ends_the_runners() {
    let ended = start(&json!({"tasks": 4, "then": "fail"})).end();
    assert!(
        ended.line("error: ").contains("told to fail"),
        "{:#?}",
        ended.said
    );
    ended.every_rollout_succeeded_once(4);
    ended.nothing_is_left();
}

#[test]
fn runners_finish_what_they_have_when_the_algorithm_returns() {
    // The algorithm gives up at once, and the agents take as long as the grace lets them.
    let mut program = start(&json!({"tasks": 4, "takes": 700, "then": "wait", "stop_grace": 30_000}));
    for _ in 0..4 {
        program.until_begun();
    }
    program.send(SIGINT);
    let ended = program.end();
    ended.every_rollout_succeeded_once(4);
    assert_eq!(ended.json("report: ")["counted"], 4);
    ended.nothing_is_left();
}

#[test]
fn a_run_that_is_aborted_leaves_nothing_to_do_in_a_store_elsewhere() {
    let (_store, url) = StoreProgram::start();
    let mut program = start(&patient(
        json!({"url": url, "role": "both", "tasks": 12, "takes": null, "then": "hang"}),
    ));
    for _ in 0..4 {
        program.until_begun();
    }
    program.send(SIGINT);
    program.send(SIGTERM);
    let ended = program.end();
    assert!(ended.line("error: ").contains("asked twice"), "{:#?}", ended.said);
    let rollouts = ended.rollouts();
    assert_eq!(rollouts.len(), 12);
    for rollout in rollouts {
        assert_eq!(rollout.status, "cancelled", "{rollout:?}");
    }
    ended.no_attempt_is_open();
}
