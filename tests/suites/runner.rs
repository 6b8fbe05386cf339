//! Runners: whatever an agent does, its attempt ends, and the store has all that is to be known of it.

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lightning_core::{
    agent::{Agent, AgentFuture, AgentOutput, Hook, HookFuture, RolloutContext, RolloutEnd, agent_fn},
    emitter::{emit_message, emit_reward},
    runner::{Runner, RunnerBuilder, RunnerError, StatisticsSource, StopSignal},
    semconv,
    store::{MemoryStore, Store},
    testing::{Faults, ManualClock},
    types::{
        AttemptQuery, AttemptStatus, JsonObject, NamedResources, NewRollout, ProxyLlm, Reward, RolloutConfig,
        RolloutId, RolloutMode, RolloutPatch, RolloutStatus, Span, SpanQuery, WorkerStatus,
    },
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn runner(agent: impl Agent<Value>, store: &Arc<dyn Store>) -> RunnerBuilder<Value> {
    Runner::builder(agent, Arc::clone(store)).worker_id("w")
}

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("should not have to wait this long")
}

/// Raises a flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An agent that begins, says so, and never ends.
fn endless() -> (impl Agent<Value>, Arc<Notify>, Arc<AtomicBool>) {
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (begins, drops) = (Arc::clone(&began), Arc::clone(&dropped));
    let agent = agent_fn(move |_: Value, _| {
        let (begins, guard) = (Arc::clone(&begins), Dropped(Arc::clone(&drops)));
        async move {
            let _guard = guard;
            emit_message("begun").unwrap();
            begins.notify_one();
            pending::<()>().await;
        }
    });
    (agent, began, dropped)
}

async fn failure_of(agent: impl Agent<Value>) -> String {
    let end = runner(agent, &store()).build().step(&json!(1)).await.unwrap().end;
    assert_eq!(end.attempt.status, AttemptStatus::Failed);
    end.attempt
        .reason()
        .expect("a failed attempt says why")
        .to_owned()
}

async fn spans(store: &Arc<dyn Store>, id: &RolloutId) -> Vec<Span> {
    store.query_spans(SpanQuery::of(id.clone())).await.unwrap().items
}

// ---- results

#[tokio::test]
async fn a_number_that_is_returned_is_stored_as_the_reward() {
    let step = runner(agent_fn(|_: Value, _| async { 0.25 }), &store())
        .build()
        .step(&json!(1))
        .await
        .unwrap();
    assert_eq!(step.end.attempt.status, AttemptStatus::Succeeded);
    assert_eq!(step.rollout.status, RolloutStatus::Succeeded);
    assert_eq!(step.end.reward(), Some(Reward::from(0.25)));
}

#[tokio::test]
async fn named_rewards_are_stored_with_all_their_dimensions() {
    let reward = || Reward::new("accuracy", 0.5).with("brevity", 0.75);
    let agent = agent_fn(move |_: Value, _| async move { reward() });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    assert_eq!(step.end.reward(), Some(reward()));
}

#[tokio::test]
async fn an_agent_that_returns_nothing_is_judged_by_its_trace() {
    let agent = agent_fn(|_: Value, _| async {
        emit_reward(0.75)?;
        anyhow::Ok(())
    });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    assert_eq!(step.end.reward(), Some(Reward::from(0.75)));
    assert_eq!(step.end.spans.len(), 1);
}

#[tokio::test]
async fn spans_that_are_returned_are_stored_under_the_attempt() {
    let agent = agent_fn(|_: Value, _| async {
        emit_message("first").unwrap();
        let own = |id: &str| {
            Span::new(
                "elsewhere",
                "elsewhere",
                0,
                "0".repeat(32),
                id,
                format!("own {id}"),
            )
        };
        vec![own("000000000000000a"), own("000000000000000b")]
    });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    let found: BTreeMap<u64, &str> = step
        .end
        .spans
        .iter()
        .map(|span| (span.sequence_id, span.name.as_str()))
        .collect();
    assert_eq!(step.end.attempt.status, AttemptStatus::Succeeded);
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.values().any(|name| *name == "own 000000000000000b"),
        "{found:?}"
    );
}

