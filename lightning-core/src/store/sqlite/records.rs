//! Rows as records, and records as rows. Decides nothing.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, types::ValueRef};
use serde::{
    Serialize,
    de::{
        DeserializeOwned,
        value::{Error as WordError, StrDeserializer},
    },
};

use super::failure::Failure;
use crate::types::{
    Attempt, NamedResources, ResourcesUpdate, Rollout, RolloutId, RolloutSnapshot, Span, TaskInput,
    Timestamp, Worker,
};

/// The columns of [`Stored`], in the order in which it reads them.
const ROLLOUT: &str = "place, rollout_id, start_time, end_time, mode, resources_id, status, config, metadata, \
                       attempts, last_sequence_id, queue_place, deadline";

/// A rollout with what the store knows of it besides. Its input is null until it is asked for.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) place: i64,
    pub(super) rollout: Rollout,
    /// How many attempts it has, and so the sequence id of the latest.
    pub(super) attempts: u32,
    pub(super) last_sequence_id: u64,
    pub(super) queue_place: Option<i64>,
    pub(super) deadline: Option<Timestamp>,
}

impl Stored {
    pub(super) fn by_id(connection: &Connection, id: &RolloutId) -> Result<Option<Self>, Failure> {
        Self::one(connection, "WHERE rollout_id = ?1", id.as_str())
    }

    pub(super) fn at(connection: &Connection, place: i64) -> Result<Option<Self>, Failure> {
        Self::one(connection, "WHERE place = ?1", place)
    }

    /// The head of the queue.
    pub(super) fn first_queued(connection: &Connection) -> Result<Option<Self>, Failure> {
        let condition = "WHERE queue_place IS NOT NULL AND queue_place > ?1 ORDER BY queue_place LIMIT 1";
        Self::one(connection, condition, i64::MIN)
    }

    /// That whose time limit passes first, if it lies before `now`.
    pub(super) fn first_due(connection: &Connection, now: Timestamp) -> Result<Option<Self>, Failure> {
        let condition = "WHERE deadline IS NOT NULL AND deadline < ?1 ORDER BY deadline, place LIMIT 1";
        Self::one(connection, condition, now.as_secs_f64())
    }

    fn one(
        connection: &Connection,
        condition: &str,
        parameter: impl rusqlite::ToSql,
    ) -> Result<Option<Self>, Failure> {
        let mut statement =
            connection.prepare_cached(&format!("SELECT {ROLLOUT} FROM rollouts {condition}"))?;
        let mut rows = statement.query([parameter])?;
        rows.next()?.map(Self::from_row).transpose()
    }

    fn from_row(row: &Row<'_>) -> Result<Self, Failure> {
        Ok(Self {
            place: row.get(0)?,
            rollout: Rollout {
                rollout_id: text(row, 1)?.into(),
                start_time: time(row, 2)?,
                end_time: optional_time(row, 3)?,
                mode: optional_text(row, 4)?.map(word).transpose()?,
                resources_id: optional_text(row, 5)?.map(Into::into),
                status: word(text(row, 6)?)?,
                config: json(text(row, 7)?)?,
                metadata: optional_text(row, 8)?.map(json).transpose()?,
                input: TaskInput::default(),
            },
            attempts: row.get(9)?,
            last_sequence_id: row.get(10)?,
            queue_place: row.get(11)?,
            deadline: optional_time(row, 12)?,
        })
    }

    /// Reads the input too.
    pub(super) fn with_input(mut self, connection: &Connection) -> Result<Self, Failure> {
        let mut statement = connection.prepare_cached("SELECT input FROM inputs WHERE place = ?1")?;
        let mut rows = statement.query([self.place])?;
        if let Some(row) = rows.next()? {
            self.rollout.input = Arc::new(json(text(row, 0)?)?);
        }
        Ok(self)
    }

    /// The attempt with the greatest sequence id.
    pub(super) fn latest(&self, connection: &Connection) -> Result<Option<Attempt>, Failure> {
        if self.attempts == 0 {
            return Ok(None);
        }
        let condition = "WHERE a.place = ?1 AND a.sequence_id = ?2";
        attempt(connection, condition, (self.place, self.attempts))
    }

