//! A store that is as simple as it can be, to compare real ones with.
//!
//! Written from the store's contract alone. Everything lies in plain lists and is looked for from end to end; there are
//! no effects, no indexes and no waiting. It must not use `store::lifecycle`, which it is there to check.
//!
//! Where the contract is silent, this was decided:
//!
//! - The entry of a rollout that leaves a queueing status stays in the queue until a dequeue passes over it; a rollout
//!   that queues again before has kept its place.
//! - A status that is not terminal clears `end_time`; a terminal one sets it anew.
//! - Every span of a running attempt, not only its first, sets a preparing or requeuing rollout running.
//! - Time limits concern the latest attempt of an active rollout whatever the attempt's own status; the time-out comes
//!   before silence; of several rollouts, that whose limit was the earliest comes first, then that which is older.
//! - A worker follows each update of its attempt that gives a status or a worker; one that is busy with another attempt
//!   does not follow the end of this one.
//! - A duplicate is one of a known rollout and attempt; what is rejected lifts no counter.
//! - What is purged leaves the queue and takes its counter of sequence ids along; a worker that is busy with it stays so.

mod lifecycle;
mod query;
mod transfer;

use lightning_core::{
    store::{Answer, AttemptRef, Command, EndOfAttempt, NotFound, Request, RequestKey, StoreError},
    types::{
        Attempt, AttemptId, JsonObject, NamedResources, ResourcesId, ResourcesUpdate, Rollout, RolloutId,
        RolloutSnapshot, RolloutStatus, Span, Timestamp, Worker, WorkerId, WorkerStatus,
    },
};

/// How long request keys are kept, in seconds.
pub const KEYS_KEPT_FOR: f64 = 24.0 * 3600.0;

/// The digits of the ids that a store gives out in one step, in the order in which it needs them: `…0701` is the second
/// of step 7. Rollouts and resources count together, attempts by themselves.
pub fn digits(step: u64, nth: u64, width: usize) -> String {
    format!("{:0width$}", step * 100 + nth)
}

/// Everything that a store knows.
#[derive(Clone)]
pub struct Model {
    /// The present.
    pub now: Timestamp,
    /// Names the ids that the next command gives out.
    pub step: u64,
    /// In the order of their creation.
    pub rollouts: Vec<Rollout>,
    /// Of all rollouts, in the order of their creation.
    pub attempts: Vec<Attempt>,
    /// In the order in which they were stored.
    pub spans: Vec<Span>,
    /// In the order in which they were first seen.
    pub workers: Vec<Worker>,
    /// Every version of every set, in the order in which they were stored.
    pub resources: Vec<ResourcesUpdate>,
    /// Rollouts in line, some of them no longer queueing.
    pub queue: Vec<RolloutId>,
    /// The last sequence id of each rollout that has one.
    pub sequence_ids: Vec<(RolloutId, u64)>,
    /// Commands that were carried out under a key: when, what, and with which answer.
    pub keyed: Vec<(Timestamp, RequestKey, Command, Answer)>,
    /// Rollouts that were taken out for good.
    pub purged: Vec<RolloutId>,
    long_ids: u64,
    short_ids: u64,
}

impl Model {
    /// A store without anything in it.
    pub fn new(now: Timestamp) -> Self {
        Self {
            now,
            step: 0,
            rollouts: Vec::new(),
            attempts: Vec::new(),
            spans: Vec::new(),
            workers: Vec::new(),
            resources: Vec::new(),
            queue: Vec::new(),
            sequence_ids: Vec::new(),
            keyed: Vec::new(),
            purged: Vec::new(),
            long_ids: 0,
            short_ids: 0,
        }
    }

    /// Moves the clock on.
    pub fn advance(&mut self, seconds: f64) {
        self.now = self.now + seconds;
        self.apply_time_limits();
    }

    /// Carries out one command, or refuses it and changes nothing.
    pub fn execute(&mut self, request: &Request) -> Result<Answer, StoreError> {
        if let Some(key) = &request.key {
            self.keyed.retain(|(time, ..)| self.now - *time <= KEYS_KEPT_FOR);
            if let Some((_, _, command, answer)) = self.keyed.iter().find(|(_, known, ..)| known == key) {
                if *command == request.command {
                    return Ok(answer.clone());
                }
                return Err(StoreError::KeyReused {
                    key: key.as_str().to_owned(),
                });
            }
        }
        let mut after = self.clone();
        (after.long_ids, after.short_ids) = (0, 0);
        let answer = after.carry_out(request.command.clone())?;
        if let Some(key) = &request.key {
            after
                .keyed
                .push((self.now, key.clone(), request.command.clone(), answer.clone()));
        }
        // A rollout that becomes active again may be past its limits already.
        after.apply_time_limits();
        *self = after;
        Ok(answer)
    }

