//! How far something has got, for people who watch.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Where progress is shown.
pub trait ProgressSink: Send + Sync {
    /// Something has got this far. Called often; it should be cheap and must not block.
    fn update(&self, event: &ProgressEvent<'_>);
}

/// How far something has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgressEvent<'a> {
    /// Tells apart what goes on at the same time.
    pub id: u64,
    /// What is going on.
    pub label: &'a str,
    /// How much is done.
    pub done: u64,
    /// How much there is to do, if that is known.
    pub total: Option<u64>,
    /// Whether this is the last event.
    pub finished: bool,
}

/// Something that goes on. It is finished when this is dropped.
pub struct Progress {
    sink: Arc<dyn ProgressSink>,
    id: u64,
    label: String,
    total: Option<u64>,
    done: AtomicU64,
}

impl Progress {
    pub(super) fn start(sink: Arc<dyn ProgressSink>, label: String, total: Option<u64>) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let progress = Self {
            sink,
            id,
            label,
            total,
            done: AtomicU64::new(0),
        };
        progress.show(false);
        progress
    }

    /// So much more is done.
    pub fn advance(&self, by: u64) {
        self.done.fetch_add(by, Ordering::Relaxed);
        self.show(false);
    }

    fn show(&self, finished: bool) {
        self.sink.update(&ProgressEvent {
            id: self.id,
            label: &self.label,
            done: self.done.load(Ordering::Relaxed),
            total: self.total,
            finished,
        });
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.show(true);
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("label", &self.label)
            .field("done", &self.done)
            .field("total", &self.total)
            .finish_non_exhaustive()
    }
}

/// Shows nothing.
pub(super) struct Silent;

impl ProgressSink for Silent {
    fn update(&self, _: &ProgressEvent<'_>) {}
}
