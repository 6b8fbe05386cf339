//! One run, from the checks to the report.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};
use tokio_util::task::TaskTracker;

use super::{
    FitReport, TrainerError,
    beginning::Beginning,
    builder::Parts,
    defaults::Defaults,
    display::Display,
    failure,
    fleet::{FleetWork, Own, Wanted},
    health::Health,
    proxy::RunProxy,
    record::{RunRecord, Totals},
    runners,
};
#[cfg(all(feature = "client", feature = "server"))]
use crate::execution::Site;
use crate::{
    agent::Agent,
    algorithm::{AlgoOutput, Algorithm, AlgorithmContext, TrainerInfo},
    clock::{Clock as _, SystemClock},
    execution::{ExecutionError, Interrupts, SharedMemory, Strategy, Work, cancel_what_is_left},
    report::{self, ReportError, RunReport},
    run::{AlgorithmIdentity, RunContext, RunEnding, on_the_disk},
    runner::{RunnerError, RunnerReport, StopSignal},
    store::{LayeredStore, Store},
    types::{Dataset, NamedResources, Task, Timestamp},
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
    health: Arc<Health>,
    _ending: EndOnDrop,
    /// Holds the run folder, until all else is gone.
    beginning: Beginning,
    #[cfg(all(feature = "client", feature = "server"))]
    spread: Option<super::spread::Spread>,
}

/// Ends a run that nobody has ended otherwise.
struct EndOnDrop(RunContext);

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.0.end(&RunEnding::Dropped);
    }
}

/// Which algorithm it is.
pub(super) fn identity<T: Task, O: AlgoOutput>(
    algorithm: &dyn Algorithm<T, Output = O>,
) -> Result<AlgorithmIdentity, TrainerError> {
    Ok(AlgorithmIdentity {
        name: algorithm.name().into_owned(),
        version: algorithm.version().to_owned(),
        parameters: algorithm.parameters()?,
    })
}

