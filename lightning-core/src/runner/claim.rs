//! How runners come by rollouts, and how they stop asking without leaving one behind.
#![cfg_attr(
    not(feature = "client"),
    expect(
        dead_code,
        reason = "runners share their claims only where the store is behind a network"
    )
)]

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot},
    task::AbortHandle,
};
use tokio_util::task::TaskTracker;

use super::{FIRST_PAUSE, LONGEST_PAUSE, RunnerError, StopSignal, attempt::fail_unless_ended};
use crate::{
    clock::Clock,
    ids::{IdSource as _, RandomIds},
    store::{RequestKey, Store, StoreError},
    types::{AttemptPatch, AttemptedRollout, WorkerId},
};

/// How long a claim is parked at the store before it is made anew.
const CLAIM_WAIT: Duration = Duration::from_secs(60);
/// How long a store may take to say what was claimed for somebody who has stopped waiting.
const SETTLING: Duration = Duration::from_secs(2);

/// What came of a claim.
#[derive(Debug)]
pub(super) enum Claimed {
    /// These have been claimed.
    Rollouts(Vec<AttemptedRollout>),
    /// Nothing came for a long time.
    Nothing,
    /// There is nothing more to claim: the runner, or the store, was told to stop.
    Stopped,
}

/// Claims rollouts at a store.
pub(super) struct Claims {
    pub(super) store: Arc<dyn Store>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) patience: Duration,
    pub(super) last_words: TaskTracker,
    keys: Keys,
}

/// Names that no other claim has.
struct Keys {
    prefix: String,
    next: AtomicU64,
}

impl Keys {
    fn next(&self) -> RequestKey {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!("{}-{number}", self.prefix).into()
    }
}

