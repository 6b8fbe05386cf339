//! Waiting: parked at the server where it can do that, asleep between questions where it cannot.

use std::time::Duration;

use super::{build::Inner, call::Call};
use crate::{
    store::{EndOfAttempt, NotFound, StoreError, lifecycle},
    types::{
        Attempt, AttemptId, AttemptQuery, AttemptedRollout, Page, Rollout, RolloutId, RolloutQuery,
        RolloutSnapshot, Timestamp, WorkerId,
    },
    wire::{AttemptSearch, AttemptWaitBody, EndBody, RolloutSearch, WaitBody},
};

/// How long after its time a server may answer, before the client looks for itself.
const GRACE: Duration = Duration::from_millis(500);
/// The first sleep between two questions; each is longer than the one before, up to the poll interval.
const FIRST_SLEEP: Duration = Duration::from_millis(50);

/// For whom rollouts are claimed.
pub(super) enum Claimants {
    /// So many for one worker.
    One(usize, Option<WorkerId>),
    /// One for each of these.
    Several(Vec<WorkerId>),
}

impl Claimants {
    fn call(&self, inner: &Inner, wait: Option<f64>) -> Result<Call<'static>, StoreError> {
        match self {
            Self::One(limit, worker_id) => inner.dequeue(*limit, worker_id.clone(), wait),
            Self::Several(workers) => inner.dequeue_for_workers(workers, wait),
        }
    }

    fn want_nothing(&self) -> bool {
        match self {
            Self::One(limit, _) => *limit == 0,
            Self::Several(workers) => workers.is_empty(),
        }
    }
}

/// Sleeps of growing length, none of them beyond a point in time.
struct Pauses<'a> {
    inner: &'a Inner,
    next: Duration,
    deadline: Option<Timestamp>,
}

impl<'a> Pauses<'a> {
    fn new(inner: &'a Inner, deadline: Option<Timestamp>) -> Self {
        Self {
            inner,
            next: FIRST_SLEEP.min(inner.poll_interval),
            deadline,
        }
    }

    async fn pause(&mut self) {
        let until = self.inner.clock.now() + self.next;
        let until = self.deadline.map_or(until, |deadline| until.min(deadline));
        self.next = self.next.mul_f64(1.5).min(self.inner.poll_interval);
        self.inner.clock.sleep_past(until).await;
    }
}

impl Inner {
    /// How long the next request may be parked, in seconds: as long as is left, and no longer than one may be.
    fn portion(&self, deadline: Option<Timestamp>) -> f64 {
        let longest = self.longest_wait.as_secs_f64();
        deadline.map_or(longest, |deadline| {
            (deadline - self.clock.now()).clamp(0.0, longest)
        })
    }

    fn is_over(&self, deadline: Option<Timestamp>) -> bool {
        deadline.is_some_and(|deadline| lifecycle::is_past(deadline, self.clock.now()))
    }

    /// Makes a request that is parked at the server. `None` if the time is over and the server has not said so.
    async fn park<T: serde::de::DeserializeOwned>(
        &self,
        call: Call<'_>,
        portion: f64,
        deadline: Option<Timestamp>,
    ) -> Result<Option<T>, StoreError> {
        let answer = self.call(call.wait(Duration::from_secs_f64(portion)));
        match deadline {
            None => answer.await.map(Some),
            Some(deadline) => {
                tokio::select! {
                    biased;
                    answer = answer => answer.map(Some),
                    () = self.clock.sleep_past(deadline + GRACE) => Ok(None),
                }
            }
        }
    }

    /// Claims rollouts, or waits for some to come. All requests of one claim have the same key, so that what was claimed
    /// while a connection broke is found by the next one.
    pub(super) async fn claim(
        &self,
        claimants: &Claimants,
        wait: Duration,
        key: &str,
    ) -> Result<Vec<AttemptedRollout>, StoreError> {
        let deadline = Some(self.clock.now() + wait);
        let parks = self.features().await?.waits();
        let look = async || {
            let wait = parks.then_some(0.0);
            self.call(claimants.call(self, wait)?.key(key)).await
        };
        let mut pauses = Pauses::new(self, deadline);
        loop {
            let portion = self.portion(deadline);
            if portion <= 0.0 {
                return look().await;
            }
            let began = self.clock.now();
            let claimed = if parks {
                let call = claimants.call(self, Some(portion))?.key(key);
                match self.park::<Vec<_>>(call, portion, deadline).await? {
                    Some(claimed) => claimed,
                    None => return look().await,
                }
            } else {
                look().await?
            };
            if !claimed.is_empty() || claimants.want_nothing() || self.is_over(deadline) {
                return Ok(claimed);
            }
            // A server that parks nobody, or came back before its time, must not be asked in a tight loop.
            if !parks || self.clock.now() - began < portion {
                pauses.pause().await;
            }
        }
    }

