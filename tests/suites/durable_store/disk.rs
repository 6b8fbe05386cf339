//! Disks that are full, files that vanish.
//!
//! A full disk is modelled in two ways: by a limit on the pages of the database, at which SQLite reports what it reports
//! when the file system has no room; and, in the suite `crash`, by a limit of the operating system on the size of files, at
//! which writes of SQLite really fail.

use lightning_core::{
    store::{SqliteStore, Store, StoreError},
    types::{AttemptPatch, AttemptStatus, NewRollout, RolloutConfig, RolloutStatus},
};
use lightning_core::{testing::ManualClock, types::RolloutId};
use lightning_tests::scratch::Scratch;
use serde_json::json;

use super::{enqueue, soon, sound, total};

async fn enqueue_until_full(store: &SqliteStore) -> (Vec<RolloutId>, StoreError) {
    let mut made = Vec::new();
    loop {
        match enqueue(store).await {
            Ok(id) => made.push(id),
            Err(error) => return (made, error),
        }
    }
}

#[tokio::test]
async fn a_full_file_refuses_what_is_new_keeps_what_it_has_and_goes_on_when_there_is_room() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::builder(&path).max_bytes(160 << 10).open().unwrap();
    let (made, error) = soon(enqueue_until_full(&store)).await;
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert!(error.to_string().contains("no room left"), "{error}");
    assert!(made.len() > 50, "{} fitted in", made.len());

    // Reading goes on, and nothing of what failed is there.
    assert_eq!(total(&store).await, made.len() as u64);
    for id in &made {
        assert!(store.get_rollout_by_id(id).await.unwrap().is_some());
    }
    // So do writes that need no room, and waits that they end.
    let (waiting, id) = (store.clone(), made[0].clone());
    let wait = tokio::spawn(async move { waiting.wait_for_rollouts(&[id], None).await });
    store
        .update_rollout(
            made[0].clone(),
            lightning_core::types::RolloutPatch::status(RolloutStatus::Cancelled),
        )
        .await
        .unwrap();
    assert_eq!(
        soon(wait).await.unwrap().unwrap()[0].status,
        RolloutStatus::Cancelled
    );

    store.limit_size(None).await.unwrap();
    enqueue(&store).await.unwrap();
    drop(store);
    sound(&path);
    let store = SqliteStore::open(&path).unwrap();
    assert_eq!(total(&store).await, made.len() as u64 + 1);
}

#[tokio::test]
async fn a_command_that_does_not_fit_does_not_hurt_those_it_came_with() {
    let folder = Scratch::fast();
    let store = SqliteStore::builder(folder.path("store.db"))
        .max_bytes(1 << 20)
        .open()
        .unwrap();
    let huge = || NewRollout::new(json!("x".repeat(2 << 20)));
    let small = || NewRollout::new(json!("task"));
    let sent = (0..60).map(|n| store.enqueue_rollout(if n % 3 == 0 { huge() } else { small() }));
    let answers = soon(futures::future::join_all(sent)).await;
    for (n, answer) in answers.iter().enumerate() {
        assert_eq!(answer.is_err(), n % 3 == 0, "{n}: {answer:?}");
    }
    assert_eq!(total(&store).await, 40);
    // The queue has as many entries as it says.
    assert_eq!(store.dequeue_many_rollouts(100, None).await.unwrap().len(), 40);
    assert_eq!(store.statistics().await.unwrap().extra["queue_length"], json!(0));
}

#[tokio::test]
async fn those_in_line_are_served_after_the_room_has_come_back() {
    let folder = Scratch::fast();
    let store = SqliteStore::builder(folder.path("store.db"))
        .max_bytes(160 << 10)
        .open()
        .unwrap();
    let (made, _) = soon(enqueue_until_full(&store)).await;
    let claimed = store.dequeue_many_rollouts(made.len(), None).await;
    store.limit_size(None).await.unwrap();
    if claimed.is_err() {
        store.dequeue_many_rollouts(made.len(), None).await.unwrap();
    }
    let waiting = store.clone();
    let claim = tokio::spawn(async move {
        waiting
            .dequeue_or_wait(1, Some("w".into()), std::time::Duration::from_secs(3600))
            .await
    });
    let id = enqueue(&store).await.unwrap();
    assert_eq!(soon(claim).await.unwrap().unwrap()[0].rollout_id, id);
}

#[tokio::test]
async fn a_time_limit_that_cannot_be_written_is_applied_when_it_can() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let clock = ManualClock::default();
    let store = SqliteStore::builder(&path).clock(clock.clone()).open().unwrap();
    let limited = RolloutConfig {
        timeout_seconds: Some(5.0),
        ..RolloutConfig::default()
    };
    let started = store
        .start_rollout(NewRollout::new(json!("task")).config(limited), None)
        .await
        .unwrap();
    std::fs::rename(&path, folder.path("away.db")).unwrap();
    clock.advance(std::time::Duration::from_secs(6));
    // Reading goes on with what there is.
    let read = soon(store.get_rollout_by_id(&started.rollout_id))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(read.status, RolloutStatus::Preparing);
    std::fs::rename(folder.path("away.db"), &path).unwrap();
    let ended = soon(store.wait_for_rollouts(std::slice::from_ref(&started.rollout_id), None))
        .await
        .unwrap();
    assert_eq!(ended[0].status, RolloutStatus::Failed);
}

#[tokio::test]
async fn a_file_that_vanished_acknowledges_nothing_until_it_is_back() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let started = store
        .start_rollout(NewRollout::new(json!("task")), None)
        .await
        .unwrap();
    for name in ["store.db", "store.db-wal"] {
        std::fs::rename(folder.path(name), folder.path("away")).unwrap();
        let error = enqueue(&store).await.unwrap_err();
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(
            error.to_string().contains(&format!("{name} has vanished")),
            "{error}"
        );
        // Another file under the name is not the same.
        std::fs::write(folder.path(name), "something else").unwrap();
        assert!(enqueue(&store).await.is_err());
        std::fs::rename(folder.path("away"), folder.path(name)).unwrap();
        let done = AttemptPatch::status(AttemptStatus::Running);
        store
            .update_attempt(started.rollout_id.clone(), "latest".into(), done)
            .await
            .unwrap();
    }
    assert_eq!(total(&store).await, 1);
    drop(store);
    sound(&path);
}
