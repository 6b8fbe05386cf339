//! A store under test, and the few steps that most cases begin with.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::{
    clock::Clock,
    store::{AttemptRef, Store, StoreError},
    testing::ManualClock,
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptQuery, AttemptStatus, AttemptedRollout, NewRollout, Rollout,
        RolloutConfig, RolloutId, RolloutPatch, RolloutStatus, Span, SpanQuery, Timestamp, Worker,
    },
};

/// A fresh, empty store under test and the clock that it takes its time from.
#[derive(Clone)]
pub struct Fixture {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: ManualClock,
}

impl std::fmt::Debug for Fixture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fixture")
            .field("clock", &self.clock)
            .finish_non_exhaustive()
    }
}

impl Fixture {
    /// A store that takes its time from `clock`.
    pub fn new(store: impl Store, clock: ManualClock) -> Self {
        Self {
            store: Arc::new(store),
            clock,
        }
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(super) fn advance(&self, seconds: f64) {
        self.clock.advance(Duration::from_secs_f64(seconds));
    }

    /// Lets the tasks that were spawned go as far as they can.
    ///
    /// A store behind a network has no way to tell that a caller is parked, so this only gives them time; what comes
    /// after it must hold, too, if they have not begun to wait yet.
    pub(super) async fn parked(&self) {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    /// Puts a rollout without limits into the queue.
    pub(super) async fn enqueue(&self) -> Rollout {
        self.store
            .enqueue_rollout(NewRollout::new(json!("task")))
            .await
            .unwrap()
    }

    pub(super) async fn enqueue_many(&self, count: usize) -> Vec<RolloutId> {
        let new = (0..count).map(|i| NewRollout::new(json!(i))).collect();
        let made = self.store.enqueue_many_rollouts(new).await.unwrap();
        made.into_iter().map(|rollout| rollout.rollout_id).collect()
    }

    /// Takes the head of the queue.
    pub(super) async fn claim(&self) -> AttemptedRollout {
        self.store
            .dequeue_rollout(None)
            .await
            .unwrap()
            .expect("the queue should not be empty")
    }

    pub(super) async fn claimed_id(&self) -> Option<RolloutId> {
        let claimed = self.store.dequeue_rollout(None).await.unwrap();
        claimed.map(|claimed| claimed.rollout.rollout_id)
    }

    /// A rollout with its first attempt, worked on by `w`.
    pub(super) async fn start(&self, config: RolloutConfig) -> AttemptedRollout {
        let new = NewRollout::new(json!("task")).config(config);
        self.store.start_rollout(new, Some("w".into())).await.unwrap()
    }

    pub(super) async fn start_plain(&self) -> AttemptedRollout {
        self.start(RolloutConfig::default()).await
    }

    pub(super) async fn report(&self, of: &AttemptedRollout, status: AttemptStatus) -> Attempt {
        self.patch_attempt(of, AttemptPatch::status(status)).await
    }

    pub(super) async fn patch_attempt(&self, of: &AttemptedRollout, patch: AttemptPatch) -> Attempt {
        let attempt = AttemptRef::from(&of.attempt.attempt_id);
        self.store
            .update_attempt(of.rollout_id.clone(), attempt, patch)
            .await
            .unwrap()
    }

    pub(super) async fn set_status(&self, id: &RolloutId, status: RolloutStatus) -> Rollout {
        self.patch(id, RolloutPatch::status(status)).await.unwrap()
    }

    pub(super) async fn patch(&self, id: &RolloutId, patch: RolloutPatch) -> Result<Rollout, StoreError> {
        self.store.update_rollout(id.clone(), patch).await
    }

    pub(super) async fn rollout(&self, id: &RolloutId) -> Rollout {
        self.store
            .get_rollout_by_id(id)
            .await
            .unwrap()
            .expect("the rollout should be known")
            .rollout
    }

    pub(super) async fn status(&self, id: &RolloutId) -> RolloutStatus {
        self.rollout(id).await.status
    }

    pub(super) async fn attempts(&self, id: &RolloutId) -> Vec<Attempt> {
        self.store
            .query_attempts(id, AttemptQuery::default())
            .await
            .unwrap()
            .items
    }

    pub(super) async fn attempt(&self, of: &AttemptedRollout) -> Attempt {
        let attempts = self.attempts(&of.rollout_id).await;
        let found = attempts
            .into_iter()
            .find(|attempt| attempt.attempt_id == of.attempt.attempt_id);
        found.expect("the attempt should be known")
    }

    pub(super) fn span(&self, of: &AttemptedRollout, number: u64) -> Span {
        span(&of.rollout_id, &of.attempt.attempt_id, number)
    }

    /// Stores a span of the attempt under that number.
    pub(super) async fn add_span(&self, of: &AttemptedRollout, number: u64) {
        let stored = self.store.add_span(self.span(of, number)).await.unwrap();
        assert!(stored, "span {number} should be new");
    }

    pub(super) async fn spans(&self, id: &RolloutId) -> Vec<Span> {
        self.store
            .query_spans(SpanQuery::of(id.clone()))
            .await
            .unwrap()
            .items
    }

    pub(super) async fn next_sequence_id(&self, id: &str) -> u64 {
        self.store
            .get_next_span_sequence_id(id.into(), "any".into())
            .await
            .unwrap()
    }

    pub(super) async fn worker(&self, id: &str) -> Worker {
        self.store
            .get_worker_by_id(&id.into())
            .await
            .unwrap()
            .expect("the worker should be known")
    }
}

/// A span whose span id and sequence id are the number.
pub(super) fn span(rollout_id: &RolloutId, attempt_id: &AttemptId, number: u64) -> Span {
    Span::new(
        rollout_id.clone(),
        attempt_id.clone(),
        number,
        "0123456789abcdef0123456789abcdef",
        format!("{number:016x}"),
        format!("span {number}"),
    )
}

/// Retries after these statuses, up to `max_attempts`.
pub(super) fn retrying(max_attempts: u32, after: &[AttemptStatus]) -> RolloutConfig {
    RolloutConfig {
        max_attempts,
        retry_condition: after.to_vec(),
        ..RolloutConfig::default()
    }
}

pub(super) fn timeout(seconds: f64) -> RolloutConfig {
    RolloutConfig {
        timeout_seconds: Some(seconds),
        ..RolloutConfig::default()
    }
}

pub(super) fn unresponsive(seconds: f64) -> RolloutConfig {
    RolloutConfig {
        unresponsive_seconds: Some(seconds),
        ..RolloutConfig::default()
    }
}