#[tokio::test]
async fn an_error_fails_the_attempt_with_its_whole_chain() {
    let agent = agent_fn(|_: Value, _| async {
        let cause = anyhow::anyhow!("connection refused");
        anyhow::Result::<f64>::Err(cause.context("the model did not answer"))
    });
    let store = store();
    let step = runner(agent, &store).build().step(&json!(1)).await.unwrap();
    assert_eq!(step.rollout.status, RolloutStatus::Failed);
    assert_eq!(
        step.end.attempt.reason(),
        Some("the model did not answer: connection refused")
    );
    let exception = step
        .end
        .spans
        .iter()
        .find(|span| span.name == semconv::EXCEPTION)
        .unwrap();
    assert_eq!(
        exception.attributes[semconv::EXCEPTION_MESSAGE],
        "the model did not answer"
    );
}

#[tokio::test]
async fn a_panic_fails_the_attempt_with_its_message_and_keeps_the_trace() {
    let agent = agent_fn(|_: Value, _| async {
        emit_message("before").unwrap();
        let list: Vec<i32> = Vec::new();
        list[7]
    });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    let reason = step.end.attempt.reason().unwrap();
    assert!(
        reason.starts_with("the agent panicked: index out of bounds"),
        "{reason}"
    );
    let names: Vec<&str> = step.end.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, [semconv::MESSAGE, semconv::EXCEPTION]);
}

#[tokio::test]
async fn a_panic_before_the_first_await_fails_the_attempt_too() {
    struct Hasty;
    impl Agent<Value> for Hasty {
        fn rollout<'a>(&'a self, _: &'a Value, _: &'a RolloutContext) -> AgentFuture<'a> {
            panic!("in a hurry")
        }
    }
    assert_eq!(failure_of(Hasty).await, "the agent panicked: in a hurry");
}

#[tokio::test]
async fn a_reward_that_is_not_a_number_fails_the_attempt() {
    let reason = failure_of(agent_fn(|_: Value, _| async { f64::NAN })).await;
    assert!(reason.contains("NaN"), "{reason}");
}

#[tokio::test]
async fn a_task_of_another_shape_fails_the_attempt_and_names_what_is_missing() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Question {
        question: String,
    }
    let store = store();
    let id = store
        .enqueue_rollout(NewRollout::new(json!({"text": 1})))
        .await
        .unwrap()
        .rollout_id;
    let agent = agent_fn(|task: Question, _| async move { task.question.len() as f64 });
    let runner = Runner::builder(agent, Arc::clone(&store))
        .max_rollouts(Some(1))
        .build();
    runner.iter(&StopSignal::new()).await.unwrap();
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    let reason = attempt.reason().unwrap();
    assert!(
        reason.contains("Question") && reason.contains("missing field `question`"),
        "{reason}"
    );
}

#[tokio::test]
async fn resources_that_are_not_there_fail_the_attempt_with_their_id() {
    let store = store();
    let new = NewRollout::new(json!(1)).resources_id("rs-gone");
    let id = store.enqueue_rollout(new).await.unwrap().rollout_id;
    let runner = runner(agent_fn(|_: Value, _| async { 1.0 }), &store)
        .max_rollouts(Some(1))
        .build();
    runner.iter(&StopSignal::new()).await.unwrap();
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(attempt.status, AttemptStatus::Failed);
    assert!(attempt.reason().unwrap().contains("rs-gone"), "{attempt:?}");
}

