//! The thread that writes: one transaction for all that has come while the last one was synced.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::{
    failure::Failure,
    file::{Lock, Presence},
    totals::{Total, Totals},
    waiting::{Parked, Waiting},
    work::{Consequences, Work},
};
use crate::{
    clock::Clock,
    ids::IdSource,
    store::{Answer, Request, StoreError, claim::Claim, lifecycle},
    types::{AttemptedRollout, Timestamp},
};

/// How many operations go into one transaction.
const BATCH: usize = 1024;
/// From which size on the write-ahead log is written back into the database, in bytes.
const CHECKPOINT_AT: u64 = 8 << 20;
/// How long time limits wait that could not be applied, because the file could not be written.
const RETRY: Duration = Duration::from_millis(500);

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// What the writer is asked to do.
pub(super) enum Operation {
    Execute(Request, Reply<Answer>),
    Claim(Claim, Coming, Reply<Claimed>),
    /// Apply the time limits that have passed.
    Expire(Reply<()>),
    /// Let the file grow to so many bytes and no further.
    LimitSize(Option<u64>, Reply<()>),
}

/// How a claim comes to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coming {
    /// For the first time, and it will wait if there is nothing.
    MayWait,
    /// For the first time, and it will not wait.
    OnlyLooks,
    /// Called from the line, where it has this ticket.
    Called(u64),
}

/// What became of a claim.
#[derive(Debug)]
pub(super) enum Claimed {
    Now(Vec<AttemptedRollout>),
    Parked(Parked),
    StillParked,
}

/// What became of an operation, before it is acknowledged.
enum Outcome {
    Answer(Result<Answer, StoreError>),
    Claim(Result<Claimed, StoreError>),
    Done,
    /// Whoever asked has gone.
    Abandoned,
}

/// The first point after which a time limit may have passed. Never later than the first limit that was committed.
#[derive(Debug)]
pub(super) struct Alarm(AtomicU64);

impl Alarm {
    pub(super) fn new(at: Option<Timestamp>) -> Self {
        Self(AtomicU64::new(Self::bits(at)))
    }

    pub(super) fn get(&self) -> Option<Timestamp> {
        let at = f64::from_bits(self.0.load(Ordering::Acquire));
        (!at.is_nan()).then(|| Timestamp::from_secs_f64(at))
    }

    fn set(&self, at: Option<Timestamp>) {
        self.0.store(Self::bits(at), Ordering::Release);
    }

    fn bits(at: Option<Timestamp>) -> u64 {
        at.map_or(f64::NAN, Timestamp::as_secs_f64).to_bits()
    }
}

/// How far the write-ahead log is written, in pages.
///
/// Its file tells only how long it once was: after it was written back, it is written from its beginning on, and a log that
/// need not grow is synced sooner.
#[derive(Debug)]
pub(super) struct LogSize {
    pages: Arc<AtomicU32>,
    page_bytes: u64,
}

impl LogSize {
    /// Of the log that this connection writes; nothing until its next commit.
    pub(super) fn of(connection: &mut Connection) -> Result<Self, Failure> {
        let pages = Arc::new(AtomicU32::new(0));
        let seen = pages.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages| {
            seen.store(u32::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let page_bytes = connection.query_row("PRAGMA page_size", [], |row| row.get(0))?;
        Ok(Self { pages, page_bytes })
    }

    fn bytes(&self) -> u64 {
        u64::from(self.pages.load(Ordering::Relaxed)) * self.page_bytes
    }
}

pub(super) struct Writer {
    pub(super) connection: Connection,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) waiting: Arc<Waiting>,
    pub(super) alarm: Arc<Alarm>,
    pub(super) presence: Presence,
    pub(super) log: LogSize,
    pub(super) next_queue_place: i64,
    /// Whether time limits have passed and could not be applied.
    pub(super) troubled: bool,
    /// Let go last, when the connection is closed.
    pub(super) _lock: Lock,
}

impl Writer {
    /// Works until nobody can ask for anything any more.
    pub(super) async fn run(mut self, mut operations: mpsc::UnboundedReceiver<Operation>) {
        loop {
            let first = tokio::select! {
                biased;
                operation = operations.recv() => match operation {
                    Some(operation) => Some(operation),
                    None => return,
                },
                () = self.time_limit() => None,
            };
            let mut batch = Vec::from_iter(first);
            while batch.len() < BATCH
                && let Ok(operation) = operations.try_recv()
            {
                batch.push(operation);
            }
            self.carry_out(batch);
            self.checkpoint();
        }
    }

