//! Hooks and signs of life.

use super::*;

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
async fn heartbeats_keep_an_attempt_alive_whatever_the_clock_of_the_runner_says() {
    for ours in [1e6 - 3600.0, 1e6 + 3600.0] {
        let (theirs, ours) = (
            ManualClock::default(),
            ManualClock::starting_at(Timestamp::from_secs_f64(ours)),
        );
        let store: Arc<dyn Store> = Arc::new(MemoryStore::builder().clock(theirs.clone()).build());
        let (agent, began, _) = endless();
        let runner = runner(agent, &store)
            .clock(Arc::new(ours.clone()))
            .statistics(Arc::new(Figures))
            .build();
        let config = RolloutConfig {
            unresponsive_seconds: Some(6.0),
            ..RolloutConfig::default()
        };
        let new = NewRollout::new(json!(1)).config(config);
        let id = store.enqueue_rollout(new).await.unwrap().rollout_id;
        let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
        soon(began.notified()).await;
        for _ in 0..20 {
            theirs.advance(Duration::from_secs_f64(2.1));
            ours.advance(Duration::from_secs_f64(2.1));
            for _ in 0..50 {
                tokio::task::yield_now().await;
            }
        }
        let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
        assert_eq!(attempt.status, AttemptStatus::Running);
        running.abort();
        // Without them it would have ended, even if the last one came from the future.
        let heard_of = attempt.last_heartbeat_time.unwrap() - attempt.start_time;
        assert!((39.0..43.0).contains(&heard_of), "{heard_of}");
    }
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
    assert_step(&step).succeeded();
    assert_eq!(diary.0.lock().unwrap().len(), 4, "later hooks run all the same");
}

/// Never ends one of its methods.
struct Hangs {
    at_the_end: bool,
    hangs: Notify,
}

impl Hangs {
    fn wait(&self, at_the_end: bool) -> HookFuture<'_> {
        Box::pin(async move {
            if self.at_the_end == at_the_end {
                self.hangs.notify_one();
                pending::<()>().await;
            }
            Ok(())
        })
    }
}

impl Hook for Hangs {
    fn on_rollout_start<'a>(&'a self, _: &'a RolloutContext) -> HookFuture<'a> {
        self.wait(false)
    }

    fn on_rollout_end<'a>(&'a self, _: &'a RolloutContext, _: &'a RolloutEnd) -> HookFuture<'a> {
        self.wait(true)
    }
}

#[tokio::test]
async fn a_hook_that_never_ends_does_not_keep_a_runner_from_being_stopped() {
    for at_the_end in [false, true] {
        let store = store();
        let new = NewRollout::new(json!(1));
        let id = store.enqueue_rollout(new).await.unwrap().rollout_id;
        let hook = Arc::new(Hangs {
            at_the_end,
            hangs: Notify::new(),
        });
        let agent = agent_fn(|_: Value, _| async { 1.0 });
        let runner = runner(agent, &store).hook(Arc::clone(&hook) as _).build();
        let stop = StopSignal::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { runner.iter(&stop).await }
        });
        soon(hook.hangs.notified()).await;
        stop.abort();
        soon(running).await.unwrap().unwrap();
        let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
        assert!(
            attempt.status.is_terminal(),
            "at the end: {at_the_end}: {attempt:?}"
        );
    }
}

#[tokio::test]
async fn a_hook_that_never_ends_is_subject_to_the_time_limit_of_the_attempt() {
    let store = store();
    let config = RolloutConfig {
        timeout_seconds: Some(0.05),
        ..RolloutConfig::default()
    };
    let new = NewRollout::new(json!(1)).config(config);
    let id = store.enqueue_rollout(new).await.unwrap().rollout_id;
    let hook = Arc::new(Hangs {
        at_the_end: false,
        hangs: Notify::new(),
    });
    let agent = agent_fn(|_: Value, _| async { 1.0 });
    let runner = runner(agent, &store)
        .hook(hook)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(1))
        .build();
    soon(runner.iter(&StopSignal::new())).await.unwrap();
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(attempt.status, AttemptStatus::Timeout);
}
