//! What a run that is resumed finds of itself in its store.
//!
//! The process before may have been killed at any moment. What it had finished is found again by the evaluations that ask
//! for it; what it had begun or enqueued is set aside, and taken up by the evaluations that ask for it.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::{EvaluateError, RunContext, RunError, tally::AttemptTally};
use crate::{
    semconv,
    store::{AttemptRef, StoreError},
    types::{
        Attempt, AttemptPatch, AttemptQuery, JsonObject, NewRollout, PageRequest, RolloutId, RolloutPatch,
        RolloutQuery, RolloutSnapshot, RolloutSortField, RolloutStatus, SortOrder, SpanQuery, Timestamp,
        Update,
    },
};

/// How many rollouts are read at a time.
const PAGE: usize = 500;
/// How many of them are looked into at a time.
const AT_ONCE: usize = 16;
/// How far the clocks of two machines may be apart, in seconds.
const CLOCK_SKEW: f64 = 3600.0;

/// What a run found of itself when it was resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Recovered {
    /// Rollouts that had ended.
    pub ended: u64,
    /// Rollouts that had not, and were set aside: an evaluation that asks for one takes it up, the others stay cancelled.
    pub set_aside: u64,
    /// Attempts that ended with the process that executed them.
    pub interrupted: u64,
    /// Rollouts that workers of other processes go on with.
    pub going_on: u64,
}

/// Which rollouts the run's evaluations have made, by what stands for the evaluation's key.
#[derive(Debug, Default)]
pub(super) struct Evaluated {
    rollouts: Mutex<HashMap<[u8; 16], RolloutId>>,
    /// Taking up a rollout takes two steps at the store, which only one evaluation may do at a time.
    taking_up: tokio::sync::Mutex<()>,
}

impl Evaluated {
    pub(super) fn get(&self, key: &str) -> Option<RolloutId> {
        self.rollouts().get(&short(key)).cloned()
    }

    pub(super) fn note(&self, key: &str, rollout_id: RolloutId) {
        self.rollouts().insert(short(key), rollout_id);
    }

    fn rollouts(&self) -> MutexGuard<'_, HashMap<[u8; 16], RolloutId>> {
        self.rollouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Stands for a key: there may be very many.
fn short(key: &str) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&Sha256::digest(key.as_bytes())[..16]);
    short
}

/// What an evaluation's rollout has among its notes.
pub(super) fn notes(run_id: &str, key: &str) -> JsonObject {
    JsonObject::from_iter([
        (semconv::RUN_ID.to_owned(), run_id.into()),
        (semconv::EVALUATION.to_owned(), key.into()),
    ])
}

/// Cancels a rollout in such a way that an evaluation that asks for it takes it up again.
pub(super) fn set_aside(notes: Option<&JsonObject>) -> RolloutPatch {
    let mut notes = notes.cloned().unwrap_or_default();
    notes.insert(semconv::SET_ASIDE.to_owned(), true.into());
    RolloutPatch {
        metadata: Update::Set(notes),
        ..RolloutPatch::status(RolloutStatus::Cancelled)
    }
}

/// Cancels a rollout for good.
pub(super) fn cancel(notes: Option<&JsonObject>, reason: &str) -> RolloutPatch {
    let mut notes = notes.cloned().unwrap_or_default();
    notes.insert(semconv::ATTEMPT_REASON.to_owned(), reason.into());
    RolloutPatch {
        metadata: Update::Set(notes),
        ..RolloutPatch::status(RolloutStatus::Cancelled)
    }
}

/// Whether the rollout says nothing about its task: it was set aside, or it failed because whoever executed it was stopped.
fn waits_to_be_taken_up(rollout: &RolloutSnapshot) -> bool {
    let set_aside = rollout
        .metadata
        .as_ref()
        .is_some_and(|notes| notes.get(semconv::SET_ASIDE) == Some(&Value::Bool(true)));
    match rollout.status {
        RolloutStatus::Cancelled => set_aside,
        RolloutStatus::Failed => rollout.attempt.as_ref().is_some_and(Attempt::was_interrupted),
        _ => false,
    }
}

