//! What a run that is resumed takes over: evaluations, whatever has become of them, and counts.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lightning_core::{
    agent::{Agent, RolloutContext, agent_fn},
    prelude::*,
    run::{Evaluation, ModelUsage, RunError},
    store::{LayeredStore, MemoryStore, Request, StoreLayer},
    trainer::{FitReport, TrainerBuilder, TrainerError, With},
    types::{AttemptStatus, NewRollout, RolloutConfig, RolloutQuery, RolloutStatus},
};
use lightning_tests::scratch::Scratch;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::soon;

/// Evaluates in three rounds, with a durable step after each. In the round of `stop_in` it fails, as a run does that is
/// broken off.
#[algo]
async fn rounds(
    run: RunContext,
    train_dataset: Dataset<f64>,
    #[inject] life: Life,
) -> anyhow::Result<Vec<f64>> {
    let mut means = Vec::new();
    for round in 1..=3 {
        let evaluation: Evaluation = run
            .evaluator()
            .resource("factor", json!(2.0))
            .tasks(&train_dataset)
            .named(format!("round {round}"))
            .evaluate()
            .await?;
        let said: u64 = run
            .memo_counted(format!("round {round}"), async {
                let said = life.asked.fetch_add(1, Ordering::Relaxed);
                let usage = ModelUsage::of_call("thought", Some("large"), Some(10), Some(1));
                Ok::<_, RunError>((said, vec![usage]))
            })
            .await?;
        run.report_score(evaluation.mean()? + said as f64);
        means.push(evaluation.mean()?);
        anyhow::ensure!(round != life.stop_in, "broken off");
    }
    Ok(means)
}

#[derive(Clone, Default, Inject)]
struct Life {
    stop_in: u64,
    asked: Arc<AtomicU64>,
    executed: Arc<AtomicU64>,
}

fn double(life: &Life) -> impl Agent<f64> {
    let executed = Arc::clone(&life.executed);
    agent_fn(move |task: f64, cx: RolloutContext| {
        executed.fetch_add(1, Ordering::Relaxed);
        async move {
            let factor: f64 = cx.resources().json("factor")?;
            anyhow::Ok(task * factor)
        }
    })
}

fn trainer(folder: &Path, life: &Life) -> TrainerBuilder<With<f64, Vec<f64>>> {
    Trainer::builder()
        .quiet()
        .algorithm(rounds::algorithm())
        .extension(life.clone())
        .n_runners(3)
        .run_dir(folder)
}

