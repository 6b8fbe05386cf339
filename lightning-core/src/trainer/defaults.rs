//! Fills what the algorithm leaves open.

use crate::{
    store::{Command, Request, StoreLayer},
    types::{NewRollout, RolloutConfig},
};

/// Gives rollouts without time limits and retries those of the trainer.
pub(super) struct Defaults(pub(super) RolloutConfig);

impl Defaults {
    fn fill(&self, new: &mut NewRollout) {
        new.config.get_or_insert_with(|| self.0.clone());
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
