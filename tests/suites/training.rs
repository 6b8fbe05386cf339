//! `Trainer::fit`: the whole loop in one process, and what is refused before it begins.

use std::{
    future::pending,
    sync::{Arc, Weak},
    time::Duration,
};

use lightning_core::{
    agent::{Agent, RolloutContext, agent_fn},
    prelude::*,
    run::{EvaluateError, FailurePolicy, OutcomeResult},
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, SqliteStore},
    testing::Faults,
    trainer::TrainerError,
    types::{NewRollout, RolloutConfig, RolloutId, RolloutQuery, RolloutStatus},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

fn factors(factor: f64) -> NamedResources {
    NamedResources::new().with("factor", json!(factor))
}

/// Rewards a task with itself times the resource `factor`.
fn scale() -> impl Agent<f64> {
    agent_fn(|task: f64, cx: RolloutContext| async move {
        let factor: f64 = cx.resources().json("factor")?;
        anyhow::Ok(task * factor)
    })
}

/// Tries factors and keeps the best.
#[algo]
async fn best_factor(
    run: RunContext,
    train_dataset: Dataset<f64>,
    #[param(default = vec![1.0, 3.0, 2.0])] factors: Vec<f64>,
) -> anyhow::Result<f64> {
    let mut best = (f64::MIN, f64::NAN);
    for factor in factors {
        if run.should_stop().is_some() {
            break;
        }
        let evaluation = run
            .evaluator()
            .resource("factor", json!(factor))
            .tasks(&train_dataset)
            .evaluate()
            .await?;
        run.report_score(evaluation.mean()?);
        best = if evaluation.mean()? > best.0 {
            (evaluation.mean()?, factor)
        } else {
            best
        };
    }
    Ok(best.1)
}

#[algo]
async fn enqueue_and_wait(
    store: Arc<dyn Store>,
    train_dataset: Option<Dataset<f64>>,
) -> anyhow::Result<Vec<RolloutStatus>> {
    let tasks = train_dataset.unwrap_or_default();
    let made = store
        .enqueue_many_rollouts(tasks.iter().map(|task| NewRollout::new(json!(task))).collect())
        .await?;
    let ids: Vec<RolloutId> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
    let ended = store.wait_for_rollouts(&ids, None).await?;
    Ok(ended.into_iter().map(|rollout| rollout.status).collect())
}

#[algo]
async fn fails() -> anyhow::Result<()> {
    Err(anyhow::anyhow!("no such model").context("the search cannot begin"))
}

#[algo]
async fn panics() {
    panic!("out of ideas")
}

#[algo]
async fn needs_proxy(llm_proxy: LlmProxy) {
    drop(llm_proxy);
}

fn tasks() -> Dataset<f64> {
    (1..=10).map(f64::from).collect()
}

fn message<T: std::fmt::Debug>(result: Result<T, TrainerError>) -> String {
    result.expect_err("it should be refused").to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_algorithm_tunes_an_agent_over_a_dataset() {
    for n_runners in [1, 8] {
        let trainer = Trainer::builder()
            .quiet()
            .algorithm(best_factor::algorithm())
            .n_runners(n_runners)
            .build()
            .unwrap();
        let report = soon(trainer.fit(scale(), tasks(), None)).await.unwrap();
        assert_eq!((report.output, report.algorithm.as_str()), (3.0, "best_factor"));
        assert_eq!(
            (
                report.rollouts.succeeded,
                report.rollouts.failed,
                report.rollouts.rewarded
            ),
            (30, 0, 30)
        );
        assert_eq!(report.rollouts.mean_reward, Some(11.0));
        let scores: Vec<f64> = report.metrics.iter().map(|metric| metric.value).collect();
        assert_eq!(scores, [5.5, 16.5, 11.0], "whatever the number of runners");
        assert_eq!(report.parameters["factors"], json!([1.0, 3.0, 2.0]));
    }
}

#[test]
fn a_program_without_a_runtime_can_block() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .n_runners(2)
        .build()
        .unwrap();
    assert_eq!(trainer.fit_blocking(scale(), tasks(), None).unwrap().output, 3.0);
}

#[tokio::test]
async fn blocking_within_a_runtime_is_refused() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .build()
        .unwrap();
    assert!(message(trainer.fit_blocking(scale(), tasks(), None)).contains("await `fit`"));
}

