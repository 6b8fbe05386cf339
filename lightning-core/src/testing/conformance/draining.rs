use std::time::Duration;

use serde_json::json;
use tokio::task::JoinHandle;

use super::area;
use crate::{
    store::StoreError,
    types::{AttemptStatus, AttemptedRollout, NewRollout, WorkerId},
};

const LONG: Duration = Duration::from_secs(3600);

type Claim = Result<Vec<AttemptedRollout>, StoreError>;

/// Waits for work in a task of its own, which is polled before this returns.
async fn waiting(f: &super::Fixture, worker: Option<&str>) -> JoinHandle<Claim> {
    let (store, worker) = (f.store.clone(), worker.map(WorkerId::from));
    let task = tokio::spawn(async move { store.dequeue_or_wait(1, worker, LONG).await });
    f.parked().await;
    task
}

/// Looks for work without waiting, as those do who would.
async fn look(f: &super::Fixture, worker: &str) -> Claim {
    f.store
        .dequeue_or_wait(1, Some(worker.into()), Duration::ZERO)
        .await
}

async fn drain(f: &super::Fixture, workers: &[&str]) -> usize {
    let workers = workers.iter().map(|&worker| worker.into()).collect();
    f.store.drain_workers(Some(workers)).await.unwrap()
}

fn inputs(claim: Claim) -> Vec<serde_json::Value> {
    claim
        .unwrap()
        .iter()
        .map(|claimed| (*claimed.input).clone())
        .collect()
}