#[tokio::test]
async fn the_agent_gets_the_resources_that_the_rollout_names() {
    let store = store();
    let resources = |word: &str| NamedResources::new().with("word", json!(word));
    let first = store
        .add_resources(resources("first"))
        .await
        .unwrap()
        .resources_id;
    store.add_resources(resources("second")).await.unwrap();
    let agent = agent_fn(|_: Value, cx: RolloutContext| async move {
        emit_message(cx.resources().json::<String>("word")?)?;
        anyhow::Ok(())
    });
    let runner = runner(agent, &store).max_rollouts(Some(2)).build();
    let named = store
        .enqueue_rollout(NewRollout::new(json!(1)).resources_id(first))
        .await
        .unwrap();
    let latest = store.enqueue_rollout(NewRollout::new(json!(1))).await.unwrap();
    runner.iter(&StopSignal::new()).await.unwrap();
    for (id, word) in [(named.rollout_id, "first"), (latest.rollout_id, "second")] {
        assert_eq!(
            spans(&store, &id).await[0].attributes[semconv::MESSAGE_BODY],
            word
        );
    }
}

#[tokio::test]
async fn a_model_behind_the_proxy_is_called_under_the_attempt() {
    let store = store();
    let proxied = NamedResources::new().with("llm", ProxyLlm::new("http://127.0.0.1:4000/v1", "m"));
    store.add_resources(proxied).await.unwrap();
    let agent = agent_fn(|_: Value, cx: RolloutContext| async move {
        emit_message(cx.resources().llm()?.endpoint.clone())?;
        anyhow::Ok(())
    });
    let step = runner(agent, &store).build().step(&json!(1)).await.unwrap();
    let attempt = &step.end.attempt;
    let expected = format!(
        "http://127.0.0.1:4000/rollout/{}/attempt/{}/v1",
        attempt.rollout_id, attempt.attempt_id
    );
    assert_eq!(step.end.spans[0].attributes[semconv::MESSAGE_BODY], expected);
}

#[tokio::test]
async fn validation_and_tests_call_the_validation_form() {
    struct TwoForms;
    impl Agent<Value> for TwoForms {
        fn rollout<'a>(&'a self, _: &'a Value, _: &'a RolloutContext) -> AgentFuture<'a> {
            Box::pin(async { 1.0.into_result() })
        }
        fn validation_rollout<'a>(&'a self, _: &'a Value, _: &'a RolloutContext) -> AgentFuture<'a> {
            Box::pin(async { 2.0.into_result() })
        }
    }
    let runner = runner(TwoForms, &store()).build();
    let modes = [
        (None, 1.0),
        (Some(RolloutMode::Train), 1.0),
        (Some(RolloutMode::Val), 2.0),
        (Some(RolloutMode::Test), 2.0),
    ];
    for (mode, reward) in modes {
        let options = lightning_core::runner::StepOptions {
            mode,
            ..Default::default()
        };
        let step = runner.step_with(&json!(1), options).await.unwrap();
        assert_eq!(step.end.reward(), Some(reward.into()), "{mode:?}");
    }
}

// ---- the store knows all before the attempt ends

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_span_is_stored_before_the_rollout_ends() {
    let store = store();
    let agent = agent_fn(|_: Value, _| async {
        for number in 0..50 {
            emit_message(number.to_string()).unwrap();
        }
        1.0
    });
    let ids: Vec<RolloutId> = {
        let new = (0..40).map(|i| NewRollout::new(json!(i))).collect();
        let made = store.enqueue_many_rollouts(new).await.unwrap();
        made.into_iter().map(|rollout| rollout.rollout_id).collect()
    };
    let runner = runner(agent, &store).max_rollouts(Some(40)).build();
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    for id in &ids {
        soon(store.wait_for_rollouts(std::slice::from_ref(id), None))
            .await
            .unwrap();
        assert_eq!(spans(&store, id).await.len(), 51);
    }
    let report = running.await.unwrap().unwrap();
    assert_eq!((report.attempts, report.succeeded), (40, 40));
}

// ---- ends from outside