impl RunContext {
    /// The rollout that the run has made for this key before, if there is one; put back into the queue if it was set aside.
    pub(super) async fn take_up(
        &self,
        key: &str,
        new: &NewRollout,
    ) -> Result<Option<RolloutId>, EvaluateError> {
        let evaluated = &self.shared.evaluated;
        let Some(id) = evaluated.get(key) else {
            return Ok(None);
        };
        let store = &**self.store();
        let found = store.get_rollout_by_id(&id).await?;
        if found.as_ref().is_some_and(waits_to_be_taken_up) {
            let _one_at_a_time = evaluated.taking_up.lock().await;
            if let Some(rollout) = store.get_rollout_by_id(&id).await?
                && waits_to_be_taken_up(&rollout)
            {
                store
                    .update_rollout(id.clone(), queue_again(&rollout, new))
                    .await?;
            }
        }
        // One that is gone from the store is made anew.
        Ok(found.map(|_| id))
    }

    /// Looks for what earlier processes of this run have left in its store and its folder, and sets aside what they have not
    /// finished. Whoever resumes a run calls it before the algorithm begins. A run that is killed meanwhile can be resumed
    /// again.
    ///
    /// `since` is when the run first began. Attempts of workers whose ids begin with `workers` were executed by the process
    /// that ended, and end with it; rollouts that other workers execute go on.
    ///
    /// # Errors
    ///
    /// [`RunError::Store`], and [`RunError::Folder`].
    pub async fn recover(&self, since: Timestamp, workers: &str) -> Result<Recovered, RunError> {
        let shared = &*self.shared;
        shared.journal.load(|usage| self.count_model_usage(usage)).await?;
        let mut found = Recovered::default();
        let mut tallies: Vec<AttemptTally> = Vec::new();
        let mut offset = 0;
        // From the latest on, so that a store which others use is not read to its beginning. Rollouts that others add
        // meanwhile move the rest to later pages: some are seen twice, none is missed.
        loop {
            let page = self.store().query_rollouts(RolloutQuery {
                sort_by: Some(RolloutSortField::StartTime),
                sort_order: SortOrder::Desc,
                page: PageRequest {
                    limit: Some(PAGE),
                    offset,
                },
                ..RolloutQuery::default()
            });
            let page = page.await?;
            offset += page.items.len();
            let is_last = page.items.len() < PAGE
                || page
                    .items
                    .last()
                    .is_some_and(|oldest| since - oldest.start_time > CLOCK_SKEW);
            let ours = page.items.into_iter().filter(|rollout| self.is_ours(rollout));
            let looked_into: Vec<(Recovered, Vec<AttemptTally>)> = stream::iter(ours)
                .map(|rollout| self.recover_rollout(rollout, workers))
                .buffered(AT_ONCE)
                .try_collect()
                .await?;
            for (one, attempts) in looked_into {
                found.ended += one.ended;
                found.set_aside += one.set_aside;
                found.interrupted += one.interrupted;
                found.going_on += one.going_on;
                tallies.extend(attempts);
            }
            if is_last {
                break;
            }
        }
        tallies.sort_by(|a, b| (a.ended, &a.attempt_id).cmp(&(b.ended, &b.attempt_id)));
        tallies.dedup_by(|a, b| a.attempt_id == b.attempt_id);
        let mut tally = self.tally();
        for attempt in tallies {
            let seconds = (attempt.ended - since).clamp(0.0, shared.seconds_before);
            tally.count(attempt, seconds);
        }
        Ok(found)
    }

    /// Cancels the rollouts of this run that have not ended; an evaluation of the run, once that is resumed, takes its own up
    /// again. Gives how many there were.
    ///
    /// # Errors
    ///
    /// The store's; some may be cancelled then.
    pub(crate) async fn cancel_what_is_open(&self, reason: &str) -> Result<u64, StoreError> {
        let open = RolloutStatus::ALL
            .into_iter()
            .filter(|status| !status.is_terminal());
        let page = self.store().query_rollouts(RolloutQuery {
            status_in: Some(open.collect()),
            ..RolloutQuery::default()
        });
        let page = page.await?;
        let ours = page.items.into_iter().filter(|rollout| self.is_ours(rollout));
        stream::iter(ours)
            .map(|rollout| async move {
                let notes = rollout.metadata.as_ref();
                let is_evaluation = notes.is_some_and(|notes| notes.contains_key(semconv::EVALUATION));
                let patch = if is_evaluation {
                    set_aside(notes)
                } else {
                    cancel(notes, reason)
                };
                let id = rollout.rollout_id.clone();
                self.store().update_rollout(id, patch).await
            })
            .buffer_unordered(AT_ONCE)
            .try_fold(0, |count, _| async move { Ok(count + 1) })
            .await
    }

