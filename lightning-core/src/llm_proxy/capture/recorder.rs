//! The queue between the calls and the store.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, Notify},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Exchange, writer::Writer};
use crate::{
    clock::Clock,
    ids::IdSource,
    store::Store,
    types::{AttemptId, RolloutId},
};

/// The attempt whose call it is.
pub(super) type Whose = (RolloutId, AttemptId);

/// What a call takes besides the bytes of its bodies, about.
const CALL_BYTES: usize = 1024;
/// How long a call waits for others that are stored together with it, unless somebody waits for it. Storing them one by one
/// costs several times as much.
const GATHERING: Duration = Duration::from_millis(20);
/// How many attempts are remembered whose calls were dropped. They become more only while the store is away.
const MAX_LOSSY: usize = 65_536;

/// How much waits for the store, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct RecorderOptions {
    /// How many calls wait at most.
    pub(crate) max_calls: usize,
    /// How many bytes of requests and answers wait at most.
    pub(crate) max_bytes: usize,
    /// How many calls are sent to the store at once.
    pub(crate) batch_calls: usize,
    /// How many bytes of requests and answers are read at once.
    pub(crate) batch_bytes: usize,
    /// How long to wait before the first retry; each further wait is twice as long.
    pub(crate) first_retry: Duration,
    /// The longest wait between two tries.
    pub(crate) longest_retry: Duration,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            max_calls: 10_000,
            max_bytes: 256 << 20,
            batch_calls: 64,
            batch_bytes: 4 << 20,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
        }
    }
}

/// What became of the calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RecorderFigures {
    /// Stored.
    pub(crate) recorded: u64,
    /// Not stored, because the queue had no room for them or the recorder had ended.
    pub(crate) dropped: u64,
    /// Not stored, because the store did not want them.
    pub(crate) refused: u64,
    /// Waiting to be stored.
    pub(crate) waiting: usize,
    /// The bytes of those.
    pub(crate) waiting_bytes: usize,
}

/// Records calls at a store. A clone is another handle on the same queue; with the last one, the recording ends.
///
/// The queue is bounded in calls and bytes, so that memory stays flat while the store is away. A call for which there is no
/// room is counted, and as soon as the store is back, a span of its attempt says how many those were.
#[derive(Clone, Debug)]
pub(crate) struct Recorder(Arc<Owner>);

#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
    clock: Arc<dyn Clock>,
    /// Ends the task at once.
    stop: CancellationToken,
    task: AsyncMutex<Option<JoinHandle<()>>>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Recorder {
    /// A recorder, and its task on the present runtime.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        options: &RecorderOptions,
    ) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            work: Notify::new(),
            options: options.clone(),
        });
        let stop = CancellationToken::new();
        let writer = Writer::new(store, Arc::clone(&clock), ids, options);
        let task = tokio::spawn({
            let (shared, stop) = (Arc::clone(&shared), stop.clone());
            async move {
                // Whatever ends the task, nobody waits for it any more.
                let ending = Ending(&shared);
                stop.run_until_cancelled(record(&shared, &writer)).await;
                drop(ending);
            }
        });
        Self(Arc::new(Owner {
            shared,
            clock,
            stop,
            task: AsyncMutex::new(Some(task)),
        }))
    }

    /// Counts a call of this attempt as under way. Never blocks.
    pub(crate) fn begin(&self, rollout: &RolloutId, attempt: &AttemptId) -> CallTicket {
        let whose = (rollout.clone(), attempt.clone());
        let mut state = self.0.shared.lock();
        state.attempts.entry(whose.clone()).or_default().open += 1;
        drop(state);
        CallTicket {
            shared: Arc::clone(&self.0.shared),
            whose,
            finished: false,
        }
    }

    /// Resolves when every call that was begun for this attempt has been recorded or dropped, and what was dropped is
    /// marked. As long as the store is away, that takes; once the recorder has ended, it is at once. Cancel safe.
    pub(crate) async fn recorded(&self, rollout: &RolloutId, attempt: &AttemptId) {
        let shared = &self.0.shared;
        let whose = (rollout.clone(), attempt.clone());
        loop {
            let Some(settled) = shared.settling(&whose) else {
                return;
            };
            let mut settled = std::pin::pin!(settled.notified());
            settled.as_mut().enable();
            // Between the look and the moment from which on it is told, it may have happened.
            if shared.settling(&whose).is_none() {
                return;
            }
            settled.await;
        }
    }

    /// How many calls of this attempt are under way or wait to be recorded, or to be marked as lost.
    pub(crate) fn unsettled(&self, rollout: &RolloutId, attempt: &AttemptId) -> u64 {
        let state = self.0.shared.lock();
        let of_attempt = state.attempts.get(&(rollout.clone(), attempt.clone()));
        of_attempt.map_or(0, |of_attempt| {
            (of_attempt.open + of_attempt.waiting) as u64 + of_attempt.dropped
        })
    }

    /// Records what waits, for as long as `grace`, and ends the task. What is finished afterwards is dropped. Cancel safe.
    pub(crate) async fn shutdown(&self, grace: Duration) {
        let owner = &*self.0;
        owner.shared.lock().closing = true;
        owner.shared.work.notify_one();
        let mut task = owner.task.lock().await;
        let Some(running) = task.as_mut() else { return };
        let deadline = owner.clock.now() + grace;
        tokio::select! {
            biased;
            _ = &mut *running => {}
            () = owner.clock.sleep_past(deadline) => {
                owner.stop.cancel();
                // A task that panicked has ended as well.
                let _ = running.await;
            }
        }
        *task = None;
    }

    /// What became of the calls so far.
    pub(crate) fn figures(&self) -> RecorderFigures {
        let state = self.0.shared.lock();
        RecorderFigures {
            waiting: state.calls,
            waiting_bytes: state.bytes,
            ..state.figures
        }
    }
}

