//! Records that come from another store, and those that are taken out for good.

use std::collections::BTreeSet;

use lightning_core::{
    store::{AttemptRef, ImportOutcome, PurgeTarget, Purged, Record, RolloutRecord, StoreError},
    types::{AttemptStatus, ResourcesId, ResourcesUpdate, Span, Worker},
};

use super::{Model, lifecycle::check};

/// The wording is the store's own.
fn refused() -> ImportOutcome {
    ImportOutcome::Rejected(StoreError::invalid("record", ""))
}

fn known(same: bool) -> ImportOutcome {
    if same { ImportOutcome::Known } else { refused() }
}

impl Model {
    pub(super) fn import(&mut self, record: Record) -> ImportOutcome {
        match record {
            Record::Resources(update) => self.import_resources(update),
            Record::Rollout(record) => self.import_rollout(record),
            Record::Span(span) => self.import_span(*span),
            Record::Worker(worker) => self.import_worker(*worker),
            other => panic!("the model does not know {other:?}"),
        }
    }

    fn import_resources(&mut self, update: ResourcesUpdate) -> ImportOutcome {
        let id = &update.resources_id;
        if let Some(there) = self.resources(id, Some(update.version)) {
            return known(*there == update);
        }
        let last = self.resources(id, None);
        let made_later = last.is_some_and(|last| last.create_time != update.create_time);
        if made_later || update.version != last.map_or(0, |last| last.version) + 1 {
            return refused();
        }
        self.resources.push(update);
        ImportOutcome::Stored
    }

    fn import_rollout(&mut self, record: RolloutRecord) -> ImportOutcome {
        let RolloutRecord {
            rollout,
            mut attempts,
        } = record;
        let mut ids = BTreeSet::new();
        let mut later = rollout.end_time;
        for attempt in attempts.iter_mut().rev() {
            let ran_out = [AttemptStatus::Timeout, AttemptStatus::Unresponsive].contains(&attempt.status);
            if ran_out && attempt.end_time.is_none() {
                attempt.end_time = later.or(attempt.last_heartbeat_time).or(Some(attempt.start_time));
            }
            later = Some(attempt.start_time);
        }
        let sound = check(&rollout.config).is_ok()
            && rollout.status.is_terminal() == rollout.end_time.is_some()
            && (1..).zip(&attempts).all(|(number, attempt)| {
                attempt.rollout_id == rollout.rollout_id
                    && attempt.sequence_id == number
                    && attempt.status.is_terminal() == attempt.end_time.is_some()
                    && ids.insert(attempt.attempt_id.clone())
            });
        if !sound {
            return refused();
        }
        let id = &rollout.rollout_id;
        if let Some(there) = self.rollout(id) {
            let of_it = self.attempts.iter().filter(|attempt| attempt.rollout_id == *id);
            return known(*there == rollout && of_it.eq(&attempts));
        }
        if rollout.status.is_queueing() {
            self.queue.push(id.clone());
        }
        self.rollouts.push(rollout);
        self.attempts.extend(attempts);
        ImportOutcome::Stored
    }

    fn import_span(&mut self, span: Span) -> ImportOutcome {
        let id = span.rollout_id.clone();
        if let Err(error) = self.find_attempt(&id, &AttemptRef::Id(span.attempt_id.clone())) {
            return ImportOutcome::Rejected(error);
        }
        let there = self.spans.iter().find(|there| {
            (&there.rollout_id, &there.attempt_id, &there.span_id)
                == (&span.rollout_id, &span.attempt_id, &span.span_id)
        });
        if let Some(there) = there {
            return known(*there == span);
        }
        self.lift(&id, span.sequence_id);
        self.spans.push(span);
        ImportOutcome::Stored
    }

    fn import_worker(&mut self, worker: Worker) -> ImportOutcome {
        if let Some(there) = self.worker(&worker.worker_id) {
            return known(*there == worker);
        }
        self.workers.push(worker);
        ImportOutcome::Stored
    }

    pub(super) fn purge(&mut self, rollouts: Vec<PurgeTarget>, resources: Vec<ResourcesId>) -> Purged {
        let mut purged = Purged::default();
        for PurgeTarget {
            rollout_id: id,
            spans,
        } in rollouts
        {
            let ended = self
                .rollout(&id)
                .is_some_and(|rollout| rollout.status.is_terminal());
            let count = self.spans.iter().filter(|span| span.rollout_id == id).count() as u64;
            if !ended || spans.is_some_and(|spans| spans != count) {
                continue;
            }
            let attempts = self.attempts.len();
            self.rollouts.retain(|rollout| rollout.rollout_id != id);
            self.attempts.retain(|attempt| attempt.rollout_id != id);
            self.spans.retain(|span| span.rollout_id != id);
            self.queue.retain(|queued| *queued != id);
            self.sequence_ids.retain(|(known, _)| *known != id);
            purged.attempts += (attempts - self.attempts.len()) as u64;
            purged.spans += count;
            self.purged.push(id.clone());
            purged.rollouts.push(id);
        }
        for id in resources {
            let there = self.resources(&id, None).is_some();
            let used = self
                .rollouts
                .iter()
                .any(|rollout| rollout.resources_id.as_ref() == Some(&id));
            let latest = self
                .latest_resources()
                .is_some_and(|latest| latest.resources_id == id);
            if there && !used && !latest {
                self.resources.retain(|update| update.resources_id != id);
                purged.resources.push(id);
            }
        }
        purged
    }
}