    /// Those of the rollouts that are terminal, in the order in which they were asked for.
    pub fn ended(&self, ids: &[RolloutId]) -> Vec<Rollout> {
        ids.iter()
            .filter_map(|id| self.rollout(id))
            .filter(|rollout| rollout.status.is_terminal())
            .cloned()
            .collect()
    }

    /// Why work on an attempt is pointless; `None` if it is not.
    pub fn end_of_attempt(
        &self,
        id: &RolloutId,
        attempt_id: &AttemptId,
    ) -> Result<Option<EndOfAttempt>, StoreError> {
        let at = self.find_attempt(id, &AttemptRef::Id(attempt_id.clone()))?;
        let (attempt, rollout, latest) = (&self.attempts[at], self.rollout(id), self.latest(id));
        Ok(match (rollout, latest) {
            (Some(rollout), _) if rollout.status.is_terminal() => {
                Some(EndOfAttempt::RolloutEnded(rollout.status))
            }
            (_, Some(latest)) if latest.attempt_id != attempt.attempt_id => Some(EndOfAttempt::Superseded {
                by: latest.attempt_id.clone(),
            }),
            _ if attempt.status.is_terminal() => Some(EndOfAttempt::AttemptEnded(attempt.status)),
            _ => None,
        })
    }

    /// One rollout.
    pub fn rollout(&self, id: &RolloutId) -> Option<&Rollout> {
        self.rollouts.iter().find(|rollout| rollout.rollout_id == *id)
    }

    /// The attempt of a rollout with the greatest sequence id.
    pub fn latest(&self, id: &RolloutId) -> Option<&Attempt> {
        let attempts = self.attempts.iter().filter(|attempt| attempt.rollout_id == *id);
        attempts.max_by_key(|attempt| attempt.sequence_id)
    }

    /// A rollout with its latest attempt.
    pub fn snapshot(&self, id: &RolloutId) -> Option<RolloutSnapshot> {
        Some(RolloutSnapshot {
            rollout: self.rollout(id)?.clone(),
            attempt: self.latest(id).cloned(),
        })
    }

    /// One worker.
    pub fn worker(&self, id: &WorkerId) -> Option<&Worker> {
        self.workers.iter().find(|worker| worker.worker_id == *id)
    }

    /// One set of resources in one version, or in its latest.
    pub fn resources(&self, id: &ResourcesId, version: Option<u64>) -> Option<&ResourcesUpdate> {
        let versions = self.resources.iter().filter(|update| update.resources_id == *id);
        versions
            .filter(|update| version.is_none_or(|version| update.version == version))
            .max_by_key(|update| update.version)
    }

    /// The set whose last version has the greatest `update_time`; among equals, that which was stored last.
    pub fn latest_resources(&self) -> Option<&ResourcesUpdate> {
        let is_last = |update: &&ResourcesUpdate| self.resources(&update.resources_id, None) == Some(*update);
        self.resources
            .iter()
            .filter(is_last)
            .max_by_key(|update| update.update_time)
    }

    fn carry_out(&mut self, command: Command) -> Result<Answer, StoreError> {
        Ok(match command {
            Command::EnqueueRollouts { rollouts } => Answer::Enqueued(
                rollouts
                    .into_iter()
                    .map(|new| {
                        let id = self.create(new)?;
                        Ok(self.move_rollout(&id, RolloutStatus::Queuing).clone())
                    })
                    .collect::<Result<_, StoreError>>()?,
            ),
            Command::StartRollout { rollout, worker_id } => {
                let id = self.create(rollout)?;
                Answer::Started(Box::new(self.start(&id, worker_id)))
            }
            Command::StartAttempt {
                rollout_id,
                worker_id,
            } => {
                self.known(&rollout_id)?;
                Answer::Started(Box::new(self.start(&rollout_id, worker_id)))
            }
            Command::DequeueRollouts { limit, worker_id } => Answer::Dequeued(self.dequeue(limit, worker_id)),
            Command::AddSpans { spans } => {
                Answer::Spans(spans.into_iter().map(|span| self.add_span(span)).collect())
            }
            Command::UpdateRollout { rollout_id, patch } => {
                Answer::Rollout(Box::new(self.update_rollout(&rollout_id, patch)?))
            }
            Command::UpdateAttempt {
                rollout_id,
                attempt,
                patch,
            } => Answer::Attempt(Box::new(self.update_attempt(&rollout_id, &attempt, patch)?)),
            Command::AddResources { resources } => {
                let id = ResourcesId::from(format!("rs-{}", self.long_id()));
                Answer::Resources(self.store_resources(id, resources))
            }
            Command::UpdateResources {
                resources_id,
                resources,
            } => Answer::Resources(self.store_resources(resources_id, resources)),
            Command::NextSequenceIds { targets } => {
                Answer::SequenceIds(targets.iter().map(|(id, _)| self.next_sequence_id(id)).collect())
            }
            Command::UpdateWorker {
                worker_id,
                heartbeat_stats,
            } => Answer::Worker(Box::new(self.update_worker(worker_id, heartbeat_stats))),
            Command::Import { records } => {
                Answer::Imported(records.into_iter().map(|record| self.import(record)).collect())
            }
            Command::Purge { rollouts, resources } => Answer::Purged(self.purge(rollouts, resources)),
        })
    }

