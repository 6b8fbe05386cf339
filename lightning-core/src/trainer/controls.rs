//! What can be changed while a run goes on.

use std::fmt;

use tokio::sync::watch;

use crate::{
    alerts::Alerts,
    run::{StopSwitch, StopWhen},
    types::RolloutConfig,
};

/// Changes a run while it goes on, see [`TrainerBuilder::controls`](super::TrainerBuilder::controls). A clone changes the
/// same runs.
///
/// ```
/// use lightning_core::{algorithm::Baseline, prelude::*, run::StopWhen, trainer::Controls};
///
/// # fn main() -> anyhow::Result<()> {
/// let controls = Controls::new();
/// let trainer = Trainer::builder().algorithm(Baseline::algorithm()).controls(controls.clone());
/// // Later, from elsewhere, while the run goes on:
/// controls.set_n_runners(16);
/// controls.set_stop_when(StopWhen::never().rollouts(500));
/// # trainer.build::<lightning_core::trainer::With<String, _>>()?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Controls {
    n_runners: watch::Sender<Option<usize>>,
    pub(super) stop_when: StopSwitch,
    alerts: watch::Sender<Option<Alerts>>,
    rollout_config: watch::Sender<Option<RolloutConfig>>,
}

impl Controls {
    /// Controls that have changed nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rollouts are executed at once from now on; at least 1. Runners that are too many finish what they have.
    pub fn set_n_runners(&self, runners: usize) {
        self.n_runners.send_replace(Some(runners.max(1)));
    }

    /// When the run stops by itself, from now on.
    pub fn set_stop_when(&self, condition: StopWhen) {
        self.stop_when.set(condition);
    }

    /// What the run is watched for, from now on. Where alerts are sent stays as it was.
    pub fn set_alerts(&self, alerts: Alerts) {
        self.alerts.send_replace(Some(alerts));
    }

    /// The time limits and retries of rollouts that the algorithm enqueues from now on without any of their own.
    pub fn set_rollout_config(&self, config: RolloutConfig) {
        self.rollout_config.send_replace(Some(config));
    }

    /// The rules for alerts, where that was said.
    pub(super) fn alerts(&self) -> watch::Receiver<Option<Alerts>> {
        self.alerts.subscribe()
    }

    /// The limits of rollouts, where that was said.
    pub(super) fn rollout_config(&self) -> watch::Receiver<Option<RolloutConfig>> {
        self.rollout_config.subscribe()
    }

    /// How many runners are wanted, where that was said.
    pub(super) fn n_runners(&self) -> watch::Receiver<Option<usize>> {
        self.n_runners.subscribe()
    }
}

impl fmt::Debug for Controls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controls")
            .field("n_runners", &*self.n_runners.borrow())
            .finish_non_exhaustive()
    }
}
