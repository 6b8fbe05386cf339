//! The queue of rollouts, and the line of those who wait for it to fill.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::Notify;

use crate::store::line::Line;

/// Rollouts (by their place in the table) first in, first out, and the callers parked on it, likewise.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<usize>,
    line: Line,
}

impl Queue {
    /// How many entries there are, those included whose rollout no longer waits.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Adds a rollout at the tail and calls the first of those who wait.
    pub(super) fn push(&mut self, rollout: usize) {
        self.entries.push_back(rollout);
        self.line.call_next();
    }

    /// Takes the head.
    pub(super) fn pop(&mut self) -> Option<usize> {
        self.entries.pop_front()
    }

    /// Whether somebody who comes now has to stand behind others.
    pub(super) fn has_line(&self) -> bool {
        self.line.has_line(self.entries.len())
    }

    /// Stands at the end of the line.
    pub(super) fn park(&mut self) -> (u64, Arc<Notify>) {
        self.line.park()
    }

    /// Goes back to the old place after a call that came to nothing.
    pub(super) fn park_again(&mut self, ticket: u64) {
        self.line.park_again(ticket);
    }

    /// Leaves the line; a call that was not used goes to the next one.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.line.leave(ticket, self.entries.len());
    }

    /// How many callers are parked or called.
    pub(super) fn waiting(&self) -> usize {
        self.line.waiting()
    }
}
