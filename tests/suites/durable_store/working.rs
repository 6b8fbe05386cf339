//! What the threads do for each other.

use std::time::{Duration, Instant};

use lightning_core::{
    store::{NotFound, SqliteStore, Store, StoreError},
    testing::ManualClock,
    types::{
        AttemptStatus, NewRollout, PageRequest, RolloutConfig, RolloutId, RolloutPatch, RolloutQuery,
        RolloutStatus, SortOrder,
    },
};
use lightning_tests::scratch::Scratch;
use serde_json::json;

use super::{enqueue, soon};

const HOUR: Duration = Duration::from_secs(3600);

fn limited(seconds: f64) -> NewRollout {
    NewRollout::new(json!("task")).config(RolloutConfig {
        timeout_seconds: Some(seconds),
        ..RolloutConfig::default()
    })
}

async fn waiters(store: &SqliteStore) -> u64 {
    store.statistics().await.unwrap().extra["waiters"]
        .as_u64()
        .unwrap()
}

/// Lets other tasks run until `count` callers wait.
async fn parked(store: &SqliteStore, count: u64) {
    soon(async {
        while waiters(store).await != count {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn refused_commands_do_not_hurt_those_they_came_with() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    let refused = |n: usize| {
        let id = RolloutId::from(format!("ro-none-{n}"));
        store.update_rollout(id, RolloutPatch::default())
    };
    let enqueues = futures::future::join_all((0..200).map(|_| enqueue(&store)));
    let updates = futures::future::join_all((0..200).map(refused));
    let (made, refusals) = soon(futures::future::join(enqueues, updates)).await;
    assert!(made.iter().all(Result::is_ok));
    for refusal in refusals {
        assert!(
            matches!(refusal, Err(StoreError::NotFound(NotFound::UpdatedRollout(_)))),
            "{refusal:?}"
        );
    }
    assert_eq!(super::total(&store).await, 200);
}

#[tokio::test]
async fn reads_do_not_wait_for_the_writer() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let id = enqueue(&store).await.unwrap();
    // Somebody else holds the right to write, so the writer has to wait.
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let writing = store.clone();
    let write = tokio::spawn(async move { enqueue(&writing).await });
    for _ in 0..20 {
        assert!(soon(store.get_rollout_by_id(&id)).await.unwrap().is_some());
    }
    assert!(!write.is_finished(), "the writer should still have to wait");
    other.execute_batch("ROLLBACK").unwrap();
    soon(write).await.unwrap().unwrap();
}

#[tokio::test]
async fn time_limits_that_passed_while_the_store_was_closed_fire_when_it_is_opened() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let clock = ManualClock::default();
    let open = || SqliteStore::builder(&path).clock(clock.clone()).open().unwrap();
    let store = open();
    let started = store.start_rollout(limited(5.0), Some("w".into())).await.unwrap();
    let later = store.start_rollout(limited(50.0), None).await.unwrap();
    drop(store);
    clock.advance(Duration::from_secs(6));
    let store = open();
    let ended = soon(store.wait_for_rollouts(std::slice::from_ref(&started.rollout_id), None))
        .await
        .unwrap();
    assert_eq!(ended[0].status, RolloutStatus::Failed);
    let (waiting, id) = (store.clone(), later.rollout_id.clone());
    let wait = tokio::spawn(async move { waiting.wait_for_rollouts(&[id], None).await });
    parked(&store, 1).await;
    clock.advance(Duration::from_secs(60));
    assert_eq!(soon(wait).await.unwrap().unwrap().len(), 1);
}

#[tokio::test]
async fn a_time_limit_fires_without_traffic_and_on_time() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    let mut late = Duration::MAX;
    for _ in 0..5 {
        let limit = 0.05;
        let started = store.start_rollout(limited(limit), None).await.unwrap();
        let began = Instant::now();
        let end = soon(store.wait_for_attempt_end(&started.rollout_id, &started.attempt.attempt_id)).await;
        assert!(end.is_ok());
        late = late.min(began.elapsed().saturating_sub(Duration::from_secs_f64(limit)));
        let latest = store
            .get_latest_attempt(&started.rollout_id)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(latest.status, AttemptStatus::Timeout);
    }
    assert!(late < Duration::from_millis(50), "at best {late:?} late");
}

