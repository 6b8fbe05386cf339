//! Telling runners to stop.

use tokio_util::sync::CancellationToken;

/// Tells runners to stop: first to claim nothing more, then to drop what they have. A clone is the same signal.
#[derive(Clone, Debug, Default)]
pub struct StopSignal {
    stopping: CancellationToken,
    aborting: CancellationToken,
}

impl StopSignal {
    /// A signal that has not been given.
    pub fn new() -> Self {
        Self::default()
    }

    /// A signal that is given with this one, and may be given without it.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            stopping: self.stopping.child_token(),
            aborting: self.aborting.child_token(),
        }
    }

    /// Finish the rollout at hand and claim nothing more.
    pub fn stop(&self) {
        self.stopping.cancel();
    }

    /// Drop the rollout at hand, too, and break off hooks that wait.
    pub fn abort(&self) {
        self.stopping.cancel();
        self.aborting.cancel();
    }

    /// Whether runners are to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.is_cancelled()
    }

    /// Resolves when runners are to stop. Cancel safe.
    pub async fn stopping(&self) {
        self.stopping.cancelled().await;
    }

    /// Resolves when runners are to drop what they have. Cancel safe.
    pub async fn aborting(&self) {
        self.aborting.cancelled().await;
    }
}
