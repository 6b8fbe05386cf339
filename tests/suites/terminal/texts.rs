//! The banner and the end of a run, as text.

use lightning_core::{
    run::{AlgorithmIdentity, ModelUsage, StopWhen},
    terminal::{Banner, RunSummary},
    types::{AttemptStatus, Llm, NamedResources, PromptTemplate, ProxyLlm, Resource, RolloutConfig},
};
use serde_json::json;

/// The text without the version that is being built.
fn text(banner: &Banner, columns: usize) -> String {
    banner
        .text(columns)
        .replacen(env!("CARGO_PKG_VERSION"), "VERSION", 1)
}

fn banner() -> Banner {
    let parameters = json!({ "finalists": 3, "not_set": null, "rules": ["a", "b"] });
    let mut banner = Banner::default();
    banner.run_id = "run-7".to_owned();
    banner.algorithm = AlgorithmIdentity {
        name: "best_rules".to_owned(),
        version: "2".to_owned(),
        parameters: parameters.as_object().unwrap().clone(),
    };
    banner.agent = "read_invoice".to_owned();
    banner.train_tasks = Some(1210);
    banner.val_tasks = Some(90);
    banner.resources = NamedResources::new()
        .with("ask", PromptTemplate::new("Answer {question}"))
        .with("rules", Resource::json(json!([1, 2])));
    banner.adapter = "triplets, each reward to the first call".to_owned();
    banner.n_runners = Some(8);
    banner.max_rollouts = Some(1000);
    banner.rollout_config = RolloutConfig {
        timeout_seconds: Some(600.0),
        unresponsive_seconds: Some(120.0),
        max_attempts: 3,
        retry_condition: vec![AttemptStatus::Failed, AttemptStatus::Timeout],
    };
    banner.stop_when = StopWhen::never().rollouts(5000).score(0.95);
    banner.seed = 7;
    banner.store = "memory".to_owned();
    banner.run_dir = Some("/runs/one".into());
    banner.dashboard = Some("http://127.0.0.1:4747".to_owned());
    banner
}