    // ---- resources and workers

    fn store_resources(&mut self, id: ResourcesId, resources: NamedResources) -> ResourcesUpdate {
        let last = self.resources(&id, None);
        let update = ResourcesUpdate {
            create_time: last.map_or(self.now, |last| last.create_time),
            update_time: self.now,
            version: last.map_or(1, |last| last.version + 1),
            resources_id: id,
            resources,
        };
        self.resources.push(update.clone());
        update
    }

    fn update_worker(&mut self, id: WorkerId, stats: Option<JsonObject>) -> Worker {
        let now = self.now;
        let worker = self.worker_mut(&id);
        worker.last_heartbeat_time = Some(now);
        if stats.is_some() {
            worker.heartbeat_stats = stats;
        }
        worker.clone()
    }

    // ---- looking things up

    fn known(&self, id: &RolloutId) -> Result<(), StoreError> {
        match self.rollout(id) {
            Some(_) => Ok(()),
            None => Err(NotFound::Rollout(id.clone()).into()),
        }
    }

    fn rollout_mut(&mut self, id: &RolloutId) -> &mut Rollout {
        let mut rollouts = self.rollouts.iter_mut();
        rollouts
            .find(|rollout| rollout.rollout_id == *id)
            .expect("the rollout is known")
    }

    /// The worker; it is made if it is new.
    fn worker_mut(&mut self, id: &WorkerId) -> &mut Worker {
        if self.worker(id).is_none() {
            self.workers.push(Worker {
                worker_id: id.clone(),
                status: WorkerStatus::Unknown,
                heartbeat_stats: None,
                last_heartbeat_time: None,
                last_dequeue_time: None,
                last_busy_time: None,
                last_idle_time: None,
                current_rollout_id: None,
                current_attempt_id: None,
            });
        }
        let mut workers = self.workers.iter_mut();
        workers.find(|worker| worker.worker_id == *id).expect("just made")
    }

    fn position(&self, id: &RolloutId, attempt_id: &AttemptId) -> Option<usize> {
        let mut attempts = self.attempts.iter();
        attempts.position(|attempt| attempt.rollout_id == *id && attempt.attempt_id == *attempt_id)
    }

    /// Where the attempt lies in `attempts`.
    fn find_attempt(&self, id: &RolloutId, which: &AttemptRef) -> Result<usize, StoreError> {
        self.known(id)?;
        let (attempt_id, not_found) = match which {
            AttemptRef::Latest => (
                self.latest(id).map(|latest| latest.attempt_id.clone()),
                NotFound::NoAttempts(id.clone()),
            ),
            AttemptRef::Id(attempt_id) => (
                Some(attempt_id.clone()),
                NotFound::Attempt {
                    rollout_id: id.clone(),
                    attempt_id: attempt_id.clone(),
                },
            ),
        };
        attempt_id
            .and_then(|attempt_id| self.position(id, &attempt_id))
            .ok_or(not_found.into())
    }

    fn is_latest(&self, attempt: &Attempt) -> bool {
        self.latest(&attempt.rollout_id)
            .is_some_and(|latest| latest.attempt_id == attempt.attempt_id)
    }

    fn long_id(&mut self) -> String {
        self.long_ids += 1;
        digits(self.step, self.long_ids - 1, 12)
    }

    fn short_id(&mut self) -> String {
        self.short_ids += 1;
        digits(self.step, self.short_ids - 1, 8)
    }
}
