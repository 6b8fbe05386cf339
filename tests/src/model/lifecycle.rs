//! What happens to rollouts, attempts and spans.

use std::sync::Arc;

use lightning_core::{
    store::{AttemptRef, NotFound, SpanOutcome, StoreError},
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptStatus, AttemptedRollout, NewRollout, Rollout,
        RolloutConfig, RolloutId, RolloutPatch, RolloutStatus, Span, Update, WorkerId, WorkerStatus,
    },
};
use serde_json::Value;

use super::Model;

impl Model {
    // ---- rollouts

    pub(super) fn create(&mut self, new: NewRollout) -> Result<RolloutId, StoreError> {
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
    pub(super) fn move_rollout(&mut self, id: &RolloutId, status: RolloutStatus) -> &Rollout {
        if status.is_queueing() && !self.queue.contains(id) {
            self.queue.push(id.clone());
        }
        let now = self.now;
        let rollout = self.rollout_mut(id);
        rollout.status = status;
        rollout.end_time = status.is_terminal().then_some(now);
        rollout
    }

    pub(super) fn update_rollout(
        &mut self,
        id: &RolloutId,
        patch: RolloutPatch,
    ) -> Result<Rollout, StoreError> {
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

    pub(super) fn dequeue(&mut self, limit: usize, worker_id: Option<WorkerId>) -> Vec<AttemptedRollout> {
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
    pub(super) fn start(&mut self, id: &RolloutId, worker_id: Option<WorkerId>) -> AttemptedRollout {
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

    pub(super) fn update_attempt(
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

    /// Applies the time limits that have passed, the earliest first.
    pub(super) fn apply_time_limits(&mut self) {
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

    // ---- spans

    pub(super) fn add_span(&mut self, span: Span) -> SpanOutcome {
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

    pub(super) fn next_sequence_id(&mut self, id: &RolloutId) -> u64 {
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
    pub(super) fn lift(&mut self, id: &RolloutId, used: u64) {
        match self.sequence_ids.iter_mut().find(|(known, _)| known == id) {
            Some((_, last)) => *last = used.max(*last),
            None => self.sequence_ids.push((id.clone(), used)),
        }
    }
}

fn set<T>(field: &mut Option<T>, update: Update<T>) {
    match update {
        Update::Keep => {}
        Update::Clear => *field = None,
        Update::Set(value) => *field = Some(value),
    }
}

pub(super) fn check(config: &RolloutConfig) -> Result<(), StoreError> {
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