impl Claims {
    pub(super) fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        patience: Duration,
        last_words: TaskTracker,
    ) -> Self {
        let keys = Keys {
            prefix: format!("claim-{}", RandomIds.hex(24)),
            next: AtomicU64::new(0),
        };
        Self {
            store,
            clock,
            patience,
            last_words,
            keys,
        }
    }

    /// Claims a rollout for each of the workers, or waits for one to come. Rides out an unavailable store for as long as
    /// patience lasts.
    ///
    /// What the store has claimed as somebody stopped waiting, or as this future was dropped, is looked for: it is given
    /// here, or ended as failed. That takes a store that keeps request keys; elsewhere its time limits end it.
    pub(super) async fn claim(
        &self,
        workers: &[WorkerId],
        stop: &StopSignal,
    ) -> Result<Claimed, RunnerError> {
        if self.store.capabilities().zero_copy && workers.len() == 1 {
            // Nothing lies between us and such a store, so nothing is claimed for one who has gone.
            return self.claim_directly(workers[0].clone(), stop).await;
        }
        let mut pending = Pending::new(self, workers);
        let claim = || async {
            match workers {
                [worker] => {
                    let worker = Some(worker.clone());
                    self.store
                        .dequeue_or_wait_once(1, worker, CLAIM_WAIT, pending.key.clone())
                        .await
                }
                _ => {
                    self.store
                        .dequeue_for_workers(workers.to_vec(), CLAIM_WAIT, pending.key.clone())
                        .await
                }
            }
        };
        let claimed = tokio::select! {
            biased;
            () = stop.stopping() => None,
            claimed = self.patiently(claim) => Some(claimed),
        };
        let claimed = match claimed {
            Some(claimed) => claimed,
            None => {
                let settled = tokio::time::timeout(SETTLING, pending.settle());
                let settled = tokio::select! {
                    biased;
                    settled = settled => settled,
                    () = stop.aborting() => Ok(Vec::new()),
                };
                match settled {
                    Ok(claimed) if !claimed.is_empty() => Ok(Claimed::Rollouts(claimed)),
                    _ => Ok(Claimed::Stopped),
                }
            }
        };
        pending.armed = false;
        claimed
    }

    async fn claim_directly(&self, worker: WorkerId, stop: &StopSignal) -> Result<Claimed, RunnerError> {
        let claim = || self.store.dequeue_or_wait(1, Some(worker.clone()), CLAIM_WAIT);
        tokio::select! {
            biased;
            () = stop.stopping() => Ok(Claimed::Stopped),
            claimed = self.patiently(claim) => claimed,
        }
    }

    async fn patiently<F>(&self, claim: impl Fn() -> F) -> Result<Claimed, RunnerError>
    where
        F: Future<Output = Result<Vec<AttemptedRollout>, StoreError>>,
    {
        // From the first failure on: a claim may have been parked for long before.
        let mut give_up = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match claim().await {
                Ok(claimed) if claimed.is_empty() => return Ok(Claimed::Nothing),
                Ok(claimed) => return Ok(Claimed::Rollouts(claimed)),
                Err(StoreError::Draining) => return Ok(Claimed::Stopped),
                Err(error) => error,
            };
            let now = self.clock.now();
            let is_over = now >= *give_up.get_or_insert(now + self.patience);
            if is_over || !matches!(error, StoreError::Unavailable { .. }) {
                return Err(RunnerError::Store {
                    action: "claim a rollout",
                    source: error,
                });
            }
            tracing::warn!(
                target: "lightning::runner",
                action = "claim a rollout",
                error = %error,
                "the store is unavailable; trying again"
            );
            self.clock.sleep_past(now + pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// A claim under way. If it is dropped, what the store has claimed meanwhile is ended.
struct Pending {
    store: Arc<dyn Store>,
    workers: Vec<WorkerId>,
    key: RequestKey,
    last_words: TaskTracker,
    armed: bool,
}

impl Pending {
    fn new(claims: &Claims, workers: &[WorkerId]) -> Self {
        Self {
            store: Arc::clone(&claims.store),
            workers: workers.to_vec(),
            key: claims.keys.next(),
            last_words: claims.last_words.clone(),
            armed: true,
        }
    }

    fn settle(&self) -> impl Future<Output = Vec<AttemptedRollout>> + Send + 'static {
        settle(Arc::clone(&self.store), self.workers.clone(), self.key.clone())
    }
}

/// Gives what was claimed under the key, and sees to it that nothing more will be.
async fn settle(store: Arc<dyn Store>, workers: Vec<WorkerId>, key: RequestKey) -> Vec<AttemptedRollout> {
    // From now on, the claim under way gets nothing, should it still arrive.
    let told = store.drain_workers(Some(workers.clone())).await;
    if let Err(error) = told {
        tracing::debug!(
            target: "lightning::runner",
            error = %error,
            "the store could not be told that nobody waits any more"
        );
        return Vec::new();
    }
    let claimed = match &workers[..] {
        [worker] => store.dequeue_or_wait_once(1, Some(worker.clone()), Duration::ZERO, key),
        _ => store.dequeue_for_workers(workers, Duration::ZERO, key),
    };
    claimed.await.unwrap_or_default()
}

impl Drop for Pending {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.armed, Handle::try_current()) else {
            return;
        };
        let (store, settled) = (Arc::clone(&self.store), self.settle());
        self.last_words.spawn_on(
            async move {
                let settled = tokio::time::timeout(SETTLING, settled).await;
                give_up(&*store, settled.unwrap_or_default()).await;
            },
            &runtime,
        );
    }
}

/// Ends attempts that nobody will work on.
async fn give_up(store: &dyn Store, claimed: Vec<AttemptedRollout>) {
    for claimed in claimed {
        let reason = "the runner was stopped before the agent began";
        let (rollout_id, attempt_id) = (&claimed.rollout_id, &claimed.attempt.attempt_id);
        if let Err(error) =
            fail_unless_ended(store, rollout_id, attempt_id, AttemptPatch::interrupted(reason)).await
        {
            tracing::warn!(
                target: "lightning::runner",
                rollout_id = %rollout_id,
                attempt_id = %attempt_id,
                error = %error,
                "an attempt that nobody works on could not be ended; its time limits will"
            );
        }
    }
}

