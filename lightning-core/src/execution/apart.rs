//! The runners of one process whose algorithm is elsewhere.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::{ExecutionError, Interrupts, shared_memory::RunnerFuture};
use crate::runner::{RunnerReport, StopSignal};

/// Runners without an algorithm.
pub(crate) struct RunnersApart {
    pub(crate) runners: Vec<RunnerFuture>,
    pub(crate) stop: StopSignal,
    /// How long they may take to finish what they have once the process was asked to end.
    pub(crate) stop_grace: Duration,
    pub(crate) last_words: TaskTracker,
}

impl RunnersApart {
    /// Runs until all of them have ended: because their store told them so, because they have done what they were to do, or
    /// because the process was asked to end. The end of one by an error ends the others. Gives the sum of their reports.
    pub(crate) async fn run(self, interrupts: &Interrupts) -> Result<RunnerReport, ExecutionError> {
        let mut runners: JoinSet<_> = self.runners.into_iter().collect();
        let mut sum = RunnerReport::default();
        let mut first_error = None;
        let mut asked = std::pin::pin!(interrupts.asked(1));
        let mut out_of_patience = std::pin::pin!(async {
            self.stop.stopping().await;
            tokio::select! {
                () = tokio::time::sleep(self.stop_grace) => {}
                () = interrupts.asked(2) => {}
            }
        });
        let (mut listening, mut patient) = (true, true);
        loop {
            let ended = tokio::select! {
                ended = runners.join_next() => ended,
                () = &mut asked, if listening => {
                    tracing::warn!(
                        target: "lightning::runner",
                        "the process was asked to end; the runners finish what they have"
                    );
                    self.stop.stop();
                    listening = false;
                    continue;
                }
                () = &mut out_of_patience, if patient => {
                    self.stop.abort();
                    patient = false;
                    continue;
                }
            };
            let error = match ended {
                None => break,
                Some(Ok(Ok(report))) => {
                    sum.attempts += report.attempts;
                    sum.succeeded += report.succeeded;
                    continue;
                }
                Some(Ok(Err(error))) => ExecutionError::Runner(error),
                Some(Err(error)) => ExecutionError::RunnerPanicked(error.to_string()),
            };
            self.stop.abort();
            first_error.get_or_insert(error);
        }
        self.last_words.close();
        self.last_words.wait().await;
        first_error.map_or(Ok(sum), Err)
    }
}
