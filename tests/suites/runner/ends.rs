//! What ends an attempt from outside, and how runners stop.

use super::*;

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
async fn the_last_attempt_keeps_the_time_limit_as_its_end() {
    let store = store();
    let config = RolloutConfig {
        timeout_seconds: Some(0.05),
        ..RolloutConfig::default()
    };
    let new = NewRollout::new(json!(1)).config(config);
    let id = store.enqueue_rollout(new).await.unwrap().rollout_id;
    let (agent, _, dropped) = endless();
    let runner = runner(agent, &store)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(1))
        .build();
    soon(runner.iter(&StopSignal::new())).await.unwrap();
    assert!(dropped.load(Ordering::SeqCst));
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(attempt.status, AttemptStatus::Timeout);
    let rollout = store.get_rollout_by_id(&id).await.unwrap().unwrap();
    assert_eq!(rollout.status, RolloutStatus::Failed);
}

#[tokio::test]
async fn an_attempt_that_was_taken_for_dead_stays_so_although_its_trace_arrives() {
    let store = store();
    let config = RolloutConfig {
        max_attempts: 2,
        retry_condition: vec![AttemptStatus::Unresponsive],
        ..RolloutConfig::default()
    };
    let new = NewRollout::new(json!(1)).config(config);
    let id = store.enqueue_rollout(new).await.unwrap().rollout_id;
    let began = Arc::new(Notify::new());
    let begins = Arc::clone(&began);
    let agent = agent_fn(move |_: Value, cx: RolloutContext| {
        let begins = Arc::clone(&begins);
        async move {
            if cx.attempt().sequence_id == 1 {
                emit_message("cut off").unwrap();
                begins.notify_one();
                pending::<()>().await;
            }
            1.0
        }
    });
    let runner = runner(agent, &store)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(2))
        .build();
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    let silent = AttemptPatch::status(AttemptStatus::Unresponsive);
    store
        .update_attempt(id.clone(), AttemptRef::Latest, silent)
        .await
        .unwrap();
    soon(running).await.unwrap().unwrap();
    let attempts = store
        .query_attempts(&id, AttemptQuery::default())
        .await
        .unwrap()
        .items;
    let statuses: Vec<AttemptStatus> = attempts.iter().map(|attempt| attempt.status).collect();
    assert_eq!(statuses, [AttemptStatus::Unresponsive, AttemptStatus::Succeeded]);
    assert_eq!(spans(&store, &id).await.len(), 2, "what it had recorded is kept");
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

#[tokio::test]
async fn an_agent_that_panics_as_it_is_dropped_costs_only_its_own_rollout() {
    struct Panics(bool);

    impl Drop for Panics {
        fn drop(&mut self) {
            assert!(!self.0, "dropped in the middle");
        }
    }

    let store = store();
    let new = vec![NewRollout::new(json!("waits")), NewRollout::new(json!("ends"))];
    let made = store.enqueue_many_rollouts(new).await.unwrap();
    let began = Arc::new(Notify::new());
    let begins = Arc::clone(&began);
    let agent = agent_fn(move |task: Value, _| {
        let begins = Arc::clone(&begins);
        async move {
            if task == "waits" {
                let _guard = Panics(true);
                begins.notify_one();
                pending::<()>().await;
            }
            1.0
        }
    });
    let runner = runner(agent, &store)
        .abort_grace(Duration::ZERO)
        .max_rollouts(Some(2))
        .build();
    let running = tokio::spawn(async move { runner.iter(&StopSignal::new()).await });
    soon(began.notified()).await;
    let cancelled = RolloutPatch::status(RolloutStatus::Cancelled);
    store
        .update_rollout(made[0].rollout_id.clone(), cancelled)
        .await
        .unwrap();
    let report = soon(running).await.unwrap().unwrap();
    assert_eq!((report.attempts, report.succeeded), (2, 1));
}
