//! The store in memory: one process, nothing on disk.
//!
//! One lock guards all records; no operation holds it across an await, and each takes time at most logarithmic in the
//! number of rollouts (queries: linear in what their filters leave). Time limits that have passed are applied before
//! every operation, and by a task of the store's own when there is no traffic.

mod keys;
mod query;
mod queue;
mod resources;
mod size;
mod state;

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle};

use self::state::State;
use super::{
    Answer, Capabilities, EndOfAttempt, Request, RequestKey, RolloutCount, Statistics, Store, StoreError,
    StoreFuture, claim::Claim, watch::Countdown,
};
use crate::{
    clock::{Clock, SystemClock},
    ids::{IdSource, RandomIds},
    types::{
        Attempt, AttemptId, AttemptQuery, AttemptedRollout, JsonObject, Page, ResourcesId, ResourcesQuery,
        ResourcesUpdate, Rollout, RolloutId, RolloutQuery, RolloutSnapshot, Span, SpanQuery, Timestamp,
        Worker, WorkerId, WorkerQuery,
    },
};

/// A [`Store`] in memory. Everything is gone when the last handle is dropped.
///
/// A clone is another handle on the same store. It may be used from several threads and runtimes; time limits fire
/// without traffic as long as the Tokio runtime lives in which the last of them was set.
///
/// ```
/// use lightning_core::{store::{MemoryStore, Store}, types::NewRollout};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lightning_core::store::StoreError> {
/// let store = MemoryStore::new();
/// let enqueued = store.enqueue_rollout(NewRollout::new(serde_json::json!({"question": "2 + 2?"}))).await?;
/// let claimed = store.dequeue_rollout(Some("worker-1".into())).await?;
/// assert_eq!(claimed.map(|claimed| claimed.rollout.rollout_id), Some(enqueued.rollout_id));
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    opened: Timestamp,
    /// Rings when a time limit was set that is earlier than all others.
    rescheduled: Arc<Notify>,
    reaper: Mutex<Option<AbortHandle>>,
    /// Whether the task that applies time limits lives.
    reaping: Arc<AtomicBool>,
}

/// Builds a [`MemoryStore`] with other sources of time and ids.
#[derive(Clone, Debug)]
pub struct MemoryStoreBuilder {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl MemoryStoreBuilder {
    /// Where time comes from; the machine's if not set.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Where ids come from; random if not set.
    #[must_use]
    pub fn ids(mut self, ids: impl IdSource) -> Self {
        self.ids = Arc::new(ids);
        self
    }

    /// The empty store.
    pub fn build(self) -> MemoryStore {
        MemoryStore {
            shared: Arc::new(Shared {
                opened: self.clock.now(),
                state: Mutex::new(State::new(self.ids)),
                clock: self.clock,
                rescheduled: Arc::new(Notify::new()),
                reaper: Mutex::new(None),
                reaping: Arc::new(AtomicBool::new(false)),
            }),
        }
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Builds a store with other sources of time and ids.
    pub fn builder() -> MemoryStoreBuilder {
        MemoryStoreBuilder {
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(RandomIds),
        }
    }

    /// Does something with the state as of now, then sees to it that the next time limit fires by itself.
    fn with_state<T>(&self, act: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        let mut state = self.shared.lock();
        let now = self.shared.clock.now();
        let before = state.next_deadline();
        state.expire(now);
        let result = act(&mut state, now);
        let after = state.next_deadline();
        drop(state);
        let earlier = after.is_some() && (before.is_none() || after < before);
        if earlier || (after.is_some() && !self.shared.reaping.load(Ordering::Acquire)) {
            self.keep_deadlines();
        }
        result
    }

    fn read<'a, T: Send + 'a>(
        &'a self,
        read: impl FnOnce(&State) -> Result<T, StoreError> + Send + 'a,
    ) -> StoreFuture<'a, T> {
        Box::pin(async move { self.with_state(|state, _| read(state)) })
    }