    pub(super) async fn wait_for_rollouts(
        &self,
        rollout_ids: &[RolloutId],
        timeout: Option<Duration>,
    ) -> Result<Vec<Rollout>, StoreError> {
        if rollout_ids.is_empty() {
            return Ok(Vec::new());
        }
        let deadline = timeout.map(|timeout| self.clock.now() + timeout);
        if !self.features().await?.waits() {
            return self.poll_rollouts(rollout_ids, deadline).await;
        }
        let call = |seconds| {
            let body = WaitBody {
                rollout_ids: rollout_ids.to_vec(),
                timeout: Some(seconds),
            };
            Call::search(self, &["waits", "rollouts"], &body)
        };
        loop {
            let portion = self.portion(deadline);
            if portion <= 0.0 {
                return self.call(call(0.0)?).await;
            }
            let began = self.clock.now();
            let Some(ended) = self
                .park::<Vec<Rollout>>(call(portion)?, portion, deadline)
                .await?
            else {
                return self.call(call(0.0)?).await;
            };
            // Before its time, a wait comes back only when nothing is left to wait for.
            let complete = ended.len() == rollout_ids.len() || self.clock.now() - began < portion;
            if complete || self.is_over(deadline) {
                return Ok(ended);
            }
        }
    }

    async fn poll_rollouts(
        &self,
        rollout_ids: &[RolloutId],
        deadline: Option<Timestamp>,
    ) -> Result<Vec<Rollout>, StoreError> {
        let mut pauses = Pauses::new(self, deadline);
        loop {
            let query = RolloutQuery {
                rollout_id_in: Some(rollout_ids.to_vec()),
                ..RolloutQuery::default()
            };
            let page: Page<RolloutSnapshot> = self
                .search(&["rollouts", "search"], &RolloutSearch::from(query))
                .await?;
            let complete = page.items.iter().all(|found| found.status.is_terminal());
            if complete || self.portion(deadline) <= 0.0 {
                let ended = |id: &RolloutId| {
                    let found = page.items.iter().find(|found| found.rollout_id == *id);
                    found
                        .filter(|found| found.status.is_terminal())
                        .map(|found| found.rollout.clone())
                };
                return Ok(rollout_ids.iter().filter_map(ended).collect());
            }
            pauses.pause().await;
        }
    }

    pub(super) async fn wait_for_attempt_end(
        &self,
        rollout_id: &RolloutId,
        attempt_id: &AttemptId,
    ) -> Result<EndOfAttempt, StoreError> {
        let parks = self.features().await?.waits();
        let mut pauses = Pauses::new(self, None);
        loop {
            let began = self.clock.now();
            let portion = self.portion(None);
            let end = if parks {
                let body = AttemptWaitBody {
                    rollout_id: rollout_id.clone(),
                    attempt_id: attempt_id.clone(),
                    timeout: Some(portion),
                };
                let call = Call::search(self, &["waits", "attempts"], &body)?;
                let end: Option<EndBody> = self.call(call.wait(self.longest_wait)).await?;
                end.map(EndOfAttempt::from)
            } else {
                self.look_for_end(rollout_id, attempt_id).await?
            };
            if let Some(end) = end {
                return Ok(end);
            }
            if !parks || self.clock.now() - began < portion {
                pauses.pause().await;
            }
        }
    }

    /// Draws the conclusion that a server which parks would have told.
    async fn look_for_end(
        &self,
        rollout_id: &RolloutId,
        attempt_id: &AttemptId,
    ) -> Result<Option<EndOfAttempt>, StoreError> {
        let query = RolloutQuery {
            rollout_id_in: Some(vec![rollout_id.clone()]),
            ..RolloutQuery::default()
        };
        let page: Page<RolloutSnapshot> = self
            .search(&["rollouts", "search"], &RolloutSearch::from(query))
            .await?;
        let Some(found) = page.items.into_iter().next() else {
            return Err(NotFound::Rollout(rollout_id.clone()).into());
        };
        let unknown = || NotFound::Attempt {
            rollout_id: rollout_id.clone(),
            attempt_id: attempt_id.clone(),
        };
        let latest = found.attempt.as_ref().ok_or_else(unknown)?;
        if latest.attempt_id == *attempt_id {
            return Ok(lifecycle::end_of_attempt(&found.rollout, latest, latest));
        }
        let path = ["rollouts", rollout_id.as_str(), "attempts", "search"];
        let search = AttemptSearch::from(AttemptQuery::default());
        let attempts: Page<Attempt> = self.search(&path, &search).await?;
        let attempt = attempts
            .items
            .iter()
            .find(|attempt| attempt.attempt_id == *attempt_id);
        let attempt = attempt.ok_or_else(unknown)?;
        Ok(lifecycle::end_of_attempt(&found.rollout, attempt, latest))
    }
}
