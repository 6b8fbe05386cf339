//! The contract, verb by verb.

use std::time::Duration;

use super::{build::StoreClient, call::Call, waits::Claimants};
use crate::{
    store::{
        Answer, Capabilities, EndOfAttempt, Request, RequestKey, Statistics, Store, StoreFuture,
        claim_one_by_one,
    },
    types::{
        Attempt, AttemptId, AttemptQuery, AttemptedRollout, Page, ResourcesId, ResourcesQuery,
        ResourcesUpdate, Rollout, RolloutId, RolloutQuery, RolloutSnapshot, Span, SpanQuery, Worker,
        WorkerId, WorkerQuery,
    },
    wire::{AttemptSearch, ResourcesSearch, RolloutSearch, SpanSearch, VersionQuery, WorkerSearch},
};

impl Store for StoreClient {
    fn execute(&self, request: Request) -> StoreFuture<'_, Answer> {
        Box::pin(self.inner.execute(request))
    }

    fn dequeue_or_wait(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        Box::pin(async move {
            let key = self.inner.fresh_key();
            self.inner
                .claim(&Claimants::One(limit, worker_id), wait, &key)
                .await
        })
    }

    fn dequeue_or_wait_once(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        Box::pin(async move {
            let claimants = Claimants::One(limit, worker_id);
            self.inner.claim(&claimants, wait, key.as_str()).await
        })
    }

    fn dequeue_for_workers(
        &self,
        workers: Vec<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        Box::pin(async move {
            if self.inner.features().await?.knows_fleets() {
                let claimants = Claimants::Several(workers);
                return self.inner.claim(&claimants, wait, key.as_str()).await;
            }
            claim_one_by_one(self, workers, wait, key).await
        })
    }

    fn drain_workers(&self, workers: Option<Vec<WorkerId>>) -> StoreFuture<'_, usize> {
        Box::pin(self.inner.drain_workers(workers))
    }

    fn wait_for_rollouts<'a>(
        &'a self,
        rollout_ids: &'a [RolloutId],
        timeout: Option<Duration>,
    ) -> StoreFuture<'a, Vec<Rollout>> {
        Box::pin(self.inner.wait_for_rollouts(rollout_ids, timeout))
    }

    fn wait_for_attempt_end<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        attempt_id: &'a AttemptId,
    ) -> StoreFuture<'a, EndOfAttempt> {
        Box::pin(self.inner.wait_for_attempt_end(rollout_id, attempt_id))
    }

    fn query_rollouts(&self, query: RolloutQuery) -> StoreFuture<'_, Page<RolloutSnapshot>> {
        Box::pin(async move {
            self.inner
                .search(&["rollouts", "search"], &RolloutSearch::from(query))
                .await
        })
    }

    fn get_rollout_by_id<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
    ) -> StoreFuture<'a, Option<RolloutSnapshot>> {
        Box::pin(async move {
            // Python's server fails when it is asked for one that is not there, so it is asked for a list.
            if self.inner.features().await?.batches() {
                return self
                    .inner
                    .call(Call::get(&self.inner, &["rollouts", rollout_id.as_str()])?)
                    .await;
            }
            let query = RolloutQuery {
                rollout_id_in: Some(vec![rollout_id.clone()]),
                ..RolloutQuery::default()
            };
            Ok(self.query_rollouts(query).await?.items.pop())
        })
    }

    fn query_attempts<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        query: AttemptQuery,
    ) -> StoreFuture<'a, Page<Attempt>> {
        Box::pin(async move {
            let path = ["rollouts", rollout_id.as_str(), "attempts", "search"];
            self.inner.search(&path, &AttemptSearch::from(query)).await
        })
    }

    fn get_latest_attempt<'a>(&'a self, rollout_id: &'a RolloutId) -> StoreFuture<'a, Option<Attempt>> {
        Box::pin(async move {
            let path = ["rollouts", rollout_id.as_str(), "attempts", "latest"];
            self.inner.call(Call::get(&self.inner, &path)?).await
        })
    }

    fn query_spans(&self, query: SpanQuery) -> StoreFuture<'_, Page<Span>> {
        Box::pin(async move {
            self.inner
                .search(&["spans", "search"], &SpanSearch::from(query))
                .await
        })
    }

    fn query_resources(&self, query: ResourcesQuery) -> StoreFuture<'_, Page<ResourcesUpdate>> {
        Box::pin(async move {
            let call = Call::get(&self.inner, &["resources"])?;
            self.inner.call(call.query(&ResourcesSearch::from(query))?).await
        })
    }

    fn get_resources_by_id<'a>(
        &'a self,
        resources_id: &'a ResourcesId,
        version: Option<u64>,
    ) -> StoreFuture<'a, Option<ResourcesUpdate>> {
        Box::pin(async move {
            let call = Call::get(&self.inner, &["resources", resources_id.as_str()])?;
            let call = call.query(&VersionQuery { version })?;
            let found: Option<ResourcesUpdate> = self.inner.call(call).await?;
            // A server that does not know of versions gives the latest.
            Ok(found.filter(|found| version.is_none_or(|version| found.version == version)))
        })
    }

    fn get_latest_resources(&self) -> StoreFuture<'_, Option<ResourcesUpdate>> {
        Box::pin(async move {
            self.inner
                .call(Call::get(&self.inner, &["resources", "latest"])?)
                .await
        })
    }

    fn query_workers(&self, query: WorkerQuery) -> StoreFuture<'_, Page<Worker>> {
        Box::pin(async move {
            self.inner
                .search(&["workers", "search"], &WorkerSearch::from(query))
                .await
        })
    }

    fn get_worker_by_id<'a>(&'a self, worker_id: &'a WorkerId) -> StoreFuture<'a, Option<Worker>> {
        Box::pin(async move {
            self.inner
                .call(Call::get(&self.inner, &["workers", worker_id.as_str()])?)
                .await
        })
    }

    fn statistics(&self) -> StoreFuture<'_, Statistics> {
        Box::pin(async move { self.inner.call(Call::get(&self.inner, &["statistics"])?).await })
    }

    /// What is known of the server so far; after [`connect`](StoreClient::connect) that is all there is to know.
    fn capabilities(&self) -> Capabilities {
        let features = self.inner.features.get().unwrap_or_default();
        Capabilities {
            thread_safe: true,
            async_safe: true,
            zero_copy: false,
            otlp_traces: true,
            durable: features.is_durable(),
            parks: features.waits(),
        }
    }
}
