//! Opening a file.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};
use tokio::sync::mpsc;

use super::{
    Shared, SqliteStore,
    failure::Failure,
    file::{self, Lock, Presence},
    reader::Readers,
    schema,
    totals::{Total, Totals},
    waiting::Waiting,
    writer::{Alarm, LogSize, Writer},
};
use crate::{
    clock::{Clock, SystemClock},
    ids::{IdSource, RandomIds},
    store::StoreError,
    types::Timestamp,
};

/// How many different statements a connection keeps ready.
const STATEMENTS: usize = 128;

/// Builds a [`SqliteStore`] with other settings.
#[derive(Clone, Debug)]
pub struct SqliteStoreBuilder {
    path: PathBuf,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    cache_bytes: u64,
    readers: usize,
    max_bytes: Option<u64>,
}

impl SqliteStoreBuilder {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(RandomIds),
            cache_bytes: 64 << 20,
            readers: 2,
            max_bytes: None,
        }
    }

    /// Where time comes from; the machine's if not set.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Where ids come from; random if not set.
    #[must_use]
    pub fn ids(mut self, ids: impl IdSource) -> Self {
        self.ids = Arc::new(ids);
        self
    }

    /// How much of the file is kept in memory, over all threads: 64 MiB if not set. However much is stored, the store
    /// needs little more than this.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How many reads go on at once: 2 if not set, and at least 1.
    #[must_use]
    pub fn readers(mut self, readers: usize) -> Self {
        self.readers = readers.max(1);
        self
    }

    /// As [`SqliteStore::limit_size`], from the start.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
        self
    }

    /// Opens the store; makes the file if there is none. Blocks while the file is looked through.
    ///
    /// # Errors
    ///
    /// Those of [`SqliteStore::open`].
    pub fn open(self) -> Result<SqliteStore, StoreError> {
        let path = file::locate(&self.path)?;
        let lock = Lock::acquire(&path)?;
        self.open_locked(&path, lock)
            .map_err(|failure| failure.into_error(&path))
    }

    fn open_locked(self, path: &Path, lock: Lock) -> Result<SqliteStore, Failure> {
        let now = self.clock.now();
        if !file::is_there(path)? {
            file::create(path, |unnamed| schema::migrate(&mut connect(unnamed)?, now))?;
        }
        let mut connection = connect_to_log(path, self.cache_bytes / 2)?;
        let log = LogSize::of(&mut connection)?;
        schema::migrate(&mut connection, now)?;
        limit_size(&connection, self.max_bytes)?;

        let last: Option<i64> = connection
            .query_row(
                "SELECT queue_place FROM rollouts WHERE queue_place IS NOT NULL ORDER BY queue_place DESC LIMIT 1",
                [],
                |row| row.get(0),
            )
            .optional()?;
        let waiting = Arc::new(Waiting::default());
        let queued = Totals::read(&connection)?.get(Total::Queued);
        waiting.set_queued(usize::try_from(queued).unwrap_or(usize::MAX));
        let alarm = Arc::new(Alarm::new(first_deadline(&connection)?));
        let readers = Readers::start(path, self.readers, self.cache_bytes / 2 / self.readers as u64)?;
        let writer = Writer {
            connection,
            ids: self.ids,
            clock: self.clock.clone(),
            waiting: waiting.clone(),
            alarm: alarm.clone(),
            presence: Presence::of(path),
            log,
            next_queue_place: last.unwrap_or(0) + 1,
            troubled: false,
            _lock: lock,
        };
        // Only the clock may need a runtime, and whose runtime that is must not decide over time limits.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(no_thread)?;
        let (operations, inbox) = mpsc::unbounded_channel();
        let thread = std::thread::Builder::new()
            .name("store-write".to_owned())
            .spawn(move || runtime.block_on(writer.run(inbox)))
            .map_err(no_thread)?;
        Ok(SqliteStore {
            shared: Arc::new(Shared {
                readers: Some(readers),
                operations: Some(operations),
                writer: Some(thread),
                waiting,
                alarm,
                opened: self.clock.now(),
                clock: self.clock,
                path: path.into(),
            }),
        })
    }
}

/// A connection that writes.
pub(super) fn connect(path: &Path) -> Result<Connection, Failure> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    Ok(connection)
}

/// A connection whose commits are appended to a log and synced there, each before it returns.
fn connect_to_log(path: &Path, cache_bytes: u64) -> Result<Connection, Failure> {
    let connection = connect(path)?;
    schema::recognise(&connection)?;
    schema::version(&connection)?;
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::invalid(
            "path",
            "lies where no write-ahead log can be kept; name a file on a disk of this machine",
        )
        .into());
    }
    // The writer writes the log back itself, after it has answered.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    set_cache(&connection, cache_bytes)?;
    Ok(connection)
}

/// The operating system gives no thread.
pub(super) fn no_thread(error: std::io::Error) -> Failure {
    Failure::Refused(StoreError::Unavailable {
        reason: format!("no thread can be started for the store: {error}"),
        source: Some(Arc::new(error)),
    })
}

pub(super) fn set_cache(connection: &Connection, bytes: u64) -> Result<(), Failure> {
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    let kibibytes = i64::try_from(bytes >> 10).unwrap_or(i64::MAX).max(256);
    connection.pragma_update(None, "cache_size", -kibibytes)?;
    Ok(())
}

pub(super) fn limit_size(connection: &Connection, bytes: Option<u64>) -> Result<(), Failure> {
    let page: u64 = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
    // The greatest number of pages that SQLite knows.
    let pages = bytes.map_or(u64::from(u32::MAX) - 1, |bytes| (bytes / page).max(1));
    connection.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    Ok(())
}

/// The first point after which a time limit has passed.
pub(super) fn first_deadline(connection: &Connection) -> Result<Option<Timestamp>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT deadline FROM rollouts WHERE deadline IS NOT NULL ORDER BY deadline LIMIT 1",
    )?;
    let first: Option<f64> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(first.map(Timestamp::from_secs_f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process that is killed does not show whether its commits were synced, so the settings themselves are looked at.
    #[test]
    fn each_commit_is_synced_before_it_is_acknowledged() {
        let path = std::env::temp_dir().join(format!("lightning-synced-{}.db", std::process::id()));
        let connection = {
            drop(SqliteStore::open(&path).unwrap());
            connect_to_log(&path, 1 << 20).unwrap()
        };
        let setting = |name| connection.query_row(name, [], |row| row.get::<_, String>(0));
        assert_eq!(setting("PRAGMA journal_mode").unwrap(), "wal");
        let full = 2;
        let synchronous: i64 = connection
            .query_row("PRAGMA synchronous", [], |row| row.get(0))
            .unwrap();
        assert_eq!(synchronous, full);
        drop(connection);
        std::fs::remove_file(path).unwrap();
    }
}
