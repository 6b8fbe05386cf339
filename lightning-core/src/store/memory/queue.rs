//! The queue of rollouts, and the line of those who wait for it to fill.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::sync::Notify;

/// Rollouts (by their place in the table) first in, first out, and the callers parked on it, likewise.
///
/// A parked caller is *called* when there is something for it; it then claims for itself, so nothing is claimed for a
/// caller who has gone. A call that comes to nothing, because somebody who did not park was faster, leaves the caller
/// at its place in the line.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<usize>,
    parked: BTreeMap<u64, Arc<Notify>>,
    called: BTreeMap<u64, Arc<Notify>>,
    next_ticket: u64,
}

impl Queue {
    /// How many entries there are, those included whose rollout no longer waits.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a rollout at the tail and calls the first of those who wait.
    pub(super) fn push(&mut self, rollout: usize) {
        self.entries.push_back(rollout);
        self.call_next();
    }

    /// Takes the head.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.entries.pop_front()
    }

    /// Whether somebody who comes now has to stand behind others.
    pub(super) fn has_line(&self) -> bool {
        !self.parked.is_empty() || self.called.len() >= self.entries.len()
    }

    /// Stands at the end of the line.
    pub(super) fn park(&mut self) -> (u64, Arc<Notify>) {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let bell = Arc::new(Notify::new());
        self.parked.insert(ticket, bell.clone());
        (ticket, bell)
    }

    /// Goes back to the old place after a call that came to nothing.
    pub(super) fn park_again(&mut self, ticket: u64) {
        if let Some(bell) = self.called.remove(&ticket) {
            self.parked.insert(ticket, bell);
        }
    }

    /// Leaves the line; a call that was not used goes to the next one.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.parked.remove(&ticket);
        let was_called = self.called.remove(&ticket).is_some();
        if was_called && self.entries.len() > self.called.len() {
            self.call_next();
        }
    }

    /// How many callers are parked or called.
    pub(super) fn waiting(&self) -> usize {
        self.parked.len() + self.called.len()
    }

    fn call_next(&mut self) {
        if let Some((ticket, bell)) = self.parked.pop_first() {
            bell.notify_one();
            self.called.insert(ticket, bell);
        }
    }
}