#[tokio::test]
async fn a_time_limit_drops_the_agent_and_the_retry_succeeds() {
    let store = store();
    let config = RolloutConfig {
        timeout_seconds: Some(0.05),
        max_attempts: 2,
        retry_condition: vec![AttemptStatus::Timeout],
        ..RolloutConfig::default()
    };
    let id = store
        .enqueue_rollout(NewRollout::new(json!(1)).config(config))
        .await
        .unwrap()
        .rollout_id;
    let dropped = Arc::new(AtomicBool::new(false));
    let drops = Arc::clone(&dropped);
    let agent = agent_fn(move |_: Value, cx: RolloutContext| {
        let guard = (cx.attempt().sequence_id == 1).then(|| Dropped(Arc::clone(&drops)));
        async move {
            if guard.is_some() {
                emit_message("slow").unwrap();
                pending::<()>().await;
            }
            1.0
        }
    });
    let runner = runner(agent, &store)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(2))
        .build();
    soon(runner.iter(&StopSignal::new())).await.unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    let attempts = store
        .query_attempts(&id, AttemptQuery::default())
        .await
        .unwrap()
        .items;
    let statuses: Vec<AttemptStatus> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [AttemptStatus::Timeout, AttemptStatus::Succeeded]);
    assert_eq!(
        spans(&store, &id).await.len(),
        2,
        "the trace of the attempt that timed out is kept"
    );
}

#[tokio::test]
async fn cancelling_the_rollout_drops_the_agent() {
    let store = store();
    let (agent, began, dropped) = endless();
    let runner = runner(agent, &store)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(1))
        .build();
    let id = store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    store
        .update_rollout(id.clone(), RolloutPatch::status(RolloutStatus::Cancelled))
        .await
        .unwrap();
    soon(running).await.unwrap().unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(attempt.status, AttemptStatus::Failed);
    assert_eq!(
        attempt.reason(),
        Some("the rollout was ended as cancelled while the agent worked")
    );
    let rollout = store.get_rollout_by_id(&id).await.unwrap().unwrap();
    assert_eq!(rollout.status, RolloutStatus::Cancelled);
    assert_eq!(spans(&store, &id).await.len(), 1);
}

#[tokio::test]
async fn a_newer_attempt_drops_the_agent_of_the_older() {
    let store = store();
    let (agent, began, dropped) = endless();
    let runner = runner(agent, &store)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(1))
        .build();
    let id = store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    let newer = store.start_attempt(id.clone(), None).await.unwrap().attempt;
    soon(running).await.unwrap().unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    let attempts = store
        .query_attempts(&id, AttemptQuery::default())
        .await
        .unwrap()
        .items;
    assert_eq!(attempts[0].status, AttemptStatus::Failed);
    assert!(attempts[0].reason().unwrap().contains(newer.attempt_id.as_str()));
    assert_eq!(attempts[1], newer);
}

#[tokio::test]
async fn an_agent_that_heeds_its_cancellation_may_tidy_up() {
    let store = store();
    let (began, tidy) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (begins, tidied) = (Arc::clone(&began), Arc::clone(&tidy));
    let agent = agent_fn(move |_: Value, cx: RolloutContext| {
        let (begins, tidied) = (Arc::clone(&begins), Arc::clone(&tidied));
        async move {
            begins.notify_one();
            cx.cancellation().cancelled().await;
            tokio::task::yield_now().await;
            tidied.store(true, Ordering::SeqCst);
        }
    });
    let runner = runner(agent, &store)
        .abort_grace(Duration::from_secs(30))
        .max_rollouts(Some(1))
        .build();
    let id = store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    store
        .update_rollout(id, RolloutPatch::status(RolloutStatus::Cancelled))
        .await
        .unwrap();
    soon(running).await.unwrap().unwrap();
    assert!(tidy.load(Ordering::SeqCst));
}

// ---- stopping

