//! Where we differ from the reference, and mean to: what it does, and what we do. Should a release of the reference do
//! otherwise one day, a test here fails.

use std::sync::Arc;

use lightning_core::{
    client::StoreClient,
    store::{AttemptRef, Store},
    types::{
        Attempt, AttemptPatch, AttemptStatus, AttemptedRollout, NewRollout, Rollout, RolloutConfig,
        RolloutPatch, RolloutStatus, Span, WorkerStatus,
    },
};
use lightning_tests::tier;
use serde_json::json;

use crate::python::{PythonServer, our_server};

/// What a test does at either store.
async fn start(store: &dyn Store, config: RolloutConfig) -> AttemptedRollout {
    let new = NewRollout::new(json!(1)).config(config);
    store.start_rollout(new, Some("w".into())).await.unwrap()
}

async fn report(store: &dyn Store, of: &AttemptedRollout, patch: AttemptPatch) -> Attempt {
    let attempt = AttemptRef::from(&of.attempt.attempt_id);
    store
        .update_attempt(of.rollout_id.clone(), attempt, patch)
        .await
        .unwrap()
}

async fn rollout(store: &dyn Store, of: &AttemptedRollout) -> Rollout {
    store
        .get_rollout_by_id(&of.rollout_id)
        .await
        .unwrap()
        .unwrap()
        .rollout
}

fn retrying(status: AttemptStatus) -> RolloutConfig {
    RolloutConfig {
        max_attempts: 2,
        retry_condition: vec![status],
        ..RolloutConfig::default()
    }
}

async fn add_span(store: &dyn Store, of: &AttemptedRollout) {
    let span = Span::new(
        of.rollout_id.clone(),
        of.attempt.attempt_id.clone(),
        1,
        "t",
        "s",
        "n",
    );
    store.add_span(span).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_deliberate_difference_is_one() {
    let Some(python) = tier::python() else { return };
    let server = PythonServer::start(&python).await;
    let theirs: Arc<dyn Store> = Arc::new(StoreClient::connect(&server.url).await.unwrap());
    let (url, _) = our_server().await;
    let ours: Arc<dyn Store> = Arc::new(StoreClient::connect(&url).await.unwrap());

    // A report without a status revives a cancelled rollout there.
    let revived = async |store: &dyn Store| {
        let started = start(store, RolloutConfig::default()).await;
        store
            .update_rollout(
                started.rollout_id.clone(),
                RolloutPatch::status(RolloutStatus::Cancelled),
            )
            .await
            .unwrap();
        let patch = AttemptPatch {
            worker_id: Some("v".into()),
            ..AttemptPatch::default()
        };
        report(store, &started, patch).await;
        rollout(store, &started).await.status
    };
    assert_eq!(revived(&*theirs).await, RolloutStatus::Preparing);
    assert_eq!(revived(&*ours).await, RolloutStatus::Cancelled);

    // A span of an attempt that is over takes its rollout out of the queue there.
    let late = async |store: &dyn Store| {
        let started = start(store, retrying(AttemptStatus::Timeout)).await;
        report(store, &started, AttemptPatch::status(AttemptStatus::Timeout)).await;
        add_span(store, &started).await;
        rollout(store, &started).await.status
    };
    assert_eq!(late(&*theirs).await, RolloutStatus::Running);
    assert_eq!(late(&*ours).await, RolloutStatus::Requeuing);

    // The end of an attempt that ran into a time limit has no time there.
    let ended = async |store: &dyn Store| {
        let started = start(store, RolloutConfig::default()).await;
        report(store, &started, AttemptPatch::status(AttemptStatus::Unresponsive))
            .await
            .end_time
            .is_some()
    };
    assert!(!ended(&*theirs).await && ended(&*ours).await);

    // A rollout that was set going again keeps its end there.
    let going = async |store: &dyn Store| {
        let started = start(store, RolloutConfig::default()).await;
        for status in [RolloutStatus::Failed, RolloutStatus::Running] {
            store
                .update_rollout(started.rollout_id.clone(), RolloutPatch::status(status))
                .await
                .unwrap();
        }
        rollout(store, &started).await.end_time.is_some()
    };
    assert!(going(&*theirs).await && !going(&*ours).await);

    // The late report on an old attempt releases a worker there that is busy with a new one.
    let released = async |store: &dyn Store| {
        let old = start(store, RolloutConfig::default()).await;
        start(store, RolloutConfig::default()).await;
        report(store, &old, AttemptPatch::status(AttemptStatus::Failed)).await;
        store.get_worker_by_id(&"w".into()).await.unwrap().unwrap().status
    };
    assert_eq!(released(&*theirs).await, WorkerStatus::Idle);
    assert_eq!(released(&*ours).await, WorkerStatus::Busy);

    // A worker that comes for work and gets none keeps its ids there.
    let empty = async |store: &dyn Store| {
        while store.dequeue_rollout(None).await.unwrap().is_some() {}
        start(store, RolloutConfig::default()).await;
        store.dequeue_rollout(Some("w".into())).await.unwrap();
        store
            .get_worker_by_id(&"w".into())
            .await
            .unwrap()
            .unwrap()
            .current_rollout_id
            .is_some()
    };
    assert!(empty(&*theirs).await && !empty(&*ours).await);
}
