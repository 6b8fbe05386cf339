//! The trainer: checks, starts, stops and reports a run.
//!
//! [`Trainer::fit`] runs an algorithm together with runners of an agent, in this process. Algorithm and runners meet only
//! in the store. Everything that can be wrong beforehand is refused before anything starts. [`Trainer::dev`] is the dry run.

mod beginning;
mod builder;
mod controls;
mod defaults;
mod dev;
mod display;
mod error;
mod failure;
mod fleet;
mod health;
mod proxy;
mod record;
#[cfg(feature = "client")]
mod recordings;
mod report;
mod runners;
mod session;
#[cfg(all(feature = "client", feature = "server"))]
mod spread;

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

#[cfg(feature = "cli")]
pub(crate) use self::fleet::{Fleet, FleetWork};
#[cfg(feature = "client")]
pub use self::runners::RunnerOnly;
use self::{beginning::Beginning, builder::Parts, session::Session};
pub use self::{
    beginning::Resume,
    builder::{HasAlgorithm, NoAlgorithm, TrainerBuilder, With},
    controls::Controls,
    dev::{Dev, DevProblem, DevReport, DevTrace},
    error::TrainerError,
    failure::RunFailure,
    report::FitReport,
};
use crate::{
    agent::Agent,
    algorithm::{AlgoOutput, Algorithm},
    types::{IntoDataset, Task},
};

/// Runs an algorithm with a fleet of runners that execute an agent.
///
/// ```
/// use lightning_core::{agent::agent_fn, prelude::*, trainer::Trainer, types::NewRollout};
///
/// /// Runs every task once and counts them.
/// #[algo]
/// async fn run_all(store: Arc<dyn Store>, train_dataset: Dataset<String>) -> anyhow::Result<usize> {
///     let new = train_dataset.iter().map(|task| NewRollout::new(serde_json::json!(task))).collect();
///     let made = store.enqueue_many_rollouts(new).await?;
///     let ids: Vec<_> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
///     Ok(store.wait_for_rollouts(&ids, None).await?.len())
/// }
///
/// # #[tokio::main]
/// # async fn main() -> anyhow::Result<()> {
/// let trainer = Trainer::builder().algorithm(run_all::algorithm()).n_runners(2).build()?;
/// let agent = agent_fn(|task: String, _| async move { task.len() as f64 });
/// let report = trainer.fit(agent, vec!["one".to_owned(), "three".to_owned()], None).await?;
/// assert_eq!((report.output, report.rollouts.succeeded), (2, 2));
/// # Ok(())
/// # }
/// ```
pub struct Trainer<T = NoAlgorithm, O = NoAlgorithm> {
    algorithm: Arc<dyn Algorithm<T, Output = O>>,
    parts: Parts,
}

impl Trainer {
    /// Builds a trainer; only the algorithm has to be given.
    pub fn builder() -> TrainerBuilder<NoAlgorithm> {
        TrainerBuilder::new()
    }
}

