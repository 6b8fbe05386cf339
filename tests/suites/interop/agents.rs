//! Agents and algorithms in Python at our store.

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};

use lightning_core::{
    prelude::*,
    store::Store,
    types::{
        AttemptStatus, NewRollout, RolloutConfig, RolloutMode, RolloutStatus, SpanQuery, WorkerStatus,
        final_reward,
    },
};
use lightning_tests::tier::{self, Python};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use crate::python::our_server;

const SOON: Duration = Duration::from_secs(120);

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Word {
    word: String,
    #[serde(default)]
    fails: bool,
}

/// The script, run so that its spans come to us. From 1.39 on, OpenTelemetry's exporter fixes its endpoint when it is
/// made, before the reference's tracer can change it, so it is given in the environment.
fn traced(python: &Python, script: &str, url: &str) -> Command {
    let release = "import importlib.metadata as m; print(m.version('opentelemetry-sdk'))";
    let release = python.command().args(["-c", release]).output().unwrap();
    let release = String::from_utf8(release.stdout).unwrap();
    let minor: u32 = release.split('.').nth(1).unwrap().parse().unwrap();
    let mut command = python.script(script);
    if minor > 38 {
        command.env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{url}/v1/traces"));
    }
    command.arg(url).stdin(Stdio::null());
    command
}

/// How good a prompt is on each of the words.
#[algo]
async fn measure(
    store: Arc<dyn Store>,
    initial_resources: NamedResources,
    train_dataset: Dataset<Word>,
) -> anyhow::Result<Vec<Option<Reward>>> {
    store.add_resources(initial_resources).await?;
    let config = RolloutConfig {
        max_attempts: 2,
        retry_condition: vec![AttemptStatus::Failed],
        unresponsive_seconds: Some(100.0),
        ..RolloutConfig::default()
    };
    let new = |word: &Word| {
        Ok(NewRollout::new(serde_json::to_value(word)?)
            .mode(RolloutMode::Train)
            .config(config.clone()))
    };
    let new = train_dataset
        .iter()
        .map(new)
        .collect::<anyhow::Result<Vec<_>>>()?;
    let made = store.enqueue_many_rollouts(new).await?;
    let ids: Vec<_> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
    let ended = store.wait_for_rollouts(&ids, None).await?;
    assert!(
        ended
            .iter()
            .all(|rollout| rollout.status == RolloutStatus::Succeeded),
        "{ended:?}"
    );
    let mut rewards = Vec::new();
    for id in ids {
        let spans = store.query_spans(SpanQuery::of(id).latest_attempt()).await?;
        rewards.push(final_reward(&spans.items));
    }
    Ok(rewards)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_in_python_executes_what_an_algorithm_in_rust_enqueues() {
    let Some(python) = tier::python() else { return };
    let (url, store) = our_server().await;
    let words: Vec<Word> = ["one", "three", "seventeen"]
        .map(|word| Word {
            word: word.to_owned(),
            fails: word == "three",
        })
        .into();
    // One of them is tried twice.
    let mut command = traced(&python, "agent_worker.py", &url);
    command.arg("4");
    let worker = tokio::task::spawn_blocking(move || command.output());
    let resources = NamedResources::new().with("prompt", PromptTemplate::new("Say {word}!"));
    let rewards = timeout(SOON, measure(store.clone(), resources, words.into())).await;
    let output = worker.await.unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let rewards = rewards.expect("the rollouts should end").unwrap();
    let primary: Vec<f64> = rewards
        .into_iter()
        .map(|reward| reward.unwrap().primary())
        .collect();
    assert_eq!(
        primary,
        ["Say one!", "Say three!", "Say seventeen!"].map(|text| text.len() as f64)
    );

    let rollouts = store.query_rollouts(Default::default()).await.unwrap().items;
    let retried = &rollouts[1];
    let attempts = store
        .query_attempts(&retried.rollout_id, Default::default())
        .await
        .unwrap()
        .items;
    let statuses: Vec<_> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [AttemptStatus::Failed, AttemptStatus::Succeeded]);
    let spans = store
        .query_spans(SpanQuery::of(rollouts[0].rollout_id.clone()))
        .await
        .unwrap()
        .items;
    let message = spans
        .iter()
        .find(|span| span.name == "agentlightning.message")
        .expect("a message");
    assert_eq!(message.attributes["agentlightning.message.body"], "Say one!");
    assert!(
        spans
            .iter()
            .all(|span| span.start_time.is_some() && span.trace_id.len() == 32)
    );
    let numbers: Vec<u64> = spans.iter().map(|span| span.sequence_id).collect();
    assert!(numbers.is_sorted() && numbers[0] >= 1, "{numbers:?}");
    let [worker] = store
        .query_workers(Default::default())
        .await
        .unwrap()
        .items
        .try_into()
        .unwrap();
    assert_eq!(worker.status, WorkerStatus::Idle);
    assert!(worker.last_dequeue_time.is_some() && worker.last_busy_time.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainer_in_python_runs_on_our_store() {
    let Some(python) = tier::python() else { return };
    let (url, store) = our_server().await;
    let mut command = traced(&python, "trainer_fit.py", &url);
    let output = timeout(SOON, tokio::task::spawn_blocking(move || command.output())).await;
    let output = output.expect("it should end").unwrap().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(printed.lines().last(), Some("1.25"), "{printed}");
    assert_eq!(store.statistics().await.unwrap().total_rollouts, 4);
}
