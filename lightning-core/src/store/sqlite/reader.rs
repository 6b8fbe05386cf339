//! Threads that read, each on its own connection, so that no read waits for the writer.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use super::failure::Failure;
use crate::store::StoreError;

type Job = Box<dyn FnOnce(&Connection) + Send>;

/// The reading threads. They end when this is dropped.
#[derive(Debug)]
pub(super) struct Readers {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts `count` threads, each with a cache of so many bytes.
    pub(super) fn start(path: &Path, count: usize, cache_bytes: u64) -> Result<Self, Failure> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let mut readers = Self {
            jobs: Some(jobs),
            threads: Vec::new(),
        };
        for number in 0..count {
            let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let connection = Connection::open_with_flags(path, flags)?;
            super::open::set_cache(&connection, cache_bytes)?;
            let queue = queue.clone();
            let thread = std::thread::Builder::new()
                .name(format!("store-read-{number}"))
                .spawn(move || {
                    loop {
                        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                        match job {
                            Ok(job) => job(&connection),
                            Err(mpsc::RecvError) => return,
                        }
                    }
                });
            readers.threads.push(thread.map_err(super::open::no_thread)?);
        }
        Ok(readers)
    }

    /// Reads in a transaction of its own. What was acknowledged before is seen.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, Failure> {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            // Whoever asked may have gone while others were read for.
            if !reply.is_closed() {
                let _ = reply.send(in_transaction(connection, read));
            }
        });
        let sent = self.jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
        match answer.await {
            Ok(result) if sent => result,
            _ => Err(ended().into()),
        }
    }
}

fn in_transaction<T>(
    connection: &Connection,
    read: impl FnOnce(&Connection) -> Result<T, Failure>,
) -> Result<T, Failure> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let result = read(connection);
    // After some errors, SQLite has ended the transaction itself.
    if !connection.is_autocommit() {
        connection.prepare_cached("COMMIT")?.execute([])?;
    }
    result
}

/// A thread of the store is gone, which only a defect can bring about.
pub(super) fn ended() -> StoreError {
    StoreError::Unavailable {
        reason: "a thread of the store has ended; open the store anew".to_owned(),
        source: None,
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so itself.
            let _ = thread.join();
        }
    }
}
