//! The algorithms that come with the crate: `select_prompt` and `baseline`.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lightning_core::{
    agent::{Agent, agent_fn},
    algorithm::{Baseline, SelectPrompt, select_prompt},
    prelude::*,
    run::StopWhen,
    store::MemoryStore,
    types::{JsonObject, RolloutMode, RolloutQuery, RolloutStatus},
};
use serde_json::json;

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

fn prompts<const N: usize>(templates: [&str; N]) -> Vec<PromptTemplate> {
    templates.map(PromptTemplate::new).to_vec()
}

fn tasks(tasks: &[&str]) -> Dataset<String> {
    tasks.iter().map(|task| (*task).to_owned()).collect()
}

/// A prompt is worth the number in it, in training; in validation one less for each letter `!`. The prompt `broken`
/// fails, the prompt `mute` is not rewarded.
fn by_number() -> impl Agent<String> {
    agent_fn(|_: String, cx: RolloutContext| async move {
        let prompt = cx.resources().prompt_template()?.template.clone();
        anyhow::ensure!(!prompt.contains("broken"), "the model refuses");
        let worth: Option<f64> = prompt.trim_matches('!').parse().ok();
        let penalty = match cx.mode() {
            RolloutMode::Val => prompt.matches('!').count() as f64,
            _ => 0.0,
        };
        anyhow::Ok(worth.map(|worth| worth - penalty))
    })
}

fn select(
    candidates: Vec<PromptTemplate>,
) -> lightning_core::trainer::TrainerBuilder<
    lightning_core::trainer::With<String, lightning_core::algorithm::SelectedPrompt>,
> {
    Trainer::builder()
        .quiet()
        .algorithm(SelectPrompt::algorithm(candidates))
        .n_runners(4)
}

#[tokio::test]
async fn the_prompt_with_the_best_mean_wins() {
    let trainer = select(prompts(["1", "3", "2"])).build().unwrap();
    let report = soon(trainer.fit(by_number(), tasks(&["a", "b"]), None))
        .await
        .unwrap();
    assert_eq!(report.output.best.template, "3");
    let train: Vec<_> = report.output.candidates.iter().map(|score| score.train).collect();
    assert_eq!(train, [Some(1.0), Some(3.0), Some(2.0)], "in the order given");
    assert!(report.output.candidates.iter().all(|score| score.val.is_none()));
}

#[tokio::test]
async fn validation_decides_among_the_finalists() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(SelectPrompt::algorithm(prompts(["4!!!", "3", "2", "3.5!"])).finalists(3))
        .initial_resources(NamedResources::new().with("limits", json!({"calls": 2})))
        .store(Arc::clone(&store))
        .n_runners(4)
        .build()
        .unwrap();
    let report = soon(trainer.fit(by_number(), tasks(&["a", "b"]), tasks(&["c"])))
        .await
        .unwrap();
    assert_eq!(report.output.best.template, "3");
    let val: Vec<_> = report.output.candidates.iter().map(|score| score.val).collect();
    assert_eq!(
        val,
        [Some(1.0), Some(3.0), None, Some(2.5)],
        "the worst is no finalist"
    );

    let latest = store.get_latest_resources().await.unwrap().unwrap().resources;
    assert_eq!(
        latest.prompt_template().unwrap().template,
        "3",
        "the best is the latest"
    );
    assert!(latest.resource("limits").is_some(), "all else is as it was");
}

#[tokio::test]
async fn of_equals_the_first_wins() {
    let trainer = select(prompts(["2", "2!", "2!!"])).build().unwrap();
    let report = soon(trainer.fit(by_number(), tasks(&["a"]), None)).await.unwrap();
    assert_eq!(report.output.best.template, "2");
}

#[tokio::test]
async fn a_candidate_that_fails_has_no_score_rather_than_zero() {
    let trainer = select(prompts(["broken", "-1", "mute"])).build().unwrap();
    let report = soon(trainer.fit(by_number(), tasks(&["a", "b"]), None))
        .await
        .unwrap();
    assert_eq!(report.output.best.template, "-1", "a mean below 0 is a score");
    let [broken, _, mute] = &report.output.candidates[..] else {
        panic!("{:?}", report.output)
    };
    assert_eq!((broken.train, mute.train), (None, None));
    let (broken, mute) = (
        broken.problem.as_deref().unwrap(),
        mute.problem.as_deref().unwrap(),
    );
    assert!(broken.contains("the model refuses"), "{broken}");
    assert!(mute.contains("none of the 2 rollouts has a reward"), "{mute}");
}

#[tokio::test]
async fn without_a_single_score_there_is_no_best() {
    let trainer = select(prompts(["broken", "broken too"])).build().unwrap();
    let error = soon(trainer.fit(by_number(), tasks(&["a"]), None))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("none of the 2 candidates got a score"), "{error}");
    assert!(error.contains("the model refuses"), "{error}");

    let trainer = select(Vec::new()).build().unwrap();
    let error = soon(trainer.fit(by_number(), tasks(&["a"]), None))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("`candidates` is empty"), "{error}");
}

#[tokio::test]
async fn a_run_that_stops_keeps_the_best_so_far() {
    let trainer = select(prompts(["1", "2", "3"]))
        .stop_when(StopWhen::never().rollouts(2))
        .build()
        .unwrap();
    let report = soon(trainer.fit(by_number(), tasks(&["a"]), None)).await.unwrap();
    assert_eq!(report.output.best.template, "2");
    assert_eq!(report.output.candidates[2].train, None);
    assert_eq!(report.output.candidates[2].problem, None);
}