    /// The attempt of that id.
    pub(super) fn attempt(&self, connection: &Connection, id: &str) -> Result<Option<Attempt>, Failure> {
        // A late report concerns one of the last attempts, if not the last.
        let condition = "WHERE a.place = ?1 AND a.attempt_id = ?2 ORDER BY a.sequence_id DESC LIMIT 1";
        attempt(connection, condition, (self.place, id))
    }

    /// As queries show it.
    pub(super) fn snapshot(self, connection: &Connection) -> Result<RolloutSnapshot, Failure> {
        let attempt = self.latest(connection)?;
        Ok(RolloutSnapshot {
            rollout: self.with_input(connection)?.rollout,
            attempt,
        })
    }
}

fn attempt(
    connection: &Connection,
    condition: &str,
    parameters: impl rusqlite::Params,
) -> Result<Option<Attempt>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{ATTEMPT} {condition}"))?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(attempt_from_row).transpose()
}

/// Attempts, with the id of their rollout.
pub(super) const ATTEMPT: &str = "SELECT r.rollout_id, a.attempt_id, a.sequence_id, a.start_time, a.end_time, a.status, \
                                  a.worker_id, a.last_heartbeat_time, a.metadata \
                                  FROM attempts a JOIN rollouts r ON r.place = a.place";

pub(super) fn attempt_from_row(row: &Row<'_>) -> Result<Attempt, Failure> {
    Ok(Attempt {
        rollout_id: text(row, 0)?.into(),
        attempt_id: text(row, 1)?.into(),
        sequence_id: row.get(2)?,
        start_time: time(row, 3)?,
        end_time: optional_time(row, 4)?,
        status: word(text(row, 5)?)?,
        worker_id: optional_text(row, 6)?.map(Into::into),
        last_heartbeat_time: optional_time(row, 7)?,
        metadata: optional_text(row, 8)?.map(json).transpose()?,
    })
}

/// Stores an attempt, in place of what was known of it.
pub(super) fn save_attempt(connection: &Connection, place: i64, attempt: &Attempt) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO attempts (place, sequence_id, attempt_id, start_time, end_time, status, worker_id,
                               last_heartbeat_time, metadata)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (place, sequence_id) DO UPDATE SET
             end_time = excluded.end_time, status = excluded.status, worker_id = excluded.worker_id,
             last_heartbeat_time = excluded.last_heartbeat_time, metadata = excluded.metadata",
    )?;
    statement.execute((
        place,
        attempt.sequence_id,
        attempt.attempt_id.as_str(),
        attempt.start_time.as_secs_f64(),
        attempt.end_time.map(Timestamp::as_secs_f64),
        attempt.status.as_str(),
        attempt.worker_id.as_ref().map(|id| id.as_str()),
        attempt.last_heartbeat_time.map(Timestamp::as_secs_f64),
        attempt.metadata.as_ref().map(to_json).transpose()?,
    ))?;
    Ok(())
}

pub(super) fn span_from_row(row: &Row<'_>) -> Result<Span, Failure> {
    json(text(row, 0)?)
}

pub(super) const WORKER: &str = "SELECT worker_id, status, heartbeat_stats, last_heartbeat_time, last_dequeue_time, \
                                 last_busy_time, last_idle_time, current_rollout_id, current_attempt_id FROM workers";

pub(super) fn worker_from_row(row: &Row<'_>) -> Result<Worker, Failure> {
    Ok(Worker {
        worker_id: text(row, 0)?.into(),
        status: word(text(row, 1)?)?,
        heartbeat_stats: optional_text(row, 2)?.map(json).transpose()?,
        last_heartbeat_time: optional_time(row, 3)?,
        last_dequeue_time: optional_time(row, 4)?,
        last_busy_time: optional_time(row, 5)?,
        last_idle_time: optional_time(row, 6)?,
        current_rollout_id: optional_text(row, 7)?.map(Into::into),
        current_attempt_id: optional_text(row, 8)?.map(Into::into),
    })
}

/// All that there are.
pub(super) fn worker_ids(connection: &Connection) -> Result<Vec<crate::types::WorkerId>, Failure> {
    let mut statement = connection.prepare_cached("SELECT worker_id FROM workers")?;
    let mut rows = statement.query([])?;
    let mut ids = Vec::new();
    while let Some(row) = rows.next()? {
        ids.push(text(row, 0)?.into());
    }
    Ok(ids)
}

