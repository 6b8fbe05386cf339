//! `Trainer::dev`: the wiring of `fit` on a few tasks, and what it says is wanting.

use std::{
    future::pending,
    io::{self, Write},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use lightning_core::{
    adapter::TracerToTriplets,
    agent::agent_fn,
    algorithm::Baseline,
    emitter,
    prelude::*,
    store::MemoryStore,
    terminal::Screen,
    tracer::RecordingOptions,
    trainer::{DevProblem, TrainerError},
    types::{Llm, RolloutQuery, SpanQuery, SpanResource},
};
use serde_json::json;

/// Turns a hang into a failure.
async fn soon<T>(future: impl IntoFuture<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

/// What a screen shows.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn tasks(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("task {number}")).collect()
}

/// What a dry run of the baseline with this agent finds wanting.
async fn problem(agent: impl Agent<String>) -> String {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Baseline::algorithm())
        .build()
        .unwrap();
    let error = soon(trainer.dev(agent, tasks(2), None)).await.unwrap_err();
    assert!(matches!(error, TrainerError::Dev(_)), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn a_dry_run_takes_a_few_tasks_one_by_one_and_shows_every_trace() {
    let (paper, at_once, most) = (
        Paper::default(),
        Arc::new(AtomicUsize::new(0)),
        Arc::new(AtomicUsize::new(0)),
    );
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let run_dir = lightning_core::run::RunFolder::temporary();
    let trainer = Trainer::builder()
        .algorithm(Baseline::algorithm())
        .n_runners(8)
        .store(Arc::clone(&store))
        .run_dir(run_dir.path())
        .screen(Screen::plain(paper.clone()))
        .build()
        .unwrap();
    let counted = Arc::clone(&most);
    let agent = agent_fn(move |task: String, _| {
        let (at_once, most) = (Arc::clone(&at_once), Arc::clone(&counted));
        async move {
            most.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            emitter::emit_message(format!("thinking about {task}"))?;
            tokio::task::yield_now().await;
            at_once.fetch_sub(1, Ordering::SeqCst);
            anyhow::Ok(0.5)
        }
    });
    let report = soon(trainer.dev(agent, tasks(100), tasks(100)).samples(2))
        .await
        .unwrap();
    assert_eq!(report.fit.output.train.rewarded, 2);
    assert_eq!(report.fit.output.val.rewarded, 2);
    assert_eq!(report.traces.len(), 4);
    assert_eq!(most.load(Ordering::SeqCst), 1);
    let shown = paper.text();
    for trace in &report.traces {
        assert_eq!(trace.spans.len(), 2);
        assert!(shown.contains(&trace.to_string()), "{shown}");
    }
    assert!(
        report.traces[0]
            .to_string()
            .contains("(train): succeeded, reward 0.5\ntask: \"task 0\"\n"),
        "{shown}"
    );
    assert!(
        report.traces[0].to_string().contains("agentlightning.message"),
        "{shown}"
    );

    let left = store.query_rollouts(RolloutQuery::default()).await.unwrap();
    assert_eq!(left.total, 0, "the store of `fit` is left alone");
    assert!(!run_dir.path().exists(), "so is the run folder");
}

#[tokio::test]
async fn without_a_trace_it_says_how_to_leave_one() {
    let text = problem(agent_fn(|_: String, _| async {})).await;
    assert!(text.contains("none of the 2 rollouts left a trace"), "{text}");
    assert!(text.contains("`logging::init()`"), "{text}");
}

#[tokio::test]
async fn without_a_reward_it_names_the_spans_that_there_are() {
    let text = problem(agent_fn(|_: String, _| async {
        emitter::emit_message("done").map(drop)
    }))
    .await;
    assert!(text.contains("none of the 2 rollouts has a reward"), "{text}");
    assert!(text.contains("agentlightning.message"), "{text}");
}

#[tokio::test]
async fn if_all_rollouts_fail_it_gives_the_reason_of_the_first() {
    let text = problem(agent_fn(|_: String, _| async {
        anyhow::Result::<f64>::Err(anyhow::anyhow!("no such tool"))
    }))
    .await;
    assert!(text.contains("all 2 rollouts failed"), "{text}");
    assert!(text.contains("no such tool"), "{text}");
}

/// Has a model, and calls it if told to.
#[rollout]
async fn answer(task: &String, llm: Llm, #[param(default = false)] calls: bool) -> anyhow::Result<f64> {
    if calls {
        let request = json!({"model": llm.model, "messages": [{"role": "user", "content": task}]});
        let call = emitter::model_call(&request)?;
        call.finish(&json!({
            "id": "r-1",
            "choices": [{"message": {"role": "assistant", "content": "4"}}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 1},
        }))?;
    }
    Ok(1.0)
}

#[tokio::test]
async fn an_agent_that_has_a_model_is_to_call_it() {
    let model = NamedResources::new().with("main_llm", Llm::new("http://127.0.0.1:1/v1", "small"));
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Baseline::algorithm())
        .initial_resources(model)
        .build()
        .unwrap();
    let error = soon(trainer.dev(answer::agent(), tasks(2), None))
        .await
        .unwrap_err();
    let TrainerError::Dev(DevProblem::NoModelCall { .. }) = error else {
        panic!("{error}")
    };
    assert!(error.to_string().contains("`emitter::model_call`"), "{error}");

    let report = soon(trainer.dev(answer::agent().calls(true), tasks(2), None))
        .await
        .unwrap();
    let usage = &report.fit.model_usage;
    assert_eq!(
        (usage.len(), usage[0].role.as_str(), usage[0].model.as_deref()),
        (1, "agent", Some("small"))
    );
    assert_eq!(
        (usage[0].calls, usage[0].input_tokens, usage[0].output_tokens),
        (2, 14, 2)
    );
}

#[tokio::test]
async fn the_reason_of_the_adapter_is_that_of_the_dry_run() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(Baseline::algorithm())
        .adapter(TracerToTriplets::new())
        .build()
        .unwrap();
    let error = soon(trainer.dev(agent_fn(|_: String, _| async { 1.0 }), tasks(1), None))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(text.contains("the adapter makes nothing of any trace"), "{text}");
    assert!(
        matches!(error, TrainerError::Dev(DevProblem::NothingAdapted { .. })),
        "{text}"
    );
}