#[tokio::test]
async fn told_to_stop_a_runner_finishes_what_it_has_and_claims_no_more() {
    let store = store();
    let (began, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begins, goes_on) = (Arc::clone(&began), Arc::clone(&go_on));
    let agent = agent_fn(move |_: Value, _| {
        let (begins, goes_on) = (Arc::clone(&begins), Arc::clone(&goes_on));
        async move {
            begins.notify_one();
            goes_on.notified().await;
            1.0
        }
    });
    let runner = runner(agent, &store).build();
    for task in 0..2 {
        store.enqueue_rollout(NewRollout::new(json!(task))).await.unwrap();
    }
    let stop = StopSignal::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { runner.iter(&stop).await }
    });
    soon(began.notified()).await;
    stop.stop();
    go_on.notify_one();
    let report = soon(running).await.unwrap().unwrap();
    assert_eq!((report.attempts, report.succeeded), (1, 1));
    assert_eq!(store.statistics().await.unwrap().extra["queue_length"], 1);
}

#[tokio::test]
async fn a_runner_that_waits_for_work_stops_at_once() {
    let store = store();
    let runner = runner(agent_fn(|_: Value, _| async { 1.0 }), &store).build();
    let stop = StopSignal::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { runner.iter(&stop).await }
    });
    tokio::task::yield_now().await;
    stop.stop();
    assert_eq!(soon(running).await.unwrap().unwrap().attempts, 0);
}

#[tokio::test]
async fn told_to_abort_a_runner_drops_the_agent_and_fails_the_attempt() {
    let store = store();
    let (agent, began, dropped) = endless();
    let runner = runner(agent, &store).abort_grace(Duration::ZERO).build();
    let id = store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let stop = StopSignal::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { runner.iter(&stop).await }
    });
    soon(began.notified()).await;
    stop.abort();
    soon(running).await.unwrap().unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(attempt.reason(), Some("the runner was stopped"));
}

#[tokio::test]
async fn a_runner_that_is_dropped_has_last_words() {
    let store = store();
    let (agent, began, dropped) = endless();
    let last_words = TaskTracker::new();
    let runner = runner(agent, &store).last_words(last_words.clone()).build();
    let id = store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
    last_words.close();
    soon(last_words.wait()).await;
    assert!(dropped.load(Ordering::SeqCst));
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(attempt.status, AttemptStatus::Failed);
    assert_eq!(
        attempt.reason(),
        Some("the runner was dropped while the agent worked")
    );
    assert_eq!(spans(&store, &id).await.len(), 1, "what was recorded is stored");
}

#[tokio::test]
async fn a_runner_stops_by_itself_after_max_rollouts() {
    let store = store();
    let new = (0..5).map(|i| NewRollout::new(json!(i))).collect();
    store.enqueue_many_rollouts(new).await.unwrap();
    let runner = runner(agent_fn(|_: Value, _| async { 1.0 }), &store)
        .max_rollouts(Some(3))
        .build();
    assert_eq!(soon(runner.iter(&StopSignal::new())).await.unwrap().attempts, 3);
    assert_eq!(store.statistics().await.unwrap().extra["queue_length"], 2);
}

// ---- signs of life

struct Figures;

impl StatisticsSource for Figures {
    fn collect(&self) -> std::pin::Pin<Box<dyn Future<Output = Option<JsonObject>> + Send + '_>> {
        Box::pin(async { json!({"cpu_usage_pct": 12.5}).as_object().cloned() })
    }
}

#[tokio::test]
async fn heartbeats_keep_a_silent_attempt_alive_and_carry_the_figures() {
    let clock = ManualClock::default();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::builder().clock(clock.clone()).build());
    let (agent, began, _) = endless();
    let runner = runner(agent, &store)
        .clock(Arc::new(clock.clone()))
        .statistics(Arc::new(Figures))
        .build();
    let config = RolloutConfig {
        unresponsive_seconds: Some(6.0),
        ..RolloutConfig::default()
    };
    let id = store
        .enqueue_rollout(NewRollout::new(json!(1)).config(config))
        .await
        .unwrap()
        .rollout_id;
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    for _ in 0..20 {
        clock.advance(Duration::from_secs_f64(2.1));
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(
        attempt.status,
        AttemptStatus::Running,
        "20 heartbeats within 42 s, one each 2 s"
    );
    let worker = store.get_worker_by_id(&"w".into()).await.unwrap().unwrap();
    assert_eq!(worker.status, WorkerStatus::Busy);
    assert_eq!(worker.heartbeat_stats.unwrap()["cpu_usage_pct"], 12.5);
    assert!(
        worker.last_heartbeat_time.unwrap() - attempt.start_time > 30.0,
        "one each 10 s"
    );
    running.abort();
}

