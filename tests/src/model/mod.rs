//! A store that is as simple as it can be, to compare real ones with.
//!
//! Written from the store's contract alone. Everything lies in plain lists and is looked for from end to end; there are
//! no effects, no indexes and no waiting. It must not use `store::lifecycle`, which it is there to check.

mod query;

use std::sync::Arc;

use lightning_core::{
    store::{
        Answer, AttemptRef, Command, EndOfAttempt, NotFound, Request, RequestKey, SpanOutcome, StoreError,
    },
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptStatus, AttemptedRollout, JsonObject, NamedResources,
        NewRollout, ResourcesId, ResourcesUpdate, Rollout, RolloutConfig, RolloutId, RolloutPatch,
        RolloutSnapshot, RolloutStatus, Span, Timestamp, Update, Worker, WorkerId, WorkerStatus,
    },
};
use serde_json::Value;

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
            long_ids: 0,
            short_ids: 0,
        }
    }

    /// Moves the clock on.
    pub fn advance(&mut self, seconds: f64) {
        self.now = self.now + seconds;
        self.apply_time_limits();
    }

    /// Applies the time limits that have passed, the earliest first.
    fn apply_time_limits(&mut self) {
        let mut due = Vec::new();
        for rollout in &self.rollouts {
            let Some(attempt) = self.latest(&rollout.rollout_id) else {
                continue;
            };
            if !rollout.status.is_active() {
                continue;
            }
            let heard_of = attempt.last_heartbeat_time.unwrap_or(attempt.start_time);
            let timeout = rollout.config.timeout_seconds.map(|s| attempt.start_time + s);
            let silence = rollout.config.unresponsive_seconds.map(|s| heard_of + s);
            let status = if timeout.is_some_and(|limit| self.now > limit) {
                AttemptStatus::Timeout
            } else if silence.is_some_and(|limit| self.now > limit) {
                AttemptStatus::Unresponsive
            } else {
                continue;
            };
            due.push((timeout.into_iter().chain(silence).min(), attempt.clone(), status));
        }
        due.sort_by_key(|(limit, ..)| *limit);
        for (_, attempt, status) in due {
            self.report(&attempt.rollout_id, &attempt.attempt_id, status);
        }
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

    /// The resources with the greatest `update_time`; among equals, those that were stored last.
    pub fn latest_resources(&self) -> Option<&ResourcesUpdate> {
        self.resources.iter().max_by_key(|update| update.update_time)
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
        })
    }

    // ---- rollouts

    fn create(&mut self, new: NewRollout) -> Result<RolloutId, StoreError> {
        let config = new.config.unwrap_or_default();
        check(&config)?;
        let id = RolloutId::from(format!("ro-{}", self.long_id()));
        let latest_resources = self.latest_resources().map(|update| update.resources_id.clone());
        self.rollouts.push(Rollout {
            rollout_id: id.clone(),
            input: new.input,
            start_time: self.now,
            end_time: None,
            mode: new.mode,
            resources_id: new.resources_id.or(latest_resources),
            status: RolloutStatus::Preparing,
            config,
            metadata: Some(new.metadata.unwrap_or_default()),
        });
        Ok(id)
    }

    /// Gives a rollout a status, with all that follows from it.
    fn move_rollout(&mut self, id: &RolloutId, status: RolloutStatus) -> &Rollout {
        if status.is_queueing() && !self.queue.contains(id) {
            self.queue.push(id.clone());
        }
        let now = self.now;
        let rollout = self.rollout_mut(id);
        rollout.status = status;
        rollout.end_time = status.is_terminal().then_some(now);
        rollout
    }

    fn update_rollout(&mut self, id: &RolloutId, patch: RolloutPatch) -> Result<Rollout, StoreError> {
        if self.rollout(id).is_none() {
            return Err(NotFound::UpdatedRollout(id.clone()).into());
        }
        let rollout = self.rollout_mut(id);
        match patch.input {
            Update::Keep => {}
            Update::Clear => rollout.input = Arc::new(Value::Null),
            Update::Set(input) => rollout.input = input,
        }
        set(&mut rollout.mode, patch.mode);
        set(&mut rollout.resources_id, patch.resources_id);
        set(&mut rollout.metadata, patch.metadata);
        if let Some(config) = patch.config {
            check(&config)?;
            rollout.config = config;
        }
        if let Some(status) = patch.status {
            self.move_rollout(id, status);
        }
        Ok(self.rollout_mut(id).clone())
    }

    fn dequeue(&mut self, limit: usize, worker_id: Option<WorkerId>) -> Vec<AttemptedRollout> {
        let mut claimed = Vec::new();
        while claimed.len() < limit && !self.queue.is_empty() {
            let id = self.queue.remove(0);
            if self.rollout_mut(&id).status.is_queueing() {
                claimed.push(self.start(&id, worker_id.clone()));
            }
        }
        if let Some(worker_id) = worker_id {
            let now = self.now;
            let worker = self.worker_mut(&worker_id);
            worker.last_dequeue_time = Some(now);
            if claimed.is_empty() {
                worker.status = WorkerStatus::Idle;
                worker.last_idle_time = Some(now);
                worker.current_rollout_id = None;
                worker.current_attempt_id = None;
            }
        }
        claimed
    }

    // ---- attempts

    /// Makes an attempt of a rollout.
    fn start(&mut self, id: &RolloutId, worker_id: Option<WorkerId>) -> AttemptedRollout {
        let earlier = self
            .attempts
            .iter()
            .filter(|attempt| attempt.rollout_id == *id)
            .count();
        let attempt = Attempt {
            rollout_id: id.clone(),
            attempt_id: format!("at-{}", self.short_id()).into(),
            sequence_id: u32::try_from(earlier).expect("few attempts") + 1,
            start_time: self.now,
            end_time: None,
            status: AttemptStatus::Preparing,
            worker_id,
            last_heartbeat_time: None,
            metadata: None,
        };
        self.attempts.push(attempt.clone());
        self.keep_books(&attempt);
        AttemptedRollout {
            rollout: self.move_rollout(id, RolloutStatus::Preparing).clone(),
            attempt,
        }
    }

    fn update_attempt(
        &mut self,
        id: &RolloutId,
        which: &AttemptRef,
        patch: AttemptPatch,
    ) -> Result<Attempt, StoreError> {
        self.known(id)?;
        if self.latest(id).is_none() {
            return Err(NotFound::NoAttempts(id.clone()).into());
        }
        let at = self.find_attempt(id, which)?;
        let attempt = &mut self.attempts[at];
        if patch.last_heartbeat_time.is_some() {
            attempt.last_heartbeat_time = patch.last_heartbeat_time;
        }
        if patch.metadata.is_some() {
            attempt.metadata = patch.metadata;
        }
        let concerns_worker = patch.worker_id.is_some();
        if patch.worker_id.is_some() {
            attempt.worker_id = patch.worker_id;
        }
        let attempt = attempt.clone();
        if let Some(status) = patch.status {
            self.report(id, &attempt.attempt_id, status);
        } else if concerns_worker {
            self.keep_books(&attempt);
        }
        Ok(self.attempts[at].clone())
    }

    /// Gives an attempt a status, with all that follows from it.
    fn report(&mut self, id: &RolloutId, attempt_id: &AttemptId, status: AttemptStatus) {
        let now = self.now;
        let at = self.position(id, attempt_id).expect("the attempt is known");
        let attempt = &mut self.attempts[at];
        attempt.status = status;
        attempt.end_time = status.is_terminal().then_some(now);
        let attempt = attempt.clone();

        self.keep_books(&attempt);
        let rollout = self.rollout_mut(id).clone();
        if self.is_latest(&attempt) && !rollout.status.is_terminal() {
            let config = &rollout.config;
            let again = config.retry_condition.contains(&status) && attempt.sequence_id < config.max_attempts;
            self.move_rollout(
                id,
                match status {
                    AttemptStatus::Preparing => RolloutStatus::Preparing,
                    AttemptStatus::Running => RolloutStatus::Running,
                    AttemptStatus::Succeeded => RolloutStatus::Succeeded,
                    _ if again => RolloutStatus::Requeuing,
                    _ => RolloutStatus::Failed,
                },
            );
        }
    }

    // ---- spans

    fn add_span(&mut self, span: Span) -> SpanOutcome {
        let id = span.rollout_id.clone();
        if let Err(error) = self.known(&id) {
            return SpanOutcome::Rejected(error);
        }
        let at = match self.find_attempt(&id, &AttemptRef::Id(span.attempt_id.clone())) {
            Ok(at) => at,
            Err(error) => return SpanOutcome::Rejected(error),
        };
        self.lift(&id, span.sequence_id);
        let key = |span: &Span| {
            (
                span.rollout_id.clone(),
                span.attempt_id.clone(),
                span.span_id.clone(),
            )
        };
        if self.spans.iter().any(|known| key(known) == key(&span)) {
            return SpanOutcome::Duplicate;
        }
        self.spans.push(span);
        let attempt = &mut self.attempts[at];
        attempt.last_heartbeat_time = Some(self.now);
        if matches!(
            attempt.status,
            AttemptStatus::Preparing | AttemptStatus::Unresponsive
        ) {
            attempt.status = AttemptStatus::Running;
            attempt.end_time = None;
        }
        let attempt = attempt.clone();
        let waits = matches!(
            self.rollout_mut(&id).status,
            RolloutStatus::Preparing | RolloutStatus::Requeuing
        );
        if waits && attempt.status == AttemptStatus::Running && self.is_latest(&attempt) {
            self.move_rollout(&id, RolloutStatus::Running);
        }
        SpanOutcome::Stored
    }

    fn next_sequence_id(&mut self, id: &RolloutId) -> u64 {
        self.lift(id, 0);
        let (_, last) = self
            .sequence_ids
            .iter_mut()
            .find(|(known, _)| known == id)
            .expect("just made");
        *last += 1;
        *last
    }

    /// Sees to it that the next sequence id is greater than `used`.
    fn lift(&mut self, id: &RolloutId, used: u64) {
        match self.sequence_ids.iter_mut().find(|(known, _)| known == id) {
            Some((_, last)) => *last = used.max(*last),
            None => self.sequence_ids.push((id.clone(), used)),
        }
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

    /// Notes at the worker of an attempt what became of the attempt.
    fn keep_books(&mut self, attempt: &Attempt) {
        let Some(worker_id) = &attempt.worker_id else {
            return;
        };
        let now = self.now;
        let worker = self.worker_mut(worker_id);
        let current = worker.current_rollout_id.as_ref() == Some(&attempt.rollout_id)
            && worker.current_attempt_id.as_ref() == Some(&attempt.attempt_id);
        if !attempt.status.is_terminal() {
            worker.status = WorkerStatus::Busy;
            worker.last_busy_time = Some(now);
            worker.current_rollout_id = Some(attempt.rollout_id.clone());
            worker.current_attempt_id = Some(attempt.attempt_id.clone());
        } else if current || worker.status != WorkerStatus::Busy {
            worker.current_rollout_id = None;
            worker.current_attempt_id = None;
            if matches!(attempt.status, AttemptStatus::Succeeded | AttemptStatus::Failed) {
                worker.status = WorkerStatus::Idle;
                worker.last_idle_time = Some(now);
            } else {
                worker.status = WorkerStatus::Unknown;
            }
        }
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

fn set<T>(field: &mut Option<T>, update: Update<T>) {
    match update {
        Update::Keep => {}
        Update::Clear => *field = None,
        Update::Set(value) => *field = Some(value),
    }
}

fn check(config: &RolloutConfig) -> Result<(), StoreError> {
    if config.max_attempts == 0 {
        return Err(StoreError::invalid("config.max_attempts", "at least 1"));
    }
    for (field, limit) in [
        ("config.timeout_seconds", config.timeout_seconds),
        ("config.unresponsive_seconds", config.unresponsive_seconds),
    ] {
        if limit.is_some_and(|limit| !limit.is_finite() || limit < 0.0) {
            return Err(StoreError::invalid(field, "a length of time"));
        }
    }
    Ok(())
}
