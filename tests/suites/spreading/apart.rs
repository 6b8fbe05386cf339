//! Algorithm, runners and store apart, each in a process that was started by hand.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    program::{Program, SIGINT, start, start_with},
    relay::Relay,
};

/// Starts an algorithm that serves its store, and gives the port of that once its rollouts are enqueued.
pub(crate) fn algorithm(mut settings: Value) -> (Program, u16) {
    settings["role"] = "algorithm".into();
    settings["port"] = 0.into();
    // So long it stays until everybody has heard that it is over.
    settings["stop_grace"] = 20_000.into();
    serving(start(&settings))
}

fn serving(mut algorithm: Program) -> (Program, u16) {
    let port = algorithm.until("serves ").parse().unwrap();
    algorithm.until("enqueued");
    (algorithm, port)
}

#[test]
fn runners_come_to_an_algorithm_by_the_environment_and_are_told_to_stop() {
    for (role, server_port) in [
        ("LIGHTNING_ROLE", "LIGHTNING_SERVER_PORT"),
        ("AGL_CURRENT_ROLE", "AGL_SERVER_PORT"),
    ] {
        let settings = json!({"tasks": 20, "takes": 10, "runners": 2, "stop_grace": 20_000});
        let algorithm = start_with(&settings, &[(role, "algorithm"), (server_port, "0")]);
        let (algorithm, port) = serving(algorithm);
        let port = port.to_string();
        let of_runner = [(role, "runner"), (server_port, port.as_str())];
        let runners = [
            start_with(&settings, &of_runner),
            start_with(&settings, &of_runner),
        ];
        let ended = algorithm.end();
        assert!(ended.status.success(), "{:#?}", ended.said);
        ended.every_rollout_succeeded_once(20);
        ended.nothing_is_left();
        assert_eq!(ended.json("report: ")["counted"], 20);
        for runner in runners {
            let ended = runner.end();
            // There, `fit` does not return.
            assert!(ended.status.success(), "{:#?}", ended.said);
            assert!(!ended.said.iter().any(|line| line.starts_with("report:")));
        }
    }
}

#[test]
fn runners_without_an_algorithm_end_with_the_run() {
    let (mut algorithm, port) = algorithm(json!({"tasks": 12, "takes": 10, "then": "wait"}));
    let url = format!("http://127.0.0.1:{port}");
    let runner = start(&json!({"role": "only", "url": url, "runners": 6, "takes": 10}));
    algorithm.until("all ended");
    algorithm.send(SIGINT);
    algorithm.end().every_rollout_succeeded_once(12);
    let ended = runner.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    assert_eq!(ended.json("report: ")["attempts"], 12);
}

#[test]
fn runners_that_are_asked_to_end_finish_what_they_have_and_lose_no_claim() {
    let (mut algorithm, port) = algorithm(json!({"tasks": 40, "takes": 30, "then": "wait"}));
    let url = format!("http://127.0.0.1:{port}");
    let only = json!({"role": "only", "url": url, "runners": 5, "takes": 30, "stop_grace": 30_000});
    let mut first = start(&only);
    for _ in 0..10 {
        first.until_begun();
    }
    first.send(SIGINT);
    let ended = first.end();
    let (begun, done) = (
        ended.said.iter().filter(|line| line.starts_with("began")).count(),
        ended.said.iter().filter(|line| line.starts_with("ended")).count(),
    );
    assert_eq!(begun, done, "{:#?}", ended.said);
    let second = start(&only);
    algorithm.until("all ended");
    algorithm.send(SIGINT);
    let ended = algorithm.end();
    ended.every_rollout_succeeded_once(40);
    // Nobody's claim was left to its time limits.
    assert!(
        ended.rollouts().iter().all(|rollout| rollout.attempts.len() == 1),
        "{:#?}",
        ended.said
    );
    second.end();
}

#[test]
fn a_runner_without_a_store_says_so() {
    // Nobody listens on the first port of all.
    let mut runner = start(&json!({"role": "only", "url": "http://127.0.0.1:1", "patience": 500}));
    let error = runner.until("error: ");
    assert!(error.contains("cannot connect"), "{error}");
    assert!(!runner.end().status.success());
}

#[test]
fn a_memory_limit_beside_the_algorithm_is_refused() {
    let ended = start(&json!({"role": "algorithm", "port": 0, "memory": 1 << 30})).end();
    assert!(
        ended.line("error: ").contains("ClientServer"),
        "{:#?}",
        ended.said
    );
    ended.nothing_is_left();
}

/// While a link is cut: longer than the store takes a silent runner for alive. `LIGHTNING_TEST_CUT_SECONDS` makes it the 20 s
/// or 30 s of a real one.
#[expect(
    clippy::disallowed_methods,
    reason = "how long a link is cut is what is tested; no runtime is here"
)]
pub(crate) fn stay_cut() {
    let seconds = std::env::var("LIGHTNING_TEST_CUT_SECONDS").ok();
    let seconds = seconds.map_or(3.0, |seconds| seconds.parse().unwrap());
    std::thread::sleep(Duration::from_secs_f64(seconds));
}

#[test]
fn a_runner_that_cannot_reach_the_store_for_a_while_goes_on_and_every_rollout_ends_once() {
    let (mut algorithm, port) = algorithm(json!({"tasks": 24, "then": "wait", "unresponsive": 1.0}));
    let relay = Relay::to(port);
    let url = format!("http://{}", relay.address);
    let mut runner = start(&json!({"role": "only", "url": url, "runners": 4, "takes": 300}));
    for _ in 0..6 {
        runner.until_begun();
    }
    relay.cut();
    stay_cut();
    relay.heal();
    let before = relay.passed();
    algorithm.until("all ended");
    assert!(relay.passed() > before, "it came back");
    algorithm.send(SIGINT);
    let ended = algorithm.end();
    ended.every_rollout_succeeded(24);
    let ended = runner.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
}

#[test]
fn what_a_runner_has_that_is_cut_off_goes_to_another_and_its_late_reports_change_nothing() {
    three_processes_with_a_cut();
}

/// Also stands for machines where there are none: those would differ in their addresses.
pub(crate) fn three_processes_with_a_cut() {
    let (mut algorithm, port) = algorithm(json!({"tasks": 24, "then": "wait", "unresponsive": 1.0}));
    let relay = Relay::to(port);
    let url = format!("http://{}", relay.address);
    let mut cut_off = start(&json!({"role": "only", "url": url, "runners": 4, "takes": 2000}));
    for _ in 0..4 {
        cut_off.until_begun();
    }
    relay.cut();
    let url = format!("http://127.0.0.1:{port}");
    let other = start(&json!({"role": "only", "url": url, "runners": 2, "takes": 50}));
    algorithm.until("all ended");
    stay_cut();
    relay.heal();
    // It delivers what it has before it ends, while the store is still there.
    cut_off.send(SIGINT);
    let cut_off = cut_off.end();
    assert!(cut_off.status.success(), "{:#?}", cut_off.said);
    algorithm.send(SIGINT);
    let ended = algorithm.end();
    ended.every_rollout_succeeded(24);
    let twice = ended
        .rollouts()
        .iter()
        .filter(|rollout| rollout.attempts.len() > 1)
        .count();
    assert!(twice >= 4, "{:#?}", ended.said);
    let other = other.end();
    assert!(other.status.success(), "{:#?}", other.said);
}