/// Shows that an algorithm of the crate is a function like any other.
#[tokio::test]
async fn the_function_can_be_called_without_a_trainer() {
    let run = RunContext::for_test();
    let error = select_prompt(
        run,
        None,
        tasks(&["a"]),
        None,
        Vec::new(),
        "prompt".to_owned(),
        1,
        1,
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("`candidates` is empty"), "{error}");
}

/// How many rollouts wait in the queue whenever an agent looks, and what each mode was given.
#[derive(Default)]
struct Seen {
    longest_queue: AtomicUsize,
    tasks: Mutex<Vec<(RolloutMode, String)>>,
}

fn watching(store: &Arc<dyn Store>, seen: &Arc<Seen>) -> impl Agent<String> {
    let (store, seen) = (Arc::clone(store), Arc::clone(seen));
    agent_fn(move |task: String, cx: RolloutContext| {
        let (store, seen) = (Arc::clone(&store), Arc::clone(&seen));
        async move {
            let queued = RolloutQuery {
                status_in: Some(vec![RolloutStatus::Queuing]),
                ..RolloutQuery::default()
            };
            let queued = store.query_rollouts(queued).await?.total;
            seen.longest_queue.fetch_max(queued, Ordering::SeqCst);
            anyhow::ensure!(task != "fails", "no such task");
            let worth = (task != "mute").then_some(task.len() as f64);
            seen.tasks.lock().unwrap().push((cx.mode(), task));
            anyhow::Ok(worth)
        }
    })
}

#[tokio::test]
async fn the_baseline_runs_both_datasets_in_every_epoch() {
    let (store, seen): (Arc<dyn Store>, Arc<Seen>) = (Arc::new(MemoryStore::new()), Arc::default());
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Baseline::algorithm().n_epochs(2).max_queue_length(3))
        .store(Arc::clone(&store))
        .n_runners(2)
        .build()
        .unwrap();
    let train: Vec<String> = (0..20).map(|number| format!("{number:04}")).collect();
    let fit = trainer.fit(watching(&store, &seen), train, tasks(&["v", "mute", "fails"]));
    let report = soon(fit).await.unwrap();
    assert_eq!(
        serde_json::to_value(report.output).unwrap(),
        json!({
            "train": {"rewarded": 40, "without_reward": 0, "failed": 0, "mean_reward": 4.0},
            "val": {"rewarded": 2, "without_reward": 2, "failed": 2, "mean_reward": 1.0},
        })
    );
    let longest = seen.longest_queue.load(Ordering::SeqCst);
    assert!((1..=3).contains(&longest), "{longest} rollouts waited at once");
}

#[tokio::test]
async fn the_baseline_splits_a_single_dataset() {
    let (store, seen): (Arc<dyn Store>, Arc<Seen>) = (Arc::new(MemoryStore::new()), Arc::default());
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Baseline::algorithm().train_split(0.75))
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    soon(trainer.fit(watching(&store, &seen), tasks(&["a", "b", "c", "d"]), None))
        .await
        .unwrap();
    let modes: Vec<_> = seen.tasks.lock().unwrap().iter().map(|(mode, _)| *mode).collect();
    let (train, val) = (RolloutMode::Train, RolloutMode::Val);
    assert_eq!(modes, [train, train, train, val]);
}

#[tokio::test]
async fn parameters_of_the_baseline_that_make_no_sense_are_named() {
    let refuse = async |parameters: serde_json::Value, expected: &str| {
        let parameters: JsonObject = parameters.as_object().cloned().unwrap();
        let baseline: Baseline<String> = serde_json::from_value(parameters.into()).unwrap();
        let trainer = Trainer::builder().quiet().algorithm(baseline).build().unwrap();
        let error = soon(trainer.fit(by_number(), tasks(&["a"]), None))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(expected), "{error}");
    };
    refuse(
        json!({"train_split": 1.0}),
        "`train_split` is 1; it must lie between 0 and 1",
    )
    .await;
    refuse(json!({"polling_interval": 0.0}), "`polling_interval` is 0").await;
    refuse(json!({"polling_interval": -1.0}), "`polling_interval` is -1").await;
    refuse(json!({"max_queue_length": 0}), "`max_queue_length` is 0").await;
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Baseline::algorithm())
        .build()
        .unwrap();
    let error = soon(trainer.fit(by_number(), tasks(&[]), None))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("there are no tasks"), "{error}");
}

#[tokio::test]
async fn a_baseline_that_is_stopped_cancels_what_is_under_way() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let token = tokio_util::sync::CancellationToken::new();
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Baseline::algorithm())
        .store(Arc::clone(&store))
        .cancellation(token.clone())
        .build()
        .unwrap();
    let stops = token.clone();
    let agent = agent_fn(move |_: String, _| {
        stops.cancel();
        std::future::pending::<f64>()
    });
    let report = soon(trainer.fit(agent, tasks(&["a", "b", "c"]), None))
        .await
        .unwrap();
    assert_eq!(report.output.train.rewarded + report.output.val.rewarded, 0);
    let left = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
    assert!(
        left.iter()
            .all(|rollout| rollout.status == RolloutStatus::Cancelled),
        "{left:?}"
    );
}