    fn is_ours(&self, rollout: &RolloutSnapshot) -> bool {
        let run_id = rollout
            .metadata
            .as_ref()
            .and_then(|notes| notes.get(semconv::RUN_ID));
        run_id.and_then(Value::as_str) == Some(self.id())
    }

    async fn recover_rollout(
        &self,
        rollout: RolloutSnapshot,
        workers: &str,
    ) -> Result<(Recovered, Vec<AttemptTally>), StoreError> {
        let store = &**self.store();
        let mut found = Recovered::default();
        let notes = rollout.metadata.as_ref();
        let key = notes.and_then(|notes| notes.get(semconv::EVALUATION)?.as_str());
        if let Some(key) = key {
            self.shared.evaluated.note(key, rollout.rollout_id.clone());
        }
        let active = rollout
            .attempt
            .as_ref()
            .filter(|attempt| !attempt.status.is_terminal());
        let ended_with_its_process = active.is_some_and(|attempt| {
            let worker = attempt.worker_id.as_ref();
            worker.is_some_and(|worker| worker.as_str().starts_with(workers))
        });
        if rollout.status.is_terminal() {
            found.ended += 1;
        } else if active.is_some() && !ended_with_its_process && key.is_some() {
            found.going_on += 1;
        } else {
            let patch = match key {
                Some(_) => set_aside(notes),
                None => cancel(notes, "the run was resumed, and enqueues anew what it needs"),
            };
            store.update_rollout(rollout.rollout_id.clone(), patch).await?;
            found.set_aside += 1;
        }
        // In this order: the attempt of a rollout that has ended moves it no more.
        if let Some(attempt) = active.filter(|_| ended_with_its_process) {
            let attempt = AttemptRef::Id(attempt.attempt_id.clone());
            let patch = AttemptPatch::interrupted("the process that executed it ended");
            store
                .update_attempt(rollout.rollout_id.clone(), attempt, patch)
                .await?;
            found.interrupted += 1;
        }
        Ok((found, self.tallies_of(&rollout).await?))
    }

    /// What the attempts of a rollout came to, those that were under way left out.
    async fn tallies_of(&self, rollout: &RolloutSnapshot) -> Result<Vec<AttemptTally>, StoreError> {
        let store = &**self.store();
        let attempts = match &rollout.attempt {
            None => return Ok(Vec::new()),
            Some(only) if only.sequence_id == 1 => vec![only.clone()],
            Some(_) => {
                let all = store.query_attempts(&rollout.rollout_id, AttemptQuery::default());
                all.await?.items
            }
        };
        let mut tallies = Vec::with_capacity(attempts.len());
        for attempt in attempts {
            let Some(ended) = attempt.end_time else { continue };
            let query = SpanQuery::of(rollout.rollout_id.clone()).attempt(attempt.attempt_id.clone());
            let spans = store.query_spans(query).await?.items;
            // One that was interrupted is no failure of the agent's, but its calls were made.
            let counts = !attempt.was_interrupted();
            tallies.push(AttemptTally::new(&attempt, ended, counts, &spans));
        }
        Ok(tallies)
    }
}

/// Puts a rollout back into the queue, as it would be enqueued now. An attempt that was interrupted does not use up one of
/// those that it may have.
fn queue_again(rollout: &RolloutSnapshot, new: &NewRollout) -> RolloutPatch {
    let mut notes = rollout.metadata.clone().unwrap_or_default();
    notes.remove(semconv::SET_ASIDE);
    let mut config = rollout.config.clone();
    if rollout.attempt.as_ref().is_some_and(Attempt::was_interrupted) {
        config.max_attempts = config.max_attempts.saturating_add(1);
    }
    RolloutPatch {
        metadata: Update::Set(notes),
        resources_id: match &new.resources_id {
            Some(id) => Update::Set(id.clone()),
            None => Update::Keep,
        },
        config: Some(config),
        ..RolloutPatch::status(RolloutStatus::Queuing)
    }
}
