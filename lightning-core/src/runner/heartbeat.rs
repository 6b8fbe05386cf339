//! Signs of life of a worker and of the attempt that it executes.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{sync::Notify, task::AbortHandle};

use super::StatisticsSource;
use crate::{
    clock::Clock,
    store::{AttemptRef, Store},
    types::{AttemptId, AttemptPatch, AttemptedRollout, RolloutId, Timestamp, WorkerId},
};

/// Sends signs of life while a runner works: from a task of its own, so that they go on while an agent computes without
/// awaiting.
pub(super) struct Heart {
    interval: Duration,
    statistics: Arc<dyn StatisticsSource>,
    pulse: Arc<Pulse>,
}

struct Pulse {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Rings when a beat is due earlier than the task knows.
    hurry: Notify,
}

#[derive(Default)]
struct State {
    attempt: Option<Beating>,
    /// When the task wakes by itself.
    wakes: Option<Timestamp>,
}

/// An attempt that is kept alive.
#[derive(Clone)]
struct Beating {
    rollout_id: RolloutId,
    attempt_id: AttemptId,
    interval: Duration,
    due: Timestamp,
    /// By how many seconds the store's clock is ahead of ours. By our own, an attempt on a machine whose clock is behind
    /// would seem to have been silent.
    store_ahead: f64,
}

impl Heart {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        interval: Duration,
        statistics: Arc<dyn StatisticsSource>,
    ) -> Self {
        let pulse = Pulse {
            clock,
            state: Mutex::default(),
            hurry: Notify::new(),
        };
        Self {
            interval,
            statistics,
            pulse: Arc::new(pulse),
        }
    }

    /// Sends heartbeats of the worker, the first one now, until the answer is dropped.
    pub(super) fn start(&self, store: Arc<dyn Store>, worker_id: WorkerId) -> Started {
        let beats = beat(
            Arc::clone(&self.pulse),
            store,
            worker_id,
            self.interval,
            Arc::clone(&self.statistics),
        );
        Started(tokio::spawn(beats).abort_handle())
    }

    /// Keeps an attempt alive until the answer is dropped.
    pub(super) fn keep_alive(&self, attempt: &AttemptedRollout) -> KeptAlive<'_> {
        let interval = match attempt.config.unresponsive_seconds {
            Some(seconds) => self
                .interval
                .min(Duration::try_from_secs_f64(seconds / 3.0).unwrap_or(self.interval)),
            None => self.interval,
        };
        // A limit of next to nothing must not make the task spin.
        let interval = interval.max(Duration::from_millis(10));
        let now = self.pulse.clock.now();
        let due = now + interval;
        let mut state = self.pulse.lock();
        state.attempt = Some(Beating {
            rollout_id: attempt.rollout_id.clone(),
            attempt_id: attempt.attempt.attempt_id.clone(),
            interval,
            due,
            // The attempt began as the store answered, so just now.
            store_ahead: attempt.attempt.start_time - now,
        });
        let hurry = state.wakes.is_some_and(|wakes| due < wakes);
        drop(state);
        if hurry {
            self.pulse.hurry.notify_one();
        }
        KeptAlive(&self.pulse)
    }
}

impl Pulse {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Heartbeats go on while this lives.
pub(super) struct Started(AbortHandle);

impl Drop for Started {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An attempt is kept alive while this lives.
pub(super) struct KeptAlive<'a>(&'a Pulse);

impl Drop for KeptAlive<'_> {
    fn drop(&mut self) {
        self.0.lock().attempt = None;
    }
}

async fn beat(
    pulse: Arc<Pulse>,
    store: Arc<dyn Store>,
    worker_id: WorkerId,
    interval: Duration,
    statistics: Arc<dyn StatisticsSource>,
) {
    let mut worker_due = pulse.clock.now();
    loop {
        if pulse.clock.now() >= worker_due {
            worker_due = pulse.clock.now() + interval;
            let stats = statistics.collect().await;
            if let Err(error) = store.update_worker(worker_id.clone(), stats).await {
                tracing::warn!(
                    target: "lightning::runner",
                    worker_id = %worker_id,
                    error = %error,
                    "the heartbeat of a worker did not arrive"
                );
            }
        }
        let now = pulse.clock.now();
        let due = pulse
            .lock()
            .attempt
            .as_mut()
            .filter(|attempt| attempt.due <= now)
            .map(|attempt| {
                attempt.due = now + attempt.interval;
                attempt.clone()
            });
        if let Some(attempt) = due {
            keep_alive(&*store, attempt, now).await;
        }
        let wakes = {
            let mut state = pulse.lock();
            let wakes = state
                .attempt
                .as_ref()
                .map_or(worker_due, |attempt| attempt.due.min(worker_due));
            state.wakes = Some(wakes);
            wakes
        };
        tokio::select! {
            () = pulse.clock.sleep_past(wakes) => {}
            () = pulse.hurry.notified() => {}
        }
    }
}

async fn keep_alive(store: &dyn Store, attempt: Beating, now: Timestamp) {
    let Beating {
        rollout_id,
        attempt_id,
        store_ahead,
        ..
    } = attempt;
    let alive = AttemptPatch::heartbeat(now + store_ahead);
    if let Err(error) = store
        .update_attempt(rollout_id.clone(), AttemptRef::from(&attempt_id), alive)
        .await
    {
        tracing::warn!(
            target: "lightning::runner",
            rollout_id = %rollout_id,
            attempt_id = %attempt_id,
            error = %error,
            "the heartbeat of an attempt did not arrive"
        );
    }
}