area! { "draining";
    async fn all_workers_that_were_heard_of_are_told_to_stop(f) {
        f.store.update_worker("by heartbeat".into(), None).await.unwrap();
        assert!(look(&f, "by claim").await.unwrap().is_empty());
        assert_eq!(f.store.drain_workers(None).await, Ok(2));
        f.enqueue().await;
        for worker in ["by heartbeat", "by claim"] {
            assert_eq!(look(&f, worker).await, Err(StoreError::Draining), "{worker}");
        }
    }

    async fn workers_that_come_later_are_served(f) {
        look(&f, "early").await.unwrap();
        f.store.drain_workers(None).await.unwrap();
        f.enqueue().await;
        assert_eq!(look(&f, "late").await.unwrap().len(), 1);
    }

    async fn only_the_named_workers_are_told(f) {
        look(&f, "b").await.unwrap();
        assert_eq!(drain(&f, &["a", "never seen"]).await, 2);
        f.enqueue().await;
        assert_eq!(look(&f, "a").await, Err(StoreError::Draining));
        assert_eq!(look(&f, "never seen").await, Err(StoreError::Draining));
        assert_eq!(look(&f, "b").await.unwrap().len(), 1);
    }

    async fn telling_twice_is_the_same_as_once_and_telling_nobody_as_never(f) {
        assert_eq!(drain(&f, &[]).await, 0);
        assert!(look(&f, "a").await.unwrap().is_empty());
        drain(&f, &["a"]).await;
        drain(&f, &["a"]).await;
        assert_eq!(look(&f, "a").await, Err(StoreError::Draining));
    }

    async fn who_waits_for_work_is_told_at_once(f) {
        let (a, b, nobody) = (waiting(&f, Some("a")).await, waiting(&f, Some("b")).await, waiting(&f, None).await);
        drain(&f, &["a"]).await;
        assert_eq!(a.await.unwrap(), Err(StoreError::Draining));
        f.parked().await;
        assert!(!b.is_finished() && !nobody.is_finished(), "they were not told");
        f.store.drain_workers(None).await.unwrap();
        assert_eq!(b.await.unwrap(), Err(StoreError::Draining));
        if nobody.is_finished() {
            assert_eq!(nobody.await.unwrap(), Err(StoreError::Draining));
        } else {
            // Behind a network it may be between two requests, and has no name to be known by.
            nobody.abort();
        }
    }

    async fn those_who_go_on_waiting_keep_their_places(f) {
        let first = waiting(&f, Some("a")).await;
        let second = waiting(&f, Some("b")).await;
        let third = waiting(&f, Some("c")).await;
        drain(&f, &["a"]).await;
        assert_eq!(first.await.unwrap(), Err(StoreError::Draining));
        for task in [1, 2] {
            f.store.enqueue_rollout(NewRollout::new(json!(task))).await.unwrap();
        }
        assert_eq!(inputs(second.await.unwrap()), [json!(1)]);
        assert_eq!(inputs(third.await.unwrap()), [json!(2)]);
    }

    async fn a_rollout_that_came_for_one_who_was_told_goes_to_the_next(f) {
        let told = waiting(&f, Some("a")).await;
        let next = waiting(&f, Some("b")).await;
        // Whether the first is called before it is told is left open.
        let (_, _) = tokio::join!(f.enqueue(), drain(&f, &["a"]));
        match told.await.unwrap() {
            Ok(claimed) => {
                assert_eq!(claimed.len(), 1);
                next.abort();
            }
            Err(error) => {
                assert_eq!(error, StoreError::Draining);
                assert_eq!(next.await.unwrap().unwrap().len(), 1);
            }
        }
    }

    async fn what_is_claimed_goes_on(f) {
        f.enqueue().await;
        let claimed = look(&f, "a").await.unwrap().remove(0);
        drain(&f, &["a"]).await;
        f.add_span(&claimed, 1).await;
        assert_eq!(f.report(&claimed, AttemptStatus::Succeeded).await.status, AttemptStatus::Succeeded);
    }

    async fn what_was_claimed_under_a_key_is_given_to_one_who_was_told(f) {
        let id = f.enqueue().await.rollout_id;
        let claim = || f.store.dequeue_or_wait_once(1, Some("a".into()), Duration::ZERO, "k".into());
        let first = claim().await.unwrap();
        assert_eq!(first[0].rollout_id, id);
        drain(&f, &["a"]).await;
        assert_eq!(claim().await.unwrap(), first);
        let other = f.store.dequeue_or_wait_once(1, Some("a".into()), Duration::ZERO, "l".into());
        assert_eq!(other.await, Err(StoreError::Draining));
    }

    async fn claims_that_never_wait_are_not_affected(f) {
        f.enqueue().await;
        drain(&f, &["a"]).await;
        assert!(f.store.dequeue_rollout(Some("a".into())).await.unwrap().is_some());
    }

    async fn several_workers_claim_one_rollout_each(f) {
        let ids = f.enqueue_many(3).await;
        let claim = |workers: &[&str], key: &str| {
            let workers = workers.iter().map(|&worker| worker.into()).collect();
            f.store.dequeue_for_workers(workers, LONG, key.into())
        };
        let first = claim(&["a", "b"], "k").await.unwrap();
        let got: Vec<_> = first.iter().map(|c| (&c.rollout_id, c.attempt.worker_id.clone())).collect();
        assert_eq!(got, [(&ids[0], Some("a".into())), (&ids[1], Some("b".into()))]);
        assert_eq!(claim(&["a", "b"], "k").await.unwrap(), first, "the key makes it the same claim");
        let second = claim(&["c", "d"], "l").await.unwrap();
        let got: Vec<_> = second.iter().map(|c| (&c.rollout_id, c.attempt.worker_id.clone())).collect();
        assert_eq!(got, [(&ids[2], Some("c".into()))]);
        assert!(claim(&[], "m").await.unwrap().is_empty());
    }

    async fn several_workers_wait_together_and_are_told_together(f) {
        #[expect(clippy::async_yields_async, reason = "the claim goes on while it is parked")]
        let wait = async |key: &str| {
            let (store, key) = (f.store.clone(), key.to_owned());
            let workers = vec!["a".into(), "b".into()];
            let task = tokio::spawn(async move { store.dequeue_for_workers(workers, LONG, key.into()).await });
            f.parked().await;
            task
        };
        let claim = wait("k").await;
        let id = f.enqueue().await.rollout_id;
        let claimed = claim.await.unwrap().unwrap();
        assert_eq!(claimed.iter().map(|c| &c.rollout_id).collect::<Vec<_>>(), [&id]);
        let claim = wait("l").await;
        drain(&f, &["a", "b"]).await;
        assert_eq!(claim.await.unwrap(), Err(StoreError::Draining));
    }
}