async fn fit(folder: &Path, life: &Life) -> Result<FitReport<Vec<f64>>, TrainerError> {
    let trainer = trainer(folder, life).build().unwrap();
    soon(trainer.fit(double(life), vec![1.0, 2.0, 3.0], None)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_evaluated_asked_and_counted_is_there_when_the_run_is_resumed() {
    let scratch = Scratch::on_disk();
    let folder = scratch.path("run");
    let mut life = Life {
        stop_in: 2,
        ..Life::default()
    };
    fit(&folder, &life).await.unwrap_err();
    assert_eq!(life.executed.load(Ordering::Relaxed), 6);
    let before = super::json_of(&folder, "run.json");
    life.stop_in = 0;
    let report = fit(&folder, &life).await.unwrap();
    assert_eq!(report.output, [4.0, 4.0, 4.0]);
    assert_eq!(
        (report.run_id.as_str(), report.resumed),
        (before["run_id"].as_str().unwrap(), 1)
    );
    assert_eq!(
        life.executed.load(Ordering::Relaxed),
        9,
        "no rollout was executed twice"
    );
    assert_eq!(life.asked.load(Ordering::Relaxed), 3, "and no step done twice");
    assert_eq!((report.rollouts.succeeded, report.rollouts.rewarded), (9, 9));
    assert_eq!(report.rollouts.mean_reward, Some(4.0));
    assert_eq!(
        report.reward_curve.iter().map(|point| point.rewarded).max(),
        Some(9)
    );
    let thoughts: Vec<u64> = report.model_usage.iter().map(|usage| usage.calls).collect();
    assert_eq!(thoughts, [3]);
    let scores: Vec<f64> = report.metrics.iter().map(|metric| metric.value).collect();
    assert_eq!(scores, [4.0, 5.0, 6.0]);
    assert_eq!(super::metrics_of(&folder).lines().count(), 3);
    let record = super::json_of(&folder, "run.json");
    assert_eq!(record["processes"].as_array().unwrap().len(), 2);
    assert_eq!(record["began"], before["began"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_complete_is_not_made_again() {
    let scratch = Scratch::on_disk();
    let folder = scratch.path("run");
    let life = Life::default();
    let first = fit(&folder, &life).await.unwrap();
    let second = fit(&folder, &life).await.unwrap();
    assert_eq!((&second.output, &second.run_id), (&first.output, &first.run_id));
    assert_eq!(life.executed.load(Ordering::Relaxed), 9);
    assert_eq!(second.rollouts, first.rollouts);
    assert_eq!(second.model_usage, first.model_usage);
}

/// Enqueues by itself, past the evaluator, and never waits.
#[algo]
async fn enqueues(run: RunContext, store: Arc<dyn Store>) -> anyhow::Result<()> {
    let new = (0..3).map(|task| NewRollout::new(json!(task))).collect();
    store.enqueue_many_rollouts(new).await?;
    anyhow::ensure!(run.folder().path().join("go").exists(), "broken off");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_algorithm_enqueued_by_itself_is_cancelled() {
    let scratch = Scratch::on_disk();
    let folder = scratch.path("run");
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    // Of another run, and of nobody's.
    let strange = store
        .enqueue_rollout(NewRollout::new(json!("strange")))
        .await
        .unwrap();
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(enqueues::algorithm())
        .store(Arc::clone(&store))
        .max_rollouts(0)
        .run_dir(&folder)
        .build()
        .unwrap();
    let agent = || agent_fn(|_: u64, _| async { std::future::pending::<f64>().await });
    soon(trainer.fit(agent(), None, None)).await.unwrap_err();
    std::fs::write(folder.join("go"), "").unwrap();
    let _ = soon(trainer.fit(agent(), None, None)).await;
    let rollouts = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
    let status =
        |of: &[usize]| -> Vec<RolloutStatus> { of.iter().map(|index| rollouts[*index].status).collect() };
    assert_eq!(status(&[0]), [RolloutStatus::Queuing], "{}", strange.rollout_id);
    assert_eq!(status(&[1, 2, 3]), [RolloutStatus::Cancelled; 3]);
    assert_eq!(rollouts.len(), 7);
}

/// Evaluates one task.
#[algo]
async fn one(run: RunContext, train_dataset: Dataset<String>) -> anyhow::Result<f64> {
    let evaluation = run.evaluator().tasks(&train_dataset).evaluate().await?;
    Ok(evaluation.mean()?)
}

fn one_trainer(folder: PathBuf, store: &Arc<dyn Store>) -> TrainerBuilder<With<String, f64>> {
    Trainer::builder()
        .quiet()
        .algorithm(one::algorithm())
        .store(Arc::clone(store))
        .run_dir(folder)
}

/// Waits without end in the first life, and answers at once in the next.
fn hesitant(token: CancellationToken) -> impl Agent<String> {
    agent_fn(move |_: String, _| {
        let token = token.clone();
        async move {
            if !token.is_cancelled() {
                token.cancel();
                std::future::pending::<()>().await;
            }
            1.0
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_was_aborted_or_asked_to_stop_counts_nothing_as_failed() {
    let scratch = Scratch::on_disk();
    for how in ["aborted", "asked to stop"] {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (working, asked) = (CancellationToken::new(), CancellationToken::new());
        let trainer = one_trainer(scratch.path(how), &store)
            .cancellation(asked.clone())
            .build()
            .unwrap();
        let fit = trainer.fit(hesitant(working.clone()), vec!["a".to_owned()], None);
        match how {
            "aborted" => tokio::select! {
                _ = fit => panic!("it waits without end"),
                () = working.cancelled() => {}
            },
            _ => {
                let stop = async {
                    working.cancelled().await;
                    asked.cancel();
                };
                tokio::join!(soon(fit), stop).0.unwrap_err();
            }
        }
        // The report on an attempt that was dropped comes after the drop.
        let all = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
        soon(store.wait_for_rollouts(&[all[0].rollout_id.clone()], None))
            .await
            .unwrap();
        let trainer = one_trainer(scratch.path(how), &store).build().unwrap();
        let report = soon(trainer.fit(hesitant(working), vec!["a".to_owned()], None));
        let report = report.await.unwrap();
        assert_eq!(report.output, 1.0, "{how}");
        let after = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
        assert_eq!(after.len(), 1, "{how}: the rollout itself was taken up");
        assert_eq!(after[0].status, RolloutStatus::Succeeded);
        let attempt = after[0].attempt.as_ref().unwrap();
        assert_eq!(
            (attempt.status, attempt.sequence_id),
            (AttemptStatus::Succeeded, 2)
        );
    }
}

/// Forgets every request key, as a store does after a day.
struct Forgetful;

impl StoreLayer for Forgetful {
    fn request(&self, request: Request) -> Request {
        request.command.into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evaluations_are_found_again_without_their_request_keys() {
    let scratch = Scratch::on_disk();
    let store: Arc<dyn Store> = Arc::new(LayeredStore::new(Arc::new(MemoryStore::new()), Forgetful));
    let life = Life {
        stop_in: 2,
        ..Life::default()
    };
    for life in [
        &life,
        &Life {
            stop_in: 0,
            ..life.clone()
        },
    ] {
        let trainer = trainer(&scratch.path("run"), life)
            .store(Arc::clone(&store))
            .build()
            .unwrap();
        let _ = soon(trainer.fit(double(life), vec![1.0, 2.0, 3.0], None)).await;
    }
    assert_eq!(life.executed.load(Ordering::Relaxed), 9);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_did_not_end_in_time_is_told_the_same_when_the_run_is_resumed() {
    #[algo]
    async fn hasty(run: RunContext, #[inject] said: Said) -> anyhow::Result<()> {
        let evaluation = run
            .evaluator()
            .tasks(&["a"])
            .within(Duration::from_millis(20))
            .on_failure(lightning_core::run::FailurePolicy {
                retries: 0,
                abort_above: 1.0,
            })
            .evaluate()
            .await?;
        said.0
            .lock()
            .unwrap()
            .push(evaluation.outcomes()[0].result.to_string());
        Ok(())
    }
    #[derive(Clone, Default, Inject)]
    struct Said(Arc<Mutex<Vec<String>>>);

    let (scratch, said) = (Scratch::on_disk(), Said::default());
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(hasty::algorithm())
        .extension(said.clone())
        .rollout_config(RolloutConfig::default())
        .run_dir(scratch.path("run"))
        .build()
        .unwrap();
    let agent = || agent_fn(|_: String, _| async { std::future::pending::<f64>().await });
    for _ in 0..2 {
        soon(trainer.fit(agent(), None, None)).await.unwrap();
    }
    let said = said.0.lock().unwrap();
    assert_eq!(
        said[0],
        "cancelled: it did not end within the 0.02 s of the evaluation"
    );
    assert_eq!(said[0], said[1]);
}
