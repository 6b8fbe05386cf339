//! The runners of a trainer, where its algorithm is and where it is not.

use std::sync::Arc;

use tokio_util::task::TaskTracker;

use super::builder::Parts;
use crate::{
    agent::{Agent, Hook},
    runner::{Runner, RunnerBuilder},
    store::Store,
    types::Task,
};

/// What the ids of workers begin with that a run has started, here or in processes of their own. By this, a run that is
/// resumed knows whose attempts have ended with the process before.
pub(super) fn workers_of(run_id: &str) -> String {
    format!("{run_id}-runner-")
}

/// A runner as the trainer's settings have it.
pub(super) fn runner<T: Task>(
    parts: &Parts,
    agent: Arc<dyn Agent<T>>,
    store: Arc<dyn Store>,
    worker_id: String,
    first_hook: Option<Arc<dyn Hook>>,
    last_words: &TaskTracker,
) -> RunnerBuilder<T> {
    let mut runner = Runner::builder(agent, store)
        .worker_id(worker_id)
        .extensions(&parts.scope)
        .max_rollouts(parts.max_rollouts)
        .patience(parts.store_patience)
        .time_limit(parts.runner_limits.of_rollout_time())
        .last_words(last_words.clone());
    if let Some(options) = &parts.recording {
        // How long to go on trying is said by the patience above.
        let patience = parts.store_patience;
        runner = runner.recording(options.clone()).patience(patience);
    }
    if let Some(grace) = parts.abort_grace {
        runner = runner.abort_grace(grace);
    }
    if let Some(interval) = parts.heartbeat {
        runner = runner.heartbeat(interval);
    }
    for hook in first_hook.into_iter().chain(parts.hooks.iter().cloned()) {
        runner = runner.hook(hook);
    }
    runner
}

#[cfg(feature = "client")]
pub use remote::RunnerOnly;
#[cfg(all(feature = "client", feature = "server"))]
pub(super) use remote::Work;
#[cfg(feature = "client")]
pub(super) use remote::work;

#[cfg(feature = "client")]
mod remote {
    use std::{fmt, sync::Arc, time::Duration};

    use futures::FutureExt as _;
    use sysinfo::System;
    use tokio_util::task::TaskTracker;

    use super::super::{TrainerError, builder::Parts, recordings::WaitForRecordings};
    use crate::{
        agent::{Agent, Hook},
        client::{ClientError, StoreClient},
        clock::SystemClock,
        execution::{ExecutionError, Interrupts, RunnerLimits, RunnersApart},
        ids::{IdSource as _, RandomIds},
        runner::{RunnerReport, SharedClaims, StopSignal},
        store::Store,
        types::Task,
    };

    /// How long runners may take to finish what they have once the process was asked to end.
    const STOP_GRACE: Duration = Duration::from_secs(5);

    /// How long the client goes on trying by itself, before the runner does.
    const RETRYING: Duration = Duration::from_secs(30);

    /// Runners without an algorithm, for a store behind a URL. See
    /// [`TrainerBuilder::runner_only`](crate::trainer::TrainerBuilder::runner_only).
    pub struct RunnerOnly {
        parts: Parts,
        url: String,
        stop_grace: Duration,
    }

    impl RunnerOnly {
        pub(in super::super) fn new(parts: Parts, url: String) -> Self {
            Self {
                parts,
                url,
                stop_grace: STOP_GRACE,
            }
        }

        /// How long runners may take to finish what they have once the process was asked to end; 5 s if not set. When the
        /// store tells them to stop, they take the time they need.
        #[must_use]
        pub fn stop_grace(mut self, grace: Duration) -> Self {
            self.stop_grace = grace;
            self
        }

        /// Executes the agent on the rollouts of the store, until the store tells the runners to stop, because the algorithm
        /// has ended; until each has executed its `max_rollouts`; or until the process is asked to end.
        ///
        /// Ctrl-C and SIGTERM let the runners finish what they have; a second one has them drop it. If the future is
        /// dropped, the attempts under way end as failed.
        ///
        /// # Errors
        ///
        /// [`TrainerError::Agent`], if the agent asks for something that the trainer does not have;
        /// [`TrainerError::OpenStore`], if the store does not answer; [`TrainerError::Runner`], if it stays unavailable for
        /// longer than [`store_patience`](crate::trainer::TrainerBuilder::store_patience);
        /// [`TrainerError::RunnerLimit`], if a limit cannot be set.
        pub async fn run<T: Task>(&self, agent: impl Agent<T>) -> Result<RunnerReport, TrainerError> {
            let (agent, stop) = (Arc::new(agent), StopSignal::new());
            let work = Work {
                url: &self.url,
                token: None,
                run_id: None,
                runners: self.parts.n_runners,
                stop_grace: self.stop_grace,
                limits: self.parts.runner_limits,
                stop: &stop,
            };
            super::work(&self.parts, agent, work)
                .await
                .map(|(report, _)| report)
        }
    }

