use std::collections::HashSet;

use serde_json::json;

use super::{area, fixture::retrying};
use crate::types::{AttemptStatus, NewRollout, RolloutId, RolloutStatus};

area! { "queue";
    async fn an_enqueued_rollout_is_queuing(f) {
        assert_eq!(f.enqueue().await.status, RolloutStatus::Queuing);
    }

    async fn an_id_of_a_rollout_is_ro_and_twelve_hexadecimal_digits(f) {
        let id = f.enqueue().await.rollout_id;
        let digits = id.as_str().strip_prefix("ro-").expect("the id should begin with ro-");
        assert!(digits.len() == 12 && digits.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
    }

    async fn ids_are_all_different(f) {
        let ids: HashSet<RolloutId> = f.enqueue_many(200).await.into_iter().collect();
        assert_eq!(ids.len(), 200);
    }

    async fn enqueueing_many_answers_in_their_order(f) {
        let new = (0..5).map(|i| NewRollout::new(json!(i))).collect();
        let made = f.store.enqueue_many_rollouts(new).await.unwrap();
        let inputs: Vec<_> = made.iter().map(|rollout| (*rollout.input).clone()).collect();
        assert_eq!(inputs, [json!(0), json!(1), json!(2), json!(3), json!(4)]);
    }

    async fn enqueueing_none_makes_none(f) {
        assert!(f.store.enqueue_many_rollouts(vec![]).await.unwrap().is_empty());
        assert_eq!(f.store.statistics().await.unwrap().total_rollouts, 0);
    }

    async fn rollouts_are_claimed_in_the_order_in_which_they_were_enqueued(f) {
        for id in f.enqueue_many(5).await {
            assert_eq!(f.claimed_id().await, Some(id));
        }
    }

    async fn an_empty_queue_gives_nothing(f) {
        assert!(f.store.dequeue_rollout(None).await.unwrap().is_none());
    }

    async fn a_claimed_rollout_is_not_claimed_again(f) {
        f.enqueue().await;
        f.claim().await;
        assert_eq!(f.claimed_id().await, None);
    }

    async fn claiming_makes_the_rollout_preparing_with_a_first_attempt(f) {
        let id = f.enqueue().await.rollout_id;
        f.advance(3.0);
        let claimed = f.store.dequeue_rollout(Some("w".into())).await.unwrap().unwrap();
        assert_eq!((claimed.status, &claimed.rollout_id), (RolloutStatus::Preparing, &id));
        let attempt = &claimed.attempt;
        assert_eq!((attempt.status, attempt.sequence_id), (AttemptStatus::Preparing, 1));
        assert_eq!((attempt.start_time, attempt.end_time), (f.now(), None));
        assert_eq!(attempt.worker_id, Some("w".into()));
        assert_eq!(attempt.last_heartbeat_time, None);
        assert_eq!(f.rollout(&id).await, claimed.rollout);
        assert_eq!(f.attempts(&id).await, [attempt.clone()]);
    }

    async fn claiming_many_takes_up_to_the_limit_in_order(f) {
        let ids = f.enqueue_many(5).await;
        let claimed = f.store.dequeue_many_rollouts(3, None).await.unwrap();
        assert_eq!(claimed.iter().map(|c| &c.rollout_id).collect::<Vec<_>>(), ids[..3].iter().collect::<Vec<_>>());
        let claimed = f.store.dequeue_many_rollouts(3, None).await.unwrap();
        assert_eq!(claimed.len(), 2);
    }

    async fn claiming_at_most_none_takes_none(f) {
        let id = f.enqueue().await.rollout_id;
        assert!(f.store.dequeue_many_rollouts(0, Some("w".into())).await.unwrap().is_empty());
        assert_eq!(f.claimed_id().await, Some(id));
    }

    async fn a_started_rollout_never_enters_the_queue(f) {
        f.start_plain().await;
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_cancelled_rollout_is_passed_over(f) {
        let ids = f.enqueue_many(2).await;
        f.set_status(&ids[0], RolloutStatus::Cancelled).await;
        assert_eq!(f.claimed_id().await, Some(ids[1].clone()));
        assert_eq!(f.claimed_id().await, None);
    }

    async fn rollouts_passed_over_do_not_count_towards_the_limit(f) {
        let ids = f.enqueue_many(4).await;
        f.set_status(&ids[1], RolloutStatus::Failed).await;
        let claimed = f.store.dequeue_many_rollouts(2, None).await.unwrap();
        assert_eq!(claimed.iter().map(|c| &c.rollout_id).collect::<Vec<_>>(), [&ids[0], &ids[2]]);
    }

    async fn setting_a_queued_rollout_to_queuing_does_not_queue_it_twice(f) {
        let id = f.enqueue().await.rollout_id;
        f.set_status(&id, RolloutStatus::Queuing).await;
        f.set_status(&id, RolloutStatus::Requeuing).await;
        assert_eq!(f.claimed_id().await, Some(id));
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_rollout_that_comes_back_while_its_entry_is_there_keeps_its_place(f) {
        let ids = f.enqueue_many(2).await;
        f.set_status(&ids[0], RolloutStatus::Running).await;
        f.set_status(&ids[0], RolloutStatus::Queuing).await;
        assert_eq!(f.claimed_id().await, Some(ids[0].clone()));
        assert_eq!(f.claimed_id().await, Some(ids[1].clone()));
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_claimed_rollout_that_is_set_to_queuing_goes_to_the_tail(f) {
        let ids = f.enqueue_many(2).await;
        f.claim().await;
        f.set_status(&ids[0], RolloutStatus::Queuing).await;
        assert_eq!(f.claimed_id().await, Some(ids[1].clone()));
        assert_eq!(f.claimed_id().await, Some(ids[0].clone()));
    }

    async fn a_retry_goes_to_the_tail(f) {
        let retry = retrying(2, &[AttemptStatus::Failed]);
        let first = f.store.enqueue_rollout(NewRollout::new(json!(1)).config(retry)).await.unwrap().rollout_id;
        let second = f.enqueue().await.rollout_id;
        let claimed = f.claim().await;
        f.report(&claimed, AttemptStatus::Failed).await;
        assert_eq!(f.claimed_id().await, Some(second));
        assert_eq!(f.claimed_id().await, Some(first));
    }

    async fn a_failure_that_is_reported_twice_is_queued_once(f) {
        let started = f.start(retrying(3, &[AttemptStatus::Failed])).await;
        f.report(&started, AttemptStatus::Failed).await;
        f.report(&started, AttemptStatus::Failed).await;
        assert_eq!(f.claimed_id().await, Some(started.rollout_id.clone()));
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_requeued_rollout_that_succeeds_late_is_passed_over(f) {
        let started = f.start(retrying(2, &[AttemptStatus::Failed])).await;
        f.report(&started, AttemptStatus::Failed).await;
        f.report(&started, AttemptStatus::Succeeded).await;
        assert_eq!(f.status(&started.rollout_id).await, RolloutStatus::Succeeded);
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_revived_rollout_is_claimed_with_a_further_attempt(f) {
        let started = f.start_plain().await;
        f.report(&started, AttemptStatus::Succeeded).await;
        f.set_status(&started.rollout_id, RolloutStatus::Queuing).await;
        assert_eq!(f.claim().await.attempt.sequence_id, 2);
    }
}
