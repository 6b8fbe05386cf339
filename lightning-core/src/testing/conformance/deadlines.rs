use super::{
    area,
    fixture::{retrying, timeout, unresponsive},
};
use crate::types::{
    AttemptPatch, AttemptStatus, NewRollout, RolloutConfig, RolloutPatch, RolloutStatus, WorkerStatus,
};

area! { "deadlines";
    async fn an_attempt_that_takes_too_long_times_out(f) {
        let started = f.start(timeout(10.0)).await;
        f.advance(10.5);
        let attempt = f.attempt(&started).await;
        assert_eq!((attempt.status, attempt.end_time), (AttemptStatus::Timeout, Some(f.now())));
        let rollout = f.rollout(&started.rollout_id).await;
        assert_eq!((rollout.status, rollout.end_time), (RolloutStatus::Failed, Some(f.now())));
    }

    async fn an_attempt_may_take_its_whole_time(f) {
        let started = f.start(timeout(10.0)).await;
        f.advance(10.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Preparing);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Preparing);
    }

    async fn signs_of_life_do_not_extend_the_time_out(f) {
        let started = f.start(timeout(10.0)).await;
        f.advance(8.0);
        f.add_span(&started, 1).await;
        f.advance(3.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Timeout);
    }

    async fn an_attempt_that_never_spoke_becomes_unresponsive(f) {
        let started = f.start(unresponsive(5.0)).await;
        f.advance(5.5);
        let attempt = f.attempt(&started).await;
        assert_eq!((attempt.status, attempt.end_time), (AttemptStatus::Unresponsive, Some(f.now())));
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Failed);
    }

    async fn silence_is_counted_from_the_last_span(f) {
        let started = f.start(unresponsive(5.0)).await;
        f.advance(4.0);
        f.add_span(&started, 1).await;
        f.advance(4.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Running);
        f.advance(2.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Unresponsive);
    }

    async fn a_heartbeat_of_the_runner_breaks_the_silence(f) {
        let started = f.start(unresponsive(5.0)).await;
        f.advance(4.0);
        f.patch_attempt(&started, AttemptPatch::heartbeat(f.now())).await;
        f.advance(4.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Preparing);
        f.advance(2.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Unresponsive);
    }

    async fn a_time_out_goes_before_silence(f) {
        let config = RolloutConfig { timeout_seconds: Some(5.0), unresponsive_seconds: Some(5.0), ..Default::default() };
        let started = f.start(config).await;
        f.advance(6.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Timeout);
    }

    async fn a_time_out_in_the_retry_condition_requeues_the_rollout(f) {
        let config = RolloutConfig { timeout_seconds: Some(5.0), ..retrying(2, &[AttemptStatus::Timeout]) };
        let started = f.start(config).await;
        f.advance(6.0);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Requeuing);
        let second = f.claim().await;
        assert_eq!((second.rollout_id.clone(), second.attempt.sequence_id), (started.rollout_id.clone(), 2));
    }

    async fn each_attempt_has_the_whole_time(f) {
        let config = RolloutConfig { timeout_seconds: Some(5.0), ..retrying(2, &[AttemptStatus::Timeout]) };
        f.start(config).await;
        f.advance(6.0);
        let second = f.claim().await;
        f.advance(4.0);
        assert_eq!(f.attempt(&second).await.status, AttemptStatus::Preparing);
        f.advance(2.0);
        assert_eq!(f.attempt(&second).await.status, AttemptStatus::Timeout);
        assert_eq!(f.status(&second.rollout_id).await, RolloutStatus::Failed);
    }

    async fn an_older_attempt_has_no_time_limit(f) {
        let first = f.start(timeout(5.0)).await;
        f.advance(4.0);
        f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        f.advance(4.0);
        assert_eq!(f.attempt(&first).await.status, AttemptStatus::Preparing);
        assert_eq!(f.status(&first.rollout_id).await, RolloutStatus::Preparing);
    }

    async fn a_queued_rollout_has_no_time_limit(f) {
        let id = f.store.enqueue_rollout(NewRollout::new(serde_json::json!(1)).config(timeout(1.0))).await.unwrap();
        f.advance(1e6);
        assert_eq!(f.status(&id.rollout_id).await, RolloutStatus::Queuing);
    }

    async fn a_requeued_rollout_has_no_time_limit(f) {
        let config = RolloutConfig { timeout_seconds: Some(5.0), ..retrying(2, &[AttemptStatus::Failed]) };
        let started = f.start(config).await;
        f.report(&started, AttemptStatus::Failed).await;
        f.advance(100.0);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Requeuing);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Failed);
    }

    async fn an_ended_rollout_has_no_time_limit(f) {
        let started = f.start(timeout(5.0)).await;
        f.report(&started, AttemptStatus::Succeeded).await;
        f.advance(100.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Succeeded);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Succeeded);
    }

    async fn a_new_time_limit_holds_for_the_attempt_under_way(f) {
        let started = f.start_plain().await;
        f.advance(10.0);
        let patch = RolloutPatch { config: Some(timeout(20.0)), ..RolloutPatch::default() };
        f.patch(&started.rollout_id, patch).await.unwrap();
        f.advance(9.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Preparing);
        f.advance(2.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Timeout);
    }

    async fn a_time_limit_that_was_lifted_does_not_fire(f) {
        let started = f.start(timeout(5.0)).await;
        let patch = RolloutPatch { config: Some(RolloutConfig::default()), ..RolloutPatch::default() };
        f.patch(&started.rollout_id, patch).await.unwrap();
        f.advance(100.0);
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Preparing);
    }

    async fn a_time_limit_ends_a_wait_without_traffic(f) {
        let started = f.start(timeout(5.0)).await;
        let (store, id) = (f.store.clone(), started.rollout_id.clone());
        let wait = tokio::spawn(async move { store.wait_for_rollouts(&[id], None).await.unwrap() });
        f.parked().await;
        f.advance(6.0);
        let ended = wait.await.unwrap();
        assert_eq!(ended[0].status, RolloutStatus::Failed);
    }

    async fn many_time_limits_fire_each_in_its_turn(f) {
        let mut started = Vec::new();
        for seconds in [5.0, 1.0, 3.0] {
            started.push(f.start(timeout(seconds)).await);
        }
        let mut ended = Vec::new();
        for _ in 0..3 {
            f.advance(2.0);
            let mut statuses = Vec::new();
            for attempt in &started {
                statuses.push(f.attempt(attempt).await.status == AttemptStatus::Timeout);
            }
            ended.push(statuses);
        }
        assert_eq!(ended, [[false, true, false], [false, true, true], [true, true, true]]);
    }

    async fn a_span_revives_an_unresponsive_attempt(f) {
        let config = RolloutConfig { unresponsive_seconds: Some(5.0), ..retrying(2, &[AttemptStatus::Unresponsive]) };
        let started = f.start(config).await;
        f.advance(6.0);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Requeuing);
        f.add_span(&started, 1).await;
        let attempt = f.attempt(&started).await;
        assert_eq!((attempt.status, attempt.end_time), (AttemptStatus::Running, None));
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Running);
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_span_after_a_time_out_is_only_a_sign_of_life(f) {
        let config = RolloutConfig { timeout_seconds: Some(5.0), ..retrying(2, &[AttemptStatus::Timeout]) };
        let started = f.start(config).await;
        f.advance(6.0);
        f.add_span(&started, 1).await;
        let attempt = f.attempt(&started).await;
        assert_eq!((attempt.status, attempt.last_heartbeat_time), (AttemptStatus::Timeout, Some(f.now())));
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Requeuing);
    }

    async fn a_span_does_not_revive_an_attempt_that_timed_out_for_good(f) {
        let started = f.start(timeout(5.0)).await;
        f.advance(6.0);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Failed);
        f.add_span(&started, 1).await;
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Timeout);
    }

    async fn an_unresponsive_attempt_of_a_failed_rollout_is_revived_alone(f) {
        let started = f.start(unresponsive(5.0)).await;
        f.advance(6.0);
        f.add_span(&started, 1).await;
        assert_eq!(f.attempt(&started).await.status, AttemptStatus::Running);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Failed);
    }

    async fn a_time_limit_makes_the_worker_unknown(f) {
        for config in [timeout(5.0), unresponsive(5.0)] {
            f.start(config).await;
            f.advance(6.0);
            let worker = f.worker("w").await;
            assert_eq!(worker.status, WorkerStatus::Unknown);
            assert_eq!((worker.current_rollout_id, worker.current_attempt_id), (None, None));
        }
    }
}