#[tokio::test]
async fn a_runner_that_is_gone_sends_no_more_heartbeats() {
    let clock = ManualClock::default();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::builder().clock(clock.clone()).build());
    let agent = agent_fn(|_: Value, _| async { 1.0 });
    let runner = runner(agent, &store)
        .clock(Arc::new(clock.clone()))
        .statistics(Arc::new(Figures))
        .build();
    let stop = StopSignal::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { runner.iter(&stop).await }
    });
    tokio::task::yield_now().await;
    stop.stop();
    soon(running).await.unwrap().unwrap();
    let before = store.get_worker_by_id(&"w".into()).await.unwrap();
    clock.advance(Duration::from_secs(60));
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(store.get_worker_by_id(&"w".into()).await.unwrap(), before);
}

// ---- hooks

#[derive(Default)]
struct Diary(Mutex<Vec<String>>);

impl Diary {
    fn note(&self, text: String) -> HookFuture<'_> {
        Box::pin(async move {
            self.0.lock().unwrap().push(text);
            Ok(())
        })
    }
}

impl Hook for Diary {
    fn on_rollout_start<'a>(&'a self, cx: &'a RolloutContext) -> HookFuture<'a> {
        self.note(format!("start of {}", cx.worker_id()))
    }
    fn on_trace_start<'a>(&'a self, _: &'a RolloutContext) -> HookFuture<'a> {
        emit_message("from the hook, before").unwrap();
        self.note("trace starts".to_owned())
    }
    fn on_trace_end<'a>(&'a self, _: &'a RolloutContext) -> HookFuture<'a> {
        emit_message("from the hook, after").unwrap();
        self.note("trace ends".to_owned())
    }
    fn on_rollout_end<'a>(&'a self, _: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        self.note(format!(
            "end with {} spans, {:?}",
            end.spans.len(),
            end.reward().map(|r| r.primary())
        ))
    }
}

#[tokio::test]
async fn hooks_run_around_the_agent_and_may_emit() {
    let diary = Arc::new(Diary::default());
    let runner = runner(agent_fn(|_: Value, _| async { 1.0 }), &store())
        .hook(diary.clone())
        .build();
    let step = runner.step(&json!(1)).await.unwrap();
    let expected = [
        "start of w",
        "trace starts",
        "trace ends",
        "end with 3 spans, Some(1.0)",
    ];
    assert_eq!(*diary.0.lock().unwrap(), expected);
    let bodies: Vec<&Value> = step
        .end
        .spans
        .iter()
        .filter_map(|s| s.attributes.get(semconv::MESSAGE_BODY))
        .collect();
    assert_eq!(bodies, ["from the hook, before", "from the hook, after"]);
}

#[tokio::test]
async fn hooks_that_fail_or_panic_do_not_fail_the_rollout() {
    struct Failing;
    impl Hook for Failing {
        fn on_rollout_start<'a>(&'a self, _: &'a RolloutContext) -> HookFuture<'a> {
            panic!("a hook panics")
        }
        fn on_trace_end<'a>(&'a self, _: &'a RolloutContext) -> HookFuture<'a> {
            Box::pin(async { anyhow::bail!("a hook fails") })
        }
    }
    let diary = Arc::new(Diary::default());
    let agent = agent_fn(|_: Value, _| async { 1.0 });
    let runner = runner(agent, &store())
        .hook(Arc::new(Failing))
        .hook(diary.clone())
        .build();
    let step = runner.step(&json!(1)).await.unwrap();
    assert_eq!(step.end.attempt.status, AttemptStatus::Succeeded);
    assert_eq!(diary.0.lock().unwrap().len(), 4, "later hooks run all the same");
}

