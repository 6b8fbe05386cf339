//! Records that come from another store, and those that are taken out for good.

use std::{collections::HashSet, fmt::Display};

use super::{
    failure::Failure,
    query,
    records::{self, Stored, to_json},
    totals::Total,
    work::Work,
};
use crate::{
    store::{
        ImportOutcome, PurgeTarget, Purged, Record, RolloutRecord, lifecycle,
        record::{differs, lacks_version, made_at_another_time},
    },
    types::{AttemptQuery, ResourcesId, ResourcesUpdate, Span, Worker},
};

/// Whether what is there already is the same.
fn compare(same: bool, what: impl Display) -> Result<ImportOutcome, Failure> {
    if same {
        Ok(ImportOutcome::Known)
    } else {
        Err(differs(what).into())
    }
}

impl Work<'_> {
    /// Takes one record in. A refused one has changed nothing.
    pub(super) fn import(&mut self, record: &Record) -> Result<ImportOutcome, Failure> {
        let imported = match record {
            Record::Resources(update) => self.import_resources(update),
            Record::Rollout(record) => self.import_rollout(record),
            Record::Span(span) => self.import_span(span),
            Record::Worker(worker) => self.import_worker(worker),
        };
        match imported {
            Err(Failure::Refused(error)) => Ok(ImportOutcome::Rejected(error)),
            other => other,
        }
    }

    fn import_resources(&mut self, update: &ResourcesUpdate) -> Result<ImportOutcome, Failure> {
        let id = &update.resources_id;
        if let Some(known) = query::resources_by_id(self.connection, id, Some(update.version))? {
            return compare(
                known == *update,
                format_args!("version {} of resources {id}", update.version),
            );
        }
        let latest = query::resources_by_id(self.connection, id, None)?;
        if latest
            .as_ref()
            .is_some_and(|latest| latest.create_time != update.create_time)
        {
            return Err(made_at_another_time(id, update.version).into());
        }
        let known = latest.map_or(0, |latest| latest.version);
        if update.version != known + 1 {
            return Err(lacks_version(id, update.version, known).into());
        }
        let mut upsert = self.connection.prepare_cached(
            "INSERT INTO resource_sets (resources_id, create_time, update_time, version, stored)
             VALUES (?1, ?2, ?3, ?4, (SELECT ifnull(max(rowid), 0) + 1 FROM resource_versions))
             ON CONFLICT (resources_id) DO UPDATE SET
                 update_time = excluded.update_time, version = excluded.version, stored = excluded.stored
             RETURNING place",
        )?;
        let time = update.update_time.as_secs_f64();
        let created = update.create_time.as_secs_f64();
        let place: i64 = upsert.query_row((id.as_str(), created, time, update.version), |row| row.get(0))?;
        self.connection
            .prepare_cached(
                "INSERT INTO resource_versions (place, version, update_time, resources) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute((place, update.version, time, to_json(&update.resources)?))?;
        if update.version == 1 {
            self.consequences.totals.add(Total::Resources, 1);
        }
        Ok(ImportOutcome::Stored)
    }

    fn import_rollout(&mut self, record: &RolloutRecord) -> Result<ImportOutcome, Failure> {
        let RolloutRecord {
            rollout,
            mut attempts,
        } = record.clone();
        let effects = lifecycle::admit(&rollout, &mut attempts)?;
        let id = rollout.rollout_id.clone();
        if let Some(known) = Stored::by_id(self.connection, &id)? {
            let known = known.with_input(self.connection)?.rollout;
            let page = query::attempts(self.connection, &id, &AttemptQuery::default())?;
            return compare(
                known == rollout && page.items == attempts,
                format_args!("rollout {id}"),
            );
        }
        let Some(mut stored) = self.put_rollout(rollout, effects.enqueue)? else {
            return Err(differs(format_args!("rollout {id}")).into());
        };
        let before = stored.clone();
        for attempt in &attempts {
            records::save_attempt(self.connection, stored.place, attempt)?;
            stored.attempts = attempt.sequence_id;
            self.consequences.totals.add(Total::Attempts, 1);
        }
        self.settle(&mut stored, &before, attempts.last(), effects)?;
        Ok(ImportOutcome::Stored)
    }

    fn import_span(&mut self, span: &Span) -> Result<ImportOutcome, Failure> {
        lifecycle::check_span(span)?;
        let (mut stored, attempt, _) = self.attempt_of(span)?;
        let before = stored.clone();
        stored.last_sequence_id = stored.last_sequence_id.max(span.sequence_id);
        if self.insert_span(span, &stored, &attempt)? {
            self.consequences.totals.add(Total::Spans, 1);
            self.write(&stored, &before)?;
            return Ok(ImportOutcome::Stored);
        }
        let mut known = self
            .connection
            .prepare_cached("SELECT body FROM spans WHERE place = ?1 AND attempt = ?2 AND span_id = ?3")?;
        let mut rows = known.query((stored.place, attempt.sequence_id, &span.span_id))?;
        let known = rows.next()?.map(records::span_from_row).transpose()?;
        compare(
            known.as_ref() == Some(span),
            format_args!("span {} of rollout {}", span.span_id, span.rollout_id),
        )
    }

    fn import_worker(&mut self, worker: &Worker) -> Result<ImportOutcome, Failure> {
        if let Some(known) = records::worker(self.connection, worker.worker_id.as_str())? {
            return compare(known == *worker, format_args!("worker {}", worker.worker_id));
        }
        self.consequences.totals.add(Total::Workers, 1);
        records::save_worker(self.connection, worker)?;
        Ok(ImportOutcome::Stored)
    }

    pub(super) fn purge(
        &mut self,
        rollouts: &[PurgeTarget],
        resources: &[ResourcesId],
    ) -> Result<Purged, Failure> {
        let mut purged = Purged::default();
        for target in rollouts {
            let Some(stored) = Stored::by_id(self.connection, &target.rollout_id)? else {
                continue;
            };
            let spans: u64 = self
                .connection
                .prepare_cached("SELECT count(*) FROM spans WHERE place = ?1")?
                .query_row([stored.place], |row| row.get(0))?;
            let expected = target.spans.is_none_or(|expected| expected == spans);
            if !lifecycle::may_be_purged(&stored.rollout) || !expected {
                continue;
            }
            for table in ["spans", "attempts", "inputs", "rollouts"] {
                self.connection
                    .prepare_cached(&format!("DELETE FROM {table} WHERE place = ?1"))?
                    .execute([stored.place])?;
            }
            let attempts = u64::from(stored.attempts);
            self.count_rollout(&stored.rollout, -1);
            self.count_less(Total::Attempts, attempts);
            self.count_less(Total::Spans, spans);
            self.count_less(Total::Queued, u64::from(stored.queue_place.is_some()));
            purged.attempts += attempts;
            purged.spans += spans;
            purged.rollouts.push(target.rollout_id.clone());
        }
        if !resources.is_empty() {
            purged.resources = self.purge_resources(resources)?;
        }
        Ok(purged)
    }

    fn purge_resources(&mut self, ids: &[ResourcesId]) -> Result<Vec<ResourcesId>, Failure> {
        let mut kept: HashSet<String> = records::latest_resources_id(self.connection)?
            .into_iter()
            .collect();
        // The rollouts are looked through once, however many sets there are to be asked for.
        let mut used = self.connection.prepare_cached(
            "SELECT DISTINCT resources_id FROM rollouts WHERE resources_id IN (SELECT value FROM json_each(?1))",
        )?;
        let mut rows = used.query([to_json(ids)?])?;
        while let Some(row) = rows.next()? {
            kept.insert(records::text(row, 0)?.to_owned());
        }
        let mut purged = Vec::new();
        for id in ids.iter().filter(|id| !kept.contains(id.as_str())) {
            let mut delete = self
                .connection
                .prepare_cached("DELETE FROM resource_sets WHERE resources_id = ?1 RETURNING place")?;
            let places = delete.query_map([id.as_str()], |row| row.get::<_, i64>(0))?;
            for place in places.collect::<Result<Vec<_>, _>>()? {
                self.connection
                    .prepare_cached("DELETE FROM resource_versions WHERE place = ?1")?
                    .execute([place])?;
                self.count_less(Total::Resources, 1);
                purged.push(id.clone());
            }
        }
        Ok(purged)
    }

    fn count_less(&mut self, total: Total, by: u64) {
        let change = i64::try_from(by).unwrap_or(i64::MAX);
        self.consequences.totals.add(total, -change);
    }
}