/// A call that is under way. Dropped, it ends without a record.
#[derive(Debug)]
#[must_use = "a call that is not finished is not recorded"]
pub(crate) struct CallTicket {
    shared: Arc<Shared>,
    whose: Whose,
    finished: bool,
}

impl CallTicket {
    /// Hands the call over, or counts that there was no room for it. Never blocks.
    pub(crate) fn finish(mut self, call: Exchange) {
        self.finished = true;
        let bytes = CALL_BYTES + call.request.len() + call.response.len();
        let options = &self.shared.options;
        let mut state = self.shared.lock();
        let of_attempt = state.attempts.entry(self.whose.clone()).or_default();
        of_attempt.open = of_attempt.open.saturating_sub(1);
        let is_waited_for = of_attempt.settled.is_some();
        let fits = state.calls < options.max_calls && state.bytes + bytes <= options.max_bytes;
        if fits && !state.ended {
            state.attempts.entry(self.whose.clone()).or_default().waiting += 1;
            state.calls += 1;
            state.bytes += bytes;
            state.queue.push_back(Waiting {
                whose: self.whose.clone(),
                call,
                bytes,
            });
            state.queued_bytes += bytes;
            state.hurried |= is_waited_for;
            // The first one begins the gathering; what ends it is worth waking for.
            if state.queue.len() == 1 || state.is_due(options) {
                self.shared.work.notify_one();
            }
        } else {
            state.drop_call(&self.whose);
            // Nothing else may be there to wake who marks it.
            self.shared.work.notify_one();
        }
    }
}

impl Drop for CallTicket {
    fn drop(&mut self) {
        if !self.finished {
            let mut state = self.shared.lock();
            if let Some(of_attempt) = state.attempts.get_mut(&self.whose) {
                of_attempt.open = of_attempt.open.saturating_sub(1);
            }
            state.settle(&self.whose);
        }
    }
}

/// A call that waits to be recorded.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) whose: Whose,
    pub(super) call: Exchange,
    bytes: usize,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Rings when there is something to record, or the end is near.
    work: Notify,
    options: RecorderOptions,
}

#[derive(Debug, Default)]
struct State {
    attempts: HashMap<Whose, OfAttempt>,
    /// Those with calls that were dropped and are not marked yet.
    lossy: HashSet<Whose>,
    queue: VecDeque<Waiting>,
    /// Those in the queue, and those that are being stored.
    calls: usize,
    bytes: usize,
    /// Of those in the queue.
    queued_bytes: usize,
    /// Somebody waits for calls that are in the queue.
    hurried: bool,
    figures: RecorderFigures,
    /// Nothing more is waited for.
    closing: bool,
    /// Nothing more is recorded.
    ended: bool,
}

/// What is not settled of an attempt. Once all of it is nothing, it is forgotten.
#[derive(Debug, Default)]
struct OfAttempt {
    open: usize,
    /// Calls that wait or are being stored, and marks of loss.
    waiting: usize,
    dropped: u64,
    settled: Option<Arc<Notify>>,
}

impl State {
    /// Whether what waits is not to wait for more.
    fn is_due(&self, options: &RecorderOptions) -> bool {
        self.hurried
            || self.closing
            || self.queue.len() >= options.batch_calls
            || self.queued_bytes >= options.batch_bytes
    }

    fn drop_call(&mut self, whose: &Whose) {
        self.figures.dropped += 1;
        let remembered = self.lossy.contains(whose) || self.lossy.len() < MAX_LOSSY;
        if remembered && !self.ended {
            self.attempts.entry(whose.clone()).or_default().dropped += 1;
            self.lossy.insert(whose.clone());
        }
        self.settle(whose);
    }

    /// Forgets an attempt of which nothing is left, and tells those who wait for that.
    fn settle(&mut self, whose: &Whose) {
        let settled = self.attempts.get(whose).is_some_and(|of_attempt| {
            of_attempt.open == 0 && of_attempt.waiting == 0 && of_attempt.dropped == 0
        });
        if settled
            && let Some(OfAttempt {
                settled: Some(settled),
                ..
            }) = self.attempts.remove(whose)
        {
            settled.notify_waiters();
        }
    }

