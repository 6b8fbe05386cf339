//! The queue of rollouts, and the line of those who wait for it to fill.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::Notify;

use crate::{store::line::Line, types::WorkerId};

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
    pub(super) fn park(&mut self, worker: Option<WorkerId>) -> (u64, Arc<Notify>) {
        self.line.park(worker)
    }

    /// Goes back to the old place after a call that came to nothing.
    pub(super) fn park_again(&mut self, ticket: u64) {
        self.line.park_again(ticket);
    }

    /// Leaves the line; a call that was not used goes to the next one.
    pub(super) fn leave(&mut self, ticket: u64) {
        self.line.leave(ticket, self.entries.len());
    }

    /// Tells these workers to stop, and those who wait without a name, if `nameless`.
    pub(super) fn drain(&mut self, workers: &[WorkerId], nameless: bool) {
        self.line.drain(workers, nameless);
    }

    /// Whether the worker was told to stop, or the caller with this ticket.
    pub(super) fn is_draining(&self, worker: Option<&WorkerId>, ticket: Option<u64>) -> bool {
        self.line.is_draining(worker) || ticket.is_some_and(|ticket| self.line.was_told(ticket))
    }

    /// How many callers are parked or called.
    pub(super) fn waiting(&self) -> usize {
        self.line.waiting()
    }
}
