//! One run, from the checks to the report.

use std::sync::Arc;

use futures::FutureExt as _;
use tokio_util::task::TaskTracker;

use super::{
    FitReport, TrainerError, builder::Parts, defaults::Defaults, display::Display, record::RunRecord, runners,
};
#[cfg(all(feature = "client", feature = "server"))]
use crate::execution::Site;
use crate::{
    agent::{Agent, Hook, HookFuture, RolloutContext, RolloutEnd},
    algorithm::{AlgoOutput, Algorithm, AlgorithmContext, TrainerInfo},
    clock::{Clock as _, SystemClock},
    execution::{ExecutionError, Interrupts, SharedMemory, Strategy, Work},
    ids::{IdSource as _, RandomIds},
    run::{AlgorithmIdentity, RunContext},
    runner::{Runner, StopSignal},
    store::{LayeredStore, Store},
    types::{Dataset, Task, Timestamp},
};

/// A run that has been checked and can begin.
pub(super) struct Session<'a, T, O> {
    algorithm: &'a dyn Algorithm<T, Output = O>,
    parts: &'a Parts,
    agent: Arc<dyn Agent<T>>,
    store: Arc<dyn Store>,
    run: RunContext,
    cx: AlgorithmContext<T>,
    display: Display,
    #[cfg(all(feature = "client", feature = "server"))]
    spread: Option<super::spread::Spread>,
}

impl<'a, T: Task, O: AlgoOutput> Session<'a, T, O> {
    /// Checks everything that can be wrong beforehand. The run's id begins with `kind`.
    pub(super) fn new(
        kind: &str,
        store: Arc<dyn Store>,
        algorithm: &'a dyn Algorithm<T, Output = O>,
        parts: &'a Parts,
        agent: Arc<dyn Agent<T>>,
        train: Option<Dataset<T>>,
        val: Option<Dataset<T>>,
    ) -> Result<Self, TrainerError> {
        let name = algorithm.name().into_owned();
        if let Some(requirements) = algorithm.requirements() {
            for (slot, given) in [("train_dataset", train.is_some()), ("val_dataset", val.is_some())] {
                if given && !requirements.iter().any(|asked| asked.slot == slot) {
                    return Err(TrainerError::DatasetNotAccepted {
                        algorithm: name,
                        slot,
                    });
                }
            }
        }
        // The algorithm sees the store through the trainer's defaults; runners see it as it is.
        let filled: Arc<dyn Store> = Arc::new(LayeredStore::new(
            Arc::clone(&store),
            Defaults(parts.rollout_config.clone()),
        ));
        let mut run = RunContext::builder(format!("{kind}-{}", RandomIds.hex(12)), Arc::clone(&filled))
            .seed(parts.seed)
            .stop_when(parts.stop_when.clone())
            .cancellation(parts.cancellation.child_token())
            .algorithm(AlgorithmIdentity {
                name: name.clone(),
                version: algorithm.version().to_owned(),
                parameters: algorithm.parameters()?,
            });
        if let Some(path) = &parts.run_dir {
            run = run.folder(path);
        }
        let display = Display::new(parts.screen.as_ref());
        if let Some(sink) = parts.progress.clone().or_else(|| display.progress()) {
            run = run.progress(sink);
        }
        let run = run.build();
        let mut scope = parts.scope.clone().with_store(filled).with_run(run.clone());
        if let Some(resources) = &parts.initial_resources {
            scope = scope.with_initial_resources(resources.clone());
        }
        let mut trainer = TrainerInfo::default();
        (trainer.n_runners, trainer.max_rollouts) = (parts.n_runners, parts.max_rollouts);
        let cx = AlgorithmContext::new(scope)
            .with_train_dataset(train)
            .with_val_dataset(val)
            .with_trainer(trainer);
        if let Err(missing) = algorithm.check(&cx) {
            return Err(TrainerError::Algorithm {
                algorithm: name,
                missing,
            });
        }
        if let Err(missing) = agent.check(&parts.scope) {
            return Err(TrainerError::Agent {
                agent: agent.name().into_owned(),
                missing,
            });
        }
        Ok(Self {
            algorithm,
            parts,
            agent,
            store,
            run,
            cx,
            display,
            #[cfg(all(feature = "client", feature = "server"))]
            spread: None,
        })
    }