#[tokio::test]
async fn the_report_and_the_metrics_are_in_the_run_folder() {
    let folder = std::env::temp_dir().join(format!("lightning-training-{}", std::process::id()));
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .run_dir(&folder)
        .build()
        .unwrap();
    let report = soon(trainer.fit(scale(), tasks(), None)).await.unwrap();
    assert_eq!(report.run_dir.as_deref(), Some(&*folder));
    let text = std::fs::read(folder.join("report.json")).unwrap();
    let written: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(
        (&written["output"], &written["rollouts"]["succeeded"]),
        (&json!(3.0), &json!(30))
    );
    assert_eq!(
        std::fs::read_to_string(folder.join("metrics.jsonl"))
            .unwrap()
            .lines()
            .count(),
        3
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn rollouts_without_time_limits_get_those_of_the_trainer() {
    let store = Arc::new(MemoryStore::new());
    let config = RolloutConfig {
        timeout_seconds: Some(33.0),
        ..RolloutConfig::default()
    };
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_wait::algorithm())
        .store(store.clone())
        .initial_resources(factors(1.0))
        .rollout_config(config.clone())
        .build()
        .unwrap();
    soon(trainer.fit(scale(), tasks(), None)).await.unwrap();
    let found = store.query_rollouts(RolloutQuery::default()).await.unwrap();
    assert_eq!(found.total, 10);
    assert!(
        found.items.iter().all(|rollout| rollout.config == config),
        "{:?}",
        found.items[0]
    );
}

#[tokio::test]
async fn after_fit_nothing_of_the_run_is_left() {
    let store = Arc::new(MemoryStore::new());
    let held: Weak<MemoryStore> = Arc::downgrade(&store);
    let marker = Arc::new(());
    let watched = Arc::downgrade(&marker);
    let agent = agent_fn(move |task: f64, _| {
        let _marker = Arc::clone(&marker);
        async move { task }
    });
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_wait::algorithm())
        .store(store)
        .n_runners(4)
        .build()
        .unwrap();
    soon(trainer.fit(agent, tasks(), None)).await.unwrap();
    drop(trainer);
    // Aborted heartbeats let go at their next turn.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert!(held.upgrade().is_none(), "somebody still holds the store");
    assert!(watched.upgrade().is_none(), "somebody still holds the agent");
}

// ---- refused beforehand

#[test]
fn zero_runners_are_refused() {
    let built = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .n_runners(0)
        .build();
    assert_eq!(
        message(built),
        "`n_runners` is 0, so that no rollout would ever be executed; give at least 1"
    );
}

#[test]
fn time_limits_without_sense_are_refused() {
    let config = RolloutConfig {
        max_attempts: 0,
        ..RolloutConfig::default()
    };
    let built = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .rollout_config(config)
        .build();
    assert!(message(built).contains("max_attempts"));
}

#[tokio::test]
async fn an_algorithm_that_needs_the_proxy_is_refused_without_one() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(needs_proxy::algorithm())
        .build()
        .unwrap();
    let text = message(trainer.fit(scale(), None, None).await);
    assert!(
        text.contains("`needs_proxy`") && text.contains("Trainer::builder().llm_proxy(..)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_dataset_that_nobody_looks_at_is_refused() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .build()
        .unwrap();
    let text = message(trainer.fit(scale(), tasks(), tasks()).await);
    assert!(
        text.starts_with("`best_factor` takes no `val_dataset`, but one was given"),
        "{text}"
    );
}

#[tokio::test]
async fn a_missing_dataset_is_refused() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .build()
        .unwrap();
    let text = message(trainer.fit(scale(), None, None).await);
    assert_eq!(
        text,
        "the algorithm `best_factor` cannot start: parameter `train_dataset`: no `train_dataset` was given: give `fit` a \
         training dataset"
    );
}

// ---- what goes wrong on the way

#[tokio::test]
async fn the_error_of_the_algorithm_is_that_of_fit() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(fails::algorithm())
        .build()
        .unwrap();
    let text = message(soon(trainer.fit(scale(), None, None)).await);
    assert_eq!(
        text,
        "the algorithm `fails` failed: the search cannot begin: no such model"
    );
}

#[tokio::test]
async fn a_panic_of_the_algorithm_is_an_error_of_fit() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(panics::algorithm())
        .build()
        .unwrap();
    let text = message(soon(trainer.fit(scale(), None, None)).await);
    assert_eq!(text, "the algorithm `panics` panicked: out of ideas");
}

#[tokio::test]
async fn an_agent_that_never_ends_runs_into_its_time_limit() {
    let config = RolloutConfig {
        timeout_seconds: Some(0.05),
        ..RolloutConfig::default()
    };
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_wait::algorithm())
        .rollout_config(config)
        .n_runners(4)
        .build()
        .unwrap();
    let agent = agent_fn(|_: f64, _| pending::<f64>());
    let report = soon(trainer.fit(agent, Dataset::from([1.0, 2.0]), None))
        .await
        .unwrap();
    assert_eq!(report.output, [RolloutStatus::Failed, RolloutStatus::Failed]);
    assert_eq!(report.rollouts.failed, 2);
}

