//! Our adapters against those of the Python package, over traces made at random and traces that its tracer recorded.
//!
//! Each difference that is meant is listed in the book (“From traces to data”); `differences` pins it, and `compare` undoes
//! it for the comparison.

mod compare;
mod differences;
mod export;
mod scripts;

use std::{
    io::{Read as _, Write as _},
    process::Stdio,
};

use compare::Run;
use lightning_core::{
    adapter::{ProxyToTriplets, RewardPolicy, ToMessages, TracerToTriplets},
    types::Span,
};
use lightning_tests::{
    tier::{self, Python},
    traces::{Shape, trace},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// What is asked of `tests/python/adapters.py`; see there.
#[derive(Default, Serialize)]
struct Question {
    scripts: Vec<Value>,
    sets: Vec<Set>,
    runs: Vec<Value>,
}

#[derive(Serialize)]
struct Set {
    spans: Vec<Span>,
    runs: Vec<Value>,
}

#[derive(Deserialize)]
struct Answer {
    recorded: Vec<Vec<Span>>,
    sets: Vec<Vec<Theirs>>,
    of_recorded: Vec<Vec<Theirs>>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Theirs {
    Ok(Value),
    Error(String),
}

fn ask(python: &Python, question: &Question) -> Answer {
    let mut child = python
        .script("adapters.py")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let question = serde_json::to_vec(question).unwrap();
    let writing = std::thread::spawn(move || stdin.write_all(&question));
    let mut stderr = child.stderr.take().unwrap();
    let complaints = std::thread::spawn(move || {
        let mut text = String::new();
        let _ = stderr.read_to_string(&mut text);
        text
    });
    let mut answer = String::new();
    child.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    writing.join().unwrap().unwrap();
    let complaints = complaints.join().unwrap();
    assert!(child.wait().unwrap().success(), "{complaints}");
    serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{error}: {answer}\n{complaints}"))
}

/// Every way of adapting that both have.
fn runs() -> Vec<Run> {
    let tracer =
        |name: &'static str, options: Value, ours: TracerToTriplets| Run::tracer(name, options, ours);
    let new = TracerToTriplets::new;
    vec![
        tracer("as it comes", json!({}), new()),
        tracer(
            "parents believed",
            json!({"repair_hierarchy": false}),
            new().without_repair(),
        ),
        tracer(
            "siblings",
            json!({"reward_match": "first_sibling"}),
            new().rewards(RewardPolicy::FirstSibling),
        ),
        tracer(
            "siblings, parents believed",
            json!({"reward_match": "first_sibling", "repair_hierarchy": false}),
            new().rewards(RewardPolicy::FirstSibling).without_repair(),
        ),
        tracer(
            "one agent",
            json!({"agent_match": "^(planner|critic)$"}),
            new().agents("^(planner|critic)$").unwrap(),
        ),
        tracer(
            "calls in rewards",
            json!({"exclude_llm_call_in_reward": false}),
            new().with_calls_in_rewards(),
        ),
        tracer(
            "other names",
            json!({"llm_call_match": "^(chat|litellm)"}),
            new().model_calls("^(chat|litellm)").unwrap(),
        ),
        tracer(
            "only with token ids",
            json!({"_skip_empty_token_spans": true}),
            new().require_token_ids(),
        ),
        Run::tracer_final("a final reward", 0.75, new()),
        Run::nested("calls in calls", new().with_nested_calls()),
        Run::tree("the tree", false),
        Run::tree("the tree, repaired", true),
        Run::proxy("the proxy", ProxyToTriplets::new()),
        Run::messages("messages", ToMessages::new()),
    ]
}

#[test]
fn three_hundred_traces_give_what_they_give_in_python() {
    let Some(python) = tier::python() else {
        return;
    };
    let runs = runs();
    let mut sets = Vec::new();
    for seed in 0..320 {
        let size = 3 + (seed as usize * 7) % 60;
        sets.push(trace(seed, size, Shape::numbered(seed)));
    }
    let question = Question {
        scripts: (0..60).map(scripts::script).collect(),
        sets: sets
            .iter()
            .map(|spans| Set {
                spans: spans.clone(),
                runs: runs.iter().map(Run::question).collect(),
            })
            .collect(),
        runs: runs.iter().map(Run::question).collect(),
    };
    let answer = ask(&python, &question);
    assert_eq!(answer.recorded.len(), question.scripts.len());
    let made = sets.iter().zip(&answer.sets);
    let recorded = answer.recorded.iter().zip(&answer.of_recorded);
    let (mut compared, mut triplets, mut rewarded) = (0, 0, 0);
    for (number, (spans, theirs)) in made.chain(recorded).enumerate() {
        for (run, theirs) in runs.iter().zip(theirs) {
            let what = run.compare(spans, theirs).unwrap_or_else(|difference| {
                let lines: Vec<String> = spans
                    .iter()
                    .map(|span| serde_json::to_string(span).unwrap())
                    .collect();
                panic!("set {number}, {}: {difference}\n{}", run.name, lines.join("\n"))
            });
            compared += 1;
            triplets += what.items;
            rewarded += what.rewarded;
        }
    }
    assert_eq!(compared, (sets.len() + answer.recorded.len()) * runs.len());
    // The comparison has something to compare.
    assert!(triplets > 10_000 && rewarded > 3_000, "{triplets} {rewarded}");
}
