//! Waiting at the memory store, on the machine's own clock: woken at once, in line, and gone without a trace.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lightning_core::{
    store::{MemoryStore, Store},
    types::{AttemptPatch, AttemptStatus, NewRollout, RolloutConfig, RolloutId, RolloutPatch, RolloutStatus},
};
use serde_json::json;

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("should not have to wait this long")
}

async fn waiters(store: &MemoryStore) -> u64 {
    store.statistics().await.unwrap().extra["waiters"]
        .as_u64()
        .unwrap()
}

/// Lets other tasks run until `count` callers are parked.
async fn parked(store: &MemoryStore, count: u64) {
    soon(async {
        while waiters(store).await != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn enqueue(store: &MemoryStore, count: usize) -> Vec<RolloutId> {
    let new = (0..count).map(|i| NewRollout::new(json!(i))).collect();
    store
        .enqueue_many_rollouts(new)
        .await
        .unwrap()
        .into_iter()
        .map(|rollout| rollout.rollout_id)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_waiters_are_woken_by_the_rollouts_they_wait_for() {
    let store = MemoryStore::new();
    let ids = enqueue(&store, 10_000).await;
    let tasks: Vec<_> = ids
        .iter()
        .cloned()
        .map(|id| {
            let store = store.clone();
            tokio::spawn(async move {
                let ended = store
                    .wait_for_rollouts(std::slice::from_ref(&id), None)
                    .await
                    .unwrap();
                ended.len() == 1 && ended[0].rollout_id == id
            })
        })
        .collect();
    parked(&store, 10_000).await;
    for id in &ids {
        store
            .update_rollout(id.clone(), RolloutPatch::status(RolloutStatus::Succeeded))
            .await
            .unwrap();
    }
    for task in tasks {
        assert!(
            soon(task).await.unwrap(),
            "a waiter was answered with something else than its rollout"
        );
    }
    assert_eq!(waiters(&store).await, 0);
}

#[tokio::test]
async fn time_limits_fire_without_traffic() {
    let store = MemoryStore::new();
    let config = RolloutConfig {
        timeout_seconds: Some(0.02),
        ..RolloutConfig::default()
    };
    let started = store
        .start_rollout(NewRollout::new(json!("slow")).config(config), Some("w".into()))
        .await
        .unwrap();
    let began = Instant::now();
    let ended = soon(store.wait_for_rollouts(&[started.rollout.rollout_id], None))
        .await
        .unwrap();
    assert_eq!(ended[0].status, RolloutStatus::Failed);
    assert!(
        began.elapsed() >= Duration::from_millis(15),
        "the limit fired after only {:?}",
        began.elapsed()
    );
    let lateness = ended[0].end_time.unwrap() - ended[0].start_time - 0.02;
    // The limit is 50 ms; a shared machine may hold a process up, so that only gross lateness is an error here.
    assert!(
        (0.0..2.0).contains(&lateness),
        "the limit fired {lateness} s late"
    );
}

#[tokio::test]
async fn a_requeued_rollout_wakes_a_parked_dequeue() {
    let store = MemoryStore::new();
    let config = RolloutConfig {
        timeout_seconds: Some(0.02),
        max_attempts: 2,
        retry_condition: vec![AttemptStatus::Timeout],
        ..RolloutConfig::default()
    };
    let started = store
        .start_rollout(NewRollout::new(json!("slow")).config(config), None)
        .await
        .unwrap();
    let claimed = soon(store.dequeue_or_wait(1, None, Duration::from_secs(20)))
        .await
        .unwrap();
    assert_eq!(claimed[0].rollout_id, started.rollout_id);
    assert_eq!(claimed[0].attempt.sequence_id, 2);
}

#[tokio::test]
async fn parked_dequeues_are_served_in_the_order_in_which_they_came() {
    let store = Arc::new(MemoryStore::new());
    let mut tasks = Vec::new();
    for place in 0..10 {
        let parked_store = store.clone();
        tasks.push(tokio::spawn(async move {
            parked_store
                .dequeue_or_wait(1, None, Duration::from_secs(20))
                .await
                .unwrap()
        }));
        parked(&store, place + 1).await;
    }
    let ids = enqueue(&store, 10).await;
    for (task, id) in tasks.into_iter().zip(ids) {
        assert_eq!(soon(task).await.unwrap()[0].rollout_id, id);
    }
}

#[tokio::test]
async fn a_dequeue_that_was_called_and_dropped_leaves_the_rollout_to_the_next_in_line() {
    let store = MemoryStore::new();
    let mut first = Box::pin(store.dequeue_or_wait(1, None, Duration::from_secs(20)));
    assert!(poll_once(&mut first).is_none());
    let mut second = Box::pin(store.dequeue_or_wait(1, None, Duration::from_secs(20)));
    assert!(poll_once(&mut second).is_none());
    let ids = enqueue(&store, 1).await;
    drop(first);
    assert_eq!(soon(second).await.unwrap()[0].rollout_id, ids[0]);
    assert_eq!(waiters(&store).await, 0);
}

#[tokio::test]
async fn one_who_comes_later_does_not_overtake_one_who_was_called() {
    let store = MemoryStore::new();
    let mut first = Box::pin(store.dequeue_or_wait(1, None, Duration::from_secs(20)));
    assert!(poll_once(&mut first).is_none());
    let ids = enqueue(&store, 1).await;
    let mut late = Box::pin(store.dequeue_or_wait(1, None, Duration::from_secs(20)));
    assert!(
        poll_once(&mut late).is_none(),
        "the late one took what was meant for the first"
    );
    assert_eq!(soon(first).await.unwrap()[0].rollout_id, ids[0]);
}

#[tokio::test]
async fn dropped_waits_leave_nothing_behind() {
    let store = MemoryStore::new();
    let ids = enqueue(&store, 100).await;
    let started = store
        .start_rollout(NewRollout::new(json!(0)), None)
        .await
        .unwrap();
    let mut all = Box::pin(store.wait_for_rollouts(&ids, Some(Duration::from_secs(20))));
    let mut attempt =
        Box::pin(store.wait_for_attempt_end(&started.rollout.rollout_id, &started.attempt.attempt_id));
    assert!(poll_once(&mut all).is_none());
    assert!(poll_once(&mut attempt).is_none());
    assert_eq!(waiters(&store).await, 2);
    drop((all, attempt));
    assert_eq!(waiters(&store).await, 0);
}

#[tokio::test]
async fn a_wait_that_times_out_answers_with_what_has_ended() {
    let store = MemoryStore::new();
    let ids = enqueue(&store, 2).await;
    store
        .update_rollout(ids[1].clone(), RolloutPatch::status(RolloutStatus::Cancelled))
        .await
        .unwrap();
    let ended = soon(store.wait_for_rollouts(&ids, Some(Duration::from_millis(5))))
        .await
        .unwrap();
    assert_eq!(
        ended
            .iter()
            .map(|rollout| &rollout.rollout_id)
            .collect::<Vec<_>>(),
        [&ids[1]]
    );
}

#[test]
fn time_limits_fire_again_in_a_new_runtime_after_the_first_has_gone() {
    let store = MemoryStore::new();
    let config = |seconds| RolloutConfig {
        timeout_seconds: Some(seconds),
        ..RolloutConfig::default()
    };
    let start = async |seconds| {
        let new = NewRollout::new(json!(seconds)).config(config(seconds));
        store.start_rollout(new, None).await.unwrap().rollout.rollout_id
    };
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap()
    };
    // This one stays ahead of the other, so the second runtime sets no earlier limit than the first.
    let early = runtime().block_on(start(0.01));
    runtime().block_on(async {
        let late = start(0.05).await;
        let ended = soon(store.wait_for_rollouts(&[early, late], None)).await.unwrap();
        assert_eq!(ended.len(), 2);
    });
}

#[tokio::test]
async fn the_task_that_applies_time_limits_ends_with_the_store() {
    let store = MemoryStore::new();
    let config = RolloutConfig {
        timeout_seconds: Some(3600.0),
        ..RolloutConfig::default()
    };
    store
        .start_rollout(NewRollout::new(json!(0)).config(config), None)
        .await
        .unwrap();
    let alive = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert_eq!(alive(), 1);
    drop(store);
    soon(async {
        while alive() != 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_superseded_attempt_learns_of_it() {
    let store = MemoryStore::new();
    let first = store
        .start_rollout(NewRollout::new(json!(0)), None)
        .await
        .unwrap();
    let mut end = Box::pin(store.wait_for_attempt_end(&first.rollout.rollout_id, &first.attempt.attempt_id));
    assert!(poll_once(&mut end).is_none());
    let heartbeat = AttemptPatch::heartbeat(first.attempt.start_time);
    store
        .update_attempt(first.rollout_id.clone(), "latest".into(), heartbeat)
        .await
        .unwrap();
    assert!(
        poll_once(&mut end).is_none(),
        "a sign of life does not end an attempt"
    );
    let second = store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
    let expected = lightning_core::store::EndOfAttempt::Superseded {
        by: second.attempt.attempt_id,
    };
    assert_eq!(soon(end).await.unwrap(), expected);
}

/// Polls once.
fn poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match std::pin::Pin::new(future).poll(&mut context) {
        std::task::Poll::Ready(output) => Some(output),
        std::task::Poll::Pending => None,
    }
}
