//! The records of the memory store and what each command does to them.
//!
//! Nothing here waits or knows of locks; whoever holds the state may call it.

mod transfer;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use super::{keys::AnsweredKeys, queue::Queue, resources::ResourceTable};
use crate::{
    ids::IdSource,
    store::{
        Answer, AttemptRef, Command, EndOfAttempt, NotFound, Request, SpanOutcome, StoreError,
        claim::Claim,
        lifecycle::{self, Effects, Standing},
        watch::Watchers,
    },
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptedRollout, NewRollout, Rollout, RolloutId, RolloutMode,
        RolloutPatch, RolloutSnapshot, RolloutStatus, Span, Timestamp, Worker, WorkerId,
    },
};

/// A rollout with all that belongs to it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) rollout: Rollout,
    /// In the order of their sequence ids.
    pub(super) attempts: Vec<Attempt>,
    /// In the order of their arrival.
    pub(super) spans: Vec<Arc<Span>>,
    span_ids: HashSet<(usize, String)>,
    last_sequence_id: u64,
    /// Whether the queue has an entry for it.
    in_queue: bool,
    /// Where it stands in [`State::deadlines`].
    deadline: Option<Timestamp>,
    pub(super) watchers: Watchers,
    /// Whether it was taken out for good, and only its place is left.
    pub(super) purged: bool,
    /// As what it is counted.
    counted: (RolloutStatus, Option<RolloutMode>),
}

/// How many rollouts there are in each status and mode.
#[derive(Debug, Default)]
pub(super) struct Counts([[u64; 1 + RolloutMode::ALL.len()]; RolloutStatus::ALL.len()]);

impl Counts {
    pub(super) fn get(&self, status: RolloutStatus, mode: Option<RolloutMode>) -> u64 {
        self.0[status as usize][Self::column(mode)]
    }

    fn add(&mut self, status: RolloutStatus, mode: Option<RolloutMode>, change: i64) {
        let count = &mut self.0[status as usize][Self::column(mode)];
        *count = count.saturating_add_signed(change);
    }

    fn column(mode: Option<RolloutMode>) -> usize {
        mode.map_or(0, |mode| 1 + mode as usize)
    }
}

impl Entry {
    pub(super) fn snapshot(&self) -> RolloutSnapshot {
        RolloutSnapshot {
            rollout: self.rollout.clone(),
            attempt: self.attempts.last().cloned(),
        }
    }

    pub(super) fn attempt_place(&self, id: &AttemptId) -> Option<usize> {
        // A late report concerns one of the last attempts, if not the last.
        self.attempts
            .iter()
            .rposition(|attempt| attempt.attempt_id == *id)
    }

    fn find_attempt(&self, id: &AttemptId) -> Result<usize, NotFound> {
        self.attempt_place(id).ok_or_else(|| NotFound::Attempt {
            rollout_id: self.rollout.rollout_id.clone(),
            attempt_id: id.clone(),
        })
    }

    fn standing(&self, attempt: usize) -> Standing {
        if attempt + 1 == self.attempts.len() {
            Standing::Latest
        } else {
            Standing::Superseded
        }
    }

    fn attempted(&self, attempt: Attempt) -> AttemptedRollout {
        AttemptedRollout {
            rollout: self.rollout.clone(),
            attempt,
        }
    }
}

/// Everything that the store holds.
#[derive(Debug)]
pub(super) struct State {
    ids: Arc<dyn IdSource>,
    /// In the order of their creation. A rollout's place never changes.
    pub(super) entries: Vec<Entry>,
    pub(super) places: HashMap<RolloutId, usize>,
    /// The places of the rollouts in each status.
    pub(super) by_status: [BTreeSet<usize>; RolloutStatus::ALL.len()],
    pub(super) counts: Counts,
    /// How many of the entries were taken out for good.
    pub(super) purged: usize,
    pub(super) queue: Queue,
    /// When the latest attempts run into their time limits.
    deadlines: BTreeSet<(Timestamp, usize)>,
    /// Counters of rollouts that nobody has made.
    orphan_sequence_ids: HashMap<RolloutId, u64>,
    pub(super) resources: ResourceTable,
    /// In the order in which they were first seen.
    pub(super) workers: Vec<Worker>,
    pub(super) worker_places: HashMap<WorkerId, usize>,
    keys: AnsweredKeys,
    pub(super) total_attempts: u64,
    pub(super) total_spans: u64,
    pub(super) span_bytes: u64,
    next_ticket: u64,
    /// How many callers watch rollouts.
    watching: usize,
}

