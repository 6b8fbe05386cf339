//! Those who wait for something to happen to rollouts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

/// Rings once a number of rollouts have ended.
#[derive(Debug)]
pub(super) struct Countdown {
    remaining: AtomicUsize,
    bell: Notify,
}

impl Countdown {
    pub(super) fn new(rollouts: usize) -> Self {
        Self {
            remaining: AtomicUsize::new(rollouts),
            bell: Notify::new(),
        }
    }

    /// Resolves when the count has come to zero.
    pub(super) async fn finished(&self) {
        self.bell.notified().await;
    }

    /// One has ended.
    pub(super) fn count(&self) {
        if self.remaining.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.bell.notify_one();
        }
    }
}

/// What a watcher of a rollout wants to know.
#[derive(Debug)]
enum Watcher {
    /// That it has ended; told once.
    End(Arc<Countdown>),
    /// That its status, or that of an attempt, may have changed; told every time.
    Change(Arc<Notify>),
}

/// The watchers of one rollout, by ticket.
#[derive(Debug, Default)]
pub(super) struct Watchers(BTreeMap<u64, Watcher>);

impl Watchers {
    pub(super) fn watch_end(&mut self, ticket: u64, countdown: Arc<Countdown>) {
        self.0.insert(ticket, Watcher::End(countdown));
    }

    pub(super) fn watch_changes(&mut self, ticket: u64, bell: Arc<Notify>) {
        self.0.insert(ticket, Watcher::Change(bell));
    }

    /// Whether the watcher was still there.
    pub(super) fn leave(&mut self, ticket: u64) -> bool {
        self.0.remove(&ticket).is_some()
    }

    /// Whether nobody watches.
    #[cfg(feature = "sqlite")]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells of a change, which may be the end.
    pub(super) fn tell(&mut self, ended: bool) {
        self.0.retain(|_, watcher| match watcher {
            Watcher::Change(bell) => {
                bell.notify_one();
                true
            }
            Watcher::End(countdown) if ended => {
                countdown.count();
                false
            }
            Watcher::End(_) => true,
        });
    }
}