#[test]
fn a_banner_says_what_will_happen() {
    let expected = "\
Lightning VERSION · run-7
  algorithm     best_rules, version 2
                finalists = 3
                rules = [\"a\",\"b\"]
  agent         read_invoice
  tasks         1,210 to train on, 90 to validate on
  resources     ask (prompt_template)
                rules (json)
  adapter       triplets, each reward to the first call
  runners       8, at most 1,000 rollouts each
  rollouts      3 attempts, retried when failed, timeout, at most 10 min, given up after 2 min of silence
  stops at      5000 rollouts, or a score of 0.95
  seed          7
  store         memory
  run folder    /runs/one
  dashboard     http://127.0.0.1:4747
";
    assert_eq!(text(&banner(), 120), expected);
}

#[test]
fn a_banner_leaves_out_what_is_not_there() {
    let expected = "\
Lightning VERSION · 
  runners       elsewhere
  rollouts      1 attempt, no time limit
  seed          0
  run folder    temporary
";
    assert_eq!(text(&Banner::default(), 120), expected);
}

#[test]
fn long_and_wide_values_are_cut_and_stay_on_their_line() {
    let mut banner = banner();
    banner.algorithm.parameters = json!({ "prompt": "日本語\n".repeat(100), "x".repeat(200): 1 })
        .as_object()
        .unwrap()
        .clone();
    banner.agent = "an agent\u{1b}[2J\nof two lines".to_owned();
    let text = text(&banner, 60);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(
        lines[2],
        "                prompt = \"日本語\\n日本語\\n日本語\\n日本語\\n…"
    );
    assert!(lines[3].ends_with("xxx…"), "{text}");
    assert_eq!(lines[4], "  agent         an agent [2J of two lines");
    assert_eq!(lines[lines.len() - 2], "  run folder    /runs/one");
    assert!(
        lines.iter().all(|line| console::measure_text_width(line) <= 60),
        "{text}"
    );
}

#[test]
fn a_banner_shows_no_secret() {
    let secret = "sk-very-secret";
    let mut banner = banner();
    banner.resources = NamedResources::new()
        .with(
            "main",
            Llm::new(format!("http://user:{secret}@host/v1"), "small").with_api_key(secret),
        )
        .with(
            "judge",
            ProxyLlm::new("http://host/v1", "large").with_api_key(secret),
        );
    let parameters = json!({
        "OPENAI_API_KEY": secret,
        "access_token": secret,
        "max_tokens": 7,
        "models": [{ "name": "small", "password": secret, "key": [secret] }],
        "tokenizer": "words",
        "url": format!("http://user:{secret}@host/v1?q=1"),
    });
    banner.algorithm.parameters = parameters.as_object().unwrap().clone();
    let text = text(&banner, 120);
    assert!(!text.contains(secret), "{text}");
    for line in [
        "OPENAI_API_KEY = \"[redacted]\"",
        "max_tokens = 7",
        "\"name\":\"small\"",
        "tokenizer = \"words\"",
        "url = \"http://[redacted]@host/v1?q=1\"",
        "main (llm, small)",
        "judge (proxy_llm, large)",
    ] {
        assert!(text.contains(line), "{line:?} is missing in\n{text}");
    }
}

fn summary() -> RunSummary {
    let mut summary = RunSummary::default();
    summary.run_id = "run-7".to_owned();
    summary.seconds = 90.0;
    summary.succeeded = 4980;
    summary.failed = 20;
    summary.rewarded = 4970;
    summary.mean_reward = Some(0.8125);
    summary.stopped = Some("the limit of rollouts was reached".to_owned());
    summary.curve = vec![0.5, 0.25, 0.75, 1.0, 0.875];
    let mut agent = ModelUsage::of_call("agent", Some("small"), Some(1_200_000), Some(31_000));
    agent.calls = 9960;
    let judge = ModelUsage::of_call("judge", Some("large"), Some(310), Some(1));
    summary.models = vec![agent, judge];
    summary.run_dir = Some("/runs/one".into());
    summary
}

#[test]
fn a_summary_says_what_happened() {
    let expected = "\
The end of run-7
  stopped       the limit of rollouts was reached
  rollouts      5,000 in 1 min 30 s (55.6/s): 4,980 succeeded, 20 failed
  reward        0.8125 on average; 10 rollouts without a reward
  score         ▃▁▆█▇ 0.5 to 0.875, best 1 (round 4 of 5)
  model calls   agent: 9,960 calls to small, 1,200,000 tokens in, 31,000 out
                judge: 1 call to large, 310 tokens in, 1 out
  run folder    /runs/one
";
    assert_eq!(summary().text(120), expected);
}

#[test]
fn a_summary_of_nothing_says_so() {
    assert_eq!(
        RunSummary::default().text(120),
        "The end of \n  rollouts      0 in 0 ms\n"
    );
}

#[test]
fn rewards_that_are_missing_are_not_zeros() {
    let mut summary = RunSummary::default();
    (summary.succeeded, summary.seconds) = (3, 1.5);
    let text = summary.text(120);
    assert!(
        text.contains("  reward        none; 3 rollouts without a reward\n"),
        "{text}"
    );
}

#[test]
fn a_summary_keeps_to_its_columns() {
    let text = summary().text(30);
    assert!(
        text.lines().all(|line| console::measure_text_width(line) <= 30),
        "{text}"
    );
    assert!(text.contains("…"), "{text}");
}

#[test]
fn what_somebody_will_want_to_copy_is_never_cut() {
    let path = format!("/runs/{}", "one/".repeat(40));
    let (mut banner, mut summary) = (banner(), summary());
    banner.run_dir = Some((&path).into());
    banner.dashboard = Some(format!("http://127.0.0.1:4747{path}"));
    summary.run_dir = Some((&path).into());
    assert!(summary.text(40).contains(&path), "{}", summary.text(40));
    assert_eq!(banner.text(40).matches(&path).count(), 2, "{}", banner.text(40));
}