    /// Resolves when a time limit has passed.
    async fn time_limit(&self) {
        match self.alarm.get() {
            None => std::future::pending().await,
            Some(_) if self.troubled => tokio::time::sleep(RETRY).await,
            Some(at) => self.clock.sleep_past(at).await,
        }
    }

    /// Carries out operations in one transaction. If that fails for a reason that one of them may have brought about,
    /// such as its size, each gets a transaction of its own.
    fn carry_out(&mut self, batch: Vec<Operation>) {
        let queued = self.waiting.queued();
        match self.transact(&batch) {
            Ok(outcomes) => {
                self.troubled = false;
                for (operation, outcome) in batch.into_iter().zip(outcomes) {
                    acknowledge(operation, outcome);
                }
            }
            Err(failure) => {
                self.roll_back(queued);
                if batch.len() > 1 && !matches!(failure, Failure::Vanished(_)) {
                    for operation in batch {
                        self.carry_out(vec![operation]);
                    }
                    return;
                }
                let error = failure.into_error(self.presence.path());
                // Said once, not for each caller who is told so anyway.
                if !std::mem::replace(&mut self.troubled, true) {
                    tracing::warn!(target: "lightning::store", %error, "a transaction failed");
                }
                for operation in batch {
                    refuse(operation, error.clone());
                }
            }
        }
    }

    fn transact(&mut self, batch: &[Operation]) -> Result<Vec<Outcome>, Failure> {
        self.presence.check().map_err(Failure::Vanished)?;
        self.sql("BEGIN IMMEDIATE")?;
        let mut all = Consequences::default();
        let mut expired = self.expire(&mut all)?;
        let mut outcomes = Vec::with_capacity(batch.len());
        for operation in batch {
            expired |= self.expire(&mut all)?;
            outcomes.push(self.operate(operation, &mut all)?);
        }
        all.totals.apply(&self.connection)?;
        let alarm = if expired {
            self.first_deadline()?
        } else {
            self.alarm.get().into_iter().chain(all.deadline).min()
        };
        self.sql("COMMIT")?;
        self.alarm.set(alarm);
        self.waiting.tell(&all.changed);
        // What went into a file that is no longer there is not acknowledged.
        self.presence.check().map_err(Failure::Vanished)?;
        Ok(outcomes)
    }

    /// Applies the time limits that have passed. Whether there may have been any.
    fn expire(&mut self, all: &mut Consequences) -> Result<bool, Failure> {
        let now = self.clock.now();
        let known = self.alarm.get().into_iter().chain(all.deadline).min();
        if !known.is_some_and(|at| lifecycle::is_past(at, now)) {
            return Ok(false);
        }
        let mut work = self.work(now);
        work.expire()?;
        let consequences = work.consequences;
        self.queue_changed(&consequences);
        all.merge(consequences);
        Ok(true)
    }

    fn first_deadline(&self) -> Result<Option<Timestamp>, Failure> {
        super::open::first_deadline(&self.connection)
    }

    /// Carries out one operation so that it leaves nothing behind if it is refused.
    fn operate(&mut self, operation: &Operation, all: &mut Consequences) -> Result<Outcome, Failure> {
        let now = self.clock.now();
        match operation {
            Operation::Expire(_) => Ok(Outcome::Done),
            Operation::LimitSize(bytes, _) => {
                self.limit_size(*bytes)?;
                Ok(Outcome::Done)
            }
            Operation::Execute(request, _) => {
                let answer = self.apart(now, all, |work, _| work.execute(request))?;
                Ok(Outcome::Answer(answer))
            }
            Operation::Claim(_, _, reply) if reply.is_closed() => Ok(Outcome::Abandoned),
            Operation::Claim(claim, coming, _) => {
                let claimed = self.apart(now, all, |work, waiting| come(work, waiting, claim, *coming))?;
                Ok(Outcome::Claim(claimed.map(|claimed| match claimed {
                    Some(claimed) => Claimed::Now(claimed),
                    None => self.park(*coming, claim),
                })))
            }
        }
    }

    fn park(&self, coming: Coming, claim: &Claim) -> Claimed {
        match coming {
            Coming::Called(ticket) => {
                self.waiting.park_again(ticket);
                Claimed::StillParked
            }
            Coming::MayWait | Coming::OnlyLooks => {
                Claimed::Parked(self.waiting.park(claim.worker_id.clone()))
            }
        }
    }