// ---- a store that fails

#[tokio::test]
async fn a_store_that_is_unavailable_for_a_while_is_ridden_out() {
    let (faults, inner) = (Faults::new(), store());
    let store = faults.wrap(Arc::clone(&inner));
    let id = inner
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let breaks = faults.clone();
    let agent = agent_fn(move |_: Value, _| {
        let breaks = breaks.clone();
        async move {
            emit_message("said while the store is away").unwrap();
            breaks.fail(5);
            1.0
        }
    });
    faults.fail(2);
    let runner = runner(agent, &store).max_rollouts(Some(1)).build();
    soon(runner.iter(&StopSignal::new())).await.unwrap();
    assert!(faults.failures() >= 5);
    let rollout = inner.get_rollout_by_id(&id).await.unwrap().unwrap();
    assert_eq!(rollout.status, RolloutStatus::Succeeded);
    assert_eq!(spans(&inner, &id).await.len(), 2);
}

#[tokio::test]
async fn answers_that_get_lost_duplicate_nothing() {
    let (faults, inner) = (Faults::new(), store());
    let store = faults.wrap(Arc::clone(&inner));
    let id = inner
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let breaks = faults.clone();
    let agent = agent_fn(move |_: Value, _| {
        breaks.lose_answers(4);
        async { 1.0 }
    });
    let runner = runner(agent, &store).max_rollouts(Some(1)).build();
    soon(runner.iter(&StopSignal::new())).await.unwrap();
    assert_eq!(faults.failures(), 4);
    assert_eq!(spans(&inner, &id).await.len(), 1);
    assert_eq!(
        inner.get_rollout_by_id(&id).await.unwrap().unwrap().status,
        RolloutStatus::Succeeded
    );
}

#[tokio::test]
async fn a_store_that_stays_away_ends_the_runner_with_what_it_tried() {
    let faults = Faults::new();
    let store = faults.wrap(store());
    faults.break_down();
    let agent = agent_fn(|_: Value, _| async { 1.0 });
    let runner = runner(agent, &store).patience(Duration::from_millis(50)).build();
    let error = soon(runner.iter(&StopSignal::new())).await.unwrap_err();
    assert!(
        matches!(
            error,
            RunnerError::Store {
                action: "claim a rollout",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("unavailable"), "{error}");
}

// ---- many at once

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runners_share_a_queue_and_every_rollout_is_executed_once() {
    let store = store();
    let new = (0..500).map(|i| NewRollout::new(json!(i))).collect();
    let ids: Vec<RolloutId> = store
        .enqueue_many_rollouts(new)
        .await
        .unwrap()
        .into_iter()
        .map(|r| r.rollout_id)
        .collect();
    let calls = Arc::new(AtomicU64::new(0));
    let stop = StopSignal::new();
    let runners: Vec<_> = (0..8)
        .map(|number| {
            let counts = Arc::clone(&calls);
            let agent = agent_fn(move |task: Value, _| {
                counts.fetch_add(1, Ordering::SeqCst);
                async move { task.as_f64().unwrap() }
            });
            let runner = runner(agent, &store).worker_id(format!("w{number}")).build();
            let stop = stop.clone();
            tokio::spawn(async move { runner.iter(&stop).await })
        })
        .collect();
    soon(store.wait_for_rollouts(&ids, None)).await.unwrap();
    stop.stop();
    let mut attempts = 0;
    for runner in runners {
        attempts += soon(runner).await.unwrap().unwrap().attempts;
    }
    assert_eq!((attempts, calls.load(Ordering::SeqCst)), (500, 500));
    for (number, id) in ids.iter().enumerate() {
        let spans = spans(&store, id).await;
        assert_eq!(
            lightning_core::types::final_reward(&spans),
            Some((number as f64).into())
        );
    }
}