#[tokio::test]
async fn an_agent_that_panics_fails_its_rollouts_and_not_the_run() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_wait::algorithm())
        .build()
        .unwrap();
    let agent = agent_fn(|task: f64, _| async move {
        assert!(task < 2.0, "too big");
        task
    });
    let report = soon(trainer.fit(agent, Dataset::from([1.0, 2.0]), None))
        .await
        .unwrap();
    assert_eq!(report.output, [RolloutStatus::Succeeded, RolloutStatus::Failed]);
}

#[tokio::test]
async fn without_resources_the_evaluation_says_what_the_agent_missed() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_evaluate::algorithm())
        .build()
        .unwrap();
    let text = message(soon(trainer.fit(scale(), tasks(), None)).await);
    assert!(
        text.contains("there is no resource `factor`; there are none"),
        "{text}"
    );
}

#[algo]
async fn enqueue_and_evaluate(run: RunContext, train_dataset: Dataset<f64>) -> anyhow::Result<f64> {
    Ok(run.evaluator().tasks(&train_dataset).evaluate().await?.mean()?)
}

#[tokio::test]
async fn runners_that_are_used_up_end_the_run() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_wait::algorithm())
        .max_rollouts(3)
        .build()
        .unwrap();
    let text = message(soon(trainer.fit(agent_fn(|task: f64, _| async move { task }), tasks(), None)).await);
    assert!(text.contains("max_rollouts"), "{text}");
}

#[tokio::test]
async fn a_store_that_breaks_down_ends_the_run() {
    let faults = Faults::new();
    let store = faults.wrap(Arc::new(MemoryStore::new()));
    let breaks = faults.clone();
    let agent = agent_fn(move |task: f64, _| {
        breaks.break_down();
        async move { task }
    });
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(best_factor::algorithm())
        .store(store)
        .initial_resources(factors(1.0))
        .store_patience(Duration::from_millis(100))
        .build()
        .unwrap();
    let text = message(soon(trainer.fit(agent, tasks(), None)).await);
    assert!(text.contains("unavailable"), "{text}");
}

#[tokio::test]
async fn a_run_that_is_asked_to_stop_returns_its_best_so_far() {
    let token = CancellationToken::new();
    let stops = token.clone();
    let agent = agent_fn(move |task: f64, cx: RolloutContext| {
        let stops = stops.clone();
        async move {
            let factor: f64 = cx.resources().json("factor")?;
            if factor == 3.0 && task == 10.0 {
                stops.cancel();
                // The evaluation is broken off, which cancels this rollout.
                pending::<()>().await;
            }
            anyhow::Ok(task * factor)
        }
    });
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(best_of_finished::algorithm())
        .cancellation(token)
        .build()
        .unwrap();
    let report = soon(trainer.fit(agent, tasks(), None)).await.unwrap();
    assert_eq!(report.output, Some(1.0));
}