    /// One thing that waited is done.
    fn done(&mut self, whose: &Whose) {
        if let Some(of_attempt) = self.attempts.get_mut(whose) {
            of_attempt.waiting = of_attempt.waiting.saturating_sub(1);
        }
        self.settle(whose);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What rings when the attempt is settled; `None` if it is.
    fn settling(&self, whose: &Whose) -> Option<Arc<Notify>> {
        let mut state = self.lock();
        if state.ended {
            return None;
        }
        let of_attempt = state.attempts.get_mut(whose)?;
        let settled = Arc::clone(of_attempt.settled.get_or_insert_default());
        if of_attempt.waiting > 0 && !state.queue.is_empty() {
            state.hurried = true;
            self.work.notify_one();
        }
        Some(settled)
    }

    /// The calls that waited the longest, or none of them if there is only a loss to be marked; `None` at the end.
    async fn next_batch(&self) -> Option<Vec<Waiting>> {
        let mut gathering = None;
        let mut is_over = false;
        loop {
            let is_empty = {
                let mut state = self.lock();
                let (mut batch, mut bytes) = (Vec::new(), 0);
                let is_due = is_over || state.is_due(&self.options);
                while is_due
                    && batch.len() < self.options.batch_calls.max(1)
                    && let Some(next) = state.queue.front()
                    && (batch.is_empty() || bytes + next.bytes <= self.options.batch_bytes)
                {
                    bytes += next.bytes;
                    batch.extend(state.queue.pop_front());
                }
                state.queued_bytes = state.queued_bytes.saturating_sub(bytes);
                state.hurried &= !state.queue.is_empty();
                let only_losses = state.queue.is_empty() && !state.lossy.is_empty();
                if !batch.is_empty() || only_losses {
                    return Some(batch);
                }
                if state.closing {
                    return None;
                }
                state.queue.is_empty()
            };
            if is_empty {
                self.work.notified().await;
            } else {
                let over = gathering.get_or_insert_with(|| Box::pin(tokio::time::sleep(GATHERING)));
                tokio::select! {
                    () = over => is_over = true,
                    () = self.work.notified() => {}
                }
            }
        }
    }

    /// What was dropped, by attempt; taken together with the duty to mark it.
    fn take_losses(&self) -> Vec<(Whose, u64)> {
        let mut state = self.lock();
        let most = self.options.batch_calls.max(1);
        let lossy: Vec<Whose> = state.lossy.iter().take(most).cloned().collect();
        let mut losses = Vec::new();
        for whose in lossy {
            state.lossy.remove(&whose);
            if let Some(of_attempt) = state.attempts.get_mut(&whose) {
                of_attempt.waiting += 1;
                losses.push((whose, std::mem::take(&mut of_attempt.dropped)));
            }
        }
        losses
    }
}

/// Ends the recording for everybody who has to do with it.
struct Ending<'a>(&'a Shared);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.ended = true;
        state.queue.clear();
        state.queued_bytes = 0;
        let lost = std::mem::take(&mut state.calls) as u64;
        state.bytes = 0;
        state.figures.dropped += lost;
        let dropped = state.figures.dropped;
        state.lossy.clear();
        for (_, of_attempt) in state.attempts.drain() {
            if let Some(settled) = of_attempt.settled {
                settled.notify_waiters();
            }
        }
        drop(state);
        if dropped > 0 {
            tracing::warn!(
                target: "lightning::llm_proxy",
                dropped,
                "calls of models were not recorded: the store did not take them in time"
            );
        }
    }
}

/// Records calls until there are no more.
async fn record(shared: &Shared, writer: &Writer) {
    while let Some(batch) = shared.next_batch().await {
        let (whose, bytes): (Vec<Whose>, Vec<usize>) = batch
            .iter()
            .map(|waiting| (waiting.whose.clone(), waiting.bytes))
            .unzip();
        if !batch.is_empty() {
            let calls = batch.into_iter().map(|waiting| waiting.call).collect();
            let refused = writer.store_calls(calls).await;
            let mut state = shared.lock();
            state.calls = state.calls.saturating_sub(whose.len());
            state.bytes = state.bytes.saturating_sub(bytes.iter().sum());
            state.figures.refused += refused as u64;
            state.figures.recorded += (whose.len() - refused.min(whose.len())) as u64;
            for whose in &whose {
                state.done(whose);
            }
        }
        // The store is there: the moment to say what it missed. What is lost meanwhile is said after the next batch, so that the
        // queue is emptied even if it is too small for what comes in.
        let mut unmarked = shared.lock().lossy.len();
        while unmarked > 0 {
            let losses = shared.take_losses();
            if losses.is_empty() {
                break;
            }
            unmarked = unmarked.saturating_sub(losses.len());
            let marked: Vec<Whose> = losses.iter().map(|(whose, _)| whose.clone()).collect();
            writer.store_losses(losses).await;
            let mut state = shared.lock();
            for whose in &marked {
                state.done(whose);
            }
        }
    }
}
