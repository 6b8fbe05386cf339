//! The queue between the calls and the store.

use std::{sync::Arc, time::Duration};

use super::Exchange;
use crate::{
    clock::Clock,
    ids::IdSource,
    store::Store,
    types::{AttemptId, RolloutId},
};

/// How much waits for the store, and for how long.
#[derive(Clone, Debug)]
pub(crate) struct RecorderOptions {
    /// How many calls wait at most.
    pub(crate) max_calls: usize,
    /// How many bytes of requests and answers wait at most.
    pub(crate) max_bytes: usize,
}

impl Default for RecorderOptions {
    fn default() -> Self {
        Self {
            max_calls: 10_000,
            max_bytes: 256 << 20,
        }
    }
}

/// Records calls at a store. A clone is another handle on the same queue.
#[derive(Clone, Debug)]
pub(crate) struct Recorder;

impl Recorder {
    /// A recorder, and its task on the present runtime.
    pub(crate) fn start(
        _store: Arc<dyn Store>,
        _clock: Arc<dyn Clock>,
        _ids: Arc<dyn IdSource>,
        _options: RecorderOptions,
    ) -> Self {
        Self
    }

    /// Counts a call of this attempt as under way. Never blocks.
    pub(crate) fn begin(&self, _rollout: &RolloutId, _attempt: &AttemptId) -> CallTicket {
        CallTicket
    }

    /// Resolves when every call that was begun for this attempt has been recorded or dropped. Cancel safe.
    pub(crate) async fn recorded(&self, _rollout: &RolloutId, _attempt: &AttemptId) {}

    /// Records what waits, for as long as `grace`, and ends the task.
    pub(crate) async fn shutdown(&self, _grace: Duration) {}
}

/// A call that is under way. Dropped, it ends without a record.
#[derive(Debug)]
#[must_use = "a call that is not finished is not recorded"]
pub(crate) struct CallTicket;

impl CallTicket {
    /// Hands the call over, or counts that there was no room for it. Never blocks.
    pub(crate) fn finish(self, _exchange: Exchange) {}
}