pub(super) fn worker(connection: &Connection, id: &str) -> Result<Option<Worker>, Failure> {
    let mut statement = connection.prepare_cached(&format!("{WORKER} WHERE worker_id = ?1"))?;
    let mut rows = statement.query([id])?;
    rows.next()?.map(worker_from_row).transpose()
}

/// Stores a worker, in place of what was known of it.
pub(super) fn save_worker(connection: &Connection, worker: &Worker) -> Result<(), Failure> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO workers (worker_id, status, heartbeat_stats, last_heartbeat_time, last_dequeue_time,
                              last_busy_time, last_idle_time, current_rollout_id, current_attempt_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
         ON CONFLICT (worker_id) DO UPDATE SET
             status = excluded.status, heartbeat_stats = excluded.heartbeat_stats,
             last_heartbeat_time = excluded.last_heartbeat_time, last_dequeue_time = excluded.last_dequeue_time,
             last_busy_time = excluded.last_busy_time, last_idle_time = excluded.last_idle_time,
             current_rollout_id = excluded.current_rollout_id, current_attempt_id = excluded.current_attempt_id",
    )?;
    let seconds = |time: Option<Timestamp>| time.map(Timestamp::as_secs_f64);
    statement.execute((
        worker.worker_id.as_str(),
        worker.status.as_str(),
        worker.heartbeat_stats.as_ref().map(to_json).transpose()?,
        seconds(worker.last_heartbeat_time),
        seconds(worker.last_dequeue_time),
        seconds(worker.last_busy_time),
        seconds(worker.last_idle_time),
        worker.current_rollout_id.as_ref().map(|id| id.as_str()),
        worker.current_attempt_id.as_ref().map(|id| id.as_str()),
    ))?;
    Ok(())
}

/// Versions of resources, with their set.
pub(super) const RESOURCES: &str = "SELECT s.resources_id, s.create_time, v.update_time, v.version, v.resources \
                                    FROM resource_sets s JOIN resource_versions v ON v.place = s.place";

pub(super) fn resources_from_row(row: &Row<'_>) -> Result<ResourcesUpdate, Failure> {
    Ok(ResourcesUpdate {
        resources_id: text(row, 0)?.into(),
        create_time: time(row, 1)?,
        update_time: time(row, 2)?,
        version: row.get(3)?,
        resources: json::<NamedResources>(text(row, 4)?)?,
    })
}

/// The set with the greatest update time; among equals, that which was stored last.
pub(super) const LATEST_SET: &str =
    "SELECT place FROM resource_sets ORDER BY update_time DESC, stored DESC LIMIT 1";

pub(super) fn latest_resources(connection: &Connection) -> Result<Option<ResourcesUpdate>, Failure> {
    let sql = format!("{RESOURCES} AND v.version = s.version WHERE s.place = ({LATEST_SET})");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([])?;
    rows.next()?.map(resources_from_row).transpose()
}

/// The id of the latest resources.
pub(super) fn latest_resources_id(connection: &Connection) -> Result<Option<String>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT resources_id FROM resource_sets ORDER BY update_time DESC, stored DESC LIMIT 1",
    )?;
    Ok(statement.query_row([], |row| row.get(0)).optional()?)
}

// ---- values

pub(super) fn to_json<T: Serialize + ?Sized>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value)
        .map_err(|error| Failure::Unreadable(format!("a value cannot be written as JSON: {error}")))
}

pub(super) fn json<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    serde_json::from_str(text)
        .map_err(|error| Failure::Unreadable(format!("a record does not read as JSON: {error}")))
}

/// One of the words that a status or a mode is written as.
fn word<T: DeserializeOwned>(text: &str) -> Result<T, Failure> {
    T::deserialize(StrDeserializer::<WordError>::new(text))
        .map_err(|error| Failure::Unreadable(format!("a status or a mode is unknown: {error}")))
}

pub(super) fn text<'row>(row: &'row Row<'_>, column: usize) -> Result<&'row str, Failure> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

fn optional_text<'row>(row: &'row Row<'_>, column: usize) -> Result<Option<&'row str>, Failure> {
    Ok(row
        .get_ref(column)?
        .as_str_or_null()
        .map_err(rusqlite::Error::from)?)
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, Failure> {
    Ok(Timestamp::from_secs_f64(row.get(column)?))
}

fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Failure> {
    Ok(match row.get_ref(column)? {
        ValueRef::Null => None,
        _ => Some(time(row, column)?),
    })
}
