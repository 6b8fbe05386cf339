//! Fills what the algorithm leaves open.

use tokio::sync::watch;

use crate::{
    semconv,
    store::{Command, Request, StoreLayer},
    types::{NewRollout, RolloutConfig},
};

/// Gives rollouts without time limits and retries those of the trainer, and says which run they belong to.
pub(super) struct Defaults {
    pub(super) config: RolloutConfig,
    /// What takes its place while the run goes on.
    pub(super) changed: watch::Receiver<Option<RolloutConfig>>,
    pub(super) run_id: String,
}

impl Defaults {
    fn fill(&self, new: &mut NewRollout) {
        new.config.get_or_insert_with(|| {
            let changed = self.changed.borrow();
            changed.as_ref().unwrap_or(&self.config).clone()
        });
        let notes = new.metadata.get_or_insert_default();
        notes
            .entry(semconv::RUN_ID)
            .or_insert_with(|| self.run_id.as_str().into());
    }
}

impl StoreLayer for Defaults {
    fn request(&self, mut request: Request) -> Request {
        match &mut request.command {
            Command::EnqueueRollouts { rollouts } => rollouts.iter_mut().for_each(|new| self.fill(new)),
            Command::StartRollout { rollout, .. } => self.fill(rollout),
            _ => {}
        }
        request
    }
}