    /// Lets the runners be elsewhere.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(super) fn spread(mut self, spread: super::spread::Spread) -> Self {
        self.spread = Some(spread);
        self
    }

    /// How many runners this process has.
    fn runners_here(&self) -> usize {
        #[cfg(all(feature = "client", feature = "server"))]
        if self.spread.is_some() {
            return 0;
        }
        self.parts.n_runners
    }

    /// Runs the algorithm and the runners to their ends.
    pub(super) async fn run(self) -> Result<FitReport<O>, TrainerError> {
        let report = self.keep_record().await;
        self.display.end(&report);
        report
    }

    /// Runs, and notes down in the run's folder, if that is to stay, what is run and what came of it.
    async fn keep_record(&self) -> Result<FitReport<O>, TrainerError> {
        let clock = SystemClock::new();
        let began = clock.now();
        let folder = self.run.folder();
        if folder.is_temporary() {
            return self.execute().await.map(|output| self.report(output, began));
        }
        let _lock = folder.lock()?;
        let tasks = (
            self.cx.train_dataset().map(Dataset::len),
            self.cx.val_dataset().map(Dataset::len),
        );
        let agent = self.agent.name().into_owned();
        let mut record = RunRecord::new(&self.run, self.parts, agent, tasks, began);
        record.write(&self.run).await?;
        let report = self.execute().await.map(|output| self.report(output, began));
        record.end(clock.now(), report.as_ref().err().map(ToString::to_string));
        let written = report
            .as_ref()
            .ok()
            .map(|report| folder.write_json("report.json", report));
        let noted = record.write(&self.run).await;
        // Why the run failed counts for more than that it could not be noted down.
        let report = report?;
        if let Some(written) = written {
            written.await?;
        }
        noted?;
        Ok(report)
    }

    async fn execute(&self) -> Result<O, TrainerError> {
        // Whether the store can be reached shows before anything else begins.
        let store = self.store.statistics().await?;
        if let Some(resources) = &self.parts.initial_resources {
            self.store.add_resources(resources.clone()).await?;
        }
        let agent = self.agent.name().into_owned();
        self.display
            .begin(&self.run, self.parts, &self.cx, agent, store.name);
        tracing::debug!(
            target: "lightning::trainer",
            run_id = self.run.id(),
            algorithm = %self.algorithm.name(),
            agent = %self.agent.name(),
            n_runners = self.parts.n_runners,
            adapter = self.cx.scope().describe_adapter(),
            "the run begins"
        );
        let (stop, last_words) = (StopSignal::new(), TaskTracker::new());
        let work = Work {
            runners: (0..self.runners_here())
                .map(|number| {
                    let (runner, stop) = (self.runner(number, &last_words), stop.clone());
                    async move { runner.iter(&stop).await }.boxed()
                })
                .collect(),
            algorithm: self.algorithm.run(&self.cx),
            stop,
            on_interrupt: &|| {
                self.display
                    .note("asked to stop: the algorithm returns its best result so far; ask again to abort");
                self.run.cancellation().cancel();
            },
            last_words,
        };
        let interrupts = if self.parts.handle_interrupts {
            Interrupts::listen()
        } else {
            Interrupts::never()
        };
        #[cfg(all(feature = "client", feature = "server"))]
        if let Some(spread) = &self.spread {
            let site = Site {
                place: spread.place.clone(),
                store: Arc::clone(&self.store),
                counted: &spread.counted,
                run: &self.run,
                n_runners: self.parts.n_runners,
                limits: self.parts.runner_limits,
                fit: &spread.fit,
            };
            let executed = spread.strategy.execute(work, interrupts, site).await;
            return executed.map_err(|error| self.explain(error));
        }
        let strategy = match self.parts.strategy {
            Some(Strategy::SharedMemory(strategy)) => strategy,
            // A dry run is always here.
            _ => SharedMemory::default(),
        };
        strategy
            .execute(work, interrupts)
            .await
            .map_err(|error| self.explain(error))
    }

    fn runner(&self, number: usize, last_words: &TaskTracker) -> Runner<T> {
        let worker_id = format!("{}-runner-{number}", self.run.id());
        let (agent, store) = (Arc::clone(&self.agent), Arc::clone(&self.store));
        let counting: Arc<dyn Hook> = Arc::new(Counting(self.run.clone()));
        runners::runner(self.parts, agent, store, worker_id, Some(counting), last_words).build()
    }

    fn explain(&self, error: ExecutionError) -> TrainerError {
        let algorithm = || self.algorithm.name().into_owned();
        match error {
            ExecutionError::Failed(error) => TrainerError::Failed {
                algorithm: algorithm(),
                error,
            },
            ExecutionError::Panicked(message) => TrainerError::Panicked {
                algorithm: algorithm(),
                message,
            },
            ExecutionError::Runner(error) => error.into(),
            ExecutionError::RunnerPanicked(message) => TrainerError::RunnerPanicked(message),
            ExecutionError::RunnersEnded => TrainerError::RunnersEnded {
                algorithm: algorithm(),
            },
            ExecutionError::Interrupted => TrainerError::Interrupted {
                algorithm: algorithm(),
            },
            #[cfg(all(feature = "client", feature = "server"))]
            ExecutionError::Setup(problem) => TrainerError::Setup(problem),
        }
    }

    fn report(&self, output: O, began: Timestamp) -> FitReport<O> {
        let (run, identity) = (&self.run, self.run.algorithm().clone());
        FitReport {
            run_id: run.id().to_owned(),
            lightning: env!("CARGO_PKG_VERSION"),
            algorithm: identity.name,
            version: identity.version,
            parameters: identity.parameters,
            agent: self.agent.name().into_owned(),
            seed: run.seed(),
            output,
            stopped: run.should_stop(),
            rollouts: run.rollout_counts(),
            reward_curve: run.reward_curve(),
            model_usage: run.model_usage(),
            began,
            seconds: run.seconds(),
            metrics: run.metrics(),
            run_dir: (!run.folder().is_temporary()).then(|| run.folder().path().to_owned()),
        }
    }
}

/// Counts what the runners do, for the report and the stop conditions.
struct Counting(RunContext);

impl Hook for Counting {
    fn on_rollout_end<'a>(&'a self, _: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        self.0.count_attempt(end.succeeded(), &end.spans);
        Box::pin(std::future::ready(Ok(())))
    }
}
