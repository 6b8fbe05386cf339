//! The runners of a run: those of the trainer, as many as are wanted at the time, or others in their place.

use std::{panic, sync::Arc};

use futures::future::BoxFuture;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::task::TaskTracker;

use super::{builder::Parts, proxy::WaitForCalls, runners};
use crate::{
    agent::{Agent, Hook, HookFuture, RolloutContext, RolloutEnd},
    run::RunContext,
    runner::{Runner, RunnerError, RunnerReport, StopSignal},
    store::Store,
    types::Task,
};

/// What runners work for.
#[cfg_attr(
    not(feature = "cli"),
    expect(dead_code, reason = "only run files put others in the place of the trainer's")
)]
pub(crate) struct FleetWork {
    /// Where they meet the algorithm.
    pub(crate) store: Arc<dyn Store>,
    /// What they count their attempts for.
    pub(crate) run: RunContext,
    /// When they stop.
    pub(crate) stop: StopSignal,
    /// How many of them are wanted.
    pub(crate) wanted: Wanted,
}

/// Runners in the place of the trainer's own.
pub(crate) trait Fleet: Send + Sync {
    /// Works until it is told to stop, or cannot go on.
    fn run(&self, work: FleetWork) -> BoxFuture<'static, Result<RunnerReport, RunnerError>>;
}

/// How many runners are wanted.
pub(crate) struct Wanted {
    changed: watch::Receiver<Option<usize>>,
    /// Where nobody said.
    otherwise: usize,
}

impl Wanted {
    pub(super) fn new(changed: watch::Receiver<Option<usize>>, otherwise: usize) -> Self {
        Self { changed, otherwise }
    }

    pub(crate) fn now(&mut self) -> usize {
        self.changed.borrow_and_update().unwrap_or(self.otherwise)
    }

    /// Resolves when it may have changed. Cancel safe.
    pub(crate) async fn changed(&mut self) {
        if self.changed.changed().await.is_err() {
            // Nobody is left who could say.
            std::future::pending::<()>().await;
        }
    }
}

/// The trainer's own runners.
pub(super) struct Own<T> {
    pub(super) agent: Arc<dyn Agent<T>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) run: RunContext,
    pub(super) parts: Parts,
    pub(super) last_words: TaskTracker,
}

impl<T: Task> Own<T> {
    /// Runs as many runners as are wanted, until they have all ended.
    ///
    /// One that was too many claims nothing more and ends when it has finished what it has.
    pub(super) async fn run(self, stop: StopSignal, mut wanted: Wanted) -> Result<RunnerReport, RunnerError> {
        let mut runners = JoinSet::new();
        let mut signals: Vec<StopSignal> = Vec::new();
        let mut started = 0;
        let mut report = RunnerReport::default();
        loop {
            let now = wanted.now();
            while signals.len() < now && !stop.is_stopping() {
                let (runner, signal) = (self.runner(started), stop.child());
                signals.push(signal.clone());
                started += 1;
                runners.spawn(async move { runner.iter(&signal).await });
            }
            for signal in signals.drain(now.min(signals.len())..) {
                signal.stop();
            }
            tokio::select! {
                ended = runners.join_next() => match ended {
                    None => return Ok(report),
                    Some(Ok(outcome)) => {
                        let outcome = outcome?;
                        report.attempts += outcome.attempts;
                        report.succeeded += outcome.succeeded;
                    }
                    Some(Err(error)) => match error.try_into_panic() {
                        // Whoever runs the fleet tells of panics.
                        Ok(panicked) => panic::resume_unwind(panicked),
                        // Only the end of the runtime cancels a runner, and nobody is left to be told.
                        Err(_) => continue,
                    },
                },
                () = wanted.changed() => {}
            }
        }
    }

    fn runner(&self, number: usize) -> Runner<T> {
        let worker_id = format!("{}{number}", runners::workers_of(self.run.id()));
        let (agent, store) = (Arc::clone(&self.agent), Arc::clone(&self.store));
        let counting: Arc<dyn Hook> = Arc::new(Counting(self.run.clone()));
        let last_words = &self.last_words;
        let mut runner = runners::runner(&self.parts, agent, store, worker_id, Some(counting), last_words);
        // The last one, because other hooks may call models too.
        if let Ok(proxy) = self.parts.scope.llm_proxy() {
            runner = runner.hook(Arc::new(WaitForCalls(proxy.clone())));
        }
        runner.build()
    }
}

/// Counts what the runners do, for the report and the stop conditions.
struct Counting(RunContext);

impl Hook for Counting {
    fn on_rollout_end<'a>(&'a self, _: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        self.0.attempt_ended(&end.attempt, &end.spans);
        Box::pin(std::future::ready(Ok(())))
    }
}