    /// Claims rollouts, or waits for some to come.
    async fn claim(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
        key: Option<RequestKey>,
    ) -> Result<Vec<AttemptedRollout>, StoreError> {
        let claim = Claim {
            limit,
            worker_id,
            key,
        };
        let parked = self.with_state(|state, now| {
            if let Some(claimed) = state.claimed_before(&claim, now)? {
                return Ok(Err(claimed));
            }
            if state.queue.is_draining(claim.worker_id.as_ref(), None) {
                return Err(StoreError::Draining);
            }
            if limit == 0 || wait.is_zero() || !state.queue.has_line() {
                let claimed = state.claim(&claim, now)?;
                if limit == 0 || wait.is_zero() || !claimed.is_empty() {
                    return Ok(Err(claimed));
                }
            } else {
                state.came_for_work(&claim, now);
            }
            let (ticket, bell) = state.queue.park(claim.worker_id.clone());
            Ok::<_, StoreError>(Ok((now + wait, ticket, bell)))
        })?;
        let (deadline, ticket, bell) = match parked {
            Ok(parked) => parked,
            Err(claimed) => return Ok(claimed),
        };
        let _leave = Leave {
            shared: &self.shared,
            leave: |state| state.queue.leave(ticket),
        };
        let give_up = self.shared.clock.sleep_past(deadline);
        tokio::pin!(give_up);
        loop {
            tokio::select! {
                biased;
                () = bell.notified() => {
                    let claimed = self.with_state(|state, now| {
                        // Another call under the same key may have been served meanwhile.
                        if let Some(claimed) = state.claimed_before(&claim, now)? {
                            return Ok(claimed);
                        }
                        if state.queue.is_draining(None, Some(ticket)) {
                            return Err(StoreError::Draining);
                        }
                        let claimed = state.claim(&claim, now)?;
                        if claimed.is_empty() {
                            state.queue.park_again(ticket);
                        }
                        Ok::<_, StoreError>(claimed)
                    })?;
                    if !claimed.is_empty() {
                        return Ok(claimed);
                    }
                }
                () = &mut give_up => return Ok(Vec::new()),
            }
        }
    }

    /// Tells the task that applies time limits of an earlier one, and starts it if it is not running. Outside a Tokio
    /// runtime there is no task; time limits are applied by the next operation then.
    fn keep_deadlines(&self) {
        self.shared.rescheduled.notify_one();
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let mut reaper = self.shared.reaper.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.shared.reaping.swap(true, Ordering::AcqRel) {
            let reaping = Reaping(self.shared.reaping.clone());
            let deadlines = apply_deadlines(
                Arc::downgrade(&self.shared),
                self.shared.clock.clone(),
                self.shared.rescheduled.clone(),
            );
            let task = runtime.spawn(async move {
                let _reaping = reaping;
                deadlines.await;
            });
            *reaper = Some(task.abort_handle());
        }
    }
}

/// Says that the task that applies time limits has ended, also when its runtime is gone.
struct Reaping(Arc<AtomicBool>);

impl Drop for Reaping {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore").finish_non_exhaustive()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let reaper = self.reaper.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = reaper.take() {
            task.abort();
        }
    }
}

/// Applies time limits as they pass, as long as the store lives.
async fn apply_deadlines(shared: Weak<Shared>, clock: Arc<dyn Clock>, rescheduled: Arc<Notify>) {
    loop {
        let next = match shared.upgrade() {
            None => return,
            Some(shared) => {
                let mut state = shared.lock();
                state.expire(clock.now());
                state.next_deadline()
            }
        };
        match next {
            None => rescheduled.notified().await,
            Some(deadline) => {
                tokio::select! {
                    () = clock.sleep_past(deadline) => {}
                    () = rescheduled.notified() => {}
                }
            }
        }
    }
}

/// Removes a caller from wherever it waits when its future ends or is dropped.
struct Leave<'a, F: FnMut(&mut State)> {
    shared: &'a Shared,
    leave: F,
}

impl<F: FnMut(&mut State)> Drop for Leave<'_, F> {
    fn drop(&mut self) {
        (self.leave)(&mut self.shared.lock());
    }
}

