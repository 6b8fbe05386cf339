//! The tables, and how older files come to have them.
//!
//! Rollouts are named by `place`, the order of their creation, in all other tables. What changes often (status, queue,
//! deadline) stands apart from a rollout's input, which is written once. Statuses and modes are text, so that a file
//! explains itself in SQLite's own shell.

use rusqlite::{Connection, TransactionBehavior};

use super::failure::Failure;
use crate::{store::StoreError, types::Timestamp};

/// Marks a file as a store of ours: `LTNG`.
const APPLICATION_ID: i32 = 0x4C54_4E47;

/// Each brings a file from one version to the next. What was released is never changed, only followed.
const MIGRATIONS: &[&str] = &[
    r"
CREATE TABLE rollouts (
    place INTEGER PRIMARY KEY,
    rollout_id TEXT NOT NULL UNIQUE,
    start_time REAL NOT NULL,
    end_time REAL,
    mode TEXT,
    resources_id TEXT,
    status TEXT NOT NULL,
    config TEXT NOT NULL,
    metadata TEXT,
    -- How many attempts there are, and so the sequence id of the latest.
    attempts INTEGER NOT NULL,
    -- The greatest sequence id of a span that was given out or came along.
    last_sequence_id INTEGER NOT NULL,
    -- Orders the queue; NULL outside it.
    queue_place INTEGER,
    -- When the latest attempt runs into a time limit.
    deadline REAL
) STRICT;
CREATE INDEX rollouts_by_status ON rollouts (status);
CREATE UNIQUE INDEX queue ON rollouts (queue_place) WHERE queue_place IS NOT NULL;
CREATE INDEX deadlines ON rollouts (deadline) WHERE deadline IS NOT NULL;

CREATE TABLE inputs (
    place INTEGER PRIMARY KEY,
    input TEXT NOT NULL
) STRICT;

CREATE TABLE attempts (
    place INTEGER NOT NULL,
    sequence_id INTEGER NOT NULL,
    attempt_id TEXT NOT NULL,
    start_time REAL NOT NULL,
    end_time REAL,
    status TEXT NOT NULL,
    worker_id TEXT,
    last_heartbeat_time REAL,
    metadata TEXT,
    PRIMARY KEY (place, sequence_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE spans (
    -- The order of arrival.
    arrival INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,
    -- The sequence id of the attempt.
    attempt INTEGER NOT NULL,
    span_id TEXT NOT NULL,
    sequence_id INTEGER NOT NULL,
    trace_id TEXT NOT NULL,
    parent_id TEXT,
    name TEXT NOT NULL,
    start_time REAL,
    end_time REAL,
    -- The whole span as JSON.
    body TEXT NOT NULL
) STRICT;
CREATE UNIQUE INDEX spans_of_attempts ON spans (place, attempt, span_id);

-- Counters of rollouts that nobody has made.
CREATE TABLE orphan_sequence_ids (
    rollout_id TEXT PRIMARY KEY,
    last_sequence_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE resource_sets (
    place INTEGER PRIMARY KEY,
    resources_id TEXT NOT NULL UNIQUE,
    create_time REAL NOT NULL,
    update_time REAL NOT NULL,
    version INTEGER NOT NULL,
    -- Orders sets of the same update time by when they were stored.
    stored INTEGER NOT NULL
) STRICT;
CREATE INDEX latest_resources ON resource_sets (update_time, stored);

CREATE TABLE resource_versions (
    place INTEGER NOT NULL,
    version INTEGER NOT NULL,
    update_time REAL NOT NULL,
    resources TEXT NOT NULL,
    PRIMARY KEY (place, version)
) STRICT;

CREATE TABLE workers (
    place INTEGER PRIMARY KEY,
    worker_id TEXT NOT NULL UNIQUE,
    status TEXT NOT NULL,
    heartbeat_stats TEXT,
    last_heartbeat_time REAL,
    last_dequeue_time REAL,
    last_busy_time REAL,
    last_idle_time REAL,
    current_rollout_id TEXT,
    current_attempt_id TEXT
) STRICT;

CREATE TABLE request_keys (
    sequence INTEGER PRIMARY KEY,
    request_key TEXT NOT NULL UNIQUE,
    fingerprint BLOB NOT NULL,
    answered REAL NOT NULL,
    answer TEXT NOT NULL
) STRICT;

-- How many there are of each, so that nobody has to count.
CREATE TABLE totals (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
",
    r"
-- Rollouts are counted by status and mode.
INSERT INTO totals (name, value) SELECT status || '/' || ifnull(mode, ''), count(*) FROM rollouts GROUP BY 1;
DELETE FROM totals WHERE name IN
    ('queuing', 'preparing', 'running', 'succeeded', 'failed', 'cancelled', 'requeuing');
",
];

/// Refuses what is not a store of ours, before anything is written to it.
pub(super) fn recognise(connection: &Connection) -> Result<(), Failure> {
    let id: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if id == APPLICATION_ID {
        return Ok(());
    }
    Err(StoreError::invalid(
        "path",
        "is a database of another program; name a file of its own for the store",
    )
    .into())
}

/// The version of the tables; 0 if there are none. Refuses those of a newer program.
pub(super) fn version(connection: &Connection) -> Result<usize, Failure> {
    let known = MIGRATIONS.len();
    let any = connection
        .prepare("SELECT 1 FROM sqlite_schema WHERE name = 'migrations'")?
        .exists([])?;
    if !any {
        return Ok(0);
    }
    let version: Option<i64> =
        connection.query_row("SELECT max(version) FROM migrations", [], |row| row.get(0))?;
    let version = usize::try_from(version.unwrap_or(0)).unwrap_or(usize::MAX);
    if version > known {
        let problem = format!(
            "was written by a newer version of Lightning: its format is {version}, this program reads up to {known}; \
             use that version"
        );
        return Err(StoreError::invalid("path", problem).into());
    }
    Ok(version)
}

/// Refuses tables that would have to be migrated first.
pub(super) fn current(connection: &Connection) -> Result<(), Failure> {
    let (version, known) = (version(connection)?, MIGRATIONS.len());
    if version == known {
        return Ok(());
    }
    let problem =
        format!("has format {version} instead of {known}; open the store once to bring it up to date");
    Err(StoreError::invalid("path", problem).into())
}

/// Brings the tables up to what this version of the program knows.
pub(super) fn migrate(connection: &mut Connection, now: Timestamp) -> Result<(), Failure> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version = version(&transaction)?;
    if version < MIGRATIONS.len() {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, applied REAL NOT NULL) STRICT",
        )?;
    }
    for (done, migration) in MIGRATIONS.iter().enumerate().skip(version) {
        transaction.execute_batch(migration)?;
        let version = i64::try_from(done + 1).unwrap_or(i64::MAX);
        transaction.execute(
            "INSERT INTO migrations (version, applied) VALUES (?1, ?2)",
            (version, now.as_secs_f64()),
        )?;
    }
    transaction.commit()?;
    Ok(())
}
