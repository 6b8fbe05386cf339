//! What the store knows, and stores that fail.

use super::*;

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
