//! The durable store: one process, one file, nothing acknowledged is lost.
//!
//! One thread writes. It takes everything that has come while it was busy and carries it out in one transaction, each
//! command in a savepoint of its own, so that a refused one does not hurt its neighbours; when the transaction is on the
//! disk, it answers them all. So nobody waits for a timer: a batch forms while the one before it is synced. Other threads
//! read, each on its own connection, and never wait for the one that writes, unless a time limit has passed that has to
//! be applied first.
//!
//! The file holds everything but those who wait. Opening it again goes on where it stopped: the queue is an index, so
//! are the time limits, and those that passed meanwhile fire at once.

mod check;
mod failure;
mod file;
mod keys;
mod open;
mod query;
mod reader;
mod records;
mod schema;
mod totals;
mod transfer;
mod waiting;
mod work;
mod writer;

use std::{collections::HashSet, fmt, path::Path, sync::Arc, thread::JoinHandle, time::Duration};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

pub use self::{check::check, open::SqliteStoreBuilder};
use self::{
    failure::Failure,
    reader::Readers,
    totals::{Total, Totals},
    waiting::Waiting,
    writer::{Alarm, Claimed, Coming, Operation},
};
use super::{
    Answer, Capabilities, EndOfAttempt, Request, RequestKey, RolloutCount, Statistics, Store, StoreError,
    StoreFuture, claim::Claim, lifecycle,
};
use crate::{
    clock::Clock,
    types::{
        Attempt, AttemptId, AttemptQuery, AttemptedRollout, JsonObject, Page, ResourcesId, ResourcesQuery,
        ResourcesUpdate, Rollout, RolloutId, RolloutQuery, RolloutSnapshot, Span, SpanQuery, Timestamp,
        Worker, WorkerId, WorkerQuery,
    },
};

/// A [`Store`] in one file. What it has acknowledged survives the end of the process and of the machine.
///
/// A clone is another handle on the same store; when the last one is dropped, the threads end and the file is closed,
/// for which that drop waits. One process at a time may have the file open; it has to lie on a disk of the same machine.
/// The file holds what was stored as it was stored, API keys of resources among it; it is made readable for its owner
/// only.
///
/// Errors: [`StoreError::Unavailable`] where the file cannot be written (full disk, file gone); what failed so has not
/// taken effect unless the message says that the file has vanished, and may be tried again when the condition has ended.
///
/// ```
/// use lightning_core::{store::{SqliteStore, Store}, types::NewRollout};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = std::env::temp_dir().join(format!("lightning-doc-{}", std::process::id()));
/// # std::fs::create_dir_all(&folder)?;
/// # let path = folder.join("run.db");
/// let store = SqliteStore::open(&path)?;
/// let enqueued = store.enqueue_rollout(NewRollout::new(serde_json::json!({"question": "2 + 2?"}))).await?;
/// drop(store);
///
/// let store = SqliteStore::open(&path)?;
/// let claimed = store.dequeue_rollout(Some("worker-1".into())).await?;
/// assert_eq!(claimed.map(|claimed| claimed.rollout.rollout_id), Some(enqueued.rollout_id));
/// # drop(store);
/// # std::fs::remove_dir_all(&folder)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct SqliteStore {
    shared: Arc<Shared>,
}

struct Shared {
    /// Dropped before the writer ends, so that the writer is the last who has the file open.
    readers: Option<Readers>,
    operations: Option<mpsc::UnboundedSender<Operation>>,
    writer: Option<JoinHandle<()>>,
    waiting: Arc<Waiting>,
    alarm: Arc<Alarm>,
    clock: Arc<dyn Clock>,
    opened: Timestamp,
    path: Box<Path>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.readers = None;
        self.operations = None;
        if let Some(writer) = self.writer.take() {
            // A thread that panicked has said so itself.
            let _ = writer.join();
        }
    }
}

