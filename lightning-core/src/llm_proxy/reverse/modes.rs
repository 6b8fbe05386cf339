//! What rollouts are for, asked of the store once for each.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{
    store::Store,
    types::{RolloutId, RolloutMode},
};

/// How many are remembered. Who asks again after that asks the store again.
const MOST: usize = 10_000;
/// How long the store may take. A call does not wait for long for what is a default after all.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Modes(Mutex<HashMap<RolloutId, Option<RolloutMode>>>);

impl Modes {
    /// What a rollout is for; `None` also if the store cannot tell in time.
    pub(super) async fn of(&self, store: &dyn Store, rollout: &RolloutId) -> Option<RolloutMode> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(rollout) {
            return *known;
        }
        let found = tokio::time::timeout(PATIENCE, store.get_rollout_by_id(rollout)).await;
        let mode = match found {
            Ok(Ok(found)) => found.and_then(|found| found.rollout.mode),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(
                    target: "lightning::llm_proxy",
                    rollout_id = %rollout,
                    "the store does not tell the mode of a rollout; its own parameters are left out"
                );
                return None;
            }
        };
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(rollout.clone(), mode);
        mode
    }
}
