//! Looks a file through for what must hold in it.

use std::path::Path;

use rusqlite::Connection;

use super::{
    failure::Failure,
    file::{self, Lock},
    open::connect,
    records::{Stored, text},
    schema,
    totals::Totals,
};
use crate::{
    store::{StoreError, lifecycle},
    types::Timestamp,
};

/// Statements that find nothing in a sound file, with what it means if they do.
const NEVER: &[(&str, &str)] = &[
    (
        "a queueing rollout is not in the queue",
        "SELECT rollout_id FROM rollouts WHERE status IN ('queuing', 'requeuing') AND queue_place IS NULL",
    ),
    (
        "a rollout has an end and goes on, or has ended and has none",
        "SELECT rollout_id FROM rollouts
         WHERE (end_time IS NULL) = (status IN ('succeeded', 'failed', 'cancelled'))",
    ),
    (
        "a rollout has no input",
        "SELECT rollout_id FROM rollouts WHERE place NOT IN (SELECT place FROM inputs)",
    ),
    (
        "the attempts of a rollout are not counted from 1 to their number",
        "SELECT rollout_id FROM rollouts r
         WHERE attempts != (SELECT count(*) FROM attempts a WHERE a.place = r.place)
            OR attempts != (SELECT ifnull(max(sequence_id), 0) FROM attempts a WHERE a.place = r.place)",
    ),
    (
        "an attempt has no rollout",
        "SELECT attempt_id FROM attempts WHERE place NOT IN (SELECT place FROM rollouts)",
    ),
    (
        "an attempt has an end and goes on, or has ended and has none",
        "SELECT attempt_id FROM attempts WHERE (end_time IS NULL) = (status NOT IN ('preparing', 'running'))",
    ),
    (
        "a span has no attempt",
        "SELECT span_id FROM spans s
         WHERE NOT EXISTS (SELECT 1 FROM attempts a WHERE a.place = s.place AND a.sequence_id = s.attempt)",
    ),
    (
        "a span has a sequence id that will be given out again",
        "SELECT span_id FROM spans s JOIN rollouts r ON r.place = s.place
         WHERE s.sequence_id > r.last_sequence_id",
    ),
    (
        "a set of resources lacks a version",
        "SELECT resources_id FROM resource_sets s
         WHERE version != (SELECT count(*) FROM resource_versions v WHERE v.place = s.place)",
    ),
];

/// What a sum has to be.
const SUMS: &str = "
    SELECT status || '/' || ifnull(mode, ''), count(*) FROM rollouts GROUP BY 1
    UNION ALL SELECT 'attempts', count(*) FROM attempts
    UNION ALL SELECT 'spans', count(*) FROM spans
    UNION ALL SELECT 'resources', count(*) FROM resource_sets
    UNION ALL SELECT 'workers', count(*) FROM workers
    UNION ALL SELECT 'queued', count(*) FROM rollouts WHERE queue_place IS NOT NULL";

/// Looks the file of a store through, which nobody may have open, and answers with what is wrong; with nothing if it is
/// sound. Takes time in proportion to what is stored, and changes nothing but that the write-ahead log of a store that
/// was not closed is written back.
///
/// # Errors
///
/// As [`SqliteStore::open`](super::SqliteStore::open), and if there is no file.
pub fn check(path: impl AsRef<Path>) -> Result<Vec<String>, StoreError> {
    let path = path.as_ref();
    let path = file::existing(path)?;
    let _lock = Lock::acquire(&path)?;
    look_through(&path).map_err(|failure| failure.into_error(&path))
}

fn look_through(path: &Path) -> Result<Vec<String>, Failure> {
    file::is_there(path)?;
    let connection = connect(path)?;
    schema::recognise(&connection)?;
    schema::current(&connection)?;
    let mut problems = integrity(&connection)?;
    if problems.is_empty() {
        for (problem, sql) in NEVER {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                problems.push(format!("{}: {problem}", text(row, 0)?));
            }
        }
        sums(&connection, &mut problems)?;
        time_limits(&connection, &mut problems)?;
    }
    Ok(problems)
}

/// What SQLite itself finds.
fn integrity(connection: &Connection) -> Result<Vec<String>, Failure> {
    let mut statement = connection.prepare("PRAGMA integrity_check")?;
    let found = statement.query_map([], |row| row.get::<_, String>(0))?;
    let found: Vec<String> = found.collect::<Result<_, _>>()?;
    Ok(found.into_iter().filter(|line| line != "ok").collect())
}

fn sums(connection: &Connection, problems: &mut Vec<String>) -> Result<(), Failure> {
    let mut counted = Totals::default();
    let mut statement = connection.prepare(SUMS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        counted.set(text(row, 0)?, row.get(1)?);
    }
    let stored = Totals::read(connection)?;
    if counted != stored {
        problems.push(format!("the sums are {stored:?} and should be {counted:?}"));
    }
    Ok(())
}

/// Whether each rollout's time limit stands where its records put it.
fn time_limits(connection: &Connection, problems: &mut Vec<String>) -> Result<(), Failure> {
    let mut statement = connection.prepare("SELECT place FROM rollouts")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(stored) = Stored::at(connection, row.get(0)?)? else {
            continue;
        };
        let latest = stored.latest(connection)?;
        let due = latest.and_then(|latest| lifecycle::deadline(&stored.rollout, &latest));
        if due != stored.deadline {
            problems.push(format!(
                "{}: its time limit is noted for {:?} and should be for {:?}",
                stored.rollout.rollout_id,
                stored.deadline.map(Timestamp::as_secs_f64),
                due.map(Timestamp::as_secs_f64)
            ));
        }
    }
    Ok(())
}
