//! A store that fails on demand and tells what it was asked.

use std::{collections::VecDeque, sync::Mutex, time::Duration};

use lightning_core::{
    store::{
        Answer, Capabilities, Command, EndOfAttempt, MemoryStore, Request, RequestKey, SpanOutcome,
        Statistics, Store, StoreError, StoreFuture,
    },
    types::{
        Attempt, AttemptId, AttemptQuery, AttemptedRollout, Page, ResourcesId, ResourcesQuery,
        ResourcesUpdate, Rollout, RolloutId, RolloutQuery, RolloutSnapshot, Span, SpanQuery, Worker,
        WorkerId, WorkerQuery,
    },
};
use tokio::sync::Notify;

/// What happens to one command.
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// It is not carried out.
    Refuse(StoreError),
    /// It is carried out, but the answer is lost.
    LoseAnswer,
    /// It is carried out, but there is never an answer.
    Hang,
    /// The spans of that name are refused.
    RefuseSpans(&'static str),
}

pub(crate) fn unavailable() -> StoreError {
    StoreError::Unavailable {
        reason: "the network is down".to_owned(),
        source: None,
    }
}

/// A memory store behind faults.
#[derive(Default)]
pub(crate) struct FaultyStore {
    pub(crate) inner: MemoryStore,
    /// What happens to the commands that come next; nothing, once it is empty.
    pub(crate) faults: Mutex<VecDeque<Fault>>,
    /// The commands that came.
    pub(crate) commands: Mutex<Vec<String>>,
    /// Rings after each command that stored spans.
    pub(crate) added: Notify,
}

impl FaultyStore {
    pub(crate) fn with_faults(faults: impl IntoIterator<Item = Fault>) -> Self {
        let store = Self::default();
        store.faults.lock().unwrap().extend(faults);
        store
    }

    /// The commands that came since the last call.
    pub(crate) fn commands(&self) -> Vec<String> {
        std::mem::take(&mut *self.commands.lock().unwrap())
    }

    pub(crate) fn fault(&self, fault: Fault) {
        self.faults.lock().unwrap().push_back(fault);
    }
}

impl Store for FaultyStore {
    fn execute(&self, request: Request) -> StoreFuture<'_, Answer> {
        Box::pin(async move {
            let is_spans = matches!(request.command, Command::AddSpans { .. });
            let name = match &request.command {
                Command::AddSpans { spans } => format!("add {}", spans.len()),
                Command::NextSequenceIds { targets } => format!("draw {}", targets.len()),
                _ => return self.inner.execute(request).await,
            };
            self.commands.lock().unwrap().push(name);
            // A store answers later, and other things happen meanwhile.
            tokio::task::yield_now().await;
            let fault = self.faults.lock().unwrap().pop_front().unwrap_or(Fault::None);
            let answer = match fault {
                Fault::Refuse(error) => return Err(error),
                Fault::None => self.inner.execute(request).await,
                Fault::LoseAnswer => {
                    self.inner.execute(request).await?;
                    Err(unavailable())
                }
                Fault::Hang => {
                    self.inner.execute(request).await?;
                    self.added.notify_one();
                    std::future::pending().await
                }
                Fault::RefuseSpans(name) => self.without_spans(request, name).await,
            };
            if is_spans {
                self.added.notify_one();
            }
            answer
        })
    }

    fn dequeue_or_wait(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        self.inner.dequeue_or_wait(limit, worker_id, wait)
    }

    fn dequeue_or_wait_once(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        self.inner.dequeue_or_wait_once(limit, worker_id, wait, key)
    }

    fn drain_workers(&self, workers: Option<Vec<WorkerId>>) -> StoreFuture<'_, usize> {
        self.inner.drain_workers(workers)
    }

    fn wait_for_rollouts<'a>(
        &'a self,
        rollout_ids: &'a [RolloutId],
        timeout: Option<Duration>,
    ) -> StoreFuture<'a, Vec<Rollout>> {
        self.inner.wait_for_rollouts(rollout_ids, timeout)
    }

    fn wait_for_attempt_end<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        attempt_id: &'a AttemptId,
    ) -> StoreFuture<'a, EndOfAttempt> {
        self.inner.wait_for_attempt_end(rollout_id, attempt_id)
    }

    fn query_rollouts(&self, query: RolloutQuery) -> StoreFuture<'_, Page<RolloutSnapshot>> {
        self.inner.query_rollouts(query)
    }

    fn get_rollout_by_id<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
    ) -> StoreFuture<'a, Option<RolloutSnapshot>> {
        self.inner.get_rollout_by_id(rollout_id)
    }

    fn query_attempts<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        query: AttemptQuery,
    ) -> StoreFuture<'a, Page<Attempt>> {
        self.inner.query_attempts(rollout_id, query)
    }

    fn get_latest_attempt<'a>(&'a self, rollout_id: &'a RolloutId) -> StoreFuture<'a, Option<Attempt>> {
        self.inner.get_latest_attempt(rollout_id)
    }

    fn query_spans(&self, query: SpanQuery) -> StoreFuture<'_, Page<Span>> {
        self.inner.query_spans(query)
    }

    fn query_resources(&self, query: ResourcesQuery) -> StoreFuture<'_, Page<ResourcesUpdate>> {
        self.inner.query_resources(query)
    }

    fn get_resources_by_id<'a>(
        &'a self,
        resources_id: &'a ResourcesId,
        version: Option<u64>,
    ) -> StoreFuture<'a, Option<ResourcesUpdate>> {
        self.inner.get_resources_by_id(resources_id, version)
    }

    fn get_latest_resources(&self) -> StoreFuture<'_, Option<ResourcesUpdate>> {
        self.inner.get_latest_resources()
    }

    fn query_workers(&self, query: WorkerQuery) -> StoreFuture<'_, Page<Worker>> {
        self.inner.query_workers(query)
    }

    fn get_worker_by_id<'a>(&'a self, worker_id: &'a WorkerId) -> StoreFuture<'a, Option<Worker>> {
        self.inner.get_worker_by_id(worker_id)
    }

    fn statistics(&self) -> StoreFuture<'_, Statistics> {
        self.inner.statistics()
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }
}

impl FaultyStore {
    async fn without_spans(&self, mut request: Request, name: &str) -> Result<Answer, StoreError> {
        let Command::AddSpans { spans } = &mut request.command else {
            return self.inner.execute(request).await;
        };
        let refused: Vec<bool> = spans.iter().map(|span| super::title(span) == name).collect();
        spans.retain(|span| super::title(span) != name);
        let Answer::Spans(outcomes) = self.inner.execute(request).await? else {
            unreachable!("spans are answered with spans");
        };
        let mut outcomes = outcomes.into_iter();
        let outcomes = refused.into_iter().map(|refused| match refused {
            true => SpanOutcome::Rejected(StoreError::invalid("name", "not that one")),
            false => outcomes.next().unwrap(),
        });
        Ok(Answer::Spans(outcomes.collect()))
    }
}