impl State {
    pub(super) fn new(ids: Arc<dyn IdSource>) -> Self {
        Self {
            ids,
            entries: Vec::new(),
            places: HashMap::new(),
            by_status: Default::default(),
            counts: Counts::default(),
            purged: 0,
            queue: Queue::default(),
            deadlines: BTreeSet::new(),
            orphan_sequence_ids: HashMap::new(),
            resources: ResourceTable::default(),
            workers: Vec::new(),
            worker_places: HashMap::new(),
            keys: AnsweredKeys::default(),
            total_attempts: 0,
            total_spans: 0,
            span_bytes: 0,
            next_ticket: 0,
            watching: 0,
        }
    }

    pub(super) fn entry(&self, id: &RolloutId) -> Option<&Entry> {
        self.places.get(id).map(|&place| &self.entries[place])
    }

    pub(super) fn place(&self, id: &RolloutId) -> Result<usize, NotFound> {
        self.places
            .get(id)
            .copied()
            .ok_or_else(|| NotFound::Rollout(id.clone()))
    }

    /// A ticket for a caller who begins to watch rollouts.
    pub(super) fn begin_watch(&mut self) -> u64 {
        self.next_ticket += 1;
        self.watching += 1;
        self.next_ticket
    }

    /// The caller watches these rollouts no longer.
    pub(super) fn end_watch(&mut self, ticket: u64, places: &[usize]) {
        self.watching -= 1;
        for &place in places {
            self.entries[place].watchers.leave(ticket);
        }
    }

    /// How many callers wait for something.
    pub(super) fn waiters(&self) -> usize {
        self.watching + self.queue.waiting()
    }

