//! A store seen through something that looks at every operation on its way.

use std::{fmt, sync::Arc, time::Duration};

use super::{
    Answer, Capabilities, EndOfAttempt, Request, RequestKey, Statistics, Store, StoreError, StoreFuture,
};
use crate::types::{
    Attempt, AttemptId, AttemptQuery, AttemptedRollout, Page, ResourcesId, ResourcesQuery, ResourcesUpdate,
    Rollout, RolloutId, RolloutQuery, RolloutSnapshot, Span, SpanQuery, Worker, WorkerId, WorkerQuery,
};

/// Looks at every operation on its way to a store.
pub trait StoreLayer: Send + Sync + 'static {
    /// May change a mutation on its way.
    fn request(&self, request: Request) -> Request {
        request
    }

    /// May refuse an operation before it reaches the store. `operation` is the method of [`Store`] that was called:
    /// `execute` for every mutation.
    ///
    /// # Errors
    ///
    /// Whatever the caller is to see instead of the store's answer.
    fn before(&self, operation: &'static str) -> Result<(), StoreError> {
        let _ = operation;
        Ok(())
    }

    /// May hide the answer of a mutation that has taken effect, as a broken connection does.
    ///
    /// # Errors
    ///
    /// Whatever the caller is to see instead of the store's answer.
    fn after(&self, answer: Answer) -> Result<Answer, StoreError> {
        Ok(answer)
    }

    /// Hears what was claimed, in whatever way, and what those workers got who would have waited for work.
    fn claimed(&self, workers: &[WorkerId], outcome: Result<&[AttemptedRollout], &StoreError>) {
        let _ = (workers, outcome);
    }

    /// Hears of rollouts that have ended, as somebody who waited for them does.
    fn ended(&self, rollouts: &[Rollout]) {
        let _ = rollouts;
    }
}

/// A store behind a [`StoreLayer`].
pub struct LayeredStore<L> {
    inner: Arc<dyn Store>,
    layer: L,
}

impl<L: StoreLayer> LayeredStore<L> {
    /// `inner`, seen through `layer`.
    pub fn new(inner: Arc<dyn Store>, layer: L) -> Self {
        Self { inner, layer }
    }
}

impl<L: StoreLayer> LayeredStore<L> {
    fn claim<'a>(
        &'a self,
        operation: &'static str,
        workers: Vec<WorkerId>,
        claim: impl FnOnce() -> StoreFuture<'a, Vec<AttemptedRollout>>,
    ) -> StoreFuture<'a, Vec<AttemptedRollout>> {
        if let Err(error) = self.layer.before(operation) {
            return Box::pin(std::future::ready(Err(error)));
        }
        let claim = claim();
        Box::pin(async move {
            let outcome = claim.await;
            self.layer.claimed(&workers, outcome.as_deref());
            outcome
        })
    }
}

impl<L> fmt::Debug for LayeredStore<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LayeredStore").finish_non_exhaustive()
    }
}

/// Passes reads and waits on, unless the layer refuses them.
macro_rules! pass_on {
    ($($(#[$cfg:meta])* fn $name:ident$(<$life:lifetime>)?(&$($self_life:lifetime)? self $(, $arg:ident: $ty:ty)*) -> StoreFuture<$out_life:lifetime, $answer:ty>;)*) => {$(
        fn $name$(<$life>)?(&$($self_life)? self $(, $arg: $ty)*) -> StoreFuture<$out_life, $answer> {
            match self.layer.before(stringify!($name)) {
                Ok(()) => self.inner.$name($($arg),*),
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        }
    )*};
}

impl<L: StoreLayer> Store for LayeredStore<L> {
    fn execute(&self, request: Request) -> StoreFuture<'_, Answer> {
        Box::pin(async move {
            self.layer.before("execute")?;
            let answer = self.inner.execute(self.layer.request(request)).await?;
            if let Answer::Dequeued(rollouts) = &answer {
                self.layer.claimed(&[], Ok(rollouts));
            }
            self.layer.after(answer)
        })
    }

    fn dequeue_or_wait(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        let workers = Vec::from_iter(worker_id.clone());
        let claim = || self.inner.dequeue_or_wait(limit, worker_id, wait);
        self.claim("dequeue_or_wait", workers, claim)
    }

    fn dequeue_or_wait_once(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        let workers = Vec::from_iter(worker_id.clone());
        let claim = || self.inner.dequeue_or_wait_once(limit, worker_id, wait, key);
        self.claim("dequeue_or_wait_once", workers, claim)
    }

    fn dequeue_for_workers(
        &self,
        workers: Vec<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        let claim = || self.inner.dequeue_for_workers(workers.clone(), wait, key);
        self.claim("dequeue_for_workers", workers.clone(), claim)
    }

    fn wait_for_rollouts<'a>(
        &'a self,
        rollout_ids: &'a [RolloutId],
        timeout: Option<Duration>,
    ) -> StoreFuture<'a, Vec<Rollout>> {
        Box::pin(async move {
            self.layer.before("wait_for_rollouts")?;
            let ended = self.inner.wait_for_rollouts(rollout_ids, timeout).await?;
            self.layer.ended(&ended);
            Ok(ended)
        })
    }

    pass_on! {
        fn drain_workers(&self, workers: Option<Vec<WorkerId>>) -> StoreFuture<'_, usize>;
        fn wait_for_attempt_end<'a>(&'a self, rollout_id: &'a RolloutId, attempt_id: &'a AttemptId)
            -> StoreFuture<'a, EndOfAttempt>;
        fn query_rollouts(&self, query: RolloutQuery) -> StoreFuture<'_, Page<RolloutSnapshot>>;
        fn get_rollout_by_id<'a>(&'a self, rollout_id: &'a RolloutId) -> StoreFuture<'a, Option<RolloutSnapshot>>;
        fn query_attempts<'a>(&'a self, rollout_id: &'a RolloutId, query: AttemptQuery)
            -> StoreFuture<'a, Page<Attempt>>;
        fn get_latest_attempt<'a>(&'a self, rollout_id: &'a RolloutId) -> StoreFuture<'a, Option<Attempt>>;
        fn query_spans(&self, query: SpanQuery) -> StoreFuture<'_, Page<Span>>;
        fn query_resources(&self, query: ResourcesQuery) -> StoreFuture<'_, Page<ResourcesUpdate>>;
        fn get_resources_by_id<'a>(&'a self, resources_id: &'a ResourcesId, version: Option<u64>)
            -> StoreFuture<'a, Option<ResourcesUpdate>>;
        fn get_latest_resources(&self) -> StoreFuture<'_, Option<ResourcesUpdate>>;
        fn query_workers(&self, query: WorkerQuery) -> StoreFuture<'_, Page<Worker>>;
        fn get_worker_by_id<'a>(&'a self, worker_id: &'a WorkerId) -> StoreFuture<'a, Option<Worker>>;
        fn statistics(&self) -> StoreFuture<'_, Statistics>;
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}
