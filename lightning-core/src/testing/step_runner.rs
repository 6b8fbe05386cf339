//! Rollouts executed one at a time, when the test says so.

use std::{fmt, sync::Arc};

use super::{RolloutAssertion, RolloutRecord};
use crate::{
    agent::Agent,
    runner::{Runner, RunnerBuilder, RunnerError},
    store::Store,
    types::{RolloutQuery, RolloutStatus, Task},
};

/// Takes rollouts from a store's queue one by one: between two of them, nothing moves but the algorithm.
///
/// ```
/// use std::sync::Arc;
/// use lightning_core::{
///     agent::agent_fn, prelude::*, store::MemoryStore, testing::StepRunner, types::NewRollout,
/// };
///
/// /// Asks again as long as the answer is not good enough.
/// #[algo]
/// async fn until_good(store: Arc<dyn Store>) -> anyhow::Result<usize> {
///     for asked in 1.. {
///         let rollout = store.enqueue_rollout(NewRollout::new(serde_json::json!(asked))).await?;
///         let id = rollout.rollout_id;
///         store.wait_for_rollouts(&[id.clone()], None).await?;
///         let spans = store.query_spans(lightning_core::types::SpanQuery::of(id)).await?.items;
///         if lightning_core::types::final_reward(&spans).is_some_and(|reward| reward.primary() > 0.5) {
///             return Ok(asked);
///         }
///     }
///     unreachable!()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// let agent = agent_fn(|asked: usize, _| async move { asked as f64 * 0.3 });
/// let steps = StepRunner::new(agent, Arc::clone(&store));
/// let test = async {
///     steps.next().await?.input(&1).reward(0.3);
///     assert_eq!(steps.queued().await?, 0, "the algorithm has not seen the reward yet");
///     steps.next().await?.input(&2).reward(0.6);
///     anyhow::Ok(())
/// };
/// let (asked, tested) = tokio::join!(until_good(store), test);
/// tested?;
/// assert_eq!(asked?, 2);
/// # Ok(())
/// # }
/// ```
///
/// [`Runner::step_next`] is what this is made of; [`Runner::step`] executes a task of the test's own, past the queue.
pub struct StepRunner<T> {
    runner: Runner<T>,
    store: Arc<dyn Store>,
}

impl<T: Task> StepRunner<T> {
    /// Executes `agent` on the rollouts of `store`, under the worker id `step-runner`.
    pub fn new(agent: impl Agent<T>, store: Arc<dyn Store>) -> Self {
        let builder = Runner::builder(agent, Arc::clone(&store)).worker_id("step-runner");
        Self::with(builder, store)
    }

    /// As [`new`](Self::new), with a runner that is set up otherwise: hooks, clock, values of one's own.
    pub fn with(builder: RunnerBuilder<T>, store: Arc<dyn Store>) -> Self {
        let runner = builder.build();
        Self { runner, store }
    }

    /// Waits until a rollout is in the queue, executes one attempt of it, and gives what is known of it then.
    ///
    /// # Errors
    ///
    /// [`RunnerError`], if the store does not do its part. An agent that fails is no error.
    pub async fn next(&self) -> Result<RolloutAssertion, RunnerError> {
        let rollout_id = self.runner.step_next().await?.end.attempt.rollout_id;
        let record = RolloutRecord::of(&*self.store, &rollout_id).await?;
        record
            .map(RolloutAssertion::new)
            .ok_or(RunnerError::Vanished { rollout_id })
    }

    /// How many rollouts wait in the queue.
    ///
    /// # Errors
    ///
    /// [`RunnerError`], if the store does not do its part.
    pub async fn queued(&self) -> Result<usize, RunnerError> {
        let query = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Queuing, RolloutStatus::Requeuing]),
            ..RolloutQuery::default()
        };
        Ok(self.store.query_rollouts(query).await?.items.len())
    }

    /// Executes rollouts until none is in the queue, and gives what is known of each, in order.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next).
    pub async fn run_queue(&self) -> Result<Vec<RolloutAssertion>, RunnerError> {
        let mut done = Vec::new();
        while self.queued().await? > 0 {
            done.push(self.next().await?);
        }
        Ok(done)
    }
}

impl<T> fmt::Debug for StepRunner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StepRunner").finish_non_exhaustive()
    }
}