    impl fmt::Debug for RunnerOnly {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            // The URL may hold a token.
            f.debug_struct("RunnerOnly")
                .field("parts", &self.parts)
                .finish_non_exhaustive()
        }
    }

    /// What runners without an algorithm are to do.
    pub(in super::super) struct Work<'a> {
        pub(in super::super) url: &'a str,
        pub(in super::super) token: Option<&'a str>,
        /// The run that has started them, if one has.
        pub(in super::super) run_id: Option<&'a str>,
        pub(in super::super) runners: usize,
        pub(in super::super) stop_grace: Duration,
        pub(in super::super) limits: RunnerLimits,
        pub(in super::super) stop: &'a StopSignal,
    }

    /// Does it. Besides the report, whether somebody asked the process to end.
    pub(in super::super) async fn work<T: Task>(
        parts: &Parts,
        agent: Arc<dyn Agent<T>>,
        work: Work<'_>,
    ) -> Result<(RunnerReport, bool), TrainerError> {
        if let Err(missing) = agent.check(&parts.scope) {
            return Err(TrainerError::Agent {
                agent: agent.name().into_owned(),
                missing,
            });
        }
        work.limits.apply()?;
        let refused = |error: ClientError| TrainerError::OpenStore(error.to_string());
        let mut client = StoreClient::builder(work.url).retry_for(parts.store_patience.min(RETRYING));
        client = match work.token {
            Some(token) => client.token(token),
            None => client.token_from_env(),
        };
        let client = client.build().map_err(refused)?;
        client.probe().await.map_err(|error| refused(error.into()))?;
        let store: Arc<dyn Store> = Arc::new(client);
        let last_words = TaskTracker::new();
        // One request for all of them; a single runner asks for itself.
        let claims = (work.runners > 1).then(|| {
            Arc::new(SharedClaims::start(
                Arc::clone(&store),
                Arc::new(SystemClock::new()),
                parts.store_patience,
                work.stop.clone(),
                last_words.clone(),
            ))
        });
        let process = process_name(work.run_id);
        let recordings: Arc<dyn Hook> = Arc::new(WaitForRecordings::new(parts.store_patience));
        let runners = (0..work.runners)
            .map(|number| {
                let worker_id = format!("{process}-{number}");
                let (agent, store) = (Arc::clone(&agent), Arc::clone(&store));
                let runner = super::runner(parts, agent, store, worker_id, None, &last_words)
                    .time_limit(work.limits.of_rollout_time())
                    .shared_claims(claims.clone())
                    // The last one, because other hooks may call models too.
                    .hook(Arc::clone(&recordings))
                    .build();
                let stop = work.stop.clone();
                async move { runner.iter(&stop).await }.boxed()
            })
            .collect();
        drop(claims);
        let apart = RunnersApart {
            runners,
            stop: work.stop.clone(),
            stop_grace: work.stop_grace,
            last_words,
        };
        let interrupts = if parts.handle_interrupts {
            Interrupts::listen()
        } else {
            Interrupts::never()
        };
        tracing::info!(
            target: "lightning::runner",
            process,
            runners = work.runners,
            agent = %agent.name(),
            "the runners begin"
        );
        let report = apart.run(&interrupts).await.map_err(explain)?;
        let asked = interrupts.asked(1).now_or_never().is_some();
        tracing::info!(
            target: "lightning::runner",
            process,
            attempts = report.attempts,
            succeeded = report.succeeded,
            "the runners have ended"
        );
        Ok((report, asked))
    }

    /// A name that no other process has, on this machine or another, now or later.
    fn process_name(run_id: Option<&str>) -> String {
        let host = System::host_name().unwrap_or_else(|_| "host".to_owned());
        let workers = run_id.map(super::workers_of).unwrap_or_default();
        format!("{workers}{host}-{}-{}", std::process::id(), RandomIds.hex(4))
    }

    fn explain(error: ExecutionError) -> TrainerError {
        match error {
            ExecutionError::Runner(error) => error.into(),
            ExecutionError::RunnerPanicked(message) => TrainerError::RunnerPanicked(message),
            // Only algorithms end otherwise.
            other => TrainerError::Runtime(format!("{other:?}")),
        }
    }
}