impl<T: Task, O: AlgoOutput> Trainer<T, O> {
    /// Runs the algorithm on these datasets, with runners of this agent, until the algorithm returns.
    ///
    /// Then the runners are told to stop: they finish what they have, within the grace of the
    /// [strategy](TrainerBuilder::strategy), and are aborted otherwise. The end of a runner by an error ends the run.
    /// With a [run folder](TrainerBuilder::run_dir) in which a run was begun before, it goes on with that run.
    /// With the strategy [`ClientServer`](crate::execution::ClientServer), a process may have runners only: there, this
    /// executes the agent and never returns but with an error; the process ends with its runners.
    /// Dropping the future aborts the algorithm and the runners; the attempts under way end as failed.
    ///
    /// # Errors
    ///
    /// See [`TrainerError`].
    pub fn fit(
        &self,
        agent: impl Agent<T>,
        train: impl IntoDataset<T>,
        val: impl IntoDataset<T>,
    ) -> Fit<'_, O> {
        #[cfg(all(feature = "client", feature = "server"))]
        let fit = format!("{} ({:?})", agent.name(), std::any::Any::type_id(&agent));
        let agent: Arc<dyn Agent<T>> = Arc::new(agent);
        let (train, val) = (train.into_dataset(), val.into_dataset());
        Fit(Box::pin(async move {
            #[cfg(all(feature = "client", feature = "server"))]
            let spread = spread::enter(&self.parts, &agent, fit).await?;
            let (algorithm, parts) = (&*self.algorithm, &self.parts);
            let beginning = Beginning::of(parts, session::identity(algorithm)?, (train.clone(), val.clone()));
            let beginning = beginning.await?;
            #[cfg(all(feature = "client", feature = "server"))]
            if let Some(spread) = spread {
                let spread = spread.open(parts).await?;
                let store = Arc::clone(&spread.store);
                return Session::new(beginning, store, algorithm, parts, agent, train, val)?
                    .spread(spread)
                    .run()
                    .await;
            }
            parts.runner_limits.check_beside_algorithm()?;
            let store = parts.store.open(parts.run_dir.as_deref()).await?;
            Session::new(beginning, store, algorithm, parts, agent, train, val)?
                .run()
                .await
        }))
    }

    /// Runs the same wiring on the first few tasks of each dataset, with one runner and short limits, shows every trace, and
    /// fails with the reason if there would be nothing to learn from: no rollout, none that succeeded, no trace, no call of
    /// a model although the agent has one, no reward, or nothing that the adapter makes of any trace.
    ///
    /// It uses a store in memory and a run folder of its own, and leaves nothing behind. What the agent calls is called for
    /// real.
    ///
    /// ```
    /// # use lightning_core::{agent::agent_fn, algorithm::Baseline, prelude::*};
    /// # #[tokio::main]
    /// # async fn main() -> anyhow::Result<()> {
    /// let trainer = Trainer::builder().algorithm(Baseline::algorithm()).n_runners(8).build()?;
    /// let forgetful = agent_fn(|_: String, _| async {});
    /// let error = trainer.dev(forgetful, vec!["one".to_owned()], None).samples(1).await.unwrap_err();
    /// assert!(error.to_string().contains("left a trace"));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrainerError::Dev`] and [`TrainerError::DevFailed`] with what is wanting, and all that [`fit`](Self::fit) may
    /// return.
    pub fn dev(
        &self,
        agent: impl Agent<T>,
        train: impl IntoDataset<T>,
        val: impl IntoDataset<T>,
    ) -> Dev<'_, T, O> {
        Dev::new(self, Arc::new(agent), train.into_dataset(), val.into_dataset())
    }

    /// As [`fit`](Self::fit), for a program without a runtime: makes one with all cores and blocks.
    ///
    /// # Errors
    ///
    /// Those of [`fit`](Self::fit); [`TrainerError::Runtime`], if there is a runtime already or none can be made.
    pub fn fit_blocking(
        &self,
        agent: impl Agent<T>,
        train: impl IntoDataset<T>,
        val: impl IntoDataset<T>,
    ) -> Result<FitReport<O>, TrainerError> {
        if tokio::runtime::Handle::try_current().is_ok() {
            return Err(TrainerError::Runtime(
                "`fit_blocking` was called within a runtime; await `fit` there".to_owned(),
            ));
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime =
            runtime.map_err(|error| TrainerError::Runtime(format!("no runtime can be made: {error}")))?;
        runtime.block_on(self.fit(agent, train, val))
    }
}

impl<T, O> fmt::Debug for Trainer<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trainer")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

/// A run that begins when it is awaited.
///
/// Its type names neither the agent nor the datasets, so that a wrong one is reported once, where it was given.
#[must_use = "nothing runs until it is awaited"]
pub struct Fit<'a, O>(Pin<Box<dyn Future<Output = Result<FitReport<O>, TrainerError>> + Send + 'a>>);

impl<O> Future for Fit<'_, O> {
    type Output = Result<FitReport<O>, TrainerError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl<O> fmt::Debug for Fit<'_, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fit").finish_non_exhaustive()
    }
}
