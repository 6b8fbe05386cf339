//! What the store knows, and stores that fail.

use lightning_core::store::{LayeredStore, StoreError, StoreLayer};

use super::*;

/// Fails one operation: the `nth` of those that are called `only`, or of all.
struct FailsOnce {
    only: Option<&'static str>,
    nth: u64,
    seen: Arc<AtomicU64>,
    /// What happens as it fails.
    meanwhile: Box<dyn Fn() + Send + Sync>,
}

impl FailsOnce {
    fn nth(nth: u64) -> Self {
        Self {
            only: None,
            nth,
            seen: Arc::default(),
            meanwhile: Box::new(|| {}),
        }
    }

    fn first(only: &'static str) -> Self {
        Self {
            only: Some(only),
            ..Self::nth(0)
        }
    }
}

impl StoreLayer for FailsOnce {
    fn before(&self, operation: &'static str) -> Result<(), StoreError> {
        let counts = self.only.is_none_or(|only| only == operation);
        if !counts || self.seen.fetch_add(1, Ordering::SeqCst) != self.nth {
            return Ok(());
        }
        (self.meanwhile)();
        let reason = format!("`{operation}` failed");
        Err(StoreError::Unavailable { reason, source: None })
    }
}

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
    let rollout = assert_rollout(&*inner, &id).await;
    rollout
        .succeeded()
        .attempts(1)
        .reward(1.0)
        .spans(semconv::MESSAGE, 1);
    assert_eq!(rollout.record().spans.len(), 2);
}

/// Keeps how many spans each attempt ended with.
#[derive(Default)]
struct CountsSpans(Mutex<Vec<usize>>);

impl Hook for CountsSpans {
    fn on_rollout_end<'a>(&'a self, _: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        self.0.lock().unwrap().push(end.spans.len());
        Box::pin(async { Ok(()) })
    }
}

#[tokio::test]
async fn no_single_failure_of_the_store_costs_a_rollout() {
    for nth in 0.. {
        let inner = store();
        let resources = NamedResources::new().with("rules", json!([1]));
        inner.add_resources(resources).await.unwrap();
        let new = NewRollout::new(json!(1));
        let id = inner.enqueue_rollout(new).await.unwrap().rollout_id;
        let layer = FailsOnce::nth(nth);
        let seen = Arc::clone(&layer.seen);
        let flaky: Arc<dyn Store> = Arc::new(LayeredStore::new(Arc::clone(&inner), layer));
        let agent = agent_fn(|_: Value, _| async {
            emit_message("thinking").unwrap();
            1.0
        });
        let spans = Arc::new(CountsSpans::default());
        let hook = Arc::clone(&spans);
        let runner = runner(agent, &flaky).hook(hook).max_rollouts(Some(1)).build();
        let report = soon(runner.iter(&StopSignal::new())).await.unwrap();
        assert_eq!(report.succeeded, 1, "without operation {nth}");
        assert_eq!(*spans.0.lock().unwrap(), [2], "without operation {nth}");
        let rollout = inner.get_rollout_by_id(&id).await.unwrap().unwrap();
        assert_eq!(rollout.status, RolloutStatus::Succeeded);
        if seen.load(Ordering::SeqCst) <= nth {
            assert!(nth >= 6, "the runner did less than it should: {nth} operations");
            return;
        }
    }
}

#[tokio::test]
async fn patience_begins_with_the_first_failure() {
    let clock = ManualClock::default();
    let inner: Arc<dyn Store> = Arc::new(MemoryStore::builder().clock(clock.clone()).build());
    inner.enqueue_rollout(NewRollout::new(json!(1))).await.unwrap();
    // A claim that was parked for longer than patience lasts, and then broken.
    let parked = clock.clone();
    let layer = FailsOnce {
        meanwhile: Box::new(move || parked.advance(Duration::from_secs(90))),
        ..FailsOnce::first("dequeue_or_wait")
    };
    let flaky: Arc<dyn Store> = Arc::new(LayeredStore::new(inner, layer));
    let runner = runner(agent_fn(|_: Value, _| async { 1.0 }), &flaky)
        .clock(Arc::new(clock.clone()))
        .patience(Duration::from_secs(60))
        .max_rollouts(Some(1))
        .build();
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    let report = soon(async {
        while !running.is_finished() {
            clock.advance(Duration::from_millis(200));
            tokio::task::yield_now().await;
        }
        running.await.unwrap()
    });
    assert_eq!(report.await.unwrap().succeeded, 1);
}

#[tokio::test]
async fn an_end_is_noticed_after_the_store_was_unavailable() {
    let inner = store();
    let id = inner
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let layer = FailsOnce::first("wait_for_attempt_end");
    let seen = Arc::clone(&layer.seen);
    let flaky: Arc<dyn Store> = Arc::new(LayeredStore::new(Arc::clone(&inner), layer));
    let (agent, began, dropped) = endless();
    let runner = runner(agent, &flaky)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(1))
        .build();
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    let cancelled = RolloutPatch::status(RolloutStatus::Cancelled);
    inner.update_rollout(id, cancelled).await.unwrap();
    soon(running).await.unwrap().unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    assert_eq!(seen.load(Ordering::SeqCst), 2);
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