    /// Within a savepoint. The outer result is about the transaction, the inner one about the request.
    fn apart<T>(
        &mut self,
        now: Timestamp,
        all: &mut Consequences,
        act: impl FnOnce(&mut Work<'_>, &Waiting) -> Result<T, Failure>,
    ) -> Result<Result<T, StoreError>, Failure> {
        self.sql("SAVEPOINT operation")?;
        let waiting = self.waiting.clone();
        let mut work = self.work(now);
        match act(&mut work, &waiting) {
            Ok(result) => {
                let consequences = work.consequences;
                self.sql("RELEASE operation")?;
                self.queue_changed(&consequences);
                all.merge(consequences);
                Ok(Ok(result))
            }
            Err(Failure::Refused(error)) => {
                self.sql("ROLLBACK TO operation")?;
                self.sql("RELEASE operation")?;
                Ok(Err(error))
            }
            Err(failure) => Err(failure),
        }
    }

    fn work(&mut self, now: Timestamp) -> Work<'_> {
        Work {
            connection: &self.connection,
            ids: &*self.ids,
            now,
            next_queue_place: &mut self.next_queue_place,
            consequences: Consequences::default(),
        }
    }

    /// Those in the line are called before the commit. That is early, but they come back through this thread.
    fn queue_changed(&self, consequences: &Consequences) {
        let change = consequences.totals.change(Total::Queued);
        if consequences.queued > 0 || change != 0 {
            self.waiting.queue_changed(consequences.queued, change);
        }
    }

    /// Undoes the transaction, unless SQLite has done so itself.
    fn roll_back(&mut self, queued: usize) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.sql("ROLLBACK")
        {
            tracing::error!(target: "lightning::store", ?error, "a transaction could not be rolled back");
        }
        // After a failed check of the file, the transaction may have taken effect nevertheless.
        let stored = Totals::read(&self.connection).map(|totals| totals.get(Total::Queued));
        let stored = stored.ok().and_then(|stored| usize::try_from(stored).ok());
        self.waiting.set_queued(stored.unwrap_or(queued));
    }

    /// Writes the log back into the database when it has grown. Nobody waits for it but the next batch.
    fn checkpoint(&self) {
        if self.log.bytes() < CHECKPOINT_AT {
            return;
        }
        // What cannot be written back now stays in the log, where it is as safe.
        let _ = self
            .connection
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }

    fn limit_size(&self, bytes: Option<u64>) -> Result<(), Failure> {
        super::open::limit_size(&self.connection, bytes)
    }

    fn sql(&self, sql: &str) -> Result<(), Failure> {
        self.connection.prepare_cached(sql)?.execute([])?;
        Ok(())
    }
}

/// A claim at the queue; `None` if it has to wait.
fn come(
    work: &mut Work<'_>,
    waiting: &Waiting,
    claim: &Claim,
    coming: Coming,
) -> Result<Option<Vec<AttemptedRollout>>, Failure> {
    // Another call under the same key may have been served.
    if let Some(claimed) = work.claimed_before(claim)? {
        return Ok(Some(claimed));
    }
    let ticket = match coming {
        Coming::Called(ticket) => Some(ticket),
        Coming::MayWait | Coming::OnlyLooks => None,
    };
    if waiting.is_draining(claim.worker_id.as_ref(), ticket) {
        return Err(StoreError::Draining.into());
    }
    let waits = coming != Coming::OnlyLooks && claim.limit > 0;
    if waits && coming == Coming::MayWait && waiting.has_line() {
        work.came_for_work(claim)?;
        return Ok(None);
    }
    let claimed = work.claim(claim)?;
    Ok((!waits || !claimed.is_empty()).then_some(claimed))
}

/// Tells the caller. One who has gone is not told; a place in the line is given up with the answer.
fn acknowledge(operation: Operation, outcome: Outcome) {
    match (operation, outcome) {
        (Operation::Execute(_, reply), Outcome::Answer(answer)) => {
            let _ = reply.send(answer);
        }
        (Operation::Claim(_, _, reply), Outcome::Claim(claimed)) => {
            let _ = reply.send(claimed);
        }
        (Operation::Expire(reply) | Operation::LimitSize(_, reply), _) => {
            let _ = reply.send(Ok(()));
        }
        (Operation::Execute(..) | Operation::Claim(..), _) => {}
    }
}

fn refuse(operation: Operation, error: StoreError) {
    match operation {
        Operation::Execute(_, reply) => {
            let _ = reply.send(Err(error));
        }
        Operation::Claim(_, _, reply) => {
            let _ = reply.send(Err(error));
        }
        Operation::Expire(reply) | Operation::LimitSize(_, reply) => {
            let _ = reply.send(Err(error));
        }
    }
}