#[algo]
async fn idle() {}

#[algo]
async fn broken() -> anyhow::Result<()> {
    anyhow::bail!("no such model")
}

#[algo]
async fn never_ends(run: RunContext, train_dataset: Dataset<String>) -> anyhow::Result<()> {
    run.evaluator().tasks(&train_dataset).evaluate().await?;
    pending().await
}

#[algo]
async fn mean(run: RunContext, train_dataset: Dataset<String>) -> anyhow::Result<f64> {
    Ok(run.evaluator().tasks(&train_dataset).evaluate().await?.mean()?)
}

fn rewarded() -> impl Agent<String> {
    agent_fn(|_: String, _| async { 1.0 })
}

#[tokio::test]
async fn an_algorithm_that_enqueues_nothing_is_told_so() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(idle::algorithm())
        .build()
        .unwrap();
    let error = soon(trainer.dev(rewarded(), None, None)).await.unwrap_err();
    assert!(
        matches!(error, TrainerError::Dev(DevProblem::NoRollouts)),
        "{error}"
    );
}

#[tokio::test]
async fn an_algorithm_that_fails_by_itself_is_reported_as_by_fit() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(broken::algorithm())
        .build()
        .unwrap();
    let error = soon(trainer.dev(rewarded(), None, None)).await.unwrap_err();
    assert_eq!(error.to_string(), "the algorithm `broken` failed: no such model");
}

#[tokio::test]
async fn an_algorithm_that_fails_for_what_rollouts_lack_is_reported_with_that() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(mean::algorithm())
        .build()
        .unwrap();
    let mute = agent_fn(|_: String, _| async { emitter::emit_message("done").map(drop) });
    let error = soon(trainer.dev(mute, tasks(1), None)).await.unwrap_err();
    let TrainerError::DevFailed {
        problem,
        error: failure,
    } = &error
    else {
        panic!("{error}")
    };
    assert!(matches!(problem, DevProblem::NoReward { .. }), "{error}");
    assert!(matches!(**failure, TrainerError::Failed { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_algorithm_that_does_not_end_is_dropped() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(never_ends::algorithm())
        .build()
        .unwrap();
    let dev = trainer
        .dev(rewarded(), tasks(1), None)
        .limit(Duration::from_secs(5));
    let error = soon(dev).await.unwrap_err();
    let expected = "the algorithm was asked to stop after 5 s and did not return";
    assert!(error.to_string().contains(expected), "{error}");
}

#[tokio::test]
async fn what_is_refused_by_fit_is_refused() {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(mean::algorithm())
        .build()
        .unwrap();
    let error = soon(trainer.dev(rewarded(), None, None)).await.unwrap_err();
    assert!(error.to_string().contains("`train_dataset`"), "{error}");
}

#[tokio::test]
async fn a_run_shows_what_it_is_made_of_and_what_came_of_it() {
    let paper = Paper::default();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let recording = RecordingOptions {
        resource: Arc::new(SpanResource {
            schema_url: "of this test".to_owned(),
            ..SpanResource::default()
        }),
        ..RecordingOptions::default()
    };
    let trainer = Trainer::builder()
        .algorithm(mean::algorithm())
        .adapter(TracerToTriplets::new())
        .store(Arc::clone(&store))
        .recording(recording)
        .screen(Screen::plain(paper.clone()))
        .build()
        .unwrap();
    soon(trainer.fit(rewarded(), tasks(3), None)).await.unwrap();
    let shown = paper.text();
    for line in [
        "  algorithm     mean, version 1\n",
        "  tasks         3 to train on\n",
        "  adapter       triplets of calls, rewards by ",
        "evaluate: 3/3",
        "  reward        ",
        "1 on average\n",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
    let rollouts = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
    let spans = store
        .query_spans(SpanQuery::of(rollouts[0].rollout_id.clone()))
        .await
        .unwrap()
        .items;
    assert_eq!(spans[0].resource.schema_url, "of this test");
}
