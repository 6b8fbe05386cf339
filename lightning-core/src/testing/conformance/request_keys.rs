use std::time::Duration;

use serde_json::json;

use super::area;
use crate::{
    store::{Answer, AttemptRef, Command, Request, StoreError},
    types::{AttemptPatch, AttemptStatus, NewRollout, RolloutPatch, RolloutStatus},
};

const LONG: Duration = Duration::from_secs(3600);

fn enqueue(task: i32) -> Command {
    Command::EnqueueRollouts {
        rollouts: vec![NewRollout::new(json!(task))],
    }
}

async fn total(f: &super::Fixture) -> u64 {
    f.store.statistics().await.unwrap().total_rollouts
}

area! { "request_keys";
    async fn a_repeated_command_is_carried_out_once(f) {
        let first = f.store.execute(Request::keyed(enqueue(1), "k")).await.unwrap();
        f.advance(1.0);
        assert_eq!(f.store.execute(Request::keyed(enqueue(1), "k")).await.unwrap(), first);
        assert_eq!(total(&f).await, 1);
    }

    async fn commands_without_a_key_are_carried_out_each_time(f) {
        f.store.execute(enqueue(1).into()).await.unwrap();
        f.store.execute(enqueue(1).into()).await.unwrap();
        assert_eq!(total(&f).await, 2);
    }

    async fn commands_with_different_keys_are_carried_out_each(f) {
        f.store.execute(Request::keyed(enqueue(1), "k")).await.unwrap();
        f.store.execute(Request::keyed(enqueue(1), "l")).await.unwrap();
        assert_eq!(total(&f).await, 2);
    }

    async fn a_key_used_for_another_command_is_refused(f) {
        f.store.execute(Request::keyed(enqueue(1), "k")).await.unwrap();
        let error = f.store.execute(Request::keyed(enqueue(2), "k")).await.unwrap_err();
        assert_eq!(error, StoreError::KeyReused { key: "k".to_owned() });
        assert_eq!(total(&f).await, 1);
    }

    async fn a_repeated_claim_gives_the_same_attempt(f) {
        let ids = f.enqueue_many(2).await;
        let claim = Command::DequeueRollouts { limit: 1, worker_id: Some("w".into()) };
        let first = f.store.execute(Request::keyed(claim.clone(), "claim")).await.unwrap();
        assert_eq!(f.store.execute(Request::keyed(claim, "claim")).await.unwrap(), first);
        assert_eq!(f.claimed_id().await, Some(ids[1].clone()));
    }

    async fn a_claim_that_may_wait_is_made_once_for_a_key(f) {
        let ids = f.enqueue_many(2).await;
        let claim = || f.store.dequeue_or_wait_once(1, Some("w".into()), LONG, "claim".into());
        let first = claim().await.unwrap();
        assert_eq!(first[0].rollout_id, ids[0]);
        assert_eq!(claim().await.unwrap(), first);
        let plain = Command::DequeueRollouts { limit: 1, worker_id: Some("w".into()) };
        let repeated = f.store.execute(Request::keyed(plain, "claim")).await.unwrap();
        assert_eq!(repeated, Answer::Dequeued(first));
        assert_eq!(f.claimed_id().await, Some(ids[1].clone()));
    }

    async fn a_claim_that_came_back_empty_leaves_its_key_free(f) {
        let claim = || f.store.dequeue_or_wait_once(1, None, Duration::ZERO, "claim".into());
        assert_eq!(claim().await, Ok(vec![]));
        let id = f.enqueue().await.rollout_id;
        assert_eq!(claim().await.unwrap()[0].rollout_id, id);
        assert_eq!(claim().await.unwrap()[0].rollout_id, id);
        assert_eq!(f.claimed_id().await, None);
    }

    async fn a_parked_claim_is_repeated_after_it_was_served(f) {
        let store = f.store.clone();
        let claim = move || {
            let store = store.clone();
            async move { store.dequeue_or_wait_once(1, None, LONG, "claim".into()).await.unwrap() }
        };
        let parked = tokio::spawn(claim());
        f.parked().await;
        f.enqueue_many(2).await;
        let first = parked.await.unwrap();
        assert_eq!(claim().await, first);
    }

    async fn a_key_of_another_claim_is_refused(f) {
        f.enqueue_many(2).await;
        f.store.dequeue_or_wait_once(1, None, LONG, "claim".into()).await.unwrap();
        let error = f.store.dequeue_or_wait_once(2, None, LONG, "claim".into()).await.unwrap_err();
        assert_eq!(error, StoreError::KeyReused { key: "claim".to_owned() });
    }

    async fn the_first_answer_is_repeated_whatever_happened_since(f) {
        let made = f.enqueue().await;
        let patch = RolloutPatch::status(RolloutStatus::Failed);
        let fail = Command::UpdateRollout { rollout_id: made.rollout_id.clone(), patch };
        let first = f.store.execute(Request::keyed(fail.clone(), "k")).await.unwrap();
        f.set_status(&made.rollout_id, RolloutStatus::Queuing).await;
        assert_eq!(f.store.execute(Request::keyed(fail, "k")).await.unwrap(), first);
        assert_eq!(f.status(&made.rollout_id).await, RolloutStatus::Queuing);
    }

    async fn a_refused_command_leaves_its_key_free(f) {
        let started = f.start_plain().await;
        let report = |attempt| Command::UpdateAttempt {
            rollout_id: started.rollout_id.clone(),
            attempt,
            patch: AttemptPatch::status(AttemptStatus::Succeeded),
        };
        let refused = f.store.execute(Request::keyed(report("at-none".into()), "k")).await;
        assert!(matches!(refused, Err(StoreError::NotFound(_))), "{refused:?}");
        let answer = f.store.execute(Request::keyed(report(AttemptRef::Latest), "k")).await.unwrap();
        assert!(matches!(answer, Answer::Attempt(_)), "{answer:?}");
    }

    async fn sequence_ids_are_drawn_once_for_a_key(f) {
        let draw = Command::NextSequenceIds { targets: vec![("ro-x".into(), "at-x".into())] };
        let first = f.store.execute(Request::keyed(draw.clone(), "k")).await.unwrap();
        assert_eq!(first, Answer::SequenceIds(vec![1]));
        assert_eq!(f.store.execute(Request::keyed(draw, "k")).await.unwrap(), first);
        assert_eq!(f.next_sequence_id("ro-x").await, 2);
    }

    async fn a_key_is_kept_for_a_day_and_not_longer(f) {
        f.store.execute(Request::keyed(enqueue(1), "k")).await.unwrap();
        f.advance(23.9 * 3600.0);
        f.store.execute(Request::keyed(enqueue(1), "k")).await.unwrap();
        assert_eq!(total(&f).await, 1);
        f.advance(0.2 * 3600.0);
        f.store.execute(Request::keyed(enqueue(1), "k")).await.unwrap();
        assert_eq!(total(&f).await, 2);
    }

    async fn a_key_may_be_any_text(f) {
        for key in ["", " ", "ключ\u{1f511}", &"long".repeat(1000)] {
            let first = f.store.execute(Request::keyed(enqueue(7), key)).await.unwrap();
            assert_eq!(f.store.execute(Request::keyed(enqueue(7), key)).await.unwrap(), first);
        }
        assert_eq!(total(&f).await, 4);
    }
}