#[tokio::test]
async fn a_wait_that_is_given_up_leaves_nothing_behind() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    let started = store
        .start_rollout(NewRollout::new(json!("task")), None)
        .await
        .unwrap();
    for way in 0..3 {
        let (waiting, id) = (store.clone(), started.rollout_id.clone());
        let attempt_id = started.attempt.attempt_id.clone();
        let wait = tokio::spawn(async move {
            match way {
                0 => drop(waiting.wait_for_rollouts(&[id], None).await),
                1 => drop(waiting.wait_for_attempt_end(&id, &attempt_id).await),
                _ => drop(waiting.dequeue_or_wait(1, None, HOUR).await),
            }
        });
        parked(&store, 1).await;
        wait.abort();
        assert!(soon(wait).await.unwrap_err().is_cancelled());
        parked(&store, 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_waiters_are_woken_by_the_rollouts_they_wait_for() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    let new = (0..1000).map(|n| NewRollout::new(json!(n))).collect();
    let made = store.enqueue_many_rollouts(new).await.unwrap();
    let waits: Vec<_> = made
        .iter()
        .map(|rollout| {
            let (store, id) = (store.clone(), rollout.rollout_id.clone());
            tokio::spawn(async move {
                store
                    .wait_for_rollouts(std::slice::from_ref(&id), None)
                    .await
                    .unwrap()
            })
        })
        .collect();
    parked(&store, 1000).await;
    for rollout in &made {
        let done = RolloutPatch::status(RolloutStatus::Succeeded);
        store
            .update_rollout(rollout.rollout_id.clone(), done)
            .await
            .unwrap();
    }
    for (wait, rollout) in waits.into_iter().zip(&made) {
        assert_eq!(soon(wait).await.unwrap()[0].rollout_id, rollout.rollout_id);
    }
    assert_eq!(waiters(&store).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_waiting_claims_of_many_workers_take_each_rollout_once_and_in_order() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    let workers: Vec<_> = (0..8)
        .map(|worker| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut taken = Vec::new();
                while taken.len() < 50 {
                    let name = format!("w{worker}");
                    let claimed = store
                        .dequeue_or_wait(1, Some(name.as_str().into()), HOUR)
                        .await
                        .unwrap();
                    taken.extend(claimed.into_iter().map(|claimed| claimed.rollout.rollout_id));
                }
                taken
            })
        })
        .collect();
    let mut made = Vec::new();
    for _ in 0..400 {
        made.push(enqueue(&store).await.unwrap());
    }
    let mut taken = Vec::new();
    for worker in workers {
        taken.extend(soon(worker).await.unwrap());
    }
    made.sort();
    taken.sort();
    assert_eq!(taken, made);
}

#[tokio::test]
async fn pages_are_the_same_whether_an_index_or_a_sort_makes_them() {
    let folder = Scratch::fast();
    let store = SqliteStore::open(folder.path("store.db")).unwrap();
    for n in 0..60 {
        let id = enqueue(&store).await.unwrap();
        let status = RolloutStatus::ALL[n % RolloutStatus::ALL.len()];
        store
            .update_rollout(id, RolloutPatch::status(status))
            .await
            .unwrap();
    }
    let all = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
    let statuses = vec![
        RolloutStatus::Running,
        RolloutStatus::Queuing,
        RolloutStatus::Running,
    ];
    let expected: Vec<_> = all
        .iter()
        .filter(|rollout| statuses.contains(&rollout.status))
        .collect();
    for sort_by in [None, Some(lightning_core::types::RolloutSortField::StartTime)] {
        let mut found = Vec::new();
        for offset in (0..60).step_by(4) {
            let query = RolloutQuery {
                status_in: Some(statuses.clone()),
                sort_by,
                sort_order: SortOrder::Asc,
                page: PageRequest {
                    limit: Some(4),
                    offset,
                },
                ..RolloutQuery::default()
            };
            let page = store.query_rollouts(query).await.unwrap();
            assert_eq!(page.total, expected.len());
            found.extend(page.items);
        }
        assert_eq!(found.iter().collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_log_that_has_grown_once_is_not_written_back_with_each_commit() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let log = folder.path("store.db-wal");
    for _ in 0..12 {
        let new = NewRollout::new(json!("x".repeat(1 << 20)));
        store.enqueue_rollout(new).await.unwrap();
    }
    // It was written back after the ninth or so, and then begun anew.
    assert!(std::fs::metadata(&log).unwrap().len() > 8 << 20);
    let before = std::fs::read(&path).unwrap();
    for _ in 0..20 {
        enqueue(&store).await.unwrap();
    }
    assert!(
        before == std::fs::read(&path).unwrap(),
        "the log was written back"
    );
}
