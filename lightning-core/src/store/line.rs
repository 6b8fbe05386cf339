//! The line of those who wait for rollouts to come into the queue.

use std::{collections::BTreeMap, sync::Arc};

use tokio::sync::Notify;

/// The callers parked on a queue, first in, first out.
///
/// A parked caller is *called* when there is something for it; it then claims for itself, so nothing is claimed for a
/// caller who has gone. A call that comes to nothing, because somebody who did not park was faster, leaves the caller
/// at its place in the line.
#[derive(Debug, Default)]
pub(super) struct Line {
    parked: BTreeMap<u64, Arc<Notify>>,
    called: BTreeMap<u64, Arc<Notify>>,
    next_ticket: u64,
}

impl Line {
    /// Whether somebody who comes now has to stand behind others, for the `queued` entries that there are.
    pub(super) fn has_line(&self, queued: usize) -> bool {
        !self.parked.is_empty() || self.called.len() >= queued
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
        if let Some((ticket, bell)) = self.parked.pop_first() {
            bell.notify_one();
            self.called.insert(ticket, bell);
        }
    }
}