impl SqliteStore {
    /// Opens the store in the file at `path`; makes it if there is none. Blocks while the file is looked through.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], if the file is in use (the message names by whom), cannot be opened or written;
    /// [`StoreError::Invalid`], if it belongs to another program or a newer version; [`StoreError::Internal`], if it is
    /// damaged.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        Self::builder(path).open()
    }

    /// Opens a store with other settings.
    pub fn builder(path: impl AsRef<Path>) -> SqliteStoreBuilder {
        SqliteStoreBuilder::new(path.as_ref())
    }

    /// The file, by its full name.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }

    /// Lets the file grow to so many bytes and no further; without limit if `None`. What would need more fails with
    /// [`StoreError::Unavailable`] and takes no effect. The write-ahead log beside the file is not counted.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`], if the file cannot be reached.
    pub async fn limit_size(&self, bytes: Option<u64>) -> Result<(), StoreError> {
        self.ask(|reply| Operation::LimitSize(bytes, reply)).await
    }

    /// Has the writer do something, and waits for its answer.
    async fn ask<T>(
        &self,
        operation: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Operation,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let operations = self.shared.operations.as_ref().ok_or_else(reader::ended)?;
        operations.send(operation(reply)).map_err(|_| reader::ended())?;
        answer.await.map_err(|_| reader::ended())?
    }

    async fn get<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, StoreError> {
        let passed = |at: Timestamp| lifecycle::is_past(at, self.shared.clock.now());
        if self.shared.alarm.get().is_some_and(passed) {
            // Where nothing can be written, reading goes on with what there is.
            let _ = self.ask(Operation::Expire).await;
        }
        let readers = self.shared.readers.as_ref().ok_or_else(reader::ended)?;
        let result = readers.read(read).await;
        result.map_err(|failure| failure.into_error(&self.shared.path))
    }

    fn read<'a, T: Send + 'static>(
        &'a self,
        read: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> StoreFuture<'a, T> {
        Box::pin(self.get(read))
    }

    /// Claims rollouts, or waits for some to come.
    async fn claim(&self, claim: Claim, wait: Duration) -> Result<Vec<AttemptedRollout>, StoreError> {
        let deadline = self.shared.clock.now() + wait;
        let coming = if wait.is_zero() {
            Coming::OnlyLooks
        } else {
            Coming::MayWait
        };
        let come = |coming| {
            let claim = claim.clone();
            self.ask(move |reply| Operation::Claim(claim, coming, reply))
        };
        let parked = match come(coming).await? {
            Claimed::Now(claimed) => return Ok(claimed),
            Claimed::Parked(parked) => parked,
            Claimed::StillParked => return Ok(Vec::new()),
        };
        let give_up = self.shared.clock.sleep_past(deadline);
        tokio::pin!(give_up);
        loop {
            tokio::select! {
                biased;
                () = parked.bell.notified() => {
                    if let Claimed::Now(claimed) = come(Coming::Called(parked.ticket)).await? {
                        return Ok(claimed);
                    }
                }
                () = &mut give_up => return Ok(Vec::new()),
            }
        }
    }
}

impl fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStore")
            .field("path", &self.shared.path)
            .finish_non_exhaustive()
    }
}

