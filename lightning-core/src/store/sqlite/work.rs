//! What each command does to the tables, within a transaction that somebody else began and ends.
//!
//! Records are read, given to the lifecycle, and written back. Nothing here waits, and nothing is kept between commands
//! but what the tables say too.

use rusqlite::Connection;

use super::{
    failure::Failure,
    keys,
    records::{self, Stored, to_json},
    totals::{Total, Totals},
};
use crate::{
    ids::IdSource,
    store::{
        Answer, AttemptRef, Command, NotFound, Request, SpanOutcome,
        claim::Claim,
        lifecycle::{self, Effects, Standing},
    },
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptedRollout, JsonObject, NamedResources, NewRollout,
        ResourcesId, ResourcesUpdate, Rollout, RolloutId, RolloutPatch, Span, Timestamp, Worker, WorkerId,
    },
};

/// What follows from a command for those who wait, and for the sums.
#[derive(Debug, Default)]
pub(super) struct Consequences {
    pub(super) totals: Totals,
    /// How many rollouts were put into the queue.
    pub(super) queued: usize,
    /// Rollouts that have changed, and whether they have ended.
    pub(super) changed: Vec<(RolloutId, bool)>,
    /// The earliest time limit that was set.
    pub(super) deadline: Option<Timestamp>,
}

impl Consequences {
    pub(super) fn merge(&mut self, other: Self) {
        self.totals.merge(&other.totals);
        self.queued += other.queued;
        self.changed.extend(other.changed);
        self.deadline = self.deadline.into_iter().chain(other.deadline).min();
    }
}

/// One command at work.
pub(super) struct Work<'a> {
    pub(super) connection: &'a Connection,
    pub(super) ids: &'a dyn IdSource,
    pub(super) now: Timestamp,
    /// The next place at the tail of the queue.
    pub(super) next_queue_place: &'a mut i64,
    pub(super) consequences: Consequences,
}

