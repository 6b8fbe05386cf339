//! Records that come from another store, and those that are taken out for good.

use std::{collections::HashSet, sync::Arc};

use super::State;
use crate::{
    store::{
        ImportOutcome, PurgeTarget, Purged, Record, RolloutRecord, StoreError, lifecycle,
        record::{differs, lacks_version, made_at_another_time},
    },
    types::{ResourcesId, ResourcesUpdate, Rollout, Span, TaskInput, Worker},
};

/// Whether what is there already is the same.
fn compare(same: bool, what: impl std::fmt::Display) -> Result<ImportOutcome, StoreError> {
    if same {
        Ok(ImportOutcome::Known)
    } else {
        Err(differs(what))
    }
}

impl State {
    pub(super) fn import(&mut self, record: Record) -> ImportOutcome {
        let imported = match record {
            Record::Resources(update) => self.import_resources(update),
            Record::Rollout(record) => self.import_rollout(record),
            Record::Span(span) => self.import_span(*span),
            Record::Worker(worker) => self.import_worker(*worker),
        };
        imported.unwrap_or_else(ImportOutcome::Rejected)
    }

    fn import_resources(&mut self, update: ResourcesUpdate) -> Result<ImportOutcome, StoreError> {
        let id = update.resources_id.clone();
        if let Some(known) = self.resources.get(&id, Some(update.version)) {
            let what = format!("version {} of resources {id}", update.version);
            return compare(*known == update, what);
        }
        let latest = self.resources.get(&id, None);
        if latest.is_some_and(|latest| latest.create_time != update.create_time) {
            return Err(made_at_another_time(&id, update.version));
        }
        let known = latest.map_or(0, |latest| latest.version);
        if update.version != known + 1 {
            return Err(lacks_version(&id, update.version, known));
        }
        self.resources.put(update);
        Ok(ImportOutcome::Stored)
    }

    fn import_rollout(&mut self, record: RolloutRecord) -> Result<ImportOutcome, StoreError> {
        let RolloutRecord {
            rollout,
            mut attempts,
        } = record;
        let effects = lifecycle::admit(&rollout, &mut attempts)?;
        if let Some(entry) = self.entry(&rollout.rollout_id) {
            let same = entry.rollout == rollout && entry.attempts == attempts;
            return compare(same, format_args!("rollout {}", rollout.rollout_id));
        }
        let status = rollout.status;
        let place = self.place_entry(rollout);
        self.total_attempts += attempts.len() as u64;
        self.entries[place].attempts = attempts;
        self.settle(place, status, effects);
        Ok(ImportOutcome::Stored)
    }

    fn import_span(&mut self, span: Span) -> Result<ImportOutcome, StoreError> {
        lifecycle::check_span(&span)?;
        let place = self.place(&span.rollout_id)?;
        let entry = &mut self.entries[place];
        let attempt = entry.find_attempt(&span.attempt_id)?;
        if !entry.span_ids.insert((attempt, span.span_id.clone())) {
            let mut known = entry
                .spans
                .iter()
                .filter(|known| known.span_id == span.span_id && known.attempt_id == span.attempt_id);
            let same = known.any(|known| **known == span);
            return compare(
                same,
                format_args!("span {} of rollout {}", span.span_id, span.rollout_id),
            );
        }
        entry.last_sequence_id = entry.last_sequence_id.max(span.sequence_id);
        self.total_spans += 1;
        self.span_bytes += super::super::size::of_span(&span);
        entry.spans.push(Arc::new(span));
        Ok(ImportOutcome::Stored)
    }

    fn import_worker(&mut self, worker: Worker) -> Result<ImportOutcome, StoreError> {
        if let Some(&place) = self.worker_places.get(&worker.worker_id) {
            let what = format!("worker {}", worker.worker_id);
            return compare(self.workers[place] == worker, what);
        }
        let id = worker.worker_id.clone();
        *self.worker(id) = worker;
        Ok(ImportOutcome::Stored)
    }

    pub(super) fn purge(&mut self, rollouts: Vec<PurgeTarget>, resources: Vec<ResourcesId>) -> Purged {
        let mut purged = Purged::default();
        for target in rollouts {
            let Some(&place) = self.places.get(&target.rollout_id) else {
                continue;
            };
            let entry = &mut self.entries[place];
            let spans = entry.spans.len() as u64;
            let expected = target.spans.is_none_or(|expected| expected == spans);
            if !lifecycle::may_be_purged(&entry.rollout) || !expected {
                continue;
            }
            purged.attempts += entry.attempts.len() as u64;
            purged.spans += spans;
            self.total_attempts -= entry.attempts.len() as u64;
            self.total_spans -= spans;
            let bytes: u64 = entry
                .spans
                .iter()
                .map(|span| super::super::size::of_span(span))
                .sum();
            self.span_bytes -= bytes;
            let (status, mode) = (entry.rollout.status, entry.rollout.mode);
            // Places are never given out again, so the entry stays, but for what takes memory. What still knows its place
            // (a stale entry of the queue, a caller who was told of the end and leaves) finds a rollout that has ended.
            entry.attempts = Vec::new();
            entry.spans = Vec::new();
            entry.span_ids = HashSet::new();
            entry.purged = true;
            empty(&mut entry.rollout);
            self.by_status[status as usize].remove(&place);
            self.counts.add(status, mode, -1);
            self.places.remove(&target.rollout_id);
            self.purged += 1;
            purged.rollouts.push(target.rollout_id);
        }
        if !resources.is_empty() {
            let live = self.entries.iter().filter(|entry| !entry.purged);
            let used: HashSet<&ResourcesId> = live
                .filter_map(|entry| entry.rollout.resources_id.as_ref())
                .collect();
            let unused: Vec<ResourcesId> = resources.into_iter().filter(|id| !used.contains(id)).collect();
            purged.resources = self.resources.purge(unused);
        }
        purged
    }
}

/// Frees what a rollout holds, but for its status.
fn empty(rollout: &mut Rollout) {
    rollout.input = TaskInput::default();
    rollout.metadata = None;
    rollout.resources_id = None;
    rollout.config = Default::default();
}
