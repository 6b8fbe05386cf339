//! Who waits for what. Lives in memory only: a caller does not outlive the process.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use crate::{
    store::{
        line::Line,
        watch::{Countdown, Watchers},
    },
    types::{RolloutId, WorkerId},
};

/// Everybody who waits at a store.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Lists>);

#[derive(Debug, Default)]
struct Lists {
    line: Line,
    /// How many entries the queue has, as far as the line is concerned.
    queued: usize,
    watchers: HashMap<RolloutId, Watchers>,
    watching: usize,
    next_ticket: u64,
}

impl Waiting {
    fn lists(&self) -> MutexGuard<'_, Lists> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many callers wait for something.
    pub(super) fn waiters(&self) -> usize {
        let lists = self.lists();
        lists.watching + lists.line.waiting()
    }

    // ---- the queue

    pub(super) fn queued(&self) -> usize {
        self.lists().queued
    }

    /// Says how many entries the queue really has.
    pub(super) fn set_queued(&self, queued: usize) {
        self.lists().queued = queued;
    }

    /// Entries have come into the queue, and the queue has grown by `change` in all.
    pub(super) fn queue_changed(&self, come: usize, change: i64) {
        let mut lists = self.lists();
        let change = isize::try_from(change).unwrap_or(0);
        lists.queued = lists.queued.saturating_add_signed(change);
        for _ in 0..come {
            lists.line.call_next();
        }
    }

    /// Whether somebody who comes now has to stand behind others.
    pub(super) fn has_line(&self) -> bool {
        let lists = self.lists();
        lists.line.has_line(lists.queued)
    }

    /// Stands at the end of the line.
    pub(super) fn park(self: &Arc<Self>, worker: Option<WorkerId>) -> Parked {
        let (ticket, bell) = self.lists().line.park(worker);
        Parked {
            ticket,
            bell,
            waiting: self.clone(),
        }
    }

    /// Goes back to the old place after a call that came to nothing.
    pub(super) fn park_again(&self, ticket: u64) {
        self.lists().line.park_again(ticket);
    }

    /// Tells these workers to stop, and those who wait without a name, if `nameless`.
    pub(super) fn drain(&self, workers: &[WorkerId], nameless: bool) {
        self.lists().line.drain(workers, nameless);
    }

    /// Whether the worker was told to stop, or the caller with this ticket.
    pub(super) fn is_draining(&self, worker: Option<&WorkerId>, ticket: Option<u64>) -> bool {
        let line = &self.lists().line;
        line.is_draining(worker) || ticket.is_some_and(|ticket| line.was_told(ticket))
    }

    // ---- rollouts

    /// Tells those who watch rollouts that these have changed.
    pub(super) fn tell(&self, changed: &[(RolloutId, bool)]) {
        let mut lists = self.lists();
        if lists.watchers.is_empty() {
            return;
        }
        for (id, ended) in changed {
            if let Some(watchers) = lists.watchers.get_mut(id) {
                watchers.tell(*ended);
                if watchers.is_empty() {
                    lists.watchers.remove(id);
                }
            }
        }
    }

    /// Watches for the end of each of the rollouts. What is told from now on counts; whoever has ended before has to be
    /// taken out by [`EndWatch::keep_only`].
    pub(super) fn watch_ends(self: &Arc<Self>, ids: &[RolloutId]) -> EndWatch {
        let ids: HashSet<RolloutId> = ids.iter().cloned().collect();
        let countdown = Arc::new(Countdown::new(ids.len()));
        let mut lists = self.lists();
        let ticket = lists.begin();
        for id in &ids {
            let watchers = lists.watchers.entry(id.clone()).or_default();
            watchers.watch_end(ticket, countdown.clone());
        }
        drop(lists);
        EndWatch {
            ids,
            ticket,
            countdown,
            waiting: self.clone(),
        }
    }

    /// Watches for anything that happens to a rollout.
    pub(super) fn watch_changes(self: &Arc<Self>, id: &RolloutId) -> ChangeWatch {
        let bell = Arc::new(Notify::new());
        let mut lists = self.lists();
        let ticket = lists.begin();
        let watchers = lists.watchers.entry(id.clone()).or_default();
        watchers.watch_changes(ticket, bell.clone());
        drop(lists);
        ChangeWatch {
            id: id.clone(),
            ticket,
            bell,
            waiting: self.clone(),
        }
    }
}

impl Lists {
    fn begin(&mut self) -> u64 {
        self.next_ticket += 1;
        self.watching += 1;
        self.next_ticket
    }

    /// Whether the watcher was still there.
    fn leave(&mut self, id: &RolloutId, ticket: u64) -> bool {
        let Some(watchers) = self.watchers.get_mut(id) else {
            return false;
        };
        let was_there = watchers.leave(ticket);
        if watchers.is_empty() {
            self.watchers.remove(id);
        }
        was_there
    }
}

/// A place in the line of the queue, given up when this is dropped.
#[derive(Debug)]
pub(super) struct Parked {
    pub(super) ticket: u64,
    pub(super) bell: Arc<Notify>,
    waiting: Arc<Waiting>,
}

impl Drop for Parked {
    fn drop(&mut self) {
        let mut lists = self.waiting.lists();
        let queued = lists.queued;
        lists.line.leave(self.ticket, queued);
    }
}

/// A watch for the end of rollouts, given up when this is dropped.
#[derive(Debug)]
pub(super) struct EndWatch {
    ids: HashSet<RolloutId>,
    ticket: u64,
    countdown: Arc<Countdown>,
    waiting: Arc<Waiting>,
}

impl EndWatch {
    /// Waits only for these; the others have ended before, or do not exist.
    pub(super) fn keep_only(&self, pending: &HashSet<RolloutId>) {
        let mut lists = self.waiting.lists();
        for id in self.ids.difference(pending) {
            // One whose end was told meanwhile has been counted.
            if lists.leave(id, self.ticket) {
                self.countdown.count();
            }
        }
    }

    pub(super) async fn finished(&self) {
        self.countdown.finished().await;
    }
}

impl Drop for EndWatch {
    fn drop(&mut self) {
        let mut lists = self.waiting.lists();
        lists.watching -= 1;
        for id in &self.ids {
            lists.leave(id, self.ticket);
        }
    }
}

/// A watch for changes of a rollout, given up when this is dropped.
#[derive(Debug)]
pub(super) struct ChangeWatch {
    id: RolloutId,
    ticket: u64,
    pub(super) bell: Arc<Notify>,
    waiting: Arc<Waiting>,
}

impl Drop for ChangeWatch {
    fn drop(&mut self) {
        let mut lists = self.waiting.lists();
        lists.watching -= 1;
        lists.leave(&self.id, self.ticket);
    }
}
