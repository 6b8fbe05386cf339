use serde_json::json;

use super::area;
use crate::types::{
    AttemptPatch, AttemptStatus, FilterLogic, JsonObject, SortOrder, WorkerQuery, WorkerSortField,
    WorkerStatus,
};

fn stats(load: f64) -> JsonObject {
    JsonObject::from_iter([("cpu_usage_pct".to_owned(), json!(load))])
}

area! { "workers";
    async fn a_heartbeat_makes_an_unknown_worker(f) {
        let worker = f.store.update_worker("w".into(), Some(stats(3.5))).await.unwrap();
        assert_eq!((worker.status, worker.last_heartbeat_time), (WorkerStatus::Unknown, Some(f.now())));
        assert_eq!(worker.heartbeat_stats, Some(stats(3.5)));
        assert_eq!((worker.last_dequeue_time, worker.last_busy_time, worker.last_idle_time), (None, None, None));
        assert_eq!(f.worker("w").await, worker);
    }

    async fn a_heartbeat_replaces_the_statistics_if_it_brings_any(f) {
        f.store.update_worker("w".into(), Some(stats(1.0))).await.unwrap();
        f.advance(1.0);
        let kept = f.store.update_worker("w".into(), None).await.unwrap();
        assert_eq!((kept.heartbeat_stats, kept.last_heartbeat_time), (Some(stats(1.0)), Some(f.now())));
        let replaced = f.store.update_worker("w".into(), Some(stats(2.0))).await.unwrap();
        assert_eq!(replaced.heartbeat_stats, Some(stats(2.0)));
    }

    async fn a_heartbeat_does_not_change_the_status(f) {
        f.start_plain().await;
        assert_eq!(f.store.update_worker("w".into(), None).await.unwrap().status, WorkerStatus::Busy);
    }

    async fn a_claim_makes_the_worker_busy(f) {
        f.enqueue().await;
        f.advance(1.0);
        let claimed = f.store.dequeue_rollout(Some("w".into())).await.unwrap().unwrap();
        let worker = f.worker("w").await;
        assert_eq!(worker.status, WorkerStatus::Busy);
        assert_eq!((worker.last_dequeue_time, worker.last_busy_time), (Some(f.now()), Some(f.now())));
        assert_eq!(worker.current_rollout_id, Some(claimed.rollout_id.clone()));
        assert_eq!(worker.current_attempt_id, Some(claimed.attempt.attempt_id));
    }

    async fn a_claim_of_many_makes_the_worker_busy_with_the_last(f) {
        let ids = f.enqueue_many(3).await;
        f.store.dequeue_many_rollouts(3, Some("w".into())).await.unwrap();
        assert_eq!(f.worker("w").await.current_rollout_id, Some(ids[2].clone()));
    }

    async fn an_empty_claim_makes_the_worker_idle(f) {
        f.advance(1.0);
        f.store.dequeue_rollout(Some("w".into())).await.unwrap();
        let worker = f.worker("w").await;
        assert_eq!(worker.status, WorkerStatus::Idle);
        assert_eq!((worker.last_dequeue_time, worker.last_idle_time), (Some(f.now()), Some(f.now())));
        assert_eq!(worker.last_busy_time, None);
    }

    async fn an_empty_claim_releases_a_busy_worker(f) {
        f.start_plain().await;
        f.store.dequeue_rollout(Some("w".into())).await.unwrap();
        let worker = f.worker("w").await;
        assert_eq!(worker.status, WorkerStatus::Idle);
        assert_eq!((worker.current_rollout_id, worker.current_attempt_id), (None, None));
    }

    async fn a_claim_without_a_worker_makes_none(f) {
        f.enqueue().await;
        f.claim().await;
        assert_eq!(f.store.query_workers(WorkerQuery::default()).await.unwrap().total, 0);
    }

    async fn starting_makes_the_worker_busy(f) {
        let started = f.start_plain().await;
        let worker = f.worker("w").await;
        assert_eq!((worker.status, worker.last_busy_time), (WorkerStatus::Busy, Some(f.now())));
        assert_eq!(worker.current_attempt_id, Some(started.attempt.attempt_id.clone()));
        assert_eq!(worker.last_dequeue_time, None);
        let second = f.store.start_attempt(started.rollout_id.clone(), Some("v".into())).await.unwrap();
        assert_eq!(f.worker("v").await.current_attempt_id, Some(second.attempt.attempt_id));
    }

    async fn a_report_makes_the_worker_idle(f) {
        for status in [AttemptStatus::Succeeded, AttemptStatus::Failed] {
            let started = f.start_plain().await;
            f.advance(1.0);
            f.report(&started, status).await;
            let worker = f.worker("w").await;
            assert_eq!((worker.status, worker.last_idle_time), (WorkerStatus::Idle, Some(f.now())));
            assert_eq!((worker.current_rollout_id, worker.current_attempt_id), (None, None));
        }
    }

    async fn a_reported_time_limit_makes_the_worker_unknown(f) {
        for status in [AttemptStatus::Timeout, AttemptStatus::Unresponsive] {
            let started = f.start_plain().await;
            f.report(&started, status).await;
            let worker = f.worker("w").await;
            assert_eq!((worker.status, worker.last_idle_time), (WorkerStatus::Unknown, None));
            assert_eq!((worker.current_rollout_id, worker.current_attempt_id), (None, None));
        }
    }

    async fn a_late_report_leaves_a_worker_that_is_busy_with_another_attempt(f) {
        let old = f.start_plain().await;
        let new = f.start_plain().await;
        f.report(&old, AttemptStatus::Failed).await;
        let worker = f.worker("w").await;
        assert_eq!(worker.status, WorkerStatus::Busy);
        assert_eq!(worker.current_attempt_id, Some(new.attempt.attempt_id));
    }

    async fn assigning_an_attempt_makes_the_worker_busy(f) {
        let started = f.start_plain().await;
        let patch = AttemptPatch { worker_id: Some("v".into()), ..AttemptPatch::default() };
        f.patch_attempt(&started, patch).await;
        let worker = f.worker("v").await;
        assert_eq!(worker.status, WorkerStatus::Busy);
        assert_eq!(worker.current_rollout_id, Some(started.rollout_id.clone()));
    }

    async fn workers_are_found_by_status_and_by_a_part_of_their_id(f) {
        f.start_plain().await;
        f.store.update_worker("west".into(), None).await.unwrap();
        f.store.update_worker("east".into(), None).await.unwrap();
        let found = async |status_in: Option<Vec<WorkerStatus>>, part: Option<&str>, filter_logic| {
            let worker_id_contains = part.map(Into::into);
            let query = WorkerQuery { status_in, worker_id_contains, filter_logic, ..Default::default() };
            let page = f.store.query_workers(query).await.unwrap();
            page.items.iter().map(|w| w.worker_id.to_string()).collect::<Vec<_>>()
        };
        let busy = || Some(vec![WorkerStatus::Busy]);
        assert_eq!(found(None, None, FilterLogic::And).await, ["w", "west", "east"]);
        assert_eq!(found(busy(), None, FilterLogic::And).await, ["w"]);
        assert_eq!(found(None, Some("est"), FilterLogic::And).await, ["west"]);
        assert_eq!(found(busy(), Some("east"), FilterLogic::And).await, [""; 0]);
        assert_eq!(found(busy(), Some("east"), FilterLogic::Or).await, ["w", "east"]);
        assert_eq!(found(Some(vec![]), None, FilterLogic::And).await, [""; 0]);
    }

    async fn workers_sort_by_their_times(f) {
        for id in ["b", "a"] {
            f.advance(1.0);
            f.store.update_worker(id.into(), None).await.unwrap();
        }
        f.store.dequeue_rollout(Some("c".into())).await.unwrap();
        let order = async |by, order| {
            let query = WorkerQuery { sort_by: Some(by), sort_order: order, ..Default::default() };
            let page = f.store.query_workers(query).await.unwrap();
            page.items.iter().map(|w| w.worker_id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(order(WorkerSortField::WorkerId, SortOrder::Desc).await, ["c", "b", "a"]);
        assert_eq!(order(WorkerSortField::LastHeartbeatTime, SortOrder::Asc).await, ["b", "a", "c"]);
        assert_eq!(order(WorkerSortField::LastDequeueTime, SortOrder::Asc).await, ["c", "b", "a"]);
        assert_eq!(order(WorkerSortField::Status, SortOrder::Asc).await, ["c", "b", "a"]);
    }
}
