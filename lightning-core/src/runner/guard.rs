//! Ends an attempt whose runner was dropped.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

use super::attempt::{fail_unless_ended, flush};
use crate::{store::Store, tracer::Recording, types::AttemptPatch};

/// While armed, its drop ends the attempt as failed, by a task that first stores what was recorded.
///
/// Without a runtime to run that task on, the attempt ends only by its time limits.
pub(super) struct AttemptGuard {
    armed: Option<(Arc<dyn Store>, Recording)>,
    last_words: TaskTracker,
}

impl AttemptGuard {
    pub(super) fn new(store: Arc<dyn Store>, recording: Recording, last_words: TaskTracker) -> Self {
        Self {
            armed: Some((store, recording)),
            last_words,
        }
    }

    /// The attempt has ended otherwise.
    pub(super) fn disarm(&mut self) {
        self.armed = None;
    }
}

impl Drop for AttemptGuard {
    fn drop(&mut self) {
        let (Some((store, recording)), Ok(runtime)) = (self.armed.take(), Handle::try_current()) else {
            return;
        };
        self.last_words.spawn_on(
            async move {
                let mut reason = "the runner was dropped while the agent worked".to_owned();
                if let Err(loss) = flush(&*store, &recording).await {
                    reason = format!("{reason}; {loss}");
                }
                let (rollout_id, attempt_id) = (recording.rollout_id(), recording.attempt_id());
                let end = AttemptPatch::interrupted(reason);
                if let Err(error) = fail_unless_ended(&*store, rollout_id, attempt_id, end).await {
                    tracing::warn!(
                        target: "lightning::runner",
                        rollout_id = %recording.rollout_id(),
                        attempt_id = %recording.attempt_id(),
                        error = %error,
                        "an attempt whose runner was dropped could not be ended; its time limits will"
                    );
                }
            },
            &runtime,
        );
    }
}
