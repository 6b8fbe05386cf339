//! All in one process.

use std::{any::Any, future::Future, panic::AssertUnwindSafe, pin::Pin, time::Duration};

use futures::FutureExt as _;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::{ExecutionError, Interrupts};
use crate::{
    emitter::panic_message,
    runner::{RunnerError, RunnerReport, StopSignal},
};

/// A runner at work.
pub(crate) type RunnerFuture = Pin<Box<dyn Future<Output = Result<RunnerReport, RunnerError>> + Send>>;
type Runners = JoinSet<Result<RunnerReport, RunnerError>>;

/// Algorithm and runners in this process, on one runtime.
///
/// The end of the algorithm ends the runners: they claim nothing more and have the grace to finish what they are at. The
/// end of a runner by an error, or of all of them, ends the algorithm: its future is dropped.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SharedMemory {
    stop_grace: Duration,
}

impl Default for SharedMemory {
    fn default() -> Self {
        Self {
            stop_grace: Duration::from_secs(5),
        }
    }
}

/// What is executed.
pub(crate) struct Work<'a, A> {
    /// The algorithm.
    pub(crate) algorithm: A,
    /// The runners, which do what `stop` says.
    pub(crate) runners: Vec<RunnerFuture>,
    /// Stops the runners.
    pub(crate) stop: StopSignal,
    /// Asks the algorithm to stop: called at the first interrupt.
    pub(crate) on_interrupt: &'a (dyn Fn() + Send + Sync),
    /// What runners leave behind when they are dropped: it is waited for.
    pub(crate) last_words: TaskTracker,
}

impl SharedMemory {
    /// With 5 s of grace.
    pub fn new() -> Self {
        Self::default()
    }

    /// How long runners may take to finish what they have once the algorithm has returned; 5 s if not set.
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.stop_grace = grace;
        self
    }

    /// Runs the algorithm and the runners to their ends.
    ///
    /// The first interrupt asks the algorithm to stop; the second drops it, and the runners' work with it.
    pub(crate) async fn execute<O>(
        &self,
        work: Work<'_, impl Future<Output = anyhow::Result<O>>>,
        interrupts: Interrupts,
    ) -> Result<O, ExecutionError> {
        let mut runners: Runners = work.runners.into_iter().collect();
        let output = {
            let algorithm = AssertUnwindSafe(work.algorithm).catch_unwind();
            tokio::select! {
                biased;
                output = algorithm => judge(output),
                error = first_end(&mut runners) => Err(error),
                error = interrupted(&interrupts, work.on_interrupt) => Err(error),
            }
        };
        let stopped = self.stop(runners, &work.stop, output.is_err(), &interrupts).await;
        work.last_words.close();
        work.last_words.wait().await;
        let output = output?;
        stopped.map(|()| output)
    }

    /// Lets the runners finish what they have, or after a failure drop it; gives the first error.
    async fn stop(
        &self,
        mut runners: Runners,
        stop: &StopSignal,
        at_once: bool,
        interrupts: &Interrupts,
    ) -> Result<(), ExecutionError> {
        if at_once {
            stop.abort();
        } else {
            stop.stop();
        }
        let mut out_of_patience = std::pin::pin!(async {
            tokio::select! {
                () = tokio::time::sleep(self.stop_grace) => {}
                () = interrupts.asked(2) => {}
            }
        });
        let mut patient = !at_once;
        let mut first = Ok(());
        loop {
            let ended = tokio::select! {
                ended = runners.join_next() => ended,
                () = &mut out_of_patience, if patient => {
                    stop.abort();
                    patient = false;
                    continue;
                }
            };
            let outcome = match ended {
                None => return first,
                Some(Ok(outcome)) => outcome.map(drop).map_err(ExecutionError::Runner),
                Some(Err(error)) => Err(ExecutionError::RunnerPanicked(error.to_string())),
            };
            first = first.and(outcome);
        }
    }
}

fn judge<O>(output: Result<anyhow::Result<O>, Box<dyn Any + Send>>) -> Result<O, ExecutionError> {
    match output {
        Ok(output) => output.map_err(ExecutionError::Failed),
        Err(panic) => Err(ExecutionError::Panicked(panic_message(&*panic).to_owned())),
    }
}

/// Resolves when a runner has failed, or all have ended: nothing is left for the algorithm to wait for.
async fn first_end(runners: &mut Runners) -> ExecutionError {
    loop {
        match runners.join_next().await {
            Some(Ok(Ok(_))) => {}
            Some(Ok(Err(error))) => return ExecutionError::Runner(error),
            Some(Err(error)) => return ExecutionError::RunnerPanicked(error.to_string()),
            None => return ExecutionError::RunnersEnded,
        }
    }
}

/// Passes the first interrupt on, and resolves at the second.
async fn interrupted(interrupts: &Interrupts, ask: &(dyn Fn() + Send + Sync)) -> ExecutionError {
    interrupts.asked(1).await;
    tracing::warn!(
        target: "lightning::trainer",
        "the process was asked to end, so the algorithm is asked to stop"
    );
    ask();
    interrupts.asked(2).await;
    ExecutionError::Interrupted
}