/// One claim for all runners of a process that have nothing to do: behind a network, each of them would hold a connection
/// of its own only to wait.
pub(crate) struct SharedClaims {
    desk: Arc<Desk>,
    task: AbortHandle,
}

/// Where those who want a rollout leave their names.
#[derive(Default)]
struct Desk {
    asking: Mutex<Asking>,
    come: Notify,
}

#[derive(Default)]
struct Asking {
    closed: bool,
    line: VecDeque<(WorkerId, oneshot::Sender<Result<Claimed, RunnerError>>)>,
}

impl SharedClaims {
    /// Claims for those who ask, until the answer is dropped or there is nothing more to claim.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        patience: Duration,
        stop: StopSignal,
        last_words: TaskTracker,
    ) -> Self {
        let desk = Arc::new(Desk::default());
        let claims = Claims::new(store, clock, patience, last_words);
        let task = tokio::spawn(serve(Arc::clone(&desk), claims, stop)).abort_handle();
        Self { desk, task }
    }

    /// A rollout for this worker.
    pub(super) async fn claim(&self, worker_id: WorkerId) -> Result<Claimed, RunnerError> {
        let answer = {
            let mut asking = self.desk.asking();
            if asking.closed {
                return Ok(Claimed::Stopped);
            }
            let (sender, answer) = oneshot::channel();
            asking.line.push_back((worker_id, sender));
            answer
        };
        self.desk.come.notify_one();
        answer.await.unwrap_or(Ok(Claimed::Stopped))
    }
}

impl Drop for SharedClaims {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Desk {
    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who ask and are still there.
    fn workers(&self) -> Vec<WorkerId> {
        let mut asking = self.asking();
        asking.line.retain(|(_, answer)| !answer.is_closed());
        asking.line.iter().map(|(worker, _)| worker.clone()).collect()
    }

    /// Hands the rollouts to those for whom they were claimed; gives those back whom nobody took.
    fn hand_out(&self, claimed: Vec<AttemptedRollout>) -> Vec<AttemptedRollout> {
        let mut asking = self.asking();
        let mut left = Vec::new();
        for rollout in claimed {
            let whose = |(worker, _): &(WorkerId, _)| Some(worker) == rollout.attempt.worker_id.as_ref();
            let place = asking.line.iter().position(whose);
            match place.and_then(|place| asking.line.remove(place)) {
                None => left.push(rollout),
                Some((_, answer)) => {
                    if let Err(Ok(Claimed::Rollouts(rollouts))) =
                        answer.send(Ok(Claimed::Rollouts(vec![rollout])))
                    {
                        left.extend(rollouts);
                    }
                }
            }
        }
        left
    }

    /// Tells all who ask that there is nothing more, and the first of them why, if something went wrong.
    fn close(&self, mut error: Option<RunnerError>) {
        let mut asking = self.asking();
        asking.closed = true;
        for (_, answer) in asking.line.drain(..) {
            // Who has gone does not need to know.
            let _ = answer.send(error.take().map_or(Ok(Claimed::Stopped), Err));
        }
    }
}

async fn serve(desk: Arc<Desk>, claims: Claims, stop: StopSignal) {
    loop {
        let workers = loop {
            let workers = desk.workers();
            if !workers.is_empty() {
                break workers;
            }
            tokio::select! {
                biased;
                () = stop.stopping() => return desk.close(None),
                () = desk.come.notified() => {}
            }
        };
        match claims.claim(&workers, &stop).await {
            Ok(Claimed::Rollouts(claimed)) => {
                let left = desk.hand_out(claimed);
                give_up(&*claims.store, left).await;
            }
            Ok(Claimed::Nothing) => {}
            Ok(Claimed::Stopped) => return desk.close(None),
            Err(error) => return desk.close(Some(error)),
        }
    }
}