impl<'a, T: Task, O: AlgoOutput> Session<'a, T, O> {
    /// Checks everything that can be wrong beforehand.
    pub(super) fn new(
        beginning: Beginning,
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
            Defaults {
                config: parts.rollout_config.clone(),
                changed: parts.controls.rollout_config(),
                run_id: beginning.run_id.clone(),
            },
        ));
        let health = Health::new(
            &parts.alerts,
            parts.controls.alerts(),
            &beginning.run_id,
            parts.screen.clone(),
        );
        let watcher = Arc::clone(&health);
        let mut run = RunContext::builder(beginning.run_id.clone(), Arc::clone(&filled))
            .seconds_before(beginning.seconds_before())
            .accept_changes(beginning.accepts_changes)
            .seed(parts.seed)
            .stop_when(parts.stop_when.clone())
            .stop_switch(parts.controls.stop_when.clone())
            .prices(parts.prices.clone())
            .watcher(Arc::new(move |attempt, spans| {
                watcher.attempt_ended(attempt, spans);
            }))
            .cancellation(parts.cancellation.child_token())
            .algorithm(identity(algorithm)?);
        if let Some(path) = &parts.run_dir {
            run = run.folder(path);
        }
        let display = Display::new(parts.screen.as_ref());
        if let Some(sink) = parts.progress.clone().or_else(|| display.progress()) {
            run = run.progress(sink);
        }
        let run = run.build();
        let mut scope = parts.scope.clone().with_store(filled).with_run(run.clone());
        // The models of a proxy are resources too; they are known once it listens.
        let has_proxy = scope.llm_proxy().is_ok();
        if parts.initial_resources.is_some() || has_proxy {
            scope = scope.with_initial_resources(parts.initial_resources.clone().unwrap_or_default());
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
            cx,
            display,
            health,
            _ending: EndOnDrop(run.clone()),
            run,
            beginning,
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

    /// The runners that this process has.
    fn runners_here(
        &self,
        stop: &StopSignal,
        last_words: &TaskTracker,
    ) -> Vec<BoxFuture<'static, Result<RunnerReport, RunnerError>>> {
        #[cfg(all(feature = "client", feature = "server"))]
        if self.spread.is_some() {
            return Vec::new();
        }
        vec![self.fleet(stop, last_words)]
    }

    /// Runs the algorithm and the runners to their ends.
    pub(super) async fn run(self) -> Result<FitReport<O>, TrainerError> {
        let report = self.keep_record().await;
        let ending = match &report {
            Ok(_) => RunEnding::Succeeded,
            Err(error) => RunEnding::Failed(error.to_string()),
        };
        self.run.end(&ending);
        self.display.end(&report, self.parts);
        if let Err(error) = &report {
            failure::tell(&self.parts.on_failure, &self.run, error).await;
        }
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
        if let Some(history) = self.parts.configuration.clone() {
            let folder = folder.clone();
            on_the_disk(move || history.keep_in(&folder)).await?;
        }
        let tasks = (
            self.cx.train_dataset().map(Dataset::len),
            self.cx.val_dataset().map(Dataset::len),
        );
        let agent = self.agent.name().into_owned();
        let mut record = RunRecord::new(&self.run, self.parts, agent, tasks, &self.beginning, began);
        record.write(&self.run).await?;
        let report = self.execute().await.map(|output| self.report(output, began));
        // The page and the report have the same figures.
        let seconds = report
            .as_ref()
            .map_or_else(|_| self.run.seconds(), |report| report.seconds);
        record.end(
            clock.now(),
            (self.run.cost(), self.health.alerts()),
            Totals::of(&self.run, seconds),
            report.as_ref().err().map(ToString::to_string),
        );
        let written = report
            .as_ref()
            .ok()
            .map(|report| folder.write_json("report.json", report));
        let written = match written {
            Some(written) => written.await,
            None => Ok(()),
        };
        let noted = record.write(&self.run).await;
        self.write_page().await;
        // Why the run failed counts for more than that it could not be noted down.
        let report = report?;
        written?;
        noted?;
        Ok(report)
    }

    /// Writes the page of the run. A run that went well does not fail because nobody can look at it.
    async fn write_page(&self) {
        let folder = self.run.folder().clone();
        let written = on_the_disk(move || {
            let page = RunReport::read(folder.path()).map(|report| report.to_html());
            match page {
                Ok(page) => folder.replace(report::PAGE, page.as_bytes()).map_err(ReportError::from),
                Err(error) => Err(error),
            }
            .map_or_else(|error| tracing::warn!(target: "lightning::trainer", error = %error, "the page of the run cannot be written"), drop);
            Ok(())
        });
        // It returns no error.
        let _ = written.await;
    }

    async fn execute(&self) -> Result<O, TrainerError> {
        // Whether the store can be reached shows before anything else begins.
        let store = self.store.statistics().await?;
        let proxy = RunProxy::start(self.parts.scope.llm_proxy().ok(), &self.store).await?;
        let output = self.execute_with(store.name, proxy.as_ref()).await;
        if let Some(proxy) = proxy {
            proxy.stop().await;
        }
        output
    }

    async fn execute_with(&self, store: String, proxy: Option<&RunProxy>) -> Result<O, TrainerError> {
        let given = self.parts.initial_resources.as_ref();
        let resources = match proxy {
            Some(proxy) => Some(proxy.resources(given)?),
            None => given.cloned(),
        };
        let mut cx = self
            .cx
            .with_datasets(self.cx.train_dataset().cloned(), self.cx.val_dataset().cloned());
        if let Some(resources) = &resources {
            cx = cx.with_initial_resources(resources.clone());
        }
        let agent = self.agent.name().into_owned();
        self.display.begin(&self.run, self.parts, &cx, agent, store);
        if let Some(since) = self.beginning.began {
            let found = self.run.recover(since, &self.workers()).await?;
            self.display.resumed(found);
            tracing::info!(
                target: "lightning::trainer",
                run_id = self.run.id(),
                ended = found.ended,
                set_aside = found.set_aside,
                interrupted = found.interrupted,
                going_on = found.going_on,
                "the run is resumed"
            );
        }
        if let Some(resources) = resources {
            self.add_initial_resources(resources).await?;
        }
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
            runners: self.runners_here(&stop, &last_words),
            algorithm: self.algorithm.run(&cx),
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
            let run = async {
                let output = spread.strategy.execute(work, interrupts, site).await;
                output.map_err(|error| self.explain(error))
            };
            return self.health.during(&*self.store, run).await;
        }
        let strategy = match self.parts.strategy {
            Some(Strategy::SharedMemory(strategy)) => strategy,
            // A dry run is always here.
            _ => SharedMemory::default(),
        };
        let run = async {
            let output = strategy.execute(work, interrupts).await;
            if matches!(output, Err(ExecutionError::Interrupted)) {
                cancel_what_is_left(&self.run).await;
            }
            output.map_err(|error| self.explain(error))
        };
        self.health.during(&*self.store, run).await
    }

    /// The resources to begin with are the latest when the algorithm begins, also of a run that is resumed.
    async fn add_initial_resources(&self, resources: NamedResources) -> Result<(), TrainerError> {
        if self.beginning.began.is_some() {
            let latest = self.store.get_latest_resources().await?;
            if latest.is_some_and(|latest| latest.resources == resources) {
                return Ok(());
            }
        }
        self.store.add_resources(resources).await?;
        Ok(())
    }

    /// What the ids of the runners begin with.
    fn workers(&self) -> String {
        runners::workers_of(self.run.id())
    }

    fn fleet(
        &self,
        stop: &StopSignal,
        last_words: &TaskTracker,
    ) -> BoxFuture<'static, Result<RunnerReport, RunnerError>> {
        let wanted = Wanted::new(self.parts.controls.n_runners(), self.parts.n_runners);
        let (store, run, stop) = (Arc::clone(&self.store), self.run.clone(), stop.clone());
        match &self.parts.fleet {
            Some(fleet) => fleet.run(FleetWork {
                store,
                run,
                stop,
                wanted,
            }),
            None => {
                let own = Own {
                    agent: Arc::clone(&self.agent),
                    store,
                    run,
                    parts: self.parts.clone(),
                    last_words: last_words.clone(),
                };
                own.run(stop, wanted).boxed()
            }
        }
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
            failures: run.failure_reasons(),
            reward_curve: run.reward_curve(),
            model_usage: run.model_usage(),
            cost: run.cost(),
            alerts: self.health.alerts(),
            began: self.beginning.began.unwrap_or(began),
            seconds: run.seconds(),
            resumed: self.beginning.processes.len(),
            metrics: run.metrics(),
            run_dir: (!run.folder().is_temporary()).then(|| run.folder().path().to_owned()),
        }
    }
}
