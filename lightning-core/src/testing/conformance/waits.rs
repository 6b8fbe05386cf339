use std::time::Duration;

use super::{
    area,
    fixture::{retrying, timeout},
};
use crate::{
    store::EndOfAttempt,
    types::{AttemptStatus, RolloutId, RolloutStatus},
};

const LONG: Duration = Duration::from_secs(3600);
const LOOK: Option<Duration> = Some(Duration::ZERO);

/// Waits in a task of its own, which is polled once before this returns.
async fn waiting(f: &super::Fixture, ids: &[RolloutId]) -> tokio::task::JoinHandle<Vec<RolloutId>> {
    let (store, ids) = (f.store.clone(), ids.to_vec());
    let task = tokio::spawn(async move {
        let ended = store.wait_for_rollouts(&ids, None).await.unwrap();
        ended.into_iter().map(|rollout| rollout.rollout_id).collect()
    });
    f.parked().await;
    task
}

area! { "waits";
    async fn a_look_gives_those_that_have_ended(f) {
        let ids = f.enqueue_many(3).await;
        f.set_status(&ids[1], RolloutStatus::Cancelled).await;
        let ended = f.store.wait_for_rollouts(&ids, LOOK).await.unwrap();
        assert_eq!(ended.iter().map(|r| &r.rollout_id).collect::<Vec<_>>(), [&ids[1]]);
    }

    async fn a_wait_for_ended_rollouts_is_over_at_once(f) {
        let ids = f.enqueue_many(3).await;
        for (id, status) in ids.iter().zip([RolloutStatus::Succeeded, RolloutStatus::Failed, RolloutStatus::Cancelled]) {
            f.set_status(id, status).await;
        }
        assert_eq!(f.store.wait_for_rollouts(&ids, None).await.unwrap().len(), 3);
    }

    async fn a_wait_for_unknown_rollouts_is_over_at_once(f) {
        assert!(f.store.wait_for_rollouts(&["ro-none".into()], None).await.unwrap().is_empty());
    }

    async fn a_wait_for_none_is_over_at_once(f) {
        assert!(f.store.wait_for_rollouts(&[], None).await.unwrap().is_empty());
    }

    async fn a_wait_answers_in_the_order_of_its_ids_and_for_each_of_them(f) {
        let ids = f.enqueue_many(2).await;
        for id in &ids {
            f.set_status(id, RolloutStatus::Succeeded).await;
        }
        let asked = [ids[1].clone(), ids[0].clone(), ids[1].clone()];
        let ended = f.store.wait_for_rollouts(&asked, None).await.unwrap();
        assert_eq!(ended.iter().map(|r| r.rollout_id.clone()).collect::<Vec<_>>(), asked);
    }

    async fn a_wait_is_over_when_the_last_rollout_ends(f) {
        let ids = f.enqueue_many(2).await;
        let wait = waiting(&f, &ids).await;
        f.set_status(&ids[1], RolloutStatus::Failed).await;
        f.parked().await;
        assert!(!wait.is_finished(), "one rollout goes on");
        f.set_status(&ids[0], RolloutStatus::Succeeded).await;
        assert_eq!(wait.await.unwrap(), ids);
    }

    async fn a_wait_is_over_when_an_attempt_ends_the_rollout(f) {
        let started = f.start_plain().await;
        let wait = waiting(&f, &[started.rollout_id.clone()]).await;
        f.report(&started, AttemptStatus::Succeeded).await;
        assert_eq!(wait.await.unwrap(), [started.rollout_id.clone()]);
    }

    async fn a_retry_does_not_end_a_wait(f) {
        let started = f.start(retrying(2, &[AttemptStatus::Failed])).await;
        let wait = waiting(&f, &[started.rollout_id.clone()]).await;
        f.report(&started, AttemptStatus::Failed).await;
        f.parked().await;
        assert!(!wait.is_finished(), "an attempt is left");
        let second = f.claim().await;
        f.report(&second, AttemptStatus::Succeeded).await;
        assert_eq!(wait.await.unwrap(), [started.rollout_id.clone()]);
    }

    async fn all_who_wait_for_a_rollout_are_woken(f) {
        let id = f.enqueue().await.rollout_id;
        let mut waits = Vec::new();
        for _ in 0..20 {
            waits.push(waiting(&f, std::slice::from_ref(&id)).await);
        }
        f.set_status(&id, RolloutStatus::Cancelled).await;
        for wait in waits {
            assert_eq!(wait.await.unwrap(), [id.clone()]);
        }
    }

    async fn a_wait_gives_up_after_its_time(f) {
        let ids = f.enqueue_many(2).await;
        f.set_status(&ids[0], RolloutStatus::Succeeded).await;
        let (store, asked) = (f.store.clone(), ids.clone());
        let wait = tokio::spawn(async move { store.wait_for_rollouts(&asked, Some(LONG)).await.unwrap() });
        f.parked().await;
        f.advance(LONG.as_secs_f64() - 1.0);
        f.parked().await;
        assert!(!wait.is_finished(), "a second is left");
        f.advance(2.0);
        let ended = wait.await.unwrap();
        assert_eq!(ended.iter().map(|r| &r.rollout_id).collect::<Vec<_>>(), [&ids[0]]);
    }

    async fn an_attempt_ends_with_its_rollout(f) {
        for status in [RolloutStatus::Cancelled, RolloutStatus::Failed, RolloutStatus::Succeeded] {
            let started = f.start_plain().await;
            f.set_status(&started.rollout_id, status).await;
            let end = f.store.wait_for_attempt_end(&started.rollout_id, &started.attempt.attempt_id).await;
            assert_eq!(end, Ok(EndOfAttempt::RolloutEnded(status)));
        }
    }

    async fn an_attempt_ends_when_a_newer_one_begins(f) {
        let first = f.start_plain().await;
        let second = f.store.start_attempt(first.rollout_id.clone(), None).await.unwrap();
        let end = f.store.wait_for_attempt_end(&first.rollout_id, &first.attempt.attempt_id).await;
        assert_eq!(end, Ok(EndOfAttempt::Superseded { by: second.attempt.attempt_id }));
    }

    async fn an_attempt_ends_with_its_own_end(f) {
        let started = f.start(retrying(2, &[AttemptStatus::Failed])).await;
        f.report(&started, AttemptStatus::Failed).await;
        let end = f.store.wait_for_attempt_end(&started.rollout_id, &started.attempt.attempt_id).await;
        assert_eq!(end, Ok(EndOfAttempt::AttemptEnded(AttemptStatus::Failed)));
    }

    async fn who_waits_for_the_end_of_an_attempt_is_woken(f) {
        let timed = || crate::types::RolloutConfig { timeout_seconds: Some(5.0), ..retrying(2, &[AttemptStatus::Timeout]) };
        for way in 0..3 {
            let started = f.start(timed()).await;
            let (store, rollout_id, attempt_id) =
                (f.store.clone(), started.rollout_id.clone(), started.attempt.attempt_id.clone());
            let wait = tokio::spawn(async move { store.wait_for_attempt_end(&rollout_id, &attempt_id).await.unwrap() });
            f.parked().await;
            assert!(!wait.is_finished());
            match way {
                0 => { f.set_status(&started.rollout_id, RolloutStatus::Cancelled).await; }
                1 => { f.store.start_attempt(started.rollout_id.clone(), None).await.unwrap(); }
                _ => f.advance(6.0),
            }
            let end = wait.await.unwrap();
            match way {
                0 => assert_eq!(end, EndOfAttempt::RolloutEnded(RolloutStatus::Cancelled)),
                1 => assert!(matches!(end, EndOfAttempt::Superseded { .. }), "{end:?}"),
                _ => assert_eq!(end, EndOfAttempt::AttemptEnded(AttemptStatus::Timeout)),
            }
        }
    }

    async fn a_parked_claim_is_served_when_a_rollout_comes(f) {
        let store = f.store.clone();
        let claim = tokio::spawn(async move { store.dequeue_or_wait(1, Some("w".into()), LONG).await.unwrap() });
        f.parked().await;
        let id = f.enqueue().await.rollout_id;
        let claimed = claim.await.unwrap();
        assert_eq!(claimed.iter().map(|c| &c.rollout_id).collect::<Vec<_>>(), [&id]);
        assert_eq!(claimed[0].attempt.worker_id, Some("w".into()));
    }

    async fn a_parked_claim_is_served_by_a_retry(f) {
        let config = crate::types::RolloutConfig { max_attempts: 2, retry_condition: vec![AttemptStatus::Timeout], ..timeout(5.0) };
        let started = f.start(config).await;
        let store = f.store.clone();
        let claim = tokio::spawn(async move { store.dequeue_or_wait(1, None, LONG).await.unwrap() });
        f.parked().await;
        f.advance(6.0);
        assert_eq!(claim.await.unwrap()[0].rollout_id, started.rollout_id);
    }

    async fn a_claim_that_finds_work_does_not_wait(f) {
        let ids = f.enqueue_many(3).await;
        let claimed = f.store.dequeue_or_wait(2, None, LONG).await.unwrap();
        assert_eq!(claimed.iter().map(|c| &c.rollout_id).collect::<Vec<_>>(), [&ids[0], &ids[1]]);
    }

    async fn a_claim_that_may_not_wait_comes_back_empty(f) {
        assert!(f.store.dequeue_or_wait(1, None, Duration::ZERO).await.unwrap().is_empty());
    }

    async fn a_claim_gives_up_after_its_time(f) {
        let store = f.store.clone();
        let claim = tokio::spawn(async move { store.dequeue_or_wait(1, Some("w".into()), LONG).await.unwrap() });
        f.parked().await;
        f.advance(LONG.as_secs_f64() + 1.0);
        assert!(claim.await.unwrap().is_empty());
        let id = f.enqueue().await.rollout_id;
        assert_eq!(f.claimed_id().await, Some(id));
    }

    async fn a_claim_that_was_given_up_takes_nothing(f) {
        let store = f.store.clone();
        let claim = tokio::spawn(async move { store.dequeue_or_wait(1, None, LONG).await.unwrap() });
        f.parked().await;
        claim.abort();
        assert!(claim.await.unwrap_err().is_cancelled());
        let id = f.enqueue().await.rollout_id;
        assert_eq!(f.claimed_id().await, Some(id));
    }
}
