use serde_json::json;

use super::{area, fixture::retrying};
use crate::{
    store::AttemptRef,
    types::{AttemptPatch, AttemptStatus, JsonObject, RolloutConfig, RolloutStatus, Timestamp},
};

const FAILURES: [AttemptStatus; 3] = [
    AttemptStatus::Failed,
    AttemptStatus::Timeout,
    AttemptStatus::Unresponsive,
];

area! { "attempts";
    async fn an_id_of_an_attempt_is_at_and_eight_hexadecimal_digits(f) {
        let id = f.start_plain().await.attempt.attempt_id;
        let digits = id.as_str().strip_prefix("at-").expect("the id should begin with at-");
        assert!(digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }

    async fn success_ends_attempt_and_rollout(f) {
        let started = f.start_plain().await;
        f.advance(2.0);
        let attempt = f.report(&started, AttemptStatus::Succeeded).await;
        assert_eq!((attempt.status, attempt.end_time), (AttemptStatus::Succeeded, Some(f.now())));
        assert_eq!(f.attempt(&started).await, attempt);
        let rollout = f.rollout(&started.rollout_id).await;
        assert_eq!((rollout.status, rollout.end_time), (RolloutStatus::Succeeded, Some(f.now())));
    }

    async fn a_failure_without_retry_fails_the_rollout(f) {
        for status in FAILURES {
            let started = f.start_plain().await;
            f.advance(1.0);
            let attempt = f.report(&started, status).await;
            assert_eq!((attempt.status, attempt.end_time), (status, Some(f.now())));
            let rollout = f.rollout(&started.rollout_id).await;
            assert_eq!((rollout.status, rollout.end_time), (RolloutStatus::Failed, Some(f.now())));
        }
    }

    async fn a_failure_in_the_retry_condition_requeues_the_rollout(f) {
        for status in FAILURES {
            let started = f.start(retrying(2, &[status])).await;
            f.report(&started, status).await;
            let rollout = f.rollout(&started.rollout_id).await;
            assert_eq!((rollout.status, rollout.end_time), (RolloutStatus::Requeuing, None));
            assert_eq!(f.claim().await.attempt.sequence_id, 2);
        }
    }

    async fn a_failure_outside_the_retry_condition_is_final(f) {
        let started = f.start(retrying(5, &[AttemptStatus::Timeout])).await;
        f.report(&started, AttemptStatus::Failed).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Failed);
    }

    async fn retries_end_with_the_last_attempt_that_is_allowed(f) {
        let started = f.start(retrying(2, &[AttemptStatus::Failed])).await;
        f.report(&started, AttemptStatus::Failed).await;
        let second = f.claim().await;
        f.report(&second, AttemptStatus::Failed).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Failed);
        assert_eq!(f.claimed_id().await, None);
    }

    async fn attempts_are_counted_from_one(f) {
        let started = f.start_plain().await;
        for expected in 2..=4 {
            let next = f.store.start_attempt(started.rollout_id.clone(), None).await.unwrap();
            assert_eq!(next.attempt.sequence_id, expected);
        }
    }

    async fn attempts_of_a_rollout_have_different_ids(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        assert_ne!(first.attempt.attempt_id, second.attempt.attempt_id);
    }

    async fn an_attempt_may_be_started_beyond_those_allowed(f) {
        let started = f.start_plain().await;
        f.report(&started, AttemptStatus::Failed).await;
        f.advance(1.0);
        let second = f.store.start_attempt(started.rollout_id.clone(), Some("v".into())).await.unwrap();
        assert_eq!((second.status, second.end_time), (RolloutStatus::Preparing, None));
        assert_eq!(second.attempt.status, AttemptStatus::Preparing);
        assert_eq!((second.attempt.start_time, second.attempt.worker_id.clone()), (f.now(), Some("v".into())));
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Preparing);
    }

    async fn an_attempt_started_on_a_queued_rollout_takes_it_off_the_queue(f) {
        let id = f.enqueue().await.rollout_id;
        f.store.start_attempt(id, None).await.unwrap();
        assert_eq!(f.claimed_id().await, None);
    }

    async fn only_the_latest_attempt_moves_its_rollout(f) {
        for status in [AttemptStatus::Succeeded, AttemptStatus::Failed, AttemptStatus::Running] {
            let first = f.start_plain().await;
            f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
            assert_eq!(f.report(&first, status).await.status, status);
            assert_eq!(f.status(&first.rollout_id).await, RolloutStatus::Preparing);
        }
    }

    async fn a_late_report_does_not_move_a_terminal_rollout(f) {
        for end in [RolloutStatus::Cancelled, RolloutStatus::Succeeded, RolloutStatus::Failed] {
            let started = f.start(retrying(5, &FAILURES)).await;
            let ended = f.set_status(&started.rollout_id, end).await;
            f.advance(1.0);
            for status in [AttemptStatus::Running, AttemptStatus::Failed, AttemptStatus::Succeeded] {
                assert_eq!(f.report(&started, status).await.status, status);
                assert_eq!(f.rollout(&started.rollout_id).await, ended);
            }
            assert_eq!(f.claimed_id().await, None);
        }
    }

    async fn an_attempt_set_to_running_makes_the_rollout_running(f) {
        let started = f.start_plain().await;
        f.report(&started, AttemptStatus::Running).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Running);
    }

    async fn an_attempt_set_to_preparing_makes_the_rollout_preparing(f) {
        let started = f.start_plain().await;
        f.report(&started, AttemptStatus::Running).await;
        f.report(&started, AttemptStatus::Preparing).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Preparing);
    }

    async fn an_attempt_that_goes_on_has_no_end_time(f) {
        let started = f.start(retrying(2, &[AttemptStatus::Timeout])).await;
        f.report(&started, AttemptStatus::Timeout).await;
        assert_eq!(f.report(&started, AttemptStatus::Running).await.end_time, None);
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Running);
    }

    async fn an_update_without_a_status_leaves_the_rollout_alone(f) {
        let started = f.start(retrying(3, &FAILURES)).await;
        f.report(&started, AttemptStatus::Failed).await;
        f.set_status(&started.rollout_id, RolloutStatus::Cancelled).await;
        let patch = AttemptPatch { worker_id: Some("late".into()), ..AttemptPatch::default() };
        f.patch_attempt(&started, patch).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Cancelled);
        assert_eq!(f.claimed_id().await, None);
    }

    async fn an_update_sets_the_fields_of_an_attempt(f) {
        let started = f.start_plain().await;
        let heard_of = Timestamp::from_secs_f64(123.5);
        let metadata = JsonObject::from_iter([("why".to_owned(), json!("because"))]);
        let patch = AttemptPatch {
            status: None,
            worker_id: Some("v".into()),
            last_heartbeat_time: Some(heard_of),
            metadata: Some(metadata.clone()),
        };
        let updated = f.patch_attempt(&started, patch).await;
        assert_eq!((updated.worker_id.clone(), updated.status), (Some("v".into()), AttemptStatus::Preparing));
        assert_eq!((updated.last_heartbeat_time, &updated.metadata), (Some(heard_of), &Some(metadata)));
        assert_eq!(f.attempt(&started).await, updated);
    }

    async fn an_update_without_fields_leaves_the_attempt_alone(f) {
        let started = f.start_plain().await;
        assert_eq!(f.patch_attempt(&started, AttemptPatch::default()).await, started.attempt);
    }

    async fn latest_means_the_attempt_with_the_greatest_sequence_id(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        let done = AttemptPatch::status(AttemptStatus::Succeeded);
        let updated = f.store.update_attempt(first.rollout_id.clone(), AttemptRef::Latest, done).await.unwrap();
        assert_eq!(updated.attempt_id, second.attempt.attempt_id);
        assert_eq!(f.attempt(&first).await.status, AttemptStatus::Preparing);
        let latest = f.store.get_latest_attempt(&first.rollout_id).await.unwrap();
        assert_eq!(latest, Some(updated));
    }

    async fn a_lower_limit_of_attempts_counts_from_the_next_failure_on(f) {
        let started = f.start(retrying(3, &[AttemptStatus::Failed])).await;
        let config = RolloutConfig { max_attempts: 1, ..retrying(1, &[AttemptStatus::Failed]) };
        let patch = crate::types::RolloutPatch { config: Some(config), ..Default::default() };
        f.patch(&started.rollout_id, patch).await.unwrap();
        f.report(&started, AttemptStatus::Failed).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Failed);
    }
}