/// Like `best_factor`, but an evaluation that is broken off ends the search.
#[algo]
async fn best_of_finished(run: RunContext, train_dataset: Dataset<f64>) -> anyhow::Result<Option<f64>> {
    let mut best: Option<(f64, f64)> = None;
    for factor in [1.0, 3.0, 2.0] {
        let evaluator = run
            .evaluator()
            .resource("factor", json!(factor))
            .tasks(&train_dataset);
        match evaluator.evaluate().await {
            Ok(evaluation) => best = best.max_by_mean((evaluation.mean()?, factor)),
            Err(EvaluateError::Cancelled) => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(best.map(|(_, factor)| factor))
}

trait MaxByMean {
    fn max_by_mean(self, other: (f64, f64)) -> Self;
}

impl MaxByMean for Option<(f64, f64)> {
    fn max_by_mean(self, other: (f64, f64)) -> Self {
        Some(self.filter(|best| best.0 >= other.0).unwrap_or(other))
    }
}

// ---- evaluations

/// Fails on some tasks, a number of times each.
#[algo]
async fn evaluate_with(
    run: RunContext,
    train_dataset: Dataset<f64>,
    #[param] retries: u32,
    #[param] abort_above: f64,
) -> anyhow::Result<Value> {
    let policy = FailurePolicy { retries, abort_above };
    let evaluator = || run.evaluator().tasks(&train_dataset).on_failure(policy);
    let evaluation = evaluator().evaluate().await?;
    let again = evaluator().evaluate().await?;
    let ids = |of: &lightning_core::run::Evaluation| -> Vec<RolloutId> {
        of.outcomes()
            .iter()
            .map(|outcome| outcome.rollout.rollout_id.clone())
            .collect()
    };
    anyhow::ensure!(
        ids(&evaluation) == ids(&again),
        "what was evaluated is not evaluated again"
    );
    let fresh = evaluator().fresh().evaluate().await?;
    anyhow::ensure!(ids(&evaluation) != ids(&fresh), "unless that is asked for");
    let failures = evaluation
        .outcomes()
        .iter()
        .filter(|o| matches!(o.result, OutcomeResult::Failed { .. }));
    Ok(json!({"mean": evaluation.mean()?, "failed": evaluation.failed(), "listed": failures.count()}))
}

fn failing_above(limit: f64) -> impl Agent<f64> {
    agent_fn(move |task: f64, _| async move {
        anyhow::ensure!(task <= limit, "connection reset");
        Ok(task)
    })
}

#[tokio::test]
async fn failures_are_reported_and_leave_the_mean_alone() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(evaluate_with::algorithm(1, 0.5))
        .n_runners(3)
        .build()
        .unwrap();
    let report = soon(trainer.fit(failing_above(7.0), tasks(), None))
        .await
        .unwrap();
    assert_eq!(report.output, json!({"mean": 4.0, "failed": 3, "listed": 3}));
    // Thirteen rollouts with the retries of three; twice, since the second evaluation ran nothing.
    assert_eq!((report.rollouts.succeeded, report.rollouts.failed), (14, 12));
}

#[tokio::test]
async fn too_many_failures_give_the_evaluation_up() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(evaluate_with::algorithm(0, 0.2))
        .build()
        .unwrap();
    let text = message(soon(trainer.fit(failing_above(7.0), tasks(), None)).await);
    assert!(
        text.contains("of 10 rollouts failed") && text.contains("connection reset"),
        "{text}"
    );
}

#[tokio::test]
async fn rollouts_without_a_reward_are_no_signal_rather_than_zero() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_evaluate::algorithm())
        .build()
        .unwrap();
    let silent = agent_fn(|_: f64, _| async {});
    let text = message(soon(trainer.fit(silent, tasks(), None)).await);
    assert!(
        text.contains("none of the 10 rollouts has a reward") && text.contains("trace is empty"),
        "{text}"
    );
}

// ---- stores by URL

#[tokio::test]
async fn a_durable_store_is_opened_for_the_run_and_closed_after_it() {
    let folder = lightning_core::run::RunFolder::temporary();
    let path = folder.create().unwrap().join("run.db");
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_wait::algorithm())
        .store_url(format!("sqlite:{}", path.display()))
        .n_runners(2)
        .build()
        .unwrap();
    let agent = || agent_fn(|task: f64, _| async move { task });
    for round in 1..=2 {
        soon(trainer.fit(agent(), tasks(), None)).await.unwrap();
        let store = SqliteStore::open(&path).expect("the run has let go of the file");
        let kept = store.query_rollouts(RolloutQuery::default()).await.unwrap();
        assert_eq!(kept.total, round * tasks().len());
    }
}

#[tokio::test]
async fn a_store_behind_a_server_is_used_by_its_address() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let server = StoreServer::bind("127.0.0.1:0", Arc::clone(&store), ServerOptions::default())
        .await
        .unwrap();
    let url = server.url();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(server.serve(stop.clone()));
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueue_and_wait::algorithm())
        .store_url(url)
        .n_runners(2)
        .build()
        .unwrap();
    let agent = agent_fn(|task: f64, _| async move { task });
    let report = soon(trainer.fit(agent, tasks(), None)).await.unwrap();
    assert!(
        report
            .output
            .iter()
            .all(|status| *status == RolloutStatus::Succeeded)
    );
    assert_eq!(
        store.query_rollouts(RolloutQuery::default()).await.unwrap().total,
        tasks().len()
    );
    stop.cancel();
    soon(serving).await.unwrap();
}

#[tokio::test]
async fn a_store_that_cannot_be_opened_is_named() {
    for (url, expected) in [
        ("mysql://here", "names no kind of store"),
        ("sqlite:/no/such/folder/run.db", "/no/such/folder"),
        ("http://127.0.0.1:1", "127.0.0.1:1"),
    ] {
        let trainer = Trainer::builder()
            .quiet()
            .algorithm(fails::algorithm())
            .store_url(url)
            .build()
            .unwrap();
        let agent = agent_fn(|task: f64, _| async move { task });
        let text = message(soon(trainer.fit(agent, None, None)).await);
        assert!(
            text.starts_with("the store of the trainer could not be opened: "),
            "{text}"
        );
        assert!(text.contains(expected), "{text}");
    }
}
