//! The [`Store`] trait and the records that only it speaks of.

use std::{future::Future, pin::Pin, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Answer, AttemptRef, Command, ImportOutcome, PurgeTarget, Purged, Record, Request, RequestKey,
    SpanOutcome, StoreError,
};
use crate::types::{
    Attempt, AttemptId, AttemptPatch, AttemptQuery, AttemptStatus, AttemptedRollout, JsonObject,
    NamedResources, NewRollout, Page, ResourcesId, ResourcesQuery, ResourcesUpdate, Rollout, RolloutId,
    RolloutMode, RolloutPatch, RolloutQuery, RolloutSnapshot, RolloutStatus, Span, SpanQuery, Worker,
    WorkerId, WorkerQuery,
};

/// What a verb of a store returns.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What a store is able to do, under the names of `agentlightning==0.3.0` and two of our own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capabilities {
    /// It may be used from several threads.
    pub thread_safe: bool,
    /// It may be used from several tasks at once.
    pub async_safe: bool,
    /// All users of this handle share one copy of the data in memory.
    pub zero_copy: bool,
    /// It takes OTLP/HTTP traces.
    pub otlp_traces: bool,
    /// What it acknowledged survives the end of the process.
    pub durable: bool,
    /// Waits park until they are woken; otherwise they poll.
    pub parks: bool,
}

/// Figures on a store, under the names of `agentlightning==0.3.0`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Statistics {
    /// The kind of store.
    pub name: String,
    /// How many rollouts there are.
    pub total_rollouts: u64,
    /// How many attempts there are.
    pub total_attempts: u64,
    /// How many spans there are.
    pub total_spans: u64,
    /// How many sets of resources there are.
    pub total_resources: u64,
    /// How many workers there are.
    pub total_workers: u64,
    /// Seconds since the store was opened.
    pub uptime: f64,
    /// How much memory the spans take, roughly, in bytes; `None` where they are not kept in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total_span_bytes: Option<u64>,
    /// How many rollouts there are in each status and mode, without those of which there are none. Empty where nobody
    /// counts them, as on a server of Python's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rollouts: Vec<RolloutCount>,
    /// Figures of a particular backend.
    #[serde(flatten)]
    pub extra: JsonObject,
}

/// How many rollouts there are in one status and mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RolloutCount {
    /// The status.
    pub status: RolloutStatus,
    /// The mode; `None` for those that have none.
    pub mode: Option<RolloutMode>,
    /// How many.
    pub count: u64,
}

impl RolloutCount {
    /// Of each status and mode as many as `count` says, if there are any.
    pub(crate) fn all(count: impl Fn(RolloutStatus, Option<RolloutMode>) -> u64) -> Vec<Self> {
        let modes = [None].into_iter().chain(RolloutMode::ALL.map(Some));
        let each = RolloutStatus::ALL
            .into_iter()
            .flat_map(|status| modes.clone().map(move |mode| (status, mode)));
        each.map(|(status, mode)| Self {
            status,
            mode,
            count: count(status, mode),
        })
        .filter(|counted| counted.count > 0)
        .collect()
    }
}

/// Why work on an attempt has become pointless. See [`Store::wait_for_attempt_end`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndOfAttempt {
    /// Its rollout reached this terminal status.
    RolloutEnded(RolloutStatus),
    /// The attempt itself reached this terminal status, such as `timeout`.
    AttemptEnded(AttemptStatus),
    /// A newer attempt of the rollout exists.
    Superseded {
        /// The newer attempt.
        by: AttemptId,
    },
}

/// Executes a command and takes its answer out of the variant that the contract promises.
macro_rules! answer {
    ($store:ident, $command:ident { $($field:ident),* } => $variant:ident $(, $unbox:tt)?) => {
        Box::pin(async move {
            match $store.execute(Command::$command { $($field),* }.into()).await? {
                Answer::$variant(answer) => Ok($($unbox)? answer),
                other => Err(StoreError::Internal {
                    reason: format!("a store answered {} with {other:?}", stringify!($command)),
                    source: None,
                }),
            }
        })
    };
}

/// The one answer to a batch of one.
fn only<T>(mut answers: Vec<T>) -> Result<T, StoreError> {
    match (answers.pop(), answers.is_empty()) {
        (Some(answer), true) => Ok(answer),
        _ => Err(StoreError::Internal {
            reason: "a store did not give one answer to one".to_owned(),
            source: None,
        }),
    }
}