impl Store for MemoryStore {
    fn execute(&self, request: Request) -> StoreFuture<'_, Answer> {
        Box::pin(async move { self.with_state(|state, now| state.execute(request, now)) })
    }

    fn dequeue_or_wait(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        Box::pin(self.claim(limit, worker_id, wait, None))
    }

    fn dequeue_or_wait_once(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Duration,
        key: RequestKey,
    ) -> StoreFuture<'_, Vec<AttemptedRollout>> {
        Box::pin(self.claim(limit, worker_id, wait, Some(key)))
    }

    fn drain_workers(&self, workers: Option<Vec<WorkerId>>) -> StoreFuture<'_, usize> {
        Box::pin(async move { Ok(self.with_state(|state, _| state.drain_workers(workers))) })
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
                let watched = self.with_state(|state, _| {
                    let mut pending: HashMap<&RolloutId, usize> = HashMap::new();
                    for id in rollout_ids {
                        if let Some(&place) = state.places.get(id)
                            && !state.entries[place].rollout.status.is_terminal()
                        {
                            pending.insert(id, place);
                        }
                    }
                    if give_up || pending.is_empty() {
                        return Err(state.ended(rollout_ids));
                    }
                    let ticket = state.begin_watch();
                    let countdown = Arc::new(Countdown::new(pending.len()));
                    let places: Vec<usize> = pending.into_values().collect();
                    for &place in &places {
                        state.entries[place].watchers.watch_end(ticket, countdown.clone());
                    }
                    Ok((ticket, countdown, places))
                });
                let (ticket, countdown, places) = match watched {
                    Ok(watched) => watched,
                    Err(ended) => return Ok(ended),
                };
                let leave = |state: &mut State| state.end_watch(ticket, &places);
                let _leave = Leave {
                    shared: &self.shared,
                    leave,
                };
                match deadline {
                    None => countdown.finished().await,
                    Some(deadline) => {
                        tokio::select! {
                            biased;
                            () = countdown.finished() => {}
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
            let bell = Arc::new(Notify::new());
            let watched = self.with_state(|state, _| {
                if let Some(end) = state.end_of_attempt(rollout_id, attempt_id)? {
                    return Ok(Err(end));
                }
                let place = state.place(rollout_id)?;
                let ticket = state.begin_watch();
                state.entries[place].watchers.watch_changes(ticket, bell.clone());
                Ok::<_, StoreError>(Ok((ticket, place)))
            })?;
            let (ticket, place) = match watched {
                Ok(watched) => watched,
                Err(end) => return Ok(end),
            };
            let leave = |state: &mut State| state.end_watch(ticket, &[place]);
            let _leave = Leave {
                shared: &self.shared,
                leave,
            };
            loop {
                bell.notified().await;
                if let Some(end) = self.with_state(|state, _| state.end_of_attempt(rollout_id, attempt_id))? {
                    return Ok(end);
                }
            }
        })
    }

    fn query_rollouts(&self, query: RolloutQuery) -> StoreFuture<'_, Page<RolloutSnapshot>> {
        self.read(move |state| state.query_rollouts(&query))
    }

    fn get_rollout_by_id<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
    ) -> StoreFuture<'a, Option<RolloutSnapshot>> {
        self.read(|state| Ok(state.entry(rollout_id).map(|entry| entry.snapshot())))
    }

    fn query_attempts<'a>(
        &'a self,
        rollout_id: &'a RolloutId,
        query: AttemptQuery,
    ) -> StoreFuture<'a, Page<Attempt>> {
        self.read(move |state| state.query_attempts(rollout_id, &query))
    }

    fn get_latest_attempt<'a>(&'a self, rollout_id: &'a RolloutId) -> StoreFuture<'a, Option<Attempt>> {
        self.read(|state| {
            Ok(state
                .entry(rollout_id)
                .and_then(|entry| entry.attempts.last().cloned()))
        })
    }

    fn query_spans(&self, query: SpanQuery) -> StoreFuture<'_, Page<Span>> {
        Box::pin(async move {
            let page = self.with_state(|state, _| state.query_spans(&query))?;
            let items = page.items.into_iter().map(Arc::unwrap_or_clone).collect();
            Ok(Page {
                items,
                limit: page.limit,
                offset: page.offset,
                total: page.total,
            })
        })
    }

    fn query_resources(&self, query: ResourcesQuery) -> StoreFuture<'_, Page<ResourcesUpdate>> {
        self.read(move |state| state.query_resources(&query))
    }

    fn get_resources_by_id<'a>(
        &'a self,
        resources_id: &'a ResourcesId,
        version: Option<u64>,
    ) -> StoreFuture<'a, Option<ResourcesUpdate>> {
        self.read(move |state| Ok(state.resources.get(resources_id, version).cloned()))
    }

    fn get_latest_resources(&self) -> StoreFuture<'_, Option<ResourcesUpdate>> {
        self.read(|state| Ok(state.resources.latest().cloned()))
    }

    fn query_workers(&self, query: WorkerQuery) -> StoreFuture<'_, Page<Worker>> {
        self.read(move |state| state.query_workers(&query))
    }

    fn get_worker_by_id<'a>(&'a self, worker_id: &'a WorkerId) -> StoreFuture<'a, Option<Worker>> {
        self.read(|state| {
            Ok(state
                .worker_places
                .get(worker_id)
                .map(|&place| state.workers[place].clone()))
        })
    }

    fn statistics(&self) -> StoreFuture<'_, Statistics> {
        Box::pin(async move {
            Ok(self.with_state(|state, now| Statistics {
                name: "MemoryStore".to_owned(),
                total_rollouts: (state.entries.len() - state.purged) as u64,
                total_attempts: state.total_attempts,
                total_spans: state.total_spans,
                total_resources: state.resources.len() as u64,
                total_workers: state.workers.len() as u64,
                uptime: now.saturating_since(self.shared.opened).as_secs_f64(),
                total_span_bytes: Some(state.span_bytes),
                rollouts: RolloutCount::all(|status, mode| state.counts.get(status, mode)),
                extra: JsonObject::from_iter([
                    ("queue_length".to_owned(), state.queue.len().into()),
                    ("waiters".to_owned(), state.waiters().into()),
                ]),
            }))
        })
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            thread_safe: true,
            async_safe: true,
            zero_copy: true,
            otlp_traces: false,
            durable: false,
            parks: true,
        }
    }
}
