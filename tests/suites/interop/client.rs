//! Our client on the reference's server: an algorithm and a worker in Rust, and a store in Python.

use std::{sync::Arc, time::Duration};

use lightning_core::{
    agent::{RolloutContext, agent_fn},
    client::StoreClient,
    prelude::*,
    store::{AttemptRef, EndOfAttempt, NotFound, SpanOutcome, Store, StoreError},
    types::{
        AttemptPatch, AttemptStatus, NamedResources, NewRollout, PromptTemplate, Reward, RolloutConfig,
        RolloutMode, RolloutPatch, RolloutQuery, RolloutStatus, Span, SpanQuery, final_reward,
    },
};
use lightning_tests::tier;
use serde_json::json;
use tokio::time::timeout;

use crate::python::PythonServer;

const SOON: Duration = Duration::from_secs(20);

async fn connected(server: &PythonServer) -> StoreClient {
    let client = StoreClient::builder(&server.url)
        .poll_interval(Duration::from_millis(100))
        .build()
        .unwrap();
    client.probe().await.unwrap();
    client
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_algorithm_and_a_worker_in_rust_meet_at_a_store_in_python() {
    let Some(python) = tier::python() else { return };
    let server = PythonServer::start(&python).await;
    let store = connected(&server).await;
    assert!(!store.capabilities().parks, "the reference's server parks nobody");

    let resources = NamedResources::new().with("prompt", PromptTemplate::new("Say {word}"));
    let added = store.add_resources(resources.clone()).await.unwrap();
    assert_eq!(
        store.get_latest_resources().await.unwrap().unwrap().resources,
        resources
    );
    assert_eq!(
        store
            .get_resources_by_id(&added.resources_id, Some(1))
            .await
            .unwrap()
            .unwrap()
            .version,
        1
    );
    assert_eq!(
        store.get_resources_by_id(&added.resources_id, Some(7)).await,
        Ok(None)
    );

    let worker = tokio::spawn({
        let store = store.clone();
        async move {
            let mut done = 0;
            while done < 3 {
                // It has come before there is anything to do.
                for claimed in store
                    .dequeue_or_wait(1, Some("rust-1".into()), SOON)
                    .await
                    .unwrap()
                {
                    let (rollout, attempt) = (claimed.rollout_id.clone(), claimed.attempt.attempt_id.clone());
                    let drawn = store
                        .get_next_span_sequence_id(rollout.clone(), attempt.clone())
                        .await
                        .unwrap();
                    let mut span = Span::new(
                        rollout.clone(),
                        attempt.clone(),
                        drawn,
                        "a".repeat(32),
                        "b".repeat(16),
                        "n",
                    );
                    let value = claimed.input["n"].as_f64().unwrap();
                    span.attributes
                        .insert("agentlightning.reward.0.value".to_owned(), json!(value));
                    let outcomes = store.add_many_spans(vec![span.clone(), span]).await.unwrap();
                    assert_eq!(outcomes, [SpanOutcome::Stored, SpanOutcome::Duplicate]);
                    let patch = AttemptPatch::status(AttemptStatus::Succeeded);
                    store
                        .update_attempt(rollout, AttemptRef::from(&attempt), patch)
                        .await
                        .unwrap();
                    done += 1;
                }
            }
        }
    });
    let new = |n: i32| NewRollout::new(json!({"n": n})).mode(RolloutMode::Train);
    let made = store
        .enqueue_many_rollouts((0..3).map(new).collect())
        .await
        .unwrap();
    let ids: Vec<_> = made.iter().map(|rollout| rollout.rollout_id.clone()).collect();
    let ended = timeout(SOON, store.wait_for_rollouts(&ids, None))
        .await
        .unwrap()
        .unwrap();
    assert!(
        ended
            .iter()
            .all(|rollout| rollout.status == RolloutStatus::Succeeded)
    );
    assert_eq!(
        ended
            .iter()
            .map(|rollout| &rollout.rollout_id)
            .collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
    worker.await.unwrap();
    for (n, id) in ids.iter().enumerate() {
        let spans = store
            .query_spans(SpanQuery::of(id.clone()).latest_attempt())
            .await
            .unwrap();
        assert_eq!(final_reward(&spans.items), Some(Reward::from(n as f64)));
    }
    assert_eq!(
        store
            .get_worker_by_id(&"rust-1".into())
            .await
            .unwrap()
            .unwrap()
            .worker_id,
        "rust-1"
    );
    assert_eq!(store.statistics().await.unwrap().total_rollouts, 3);
    let succeeded = RolloutQuery {
        status_in: Some(vec![RolloutStatus::Succeeded]),
        ..RolloutQuery::default()
    };
    assert_eq!(store.query_rollouts(succeeded).await.unwrap().total, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_store_in_python_refuses_is_the_same_error() {
    let Some(python) = tier::python() else { return };
    let server = PythonServer::start(&python).await;
    let store = connected(&server).await;
    assert_eq!(store.get_rollout_by_id(&"ro-none".into()).await, Ok(None));
    assert_eq!(store.get_latest_attempt(&"ro-none".into()).await, Ok(None));
    assert_eq!(store.get_worker_by_id(&"none".into()).await, Ok(None));
    let patch = RolloutPatch::status(RolloutStatus::Failed);
    let error = store.update_rollout("ro-none".into(), patch).await.unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)), "{error:?}");
    let error = store.start_attempt("ro-none".into(), None).await.unwrap_err();
    assert_eq!(error, NotFound::Rollout("ro-none".into()).into());
    let queued = store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let error = store
        .update_attempt(queued.clone(), AttemptRef::Latest, AttemptPatch::default())
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)), "{error:?}");
    let started = store
        .start_rollout(NewRollout::new(json!(1)), None)
        .await
        .unwrap();
    let patch = AttemptPatch::status(AttemptStatus::Failed);
    let error = store
        .update_attempt(started.rollout_id.clone(), "at-none".into(), patch)
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::NotFound(_)), "{error:?}");
    let span = Span::new("ro-none", "at-none", 1, "t", "s", "n");
    assert!(matches!(store.add_span(span).await, Err(StoreError::NotFound(_))));
    let config = RolloutConfig {
        max_attempts: 0,
        ..RolloutConfig::default()
    };
    let error = store
        .enqueue_rollout(NewRollout::new(json!(1)).config(config))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Invalid {
                field: "config.max_attempts",
                ..
            }
        ),
        "{error:?}"
    );
    let error = store
        .wait_for_attempt_end(&started.rollout_id, &"at-none".into())
        .await
        .unwrap_err();
    assert!(
        matches!(error, StoreError::NotFound(NotFound::Attempt { .. })),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_an_attempt_is_noticed_at_a_store_in_python() {
    let Some(python) = tier::python() else { return };
    let server = PythonServer::start(&python).await;
    let store = connected(&server).await;
    let started = store
        .start_rollout(NewRollout::new(json!(1)), None)
        .await
        .unwrap();
    let wait = tokio::spawn({
        let (store, started) = (store.clone(), started.clone());
        async move {
            store
                .wait_for_attempt_end(&started.rollout_id, &started.attempt.attempt_id)
                .await
        }
    });
    let patch = RolloutPatch::status(RolloutStatus::Cancelled);
    store
        .update_rollout(started.rollout_id.clone(), patch)
        .await
        .unwrap();
    let end = timeout(SOON, wait).await.unwrap().unwrap();
    assert_eq!(end, Ok(EndOfAttempt::RolloutEnded(RolloutStatus::Cancelled)));
    let first = store
        .start_rollout(NewRollout::new(json!(1)), None)
        .await
        .unwrap();
    let second = store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
    let end = store
        .wait_for_attempt_end(&first.rollout_id, &first.attempt.attempt_id)
        .await;
    assert_eq!(
        end,
        Ok(EndOfAttempt::Superseded {
            by: second.attempt.attempt_id
        })
    );
}

/// Keeps the prompt that makes the longest texts.
#[algo]
async fn longest(
    run: RunContext,
    train_dataset: Dataset<String>,
    #[param(default = vec!["{word}".to_owned(), "Say {word}!".to_owned(), "{word}?".to_owned()])]
    prompts: Vec<String>,
) -> anyhow::Result<(f64, String)> {
    let mut best = (0.0, String::new());
    for prompt in prompts {
        let evaluator = run
            .evaluator()
            .resource("prompt", PromptTemplate::new(prompt.clone()));
        let mean = evaluator.tasks(&train_dataset).evaluate().await?.mean()?;
        run.report_score(mean);
        if mean > best.0 {
            best = (mean, prompt);
        }
    }
    Ok(best)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainer_in_rust_runs_on_a_store_in_python() {
    let Some(python) = tier::python() else { return };
    let server = PythonServer::start(&python).await;
    let store = connected(&server).await;
    let agent = agent_fn(|task: String, cx: RolloutContext| async move {
        let prompt = cx.resources().prompt_template()?;
        anyhow::Ok(prompt.template.replace("{word}", &task).len() as f64)
    });
    let trainer = Trainer::builder()
        .store(Arc::new(store.clone()))
        .n_runners(2)
        .algorithm(longest::algorithm())
        .build();
    let words: Vec<String> = ["a", "bcd"].map(str::to_owned).into();
    let report = timeout(4 * SOON, trainer.unwrap().fit(agent, words, None))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(report.output, (7.0, "Say {word}!".to_owned()));
    let statistics = store.statistics().await.unwrap();
    assert_eq!((statistics.total_rollouts, statistics.total_resources), (6, 3));
    assert!(statistics.total_spans >= 6, "{statistics:?}");
}
