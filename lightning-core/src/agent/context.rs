//! What an agent knows about the rollout that it executes.

use std::{any::Any, sync::Arc};

use tokio_util::sync::CancellationToken;

use crate::{
    inject::Scope,
    types::{
        Attempt, AttemptStatus, AttemptedRollout, NamedResources, Rollout, RolloutConfig, RolloutMode,
        RolloutStatus, TaskInput, Timestamp, WorkerId,
    },
};

/// The rollout and the attempt that an agent executes, with all that goes with them.
#[derive(Clone, Debug)]
pub struct RolloutContext {
    rollout: Arc<AttemptedRollout>,
    resources: NamedResources,
    worker_id: WorkerId,
    cancellation: CancellationToken,
    scope: Scope,
}

impl RolloutContext {
    /// The context of one attempt. The values of `extensions` that are the user's own can be injected; the rest of
    /// that scope is not looked at.
    pub fn new(
        rollout: impl Into<Arc<AttemptedRollout>>,
        resources: NamedResources,
        worker_id: impl Into<WorkerId>,
        cancellation: CancellationToken,
        extensions: &Scope,
    ) -> Self {
        let rollout = rollout.into();
        Self {
            scope: extensions
                .extensions_only()
                .with_rollout(Arc::clone(&rollout))
                .with_resources(resources.clone()),
            rollout,
            resources,
            worker_id: worker_id.into(),
            cancellation,
        }
    }

    /// The first attempt of a rollout `ro-test` by the worker `test`, without resources: to call an agent in a test.
    pub fn for_test() -> Self {
        let now = Timestamp::from_secs_f64(0.0);
        let worker_id = WorkerId::from("test");
        let rollout = Rollout {
            rollout_id: "ro-test".into(),
            input: TaskInput::default(),
            start_time: now,
            end_time: None,
            mode: Some(RolloutMode::Train),
            resources_id: None,
            status: RolloutStatus::Preparing,
            config: RolloutConfig::default(),
            metadata: None,
        };
        let attempt = Attempt {
            rollout_id: rollout.rollout_id.clone(),
            attempt_id: "at-test".into(),
            sequence_id: 1,
            start_time: now,
            end_time: None,
            status: AttemptStatus::Preparing,
            worker_id: Some(worker_id.clone()),
            last_heartbeat_time: None,
            metadata: None,
        };
        Self::new(
            AttemptedRollout { rollout, attempt },
            NamedResources::new(),
            worker_id,
            CancellationToken::new(),
            &Scope::new(),
        )
    }

    /// Replaces the resources.
    #[must_use]
    pub fn with_resources(mut self, resources: NamedResources) -> Self {
        self.scope = self.scope.with_resources(resources.clone());
        self.resources = resources;
        self
    }

    /// Replaces the rollout and its attempt.
    #[must_use]
    pub fn with_rollout(mut self, rollout: impl Into<Arc<AttemptedRollout>>) -> Self {
        self.rollout = rollout.into();
        self.scope = self.scope.with_rollout(Arc::clone(&self.rollout));
        self
    }

    /// Adds a value of one's own, for `#[inject]`.
    #[must_use]
    pub fn with_extension<V: Any + Send + Sync>(mut self, value: V) -> Self {
        self.scope = self.scope.with_extension(value);
        self
    }

    /// The rollout and its attempt.
    pub fn rollout(&self) -> &AttemptedRollout {
        &self.rollout
    }

    /// The attempt.
    pub fn attempt(&self) -> &Attempt {
        &self.rollout.attempt
    }

    /// What the algorithm tunes and the agent uses, in the version of this rollout.
    pub fn resources(&self) -> &NamedResources {
        &self.resources
    }

    /// The worker that executes the attempt.
    pub fn worker_id(&self) -> &WorkerId {
        &self.worker_id
    }

    /// What the rollout is for; training, where nobody said.
    pub fn mode(&self) -> RolloutMode {
        self.rollout.mode.unwrap_or(RolloutMode::Train)
    }

    /// Tells when the work has become pointless: the rollout was cancelled, the attempt replaced, or the run stops.
    /// Soon after, the agent's future is dropped; who has to tidy up waits for this.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.cancellation
    }

    /// What parameters are injected from.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}