impl Work<'_> {
    /// Ends the attempts whose time limits have passed, in the order in which they did.
    pub(super) fn expire(&mut self) -> Result<(), Failure> {
        while let Some(mut stored) = Stored::first_due(self.connection, self.now)? {
            let before = stored.clone();
            if let Some(mut attempt) = stored.latest(self.connection)?
                && let Some(effects) = lifecycle::expire(&mut stored.rollout, &mut attempt, self.now)
            {
                tracing::debug!(
                    target: "lightning::store",
                    rollout_id = %attempt.rollout_id,
                    attempt_id = %attempt.attempt_id,
                    status = attempt.status.as_str(),
                    "an attempt ran into a time limit"
                );
                records::save_attempt(self.connection, stored.place, &attempt)?;
                self.settle(&mut stored, &before, Some(&attempt), effects)?;
                self.worker_follows(&attempt)?;
            } else {
                // Nothing is due after all; were the column to stay, it would come up again and again.
                stored.deadline = None;
                self.write(&stored, &before)?;
            }
        }
        Ok(())
    }

    /// Carries out a request, or gives the answer that it was given before.
    pub(super) fn execute(&mut self, request: &Request) -> Result<Answer, Failure> {
        let Some(key) = &request.key else {
            return self.carry_out(&request.command);
        };
        let fingerprint = keys::fingerprint(&request.command)?;
        let first = keys::answer(self.connection, key, &request.command, &fingerprint, self.now)?;
        if let Some(answer) = first {
            return Ok(answer);
        }
        let answer = self.carry_out(&request.command)?;
        keys::remember(self.connection, key, &fingerprint, &answer, self.now)?;
        Ok(answer)
    }

    /// What was claimed before under the same key; an empty claim does not count.
    pub(super) fn claimed_before(&self, claim: &Claim) -> Result<Option<Vec<AttemptedRollout>>, Failure> {
        let Some(key) = &claim.key else {
            return Ok(None);
        };
        let command = claim.command();
        let fingerprint = keys::fingerprint(&command)?;
        Ok(
            match keys::answer(self.connection, key, &command, &fingerprint, self.now)? {
                Some(Answer::Dequeued(claimed)) if !claimed.is_empty() => Some(claimed),
                _ => None,
            },
        )
    }

    /// Takes rollouts from the head of the queue, and remembers them under the key.
    pub(super) fn claim(&mut self, claim: &Claim) -> Result<Vec<AttemptedRollout>, Failure> {
        let claimed = self.dequeue(claim.limit, claim.worker_id.as_ref())?;
        if let Some(key) = &claim.key
            && !claimed.is_empty()
        {
            let fingerprint = keys::fingerprint(&claim.command())?;
            let answer = Answer::Dequeued(claimed.clone());
            keys::remember(self.connection, key, &fingerprint, &answer, self.now)?;
        }
        Ok(claimed)
    }

    /// The worker of the claim asks for work and has to wait.
    pub(super) fn came_for_work(&mut self, claim: &Claim) -> Result<(), Failure> {
        self.dequeue(0, claim.worker_id.as_ref()).map(|_| ())
    }

    fn carry_out(&mut self, command: &Command) -> Result<Answer, Failure> {
        Ok(match command {
            Command::EnqueueRollouts { rollouts } => Answer::Enqueued(self.enqueue(rollouts)?),
            Command::StartRollout { rollout, worker_id } => {
                let stored = self.insert(rollout, false)?;
                Answer::Started(Box::new(self.begin_attempt_for(stored, worker_id.as_ref())?))
            }
            Command::DequeueRollouts { limit, worker_id } => {
                Answer::Dequeued(self.dequeue(*limit, worker_id.as_ref())?)
            }
            Command::StartAttempt {
                rollout_id,
                worker_id,
            } => {
                let stored = self.find(rollout_id)?.with_input(self.connection)?;
                Answer::Started(Box::new(self.begin_attempt_for(stored, worker_id.as_ref())?))
            }
            Command::AddSpans { spans } => Answer::Spans(self.add_spans(spans)?),
            Command::UpdateRollout { rollout_id, patch } => {
                Answer::Rollout(Box::new(self.update_rollout(rollout_id, patch)?))
            }
            Command::UpdateAttempt {
                rollout_id,
                attempt,
                patch,
            } => Answer::Attempt(Box::new(self.update_attempt(rollout_id, attempt, patch)?)),
            Command::AddResources { resources } => Answer::Resources(self.add_resources(resources)?),
            Command::UpdateResources {
                resources_id,
                resources,
            } => Answer::Resources(self.update_resources(resources_id, resources)?),
            Command::NextSequenceIds { targets } => Answer::SequenceIds(
                targets
                    .iter()
                    .map(|(rollout_id, _)| self.next_sequence_id(rollout_id))
                    .collect::<Result<_, _>>()?,
            ),
            Command::UpdateWorker {
                worker_id,
                heartbeat_stats,
            } => Answer::Worker(Box::new(self.heartbeat(worker_id, heartbeat_stats.as_ref())?)),
            Command::Import { records } => Answer::Imported(
                records
                    .iter()
                    .map(|record| self.import(record))
                    .collect::<Result<_, _>>()?,
            ),
            Command::Purge { rollouts, resources } => Answer::Purged(self.purge(rollouts, resources)?),
        })
    }

    // ---- rollouts and attempts

    pub(super) fn find(&self, id: &RolloutId) -> Result<Stored, Failure> {
        Stored::by_id(self.connection, id)?.ok_or_else(|| NotFound::Rollout(id.clone()).into())
    }

    fn enqueue(&mut self, new: &[NewRollout]) -> Result<Vec<Rollout>, Failure> {
        new.iter()
            .map(|new| Ok(self.insert(new, true)?.rollout))
            .collect()
    }

    /// Adds a fresh rollout to the table, and to the queue if it is to be there.
    fn insert(&mut self, new: &NewRollout, into_queue: bool) -> Result<Stored, Failure> {
        let latest_resources = records::latest_resources_id(self.connection)?.map(ResourcesId::from);
        loop {
            let id = RolloutId::from(format!("ro-{}", self.ids.hex(12)));
            let rollout = lifecycle::new_rollout(id, new.clone(), latest_resources.as_ref(), self.now)?;
            if let Some(stored) = self.put_rollout(rollout, into_queue)? {
                return Ok(stored);
            }
        }
    }

    /// Adds a rollout to the table, and to the queue if it is to be there. `None` if one of its id is there already.
    pub(super) fn put_rollout(
        &mut self,
        rollout: Rollout,
        into_queue: bool,
    ) -> Result<Option<Stored>, Failure> {
        let queue_place = into_queue.then_some(*self.next_queue_place);
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO rollouts (rollout_id, start_time, end_time, mode, resources_id, status, config, metadata,
                                   attempts, last_sequence_id, queue_place)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, 0, ?9) ON CONFLICT (rollout_id) DO NOTHING",
        )?;
        let inserted = insert.execute((
            rollout.rollout_id.as_str(),
            rollout.start_time.as_secs_f64(),
            rollout.end_time.map(Timestamp::as_secs_f64),
            rollout.mode.map(|mode| mode.as_str()),
            rollout.resources_id.as_ref().map(|id| id.as_str()),
            rollout.status.as_str(),
            to_json(&rollout.config)?,
            rollout.metadata.as_ref().map(to_json).transpose()?,
            queue_place,
        ))?;
        if inserted == 0 {
            return Ok(None);
        }
        let mut stored = Stored {
            place: self.connection.last_insert_rowid(),
            rollout,
            attempts: 0,
            last_sequence_id: 0,
            queue_place,
            deadline: None,
        };
        self.connection
            .prepare_cached("INSERT INTO inputs (place, input) VALUES (?1, ?2)")?
            .execute((stored.place, to_json(&*stored.rollout.input)?))?;
        self.adopt_sequence_ids(&mut stored)?;
        self.count_rollout(&stored.rollout, 1);
        if into_queue {
            self.entered_queue();
        }
        Ok(Some(stored))
    }

    /// Sequence ids may have been drawn for a rollout before it was made.
    pub(super) fn adopt_sequence_ids(&self, stored: &mut Stored) -> Result<(), Failure> {
        let mut orphans = self.connection.prepare_cached(
            "DELETE FROM orphan_sequence_ids WHERE rollout_id = ?1 RETURNING last_sequence_id",
        )?;
        let mut rows = orphans.query([stored.rollout.rollout_id.as_str()])?;
        if let Some(row) = rows.next()? {
            let before = stored.clone();
            stored.last_sequence_id = row.get(0)?;
            // The deletion takes effect when its rows are read to the end.
            while rows.next()?.is_some() {}
            self.write(stored, &before)?;
        }
        Ok(())
    }

    pub(super) fn entered_queue(&mut self) {
        *self.next_queue_place += 1;
        self.consequences.totals.add(Total::Queued, 1);
        self.consequences.queued += 1;
    }

    fn dequeue(
        &mut self,
        limit: usize,
        worker_id: Option<&WorkerId>,
    ) -> Result<Vec<AttemptedRollout>, Failure> {
        let mut claimed: Vec<AttemptedRollout> = Vec::new();
        while claimed.len() < limit
            && let Some(mut stored) = Stored::first_queued(self.connection)?
        {
            let before = stored.clone();
            stored.queue_place = None;
            self.consequences.totals.add(Total::Queued, -1);
            if stored.rollout.status.is_queueing() {
                let stored = stored.with_input(self.connection)?;
                claimed.push(self.begin_attempt(stored, &before, worker_id)?);
            } else {
                self.write(&stored, &before)?;
            }
        }
        if let Some(worker_id) = worker_id {
            let mut worker = self.worker(worker_id)?;
            let last = claimed.last().map(|claimed| &claimed.attempt);
            lifecycle::worker_dequeued(&mut worker, last, self.now);
            records::save_worker(self.connection, &worker)?;
        }
        Ok(claimed)
    }

    /// Begins an attempt outside the queue.
    fn begin_attempt_for(
        &mut self,
        stored: Stored,
        worker_id: Option<&WorkerId>,
    ) -> Result<AttemptedRollout, Failure> {
        let before = stored.clone();
        let begun = self.begin_attempt(stored, &before, worker_id)?;
        self.worker_follows(&begun.attempt)?;
        Ok(begun)
    }

    fn begin_attempt(
        &mut self,
        mut stored: Stored,
        before: &Stored,
        worker_id: Option<&WorkerId>,
    ) -> Result<AttemptedRollout, Failure> {
        let id = loop {
            let id = AttemptId::from(format!("at-{}", self.ids.hex(8)));
            if stored.attempts == 0 || stored.attempt(self.connection, id.as_str())?.is_none() {
                break id;
            }
        };
        let attempt = lifecycle::begin_attempt(
            &mut stored.rollout,
            id,
            stored.attempts,
            worker_id.cloned(),
            self.now,
        );
        stored.attempts = attempt.sequence_id;
        records::save_attempt(self.connection, stored.place, &attempt)?;
        self.consequences.totals.add(Total::Attempts, 1);
        self.settle(&mut stored, before, Some(&attempt), Effects::default())?;
        Ok(AttemptedRollout {
            rollout: stored.rollout,
            attempt,
        })
    }

    fn update_rollout(&mut self, id: &RolloutId, patch: &RolloutPatch) -> Result<Rollout, Failure> {
        let found = Stored::by_id(self.connection, id)?;
        let found = found.ok_or_else(|| NotFound::UpdatedRollout(id.clone()))?;
        let mut stored = found.with_input(self.connection)?;
        let before = stored.clone();
        let effects = lifecycle::update_rollout(&mut stored.rollout, patch.clone(), self.now)?;
        let rollout = &stored.rollout;
        if !patch.input.is_keep() {
            self.connection
                .prepare_cached("UPDATE inputs SET input = ?2 WHERE place = ?1")?
                .execute((stored.place, to_json(&*rollout.input)?))?;
        }
        self.connection
            .prepare_cached(
                "UPDATE rollouts SET mode = ?2, resources_id = ?3, config = ?4, metadata = ?5 WHERE place = ?1",
            )?
            .execute((
                stored.place,
                rollout.mode.map(|mode| mode.as_str()),
                rollout.resources_id.as_ref().map(|id| id.as_str()),
                to_json(&rollout.config)?,
                rollout.metadata.as_ref().map(to_json).transpose()?,
            ))?;
        let latest = stored.latest(self.connection)?;
        self.settle(&mut stored, &before, latest.as_ref(), effects)?;
        Ok(stored.rollout)
    }

    fn update_attempt(
        &mut self,
        rollout_id: &RolloutId,
        which: &AttemptRef,
        patch: &AttemptPatch,
    ) -> Result<Attempt, Failure> {
        let mut stored = self.find(rollout_id)?;
        let latest = stored.latest(self.connection)?;
        let mut latest = latest.ok_or_else(|| NotFound::NoAttempts(rollout_id.clone()))?;
        let concerns_worker = patch.status.is_some() || patch.worker_id.is_some();
        let before = stored.clone();
        let (mut older, standing) = match which {
            AttemptRef::Id(id) if *id != latest.attempt_id => {
                (Some(self.find_attempt(&stored, id)?), Standing::Superseded)
            }
            _ => (None, Standing::Latest),
        };
        let attempt = older.as_mut().unwrap_or(&mut latest);
        let effects =
            lifecycle::update_attempt(&mut stored.rollout, attempt, standing, patch.clone(), self.now);
        records::save_attempt(self.connection, stored.place, attempt)?;
        let updated = attempt.clone();
        self.settle(&mut stored, &before, Some(&latest), effects)?;
        if concerns_worker {
            self.worker_follows(&updated)?;
        }
        Ok(updated)
    }

    pub(super) fn find_attempt(&self, stored: &Stored, id: &AttemptId) -> Result<Attempt, Failure> {
        stored.attempt(self.connection, id.as_str())?.ok_or_else(|| {
            NotFound::Attempt {
                rollout_id: stored.rollout.rollout_id.clone(),
                attempt_id: id.clone(),
            }
            .into()
        })
    }

    /// Writes a rollout back, with everything that follows from a change of its records.
    pub(super) fn settle(
        &mut self,
        stored: &mut Stored,
        before: &Stored,
        latest: Option<&Attempt>,
        effects: Effects,
    ) -> Result<(), Failure> {
        let (was, is) = (&before.rollout, &stored.rollout);
        if (was.status, was.mode) != (is.status, is.mode) {
            self.count_rollout(was, -1);
            self.count_rollout(is, 1);
        }
        if effects.enqueue && stored.queue_place.is_none() {
            stored.queue_place = Some(*self.next_queue_place);
            self.entered_queue();
        }
        stored.deadline = latest.and_then(|latest| lifecycle::deadline(&stored.rollout, latest));
        if stored.deadline != before.deadline {
            let known = self.consequences.deadline;
            self.consequences.deadline = known.into_iter().chain(stored.deadline).min();
        }
        self.consequences
            .changed
            .push((stored.rollout.rollout_id.clone(), effects.ended));
        self.write(stored, before)
    }

    pub(super) fn count_rollout(&mut self, rollout: &Rollout, change: i64) {
        let total = Total::Rollouts(rollout.status, rollout.mode);
        self.consequences.totals.add(total, change);
    }

    /// Writes what changes often, and of that only what has changed: each column named costs its index.
    pub(super) fn write(&self, stored: &Stored, before: &Stored) -> Result<(), Failure> {
        let (rollout, old) = (&stored.rollout, &before.rollout);
        let deadline = stored.deadline.map(Timestamp::as_secs_f64);
        if rollout.status != old.status
            || rollout.end_time != old.end_time
            || stored.queue_place != before.queue_place
            || stored.attempts != before.attempts
        {
            self.connection
                .prepare_cached(
                    "UPDATE rollouts SET status = ?2, end_time = ?3, attempts = ?4, queue_place = ?5, deadline = ?6,
                                         last_sequence_id = ?7
                     WHERE place = ?1",
                )?
                .execute((
                    stored.place,
                    rollout.status.as_str(),
                    rollout.end_time.map(Timestamp::as_secs_f64),
                    stored.attempts,
                    stored.queue_place,
                    deadline,
                    stored.last_sequence_id,
                ))?;
        } else if stored.deadline != before.deadline {
            self.connection
                .prepare_cached("UPDATE rollouts SET deadline = ?2, last_sequence_id = ?3 WHERE place = ?1")?
                .execute((stored.place, deadline, stored.last_sequence_id))?;
        } else if stored.last_sequence_id != before.last_sequence_id {
            self.connection
                .prepare_cached("UPDATE rollouts SET last_sequence_id = ?2 WHERE place = ?1")?
                .execute((stored.place, stored.last_sequence_id))?;
        }
        Ok(())
    }

    // ---- spans

    /// Spans of one attempt that follow one another are stored with one look at their rollout.
    fn add_spans(&mut self, spans: &[Span]) -> Result<Vec<SpanOutcome>, Failure> {
        let mut outcomes = Vec::with_capacity(spans.len());
        let same_attempt = |a: &Span, b: &Span| a.rollout_id == b.rollout_id && a.attempt_id == b.attempt_id;
        for run in spans.chunk_by(same_attempt) {
            self.add_run(run, &mut outcomes)?;
        }
        Ok(outcomes)
    }

    /// Stores spans of one attempt.
    fn add_run(&mut self, run: &[Span], outcomes: &mut Vec<SpanOutcome>) -> Result<(), Failure> {
        let found = run.first().map(|span| self.attempt_of(span)).transpose();
        let (mut stored, mut attempt, standing) = match found {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            Err(Failure::Refused(unknown)) => {
                outcomes.extend(run.iter().map(|span| {
                    let invalid = lifecycle::check_span(span).err();
                    SpanOutcome::Rejected(invalid.unwrap_or_else(|| unknown.clone()))
                }));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        let before = stored.clone();
        let mut any = false;
        for span in run {
            if let Err(error) = lifecycle::check_span(span) {
                outcomes.push(SpanOutcome::Rejected(error));
                continue;
            }
            stored.last_sequence_id = stored.last_sequence_id.max(span.sequence_id);
            if !self.insert_span(span, &stored, &attempt)? {
                outcomes.push(SpanOutcome::Duplicate);
                continue;
            }
            // A span neither queues its rollout nor ends it.
            let _ = lifecycle::span_stored(&mut stored.rollout, &mut attempt, standing, self.now);
            self.consequences.totals.add(Total::Spans, 1);
            any = true;
            outcomes.push(SpanOutcome::Stored);
        }
        if !any {
            return self.write(&stored, &before);
        }
        records::save_attempt(self.connection, stored.place, &attempt)?;
        match standing {
            Standing::Latest => self.settle(&mut stored, &before, Some(&attempt), Effects::default()),
            Standing::Superseded => {
                let latest = stored.latest(self.connection)?;
                self.settle(&mut stored, &before, latest.as_ref(), Effects::default())
            }
        }
    }

    pub(super) fn attempt_of(&self, span: &Span) -> Result<(Stored, Attempt, Standing), Failure> {
        let stored = self.find(&span.rollout_id)?;
        let attempt = self.find_attempt(&stored, &span.attempt_id)?;
        let standing = if attempt.sequence_id == stored.attempts {
            Standing::Latest
        } else {
            Standing::Superseded
        };
        Ok((stored, attempt, standing))
    }

    /// `false` if it is there already.
    pub(super) fn insert_span(
        &self,
        span: &Span,
        stored: &Stored,
        attempt: &Attempt,
    ) -> Result<bool, Failure> {
        let mut insert = self.connection.prepare_cached(
            "INSERT INTO spans (place, attempt, span_id, sequence_id, trace_id, parent_id, name, start_time,
                                end_time, body)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT (place, attempt, span_id) DO NOTHING",
        )?;
        let inserted = insert.execute((
            stored.place,
            attempt.sequence_id,
            &span.span_id,
            span.sequence_id,
            &span.trace_id,
            &span.parent_id,
            &span.name,
            span.start_time.map(Timestamp::as_secs_f64),
            span.end_time.map(Timestamp::as_secs_f64),
            to_json(span)?,
        ))?;
        Ok(inserted == 1)
    }

    fn next_sequence_id(&mut self, rollout_id: &RolloutId) -> Result<u64, Failure> {
        let mut known = self.connection.prepare_cached(
            "UPDATE rollouts SET last_sequence_id = last_sequence_id + 1 WHERE rollout_id = ?1
             RETURNING last_sequence_id",
        )?;
        let drawn = known.query_map([rollout_id.as_str()], |row| row.get(0))?;
        if let Some(drawn) = drawn.collect::<Result<Vec<u64>, _>>()?.pop() {
            return Ok(drawn);
        }
        let mut orphan = self.connection.prepare_cached(
            "INSERT INTO orphan_sequence_ids (rollout_id, last_sequence_id) VALUES (?1, 1)
             ON CONFLICT (rollout_id) DO UPDATE SET last_sequence_id = last_sequence_id + 1
             RETURNING last_sequence_id",
        )?;
        Ok(orphan.query_row([rollout_id.as_str()], |row| row.get(0))?)
    }

    // ---- resources

    fn add_resources(&mut self, resources: &NamedResources) -> Result<ResourcesUpdate, Failure> {
        let id = loop {
            let id = ResourcesId::from(format!("rs-{}", self.ids.hex(12)));
            let mut known = self
                .connection
                .prepare_cached("SELECT 1 FROM resource_sets WHERE resources_id = ?1")?;
            if !known.exists([id.as_str()])? {
                break id;
            }
        };
        self.update_resources(&id, resources)
    }

    fn update_resources(
        &mut self,
        id: &ResourcesId,
        resources: &NamedResources,
    ) -> Result<ResourcesUpdate, Failure> {
        let now = self.now.as_secs_f64();
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO resource_sets (resources_id, create_time, update_time, version, stored)
             VALUES (?1, ?2, ?2, 1, (SELECT ifnull(max(rowid), 0) + 1 FROM resource_versions))
             ON CONFLICT (resources_id) DO UPDATE SET
                 update_time = excluded.update_time, version = version + 1, stored = excluded.stored
             RETURNING place, create_time, version",
        )?;
        let (place, create_time, version): (i64, f64, u64) = upsert.query_row((id.as_str(), now), |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
        self.connection
            .prepare_cached(
                "INSERT INTO resource_versions (place, version, update_time, resources) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((place, version, now, to_json(resources)?))?;
        if version == 1 {
            self.consequences.totals.add(Total::Resources, 1);
        }
        Ok(ResourcesUpdate {
            resources_id: id.clone(),
            create_time: Timestamp::from_secs_f64(create_time),
            update_time: self.now,
            version,
            resources: resources.clone(),
        })
    }

    // ---- workers

    /// The worker, which counts from now on if it is new; it has to be saved.
    fn worker(&mut self, id: &WorkerId) -> Result<Worker, Failure> {
        if let Some(worker) = records::worker(self.connection, id.as_str())? {
            return Ok(worker);
        }
        self.consequences.totals.add(Total::Workers, 1);
        Ok(lifecycle::new_worker(id.clone()))
    }

    fn worker_follows(&mut self, attempt: &Attempt) -> Result<(), Failure> {
        let Some(id) = &attempt.worker_id else {
            return Ok(());
        };
        let mut worker = self.worker(id)?;
        lifecycle::worker_follows(&mut worker, attempt, self.now);
        records::save_worker(self.connection, &worker)
    }

    fn heartbeat(&mut self, id: &WorkerId, stats: Option<&JsonObject>) -> Result<Worker, Failure> {
        let mut worker = self.worker(id)?;
        lifecycle::worker_heartbeat(&mut worker, stats.cloned(), self.now);
        records::save_worker(self.connection, &worker)?;
        Ok(worker)
    }
}