impl Store for SqliteStore {
    fn execute(&self, request: Request) -> StoreFuture<'_, Answer> {
        Box::pin(self.ask(|reply| Operation::Execute(request, reply)))
    }

    fn dequeue_or_wait(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        let claim = Claim {
            limit,
            worker_id,
            key: None,
        };
        Box::pin(self.claim(claim, wait))
    }

    fn dequeue_or_wait_once(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        let claim = Claim {
            limit,
            worker_id,
            key: Some(key),
        };
        Box::pin(self.claim(claim, wait))
    }

    /// Not the writer's business, since nothing is written; but whoever it has served before is known.
    fn drain_workers(&self, workers: Option<Vec<WorkerId>>) -> StoreFuture<'_, usize> {
        Box::pin(async move {
            let nameless = workers.is_none();
            let workers = match workers {
                Some(workers) => workers,
                None => self.get(records::worker_ids).await?,
            };
            self.shared.waiting.drain(&workers, nameless);
            Ok(workers.len())
        })
    }

    fn wait_for_rollouts<'a>(
        &'a self,
        rollout_ids: &'a [RolloutId],
        timeout: Option<Duration>,
    ) -> StoreFuture<'a, Vec<Rollout>> {
        Box::pin(async move {
            let deadline = timeout.map(|timeout| self.shared.clock.now() + timeout);
            let mut give_up = timeout.is_some_and(|timeout| timeout.is_zero());
            loop {
                // Whoever ends between the watch and the look is seen by one of them, or by both.
                let watch = (!give_up).then(|| self.shared.waiting.watch_ends(rollout_ids));
                let ids = rollout_ids.to_vec();
                let looked = self.get(move |connection| {
                    let pending = if give_up {
                        Vec::new()
                    } else {
                        query::pending(connection, &ids)?
                    };
                    if pending.is_empty() {
                        return Ok(Err(query::ended(connection, &ids)?));
                    }
                    Ok(Ok(pending.into_iter().collect::<HashSet<_>>()))
                });
                let pending = match looked.await? {
                    Ok(pending) => pending,
                    Err(ended) => return Ok(ended),
                };
                let Some(watch) = watch else { continue };
                watch.keep_only(&pending);
                match deadline {
                    None => watch.finished().await,
                    Some(deadline) => {
                        tokio::select! {
                            biased;
                            () = watch.finished() => {}
                            () = self.shared.clock.sleep_past(deadline) => give_up = true,
                        }
                    }
                }
            }
        })
    }

    fn wait_for_attempt_end<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        attempt_id: &'a AttemptId,
    ) -> StoreFuture<'a, EndOfAttempt> {
        Box::pin(async move {
            let watch = self.shared.waiting.watch_changes(rollout_id);
            loop {
                let (rollout_id, attempt_id) = (rollout_id.clone(), attempt_id.clone());
                let look =
                    self.get(move |connection| query::end_of_attempt(connection, &rollout_id, &attempt_id));
                if let Some(end) = look.await? {
                    return Ok(end);
                }
                watch.bell.notified().await;
            }
        })
    }

    fn query_rollouts(&self, query: RolloutQuery) -> StoreFuture<'_, Page<RolloutSnapshot>> {
        self.read(move |connection| query::rollouts(connection, &query))
    }

    fn get_rollout_by_id<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
    ) -> StoreFuture<'a, Option<RolloutSnapshot>> {
        let rollout_id = rollout_id.clone();
        self.read(move |connection| query::rollout(connection, &rollout_id))
    }

    fn query_attempts<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        query: AttemptQuery,
    ) -> StoreFuture<'a, Page<Attempt>> {
        let rollout_id = rollout_id.clone();
        self.read(move |connection| query::attempts(connection, &rollout_id, &query))
    }

    fn get_latest_attempt<'a>(&'a self, rollout_id: &'a RolloutId) -> StoreFuture<'a, Option<Attempt>> {
        let rollout_id = rollout_id.clone();
        self.read(move |connection| query::latest_attempt(connection, &rollout_id))
    }

    fn query_spans(&self, query: SpanQuery) -> StoreFuture<'_, Page<Span>> {
        self.read(move |connection| query::spans(connection, &query))
    }

    fn query_resources(&self, query: ResourcesQuery) -> StoreFuture<'_, Page<ResourcesUpdate>> {
        self.read(move |connection| query::resources(connection, &query))
    }

    fn get_resources_by_id<'a>(
        &'a self,
        resources_id: &'a ResourcesId,
        version: Option<u64>,
    ) -> StoreFuture<'a, Option<ResourcesUpdate>> {
        let resources_id = resources_id.clone();
        self.read(move |connection| query::resources_by_id(connection, &resources_id, version))
    }

    fn get_latest_resources(&self) -> StoreFuture<'_, Option<ResourcesUpdate>> {
        self.read(records::latest_resources)
    }

    fn query_workers(&self, query: WorkerQuery) -> StoreFuture<'_, Page<Worker>> {
        self.read(move |connection| query::workers(connection, &query))
    }

    fn get_worker_by_id<'a>(&'a self, worker_id: &'a WorkerId) -> StoreFuture<'a, Option<Worker>> {
        let worker_id = worker_id.clone();
        self.read(move |connection| records::worker(connection, worker_id.as_str()))
    }

    fn statistics(&self) -> StoreFuture<'_, Statistics> {
        Box::pin(async move {
            let totals = self.get(Totals::read).await?;
            let uptime = self.shared.clock.now().saturating_since(self.shared.opened);
            Ok(Statistics {
                name: "SqliteStore".to_owned(),
                total_rollouts: totals.rollouts(),
                total_attempts: totals.get(Total::Attempts),
                total_spans: totals.get(Total::Spans),
                total_resources: totals.get(Total::Resources),
                total_workers: totals.get(Total::Workers),
                uptime: uptime.as_secs_f64(),
                total_span_bytes: None,
                rollouts: RolloutCount::all(|status, mode| totals.get(Total::Rollouts(status, mode))),
                extra: JsonObject::from_iter([
                    ("queue_length".to_owned(), totals.get(Total::Queued).into()),
                    ("waiters".to_owned(), self.shared.waiting.waiters().into()),
                ]),
            })
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            thread_safe: true,
            async_safe: true,
            zero_copy: false,
            otlp_traces: false,
            durable: true,
            parks: true,
        }
    }
}