/// Claims for each of the workers by a call of its own: the first may wait, and where it finds something, there may be
/// something for the others.
pub(crate) async fn claim_one_by_one<S: Store + ?Sized>(
    store: &S,
    workers: Vec<WorkerId>,
    mut wait: Duration,
    key: RequestKey,
) -> Result<Vec<AttemptedRollout>, StoreError> {
    let mut claimed = Vec::new();
    for (index, worker_id) in workers.into_iter().enumerate() {
        let key = RequestKey::from(format!("{}/{index}", key.as_str()));
        match store.dequeue_or_wait_once(1, Some(worker_id), wait, key).await {
            Ok(found) if found.is_empty() => break,
            Ok(found) => claimed.extend(found),
            Err(error) if claimed.is_empty() => return Err(error),
            // What has been claimed has to be known.
            Err(_) => break,
        }
        wait = Duration::ZERO;
    }
    Ok(claimed)
}

/// Holds rollouts, their attempts and spans, versioned resources and workers. Object-safe; shared as `Arc<dyn Store>`.
///
/// # Contract
///
/// The states of rollouts and attempts, and what moves them, are described at [`lifecycle`](super::lifecycle). In
/// addition:
///
/// - **Commands are atomic** and take effect in some order that all callers agree on. A command that is refused changes
///   nothing. (The spans of one [`AddSpans`](Command::AddSpans) are each accepted or refused for themselves.)
/// - **The queue is first in, first out**, over all callers. A rollout is in it at most once; an entry whose rollout is
///   no longer queueing when its turn comes is skipped.
/// - **Request keys**: a command that carries a key used before, for an equal command, is not carried out again; its
///   first answer is given. Refused commands are not remembered. Keys are kept for 24 hours or the last million
///   commands, whichever is less.
/// - **Time limits** need no traffic: they fire within 50 ms of their moment.
/// - **Waiting** verbs park; they are woken by the command that ends the wait. They are cancel safe: dropping the future
///   leaves nothing behind. All other verbs, once polled, may or may not have taken effect when their future is dropped;
///   repeat them under a request key.
/// - **Workers are told to stop** by [`drain_workers`](Store::drain_workers): their waiting claims are refused.
/// - **Reads** of unknown ids answer `None` or nothing; writes answer [`StoreError::NotFound`].
/// - **Queries** page: `total` counts what matches before paging. A limit of zero is [`StoreError::Invalid`].
///
/// `conformance` tests all of it against any store.
pub trait Store: Send + Sync + 'static {
    /// Carries out one command. The verbs below are this with the right command.
    fn execute(&self, request: Request) -> StoreFuture<'_, Answer>;

    /// As [`Command::DequeueRollouts`]; but if the queue is empty, waits up to `wait` for something to come.
    ///
    /// Several waiters are served in the order in which they began to wait. Cancel safe while it waits; a rollout that
    /// was claimed as the future was dropped is not lost, but its attempt ends only by its time limits, unless the claim
    /// had a key under which it is looked for.
    fn dequeue_or_wait(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>>;

    /// As [`dequeue_or_wait`](Self::dequeue_or_wait), under a request key: repeated with the same key, `limit` and
    /// `worker_id`, it gives the rollouts that it gave before, and does not wait. That nothing came is not remembered.
    ///
    /// The key is the one of [`Command::DequeueRollouts`]: what was claimed here is given to that command too. So a
    /// caller behind a network loses no claim when a connection breaks while it waits.
    fn dequeue_or_wait_once(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>>;

    /// As [`dequeue_or_wait_once`](Self::dequeue_or_wait_once), for several workers at once: one rollout for each of
    /// them, in their order, for as many as there are. It waits until there is one.
    ///
    /// So the runners of a process wait with one call. The parts have keys of their own, made of `key`.
    fn dequeue_for_workers(
        &self,
        workers: Vec<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        Box::pin(claim_one_by_one(self, workers, wait, key))
    }

    /// Tells workers to stop: from now on, whenever one of them would wait for work, also if it is waiting already, it
    /// gets [`StoreError::Draining`] instead. `None` tells all that the store has heard of so far, and whoever is waiting
    /// without a name. Answers how many workers were told.
    ///
    /// What a worker has claimed is not affected, and [`dequeue_rollout`](Self::dequeue_rollout) and its like, which never
    /// wait, are not either. Workers that the store hears of later are served. It is no record: it is forgotten when the
    /// store is closed. Telling somebody twice is the same as once.
    fn drain_workers(&self, workers: Option<Vec<WorkerId>>) -> StoreFuture<'_, usize>;

    /// Those of the rollouts that are terminal, as soon as all of them are, or else when `timeout` is over.
    ///
    /// Unknown ids are passed over at once. `None` waits without end; zero only looks. The answer is in the order of
    /// `rollout_ids`; an id given twice is answered twice. Cancel safe.
    fn wait_for_rollouts<'a>(
        &'a self,
        rollout_ids: &'a [RolloutId],
        timeout: Option<Duration>,
    ) -> StoreFuture<'a, Vec<Rollout>>;

    /// Resolves when work on this attempt has become pointless, with the reason; immediately, if it already has.
    ///
    /// Errors with [`StoreError::NotFound`] if the rollout or the attempt is unknown. Cancel safe.
    fn wait_for_attempt_end<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        attempt_id: &'a AttemptId,
    ) -> StoreFuture<'a, EndOfAttempt>;

    /// A part of the rollouts that match, each with its latest attempt.
    fn query_rollouts(&self, query: RolloutQuery) -> StoreFuture<'_, Page<RolloutSnapshot>>;

    /// One rollout with its latest attempt.
    fn get_rollout_by_id<'a>(&'a self, rollout_id: &'a RolloutId)
    -> StoreFuture<'a, Option<RolloutSnapshot>>;

    /// A part of a rollout's attempts. An unknown rollout has none.
    fn query_attempts<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        query: AttemptQuery,
    ) -> StoreFuture<'a, Page<Attempt>>;

    /// The attempt of a rollout with the greatest sequence id.
    fn get_latest_attempt<'a>(&'a self, rollout_id: &'a RolloutId) -> StoreFuture<'a, Option<Attempt>>;

    /// A part of the spans that match. An unknown rollout or attempt has none.
    fn query_spans(&self, query: SpanQuery) -> StoreFuture<'_, Page<Span>>;

    /// A part of the sets of resources that match, each in its latest version.
    fn query_resources(&self, query: ResourcesQuery) -> StoreFuture<'_, Page<ResourcesUpdate>>;

    /// One set of resources, in the given version, or in its latest.
    fn get_resources_by_id<'a>(
        &'a self,
        resources_id: &'a ResourcesId,
        version: Option<u64>,
    ) -> StoreFuture<'a, Option<ResourcesUpdate>>;

    /// The resources with the greatest `update_time`; among equals, those that were stored last.
    fn get_latest_resources(&self) -> StoreFuture<'_, Option<ResourcesUpdate>>;

    /// A part of the workers that match.
    fn query_workers(&self, query: WorkerQuery) -> StoreFuture<'_, Page<Worker>>;

    /// One worker.
    fn get_worker_by_id<'a>(&'a self, worker_id: &'a WorkerId) -> StoreFuture<'a, Option<Worker>>;

    /// Figures on the store.
    fn statistics(&self) -> StoreFuture<'_, Statistics>;

    /// What the store is able to do.
    fn capabilities(&self) -> Capabilities;

    // ---- the mutating verbs

    /// Makes a rollout and puts it at the tail of the queue. `config` defaults to no limits and one attempt.
    fn enqueue_rollout(&self, rollout: NewRollout) -> StoreFuture<'_, Rollout> {
        Box::pin(async move { only(self.enqueue_many_rollouts(vec![rollout]).await?) })
    }

    /// Makes rollouts and puts them at the tail of the queue, in this order. All or none are made.
    fn enqueue_many_rollouts(&self, rollouts: Vec<NewRollout>) -> StoreFuture<'_, Vec<Rollout>> {
        answer!(self, EnqueueRollouts { rollouts } => Enqueued)
    }

    /// Takes the rollout at the head of the queue and makes an attempt for it; `None` if the queue is empty.
    fn dequeue_rollout(&self, worker_id: Option<WorkerId>) -> StoreFuture<'_, Option<AttemptedRollout>> {
        Box::pin(async move { Ok(self.dequeue_many_rollouts(1, worker_id).await?.pop()) })
    }

    /// Takes up to `limit` rollouts from the head of the queue. The worker counts as busy with the last of them.
    fn dequeue_many_rollouts(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        answer!(self, DequeueRollouts { limit, worker_id } => Dequeued)
    }

    /// Makes a rollout together with its first attempt; it never enters the queue.
    fn start_rollout(
        &self,
        rollout: NewRollout,
        worker_id: Option<WorkerId>,
    ) -> StoreFuture<'_, AttemptedRollout> {
        answer!(self, StartRollout { rollout, worker_id } => Started, *)
    }

    /// Makes a further attempt of a rollout, whatever its status and its `max_attempts`.
    fn start_attempt(
        &self,
        rollout_id: RolloutId,
        worker_id: Option<WorkerId>,
    ) -> StoreFuture<'_, AttemptedRollout> {
        answer!(self, StartAttempt { rollout_id, worker_id } => Started, *)
    }

    /// Stores a span. `false` if a span with the same rollout, attempt and span id is there already.
    fn add_span(&self, span: Span) -> StoreFuture<'_, bool> {
        Box::pin(async move {
            match only(self.add_many_spans(vec![span]).await?)? {
                SpanOutcome::Stored => Ok(true),
                SpanOutcome::Duplicate => Ok(false),
                SpanOutcome::Rejected(error) => Err(error),
            }
        })
    }

    /// Stores spans, each for itself; the outcomes are in the same order.
    fn add_many_spans(&self, spans: Vec<Span>) -> StoreFuture<'_, Vec<SpanOutcome>> {
        answer!(self, AddSpans { spans } => Spans)
    }

    /// Changes a rollout and answers with it.
    fn update_rollout(&self, rollout_id: RolloutId, patch: RolloutPatch) -> StoreFuture<'_, Rollout> {
        answer!(self, UpdateRollout { rollout_id, patch } => Rollout, *)
    }

    /// Changes an attempt and answers with it. A status moves the rollout too, if the attempt is its latest.
    fn update_attempt(
        &self,
        rollout_id: RolloutId,
        attempt: AttemptRef,
        patch: AttemptPatch,
    ) -> StoreFuture<'_, Attempt> {
        answer!(self, UpdateAttempt { rollout_id, attempt, patch } => Attempt, *)
    }

    /// Stores resources under a fresh id; they are the latest from then on.
    fn add_resources(&self, resources: NamedResources) -> StoreFuture<'_, ResourcesUpdate> {
        answer!(self, AddResources { resources } => Resources)
    }

    /// Stores the next version of resources, the first one if the id is new; they are the latest from then on.
    /// Earlier versions stay readable.
    fn update_resources(
        &self,
        resources_id: ResourcesId,
        resources: NamedResources,
    ) -> StoreFuture<'_, ResourcesUpdate> {
        answer!(self, UpdateResources { resources_id, resources } => Resources)
    }

    /// Draws the next sequence id of a rollout's spans. No id is given out twice. An unknown rollout starts at 1.
    fn get_next_span_sequence_id(
        &self,
        rollout_id: RolloutId,
        attempt_id: AttemptId,
    ) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            only(
                self.get_many_span_sequence_ids(vec![(rollout_id, attempt_id)])
                    .await?,
            )
        })
    }

    /// Draws a sequence id for each entry, in this order.
    fn get_many_span_sequence_ids(&self, targets: Vec<(RolloutId, AttemptId)>) -> StoreFuture<'_, Vec<u64>> {
        answer!(self, NextSequenceIds { targets } => SequenceIds)
    }

    /// Records a heartbeat of a worker, which is made if it is new.
    fn update_worker(
        &self,
        worker_id: WorkerId,
        heartbeat_stats: Option<JsonObject>,
    ) -> StoreFuture<'_, Worker> {
        answer!(self, UpdateWorker { worker_id, heartbeat_stats } => Worker, *)
    }

    /// Takes records in as another store kept them, each for itself and in this order, with their ids, statuses and times.
    /// Rollouts that wait enter the queue, time limits hold. What is known already, just as it is, is passed over.
    /// [`transfer`](super::transfer) does this for whole stores.
    fn import(&self, records: Vec<Record>) -> StoreFuture<'_, Vec<ImportOutcome>> {
        answer!(self, Import { records } => Imported)
    }

    /// Takes rollouts that have ended out for good, with their attempts and spans; and then those of the sets of resources,
    /// in all versions, that no rollout names and that are not the latest. What may not be taken out stays.
    fn purge(&self, rollouts: Vec<PurgeTarget>, resources: Vec<ResourcesId>) -> StoreFuture<'_, Purged> {
        answer!(self, Purge { rollouts, resources } => Purged)
    }
}