    /// The next point after which a time limit has passed.
    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.deadlines.first().map(|&(deadline, _)| deadline)
    }

    /// Ends the attempts whose time limits have passed, in the order in which they did.
    pub(super) fn expire(&mut self, now: Timestamp) {
        while let Some(&(deadline, place)) = self.deadlines.first()
            && lifecycle::is_past(deadline, now)
        {
            self.deadlines.pop_first();
            let entry = &mut self.entries[place];
            entry.deadline = None;
            let before = entry.rollout.status;
            let Some(latest) = entry.attempts.last_mut() else {
                continue;
            };
            if let Some(effects) = lifecycle::expire(&mut entry.rollout, latest, now) {
                let attempt = latest.clone();
                tracing::debug!(
                    target: "lightning::store",
                    rollout_id = %attempt.rollout_id,
                    attempt_id = %attempt.attempt_id,
                    status = attempt.status.as_str(),
                    "an attempt ran into a time limit"
                );
                self.settle(place, before, effects);
                self.worker_follows(&attempt, now);
            } else {
                self.reschedule(place);
            }
        }
    }

    /// Carries out a request, or gives the answer that it was given before.
    pub(super) fn execute(&mut self, request: Request, now: Timestamp) -> Result<Answer, StoreError> {
        self.expire(now);
        let Some(key) = request.key else {
            return self.carry_out(request.command, now);
        };
        let fingerprint = self.keys.fingerprint(&request.command)?;
        if let Some(answer) = self.keys.answer(&key, fingerprint, now)? {
            return Ok(answer);
        }
        let answer = self.carry_out(request.command, now)?;
        self.keys.remember(key, fingerprint, answer.clone(), now);
        Ok(answer)
    }

    fn carry_out(&mut self, command: Command, now: Timestamp) -> Result<Answer, StoreError> {
        Ok(match command {
            Command::EnqueueRollouts { rollouts } => Answer::Enqueued(self.enqueue(rollouts, now)?),
            Command::StartRollout { rollout, worker_id } => {
                Answer::Started(Box::new(self.start_rollout(rollout, worker_id, now)?))
            }
            Command::DequeueRollouts { limit, worker_id } => {
                Answer::Dequeued(self.dequeue(limit, worker_id, now))
            }
            Command::StartAttempt {
                rollout_id,
                worker_id,
            } => {
                let place = self.place(&rollout_id)?;
                Answer::Started(Box::new(self.begin_attempt_for(place, worker_id, now)))
            }
            Command::AddSpans { spans } => {
                Answer::Spans(spans.into_iter().map(|span| self.add_span(span, now)).collect())
            }
            Command::UpdateRollout { rollout_id, patch } => {
                Answer::Rollout(Box::new(self.update_rollout(&rollout_id, patch, now)?))
            }
            Command::UpdateAttempt {
                rollout_id,
                attempt,
                patch,
            } => Answer::Attempt(Box::new(self.update_attempt(
                &rollout_id,
                &attempt,
                patch,
                now,
            )?)),
            Command::AddResources { resources } => {
                Answer::Resources(self.resources.add(&*self.ids, resources, now))
            }
            Command::UpdateResources {
                resources_id,
                resources,
            } => Answer::Resources(self.resources.update(resources_id, resources, now)),
            Command::NextSequenceIds { targets } => Answer::SequenceIds(
                targets
                    .into_iter()
                    .map(|(rollout_id, _)| self.next_sequence_id(rollout_id))
                    .collect(),
            ),
            Command::UpdateWorker {
                worker_id,
                heartbeat_stats,
            } => {
                let worker = self.worker(worker_id);
                lifecycle::worker_heartbeat(worker, heartbeat_stats, now);
                Answer::Worker(Box::new(worker.clone()))
            }
            Command::Import { records } => {
                Answer::Imported(records.into_iter().map(|record| self.import(record)).collect())
            }
            Command::Purge { rollouts, resources } => Answer::Purged(self.purge(rollouts, resources)),
        })
    }

    // ---- rollouts and attempts

    fn enqueue(&mut self, new: Vec<NewRollout>, now: Timestamp) -> Result<Vec<Rollout>, StoreError> {
        for config in new.iter().filter_map(|new| new.config.as_ref()) {
            lifecycle::check_config(config)?;
        }
        new.into_iter()
            .map(|new| {
                let place = self.insert(new, now)?;
                self.put_in_queue(place);
                Ok(self.entries[place].rollout.clone())
            })
            .collect()
    }

    fn start_rollout(
        &mut self,
        new: NewRollout,
        worker_id: Option<WorkerId>,
        now: Timestamp,
    ) -> Result<AttemptedRollout, StoreError> {
        let place = self.insert(new, now)?;
        Ok(self.begin_attempt_for(place, worker_id, now))
    }

    /// Adds a rollout to the table, not to the queue.
    fn insert(&mut self, new: NewRollout, now: Timestamp) -> Result<usize, StoreError> {
        let id = loop {
            let id = RolloutId::from(format!("ro-{}", self.ids.hex(12)));
            if !self.places.contains_key(&id) {
                break id;
            }
        };
        let latest_resources = self.resources.latest().map(|update| &update.resources_id);
        let rollout = lifecycle::new_rollout(id, new, latest_resources, now)?;
        Ok(self.place_entry(rollout))
    }

    /// Gives a rollout its place.
    fn place_entry(&mut self, rollout: Rollout) -> usize {
        let id = rollout.rollout_id.clone();
        let place = self.entries.len();
        let counted = (rollout.status, rollout.mode);
        self.by_status[rollout.status as usize].insert(place);
        self.counts.add(counted.0, counted.1, 1);
        self.entries.push(Entry {
            rollout,
            attempts: Vec::new(),
            spans: Vec::new(),
            span_ids: HashSet::new(),
            last_sequence_id: self.orphan_sequence_ids.remove(&id).unwrap_or(0),
            in_queue: false,
            deadline: None,
            watchers: Watchers::default(),
            purged: false,
            counted,
        });
        self.places.insert(id, place);
        place
    }

    /// What was claimed before under the same key; an empty claim does not count.
    pub(super) fn claimed_before(
        &mut self,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Option<Vec<AttemptedRollout>>, StoreError> {
        let Some(key) = &claim.key else {
            return Ok(None);
        };
        let fingerprint = self.keys.fingerprint(&claim.command())?;
        Ok(match self.keys.answer(key, fingerprint, now)? {
            Some(Answer::Dequeued(claimed)) if !claimed.is_empty() => Some(claimed),
            _ => None,
        })
    }

    /// Takes rollouts from the head of the queue, and remembers them under the key.
    pub(super) fn claim(
        &mut self,
        claim: &Claim,
        now: Timestamp,
    ) -> Result<Vec<AttemptedRollout>, StoreError> {
        let claimed = self.dequeue(claim.limit, claim.worker_id.clone(), now);
        if let Some(key) = &claim.key
            && !claimed.is_empty()
        {
            let fingerprint = self.keys.fingerprint(&claim.command())?;
            let answer = Answer::Dequeued(claimed.clone());
            self.keys.remember(key.clone(), fingerprint, answer, now);
        }
        Ok(claimed)
    }

    /// The worker of the claim asks for work and has to wait.
    pub(super) fn came_for_work(&mut self, claim: &Claim, now: Timestamp) {
        self.dequeue(0, claim.worker_id.clone(), now);
    }

    fn dequeue(
        &mut self,
        limit: usize,
        worker_id: Option<WorkerId>,
        now: Timestamp,
    ) -> Vec<AttemptedRollout> {
        let mut claimed: Vec<AttemptedRollout> = Vec::new();
        while claimed.len() < limit
            && let Some(place) = self.queue.pop()
        {
            let entry = &mut self.entries[place];
            entry.in_queue = false;
            if entry.rollout.status.is_queueing() {
                claimed.push(self.begin_attempt(place, worker_id.clone(), now));
            }
        }
        if let Some(worker_id) = worker_id {
            let last = claimed.last().map(|claimed| &claimed.attempt);
            lifecycle::worker_dequeued(self.worker(worker_id), last, now);
        }
        claimed
    }

    /// Begins an attempt outside the queue.
    fn begin_attempt_for(
        &mut self,
        place: usize,
        worker_id: Option<WorkerId>,
        now: Timestamp,
    ) -> AttemptedRollout {
        let begun = self.begin_attempt(place, worker_id, now);
        self.worker_follows(&begun.attempt, now);
        begun
    }

    fn begin_attempt(
        &mut self,
        place: usize,
        worker_id: Option<WorkerId>,
        now: Timestamp,
    ) -> AttemptedRollout {
        let entry = &mut self.entries[place];
        let id = loop {
            let id = AttemptId::from(format!("at-{}", self.ids.hex(8)));
            if entry.attempt_place(&id).is_none() {
                break id;
            }
        };
        let before = entry.rollout.status;
        let previous = entry.attempts.last().map_or(0, |attempt| attempt.sequence_id);
        let attempt = lifecycle::begin_attempt(&mut entry.rollout, id, previous, worker_id, now);
        entry.attempts.push(attempt.clone());
        let begun = entry.attempted(attempt);
        self.total_attempts += 1;
        self.settle(place, before, Effects::default());
        begun
    }

    fn update_rollout(
        &mut self,
        id: &RolloutId,
        patch: RolloutPatch,
        now: Timestamp,
    ) -> Result<Rollout, StoreError> {
        let place = *self
            .places
            .get(id)
            .ok_or_else(|| NotFound::UpdatedRollout(id.clone()))?;
        let entry = &mut self.entries[place];
        let before = entry.rollout.status;
        let effects = lifecycle::update_rollout(&mut entry.rollout, patch, now)?;
        let updated = entry.rollout.clone();
        self.settle(place, before, effects);
        Ok(updated)
    }

    fn update_attempt(
        &mut self,
        rollout_id: &RolloutId,
        which: &AttemptRef,
        patch: AttemptPatch,
        now: Timestamp,
    ) -> Result<Attempt, StoreError> {
        let place = self.place(rollout_id)?;
        let entry = &mut self.entries[place];
        let last = entry.attempts.len().checked_sub(1);
        let last = last.ok_or_else(|| NotFound::NoAttempts(rollout_id.clone()))?;
        let index = match which {
            AttemptRef::Latest => last,
            AttemptRef::Id(id) => entry.find_attempt(id)?,
        };
        let concerns_worker = patch.status.is_some() || patch.worker_id.is_some();
        let before = entry.rollout.status;
        let standing = entry.standing(index);
        let attempt = &mut entry.attempts[index];
        let effects = lifecycle::update_attempt(&mut entry.rollout, attempt, standing, patch, now);
        let updated = attempt.clone();
        self.settle(place, before, effects);
        if concerns_worker {
            self.worker_follows(&updated, now);
        }
        Ok(updated)
    }

    /// Brings everything that follows from a rollout's records up to date after they have changed.
    fn settle(&mut self, place: usize, before: RolloutStatus, effects: Effects) {
        let entry = &mut self.entries[place];
        let after = entry.rollout.status;
        if before != after {
            self.by_status[before as usize].remove(&place);
            self.by_status[after as usize].insert(place);
        }
        let counts = (after, entry.rollout.mode);
        if counts != entry.counted {
            self.counts.add(entry.counted.0, entry.counted.1, -1);
            self.counts.add(counts.0, counts.1, 1);
            entry.counted = counts;
        }
        if effects.enqueue {
            self.put_in_queue(place);
        }
        self.reschedule(place);
        self.entries[place].watchers.tell(effects.ended);
    }

    fn put_in_queue(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        if !entry.in_queue {
            entry.in_queue = true;
            self.queue.push(place);
        }
    }

    fn reschedule(&mut self, place: usize) {
        let entry = &mut self.entries[place];
        let deadline = entry
            .attempts
            .last()
            .and_then(|latest| lifecycle::deadline(&entry.rollout, latest));
        if deadline != entry.deadline {
            if let Some(old) = entry.deadline {
                self.deadlines.remove(&(old, place));
            }
            self.deadlines.extend(deadline.map(|deadline| (deadline, place)));
            entry.deadline = deadline;
        }
    }

    /// Those of the rollouts that are terminal, in the order of the ids.
    pub(super) fn ended(&self, rollout_ids: &[RolloutId]) -> Vec<Rollout> {
        let known = rollout_ids.iter().filter_map(|id| self.entry(id));
        known
            .map(|entry| &entry.rollout)
            .filter(|rollout| rollout.status.is_terminal())
            .cloned()
            .collect()
    }

    /// Why work on the attempt has become pointless, if it has.
    pub(super) fn end_of_attempt(
        &self,
        rollout_id: &RolloutId,
        attempt_id: &AttemptId,
    ) -> Result<Option<EndOfAttempt>, StoreError> {
        let entry = &self.entries[self.place(rollout_id)?];
        let attempt = &entry.attempts[entry.find_attempt(attempt_id)?];
        let latest = entry.attempts.last().unwrap_or(attempt);
        Ok(lifecycle::end_of_attempt(&entry.rollout, attempt, latest))
    }

    // ---- spans

    fn add_span(&mut self, span: Span, now: Timestamp) -> SpanOutcome {
        if let Err(error) = lifecycle::check_span(&span) {
            return SpanOutcome::Rejected(error);
        }
        let found = self.place(&span.rollout_id).and_then(|place| {
            let attempt = self.entries[place].find_attempt(&span.attempt_id)?;
            Ok((place, attempt))
        });
        let (place, attempt) = match found {
            Ok(found) => found,
            Err(error) => return SpanOutcome::Rejected(error.into()),
        };
        let entry = &mut self.entries[place];
        entry.last_sequence_id = entry.last_sequence_id.max(span.sequence_id);
        if !entry.span_ids.insert((attempt, span.span_id.clone())) {
            return SpanOutcome::Duplicate;
        }
        self.total_spans += 1;
        self.span_bytes += super::size::of_span(&span);
        entry.spans.push(Arc::new(span));
        let before = entry.rollout.status;
        let standing = entry.standing(attempt);
        let attempt = &mut entry.attempts[attempt];
        let effects = lifecycle::span_stored(&mut entry.rollout, attempt, standing, now);
        self.settle(place, before, effects);
        SpanOutcome::Stored
    }

    fn next_sequence_id(&mut self, rollout_id: RolloutId) -> u64 {
        let counter = match self.places.get(&rollout_id) {
            Some(&place) => &mut self.entries[place].last_sequence_id,
            None => self.orphan_sequence_ids.entry(rollout_id).or_default(),
        };
        *counter = counter.saturating_add(1);
        *counter
    }

    // ---- workers

    fn worker(&mut self, id: WorkerId) -> &mut Worker {
        let place = *self.worker_places.entry(id).or_insert_with_key(|id| {
            self.workers.push(lifecycle::new_worker(id.clone()));
            self.workers.len() - 1
        });
        &mut self.workers[place]
    }

    /// Tells these workers to stop, or all that were seen so far.
    pub(super) fn drain_workers(&mut self, workers: Option<Vec<WorkerId>>) -> usize {
        let nameless = workers.is_none();
        let workers = workers.unwrap_or_else(|| self.worker_places.keys().cloned().collect());
        self.queue.drain(&workers, nameless);
        workers.len()
    }

    fn worker_follows(&mut self, attempt: &Attempt, now: Timestamp) {
        if let Some(id) = &attempt.worker_id {
            lifecycle::worker_follows(self.worker(id.clone()), attempt, now);
        }
    }
}
