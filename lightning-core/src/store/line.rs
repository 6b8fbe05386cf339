//! The line of those who wait for rollouts to come into the queue, and the workers that are to come no more.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio::sync::Notify;

use crate::types::WorkerId;

/// The callers parked on a queue, first in, first out.
///
/// A parked caller is *called* when there is something for it; it then claims for itself, so nothing is claimed for a
/// caller who has gone. A call that comes to nothing, because somebody who did not park was faster, leaves the caller
/// at its place in the line.
#[derive(Debug, Default)]
pub(super) struct Line {
    parked: BTreeMap<u64, Waiter>,
    called: BTreeMap<u64, Waiter>,
    next_ticket: u64,
    /// Those who were told to stop; see `Store::drain_workers`.
    draining: HashSet<WorkerId>,
}

#[derive(Debug)]
struct Waiter {
    bell: Arc<Notify>,
    worker: Option<WorkerId>,
    /// Whether it was told to stop while it waited.
    told: bool,
}

impl Line {
    /// Whether somebody who comes now has to stand behind others, for the `queued` entries that there are.
    pub(super) fn has_line(&self, queued: usize) -> bool {
        !self.parked.is_empty() || self.called.len() >= queued
    }

    /// Stands at the end of the line.
    pub(super) fn park(&mut self, worker: Option<WorkerId>) -> (u64, Arc<Notify>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let bell = Arc::new(Notify::new());
        // It may have been told between its coming and now.
        let told = self.is_draining(worker.as_ref());
        if told {
            bell.notify_one();
        }
        let waiter = Waiter {
            bell: bell.clone(),
            worker,
            told,
        };
        self.parked.insert(ticket, waiter);
        (ticket, bell)
    }

    /// Goes back to the old place after a call that came to nothing.
    pub(super) fn park_again(&mut self, ticket: u64) {
        if let Some(waiter) = self.called.remove(&ticket) {
            self.parked.insert(ticket, waiter);
        }
    }

    /// Leaves the line; a call that was not used goes to the next one, if one of the `queued` entries is left for it.
    pub(super) fn leave(&mut self, ticket: u64, queued: usize) {
        self.parked.remove(&ticket);
        let was_called = self.called.remove(&ticket).is_some();
        if was_called && queued > self.called.len() {
            self.call_next();
        }
    }

    /// How many callers are parked or called.
    pub(super) fn waiting(&self) -> usize {
        self.parked.len() + self.called.len()
    }

    /// Calls the first of those who are parked: an entry has come.
    pub(super) fn call_next(&mut self) {
        if let Some((ticket, waiter)) = self.parked.pop_first() {
            waiter.bell.notify_one();
            self.called.insert(ticket, waiter);
        }
    }

    /// Tells these workers to stop, now and whenever they come again; and those who wait without a name, if `nameless`.
    pub(super) fn drain(&mut self, workers: &[WorkerId], nameless: bool) {
        self.draining.extend(workers.iter().cloned());
        // Most often a single worker says that it will not come again.
        let set: HashSet<&WorkerId> = workers.iter().collect();
        for waiter in self.parked.values_mut().chain(self.called.values_mut()) {
            let concerned = match (&waiter.worker, workers) {
                (None, _) => nameless,
                (Some(worker), [only]) => worker == only,
                (Some(worker), _) => set.contains(worker),
            };
            if concerned {
                waiter.told = true;
                waiter.bell.notify_one();
            }
        }
    }

    /// Whether the worker was told to stop.
    pub(super) fn is_draining(&self, worker: Option<&WorkerId>) -> bool {
        worker.is_some_and(|worker| self.draining.contains(worker))
    }

    /// Whether the caller with this ticket was told to stop while it waited.
    pub(super) fn was_told(&self, ticket: u64) -> bool {
        let waiter = self.parked.get(&ticket).or_else(|| self.called.get(&ticket));
        waiter.is_some_and(|waiter| waiter.told)
    }
}
