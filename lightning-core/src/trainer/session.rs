//! One run, from the checks to the report.

use std::{
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::FutureExt as _;
use serde::Serialize as _;
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::{FitReport, RolloutCounts, Trainer, TrainerError, builder::Parts, defaults::Defaults};
use crate::{
    agent::{Agent, Hook, HookFuture, RolloutContext, RolloutEnd},
    algorithm::{AlgoOutput, Algorithm, AlgorithmContext, TrainerInfo},
    clock::{Clock as _, SystemClock},
    ids::{IdSource as _, RandomIds},
    run::{AlgorithmIdentity, RunContext, RunError, RunFolder},
    runner::{Runner, RunnerError, RunnerReport, StopSignal},
    store::{LayeredStore, MemoryStore, Store},
    types::{Dataset, Task},
};

/// A run that has been checked and can begin.
pub(super) struct Session<'a, T, O> {
    algorithm: &'a dyn Algorithm<T, Output = O>,
    parts: &'a Parts,
    agent: Arc<dyn Agent<T>>,
    store: Arc<dyn Store>,
    run: RunContext,
    cx: AlgorithmContext<T>,
}

impl<'a, T: Task, O: AlgoOutput> Session<'a, T, O> {
    /// Checks everything that can be wrong beforehand.
    pub(super) fn new(
        trainer: &'a Trainer<T, O>,
        agent: Arc<dyn Agent<T>>,
        train: Option<Dataset<T>>,
        val: Option<Dataset<T>>,
    ) -> Result<Self, TrainerError> {
        let (algorithm, parts) = (&*trainer.algorithm, &trainer.parts);
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
        let store = parts
            .store
            .clone()
            .unwrap_or_else(|| Arc::new(MemoryStore::new()));
        // The algorithm sees the store through the trainer's defaults; runners see it as it is.
        let filled: Arc<dyn Store> = Arc::new(LayeredStore::new(
            Arc::clone(&store),
            Defaults(parts.rollout_config.clone()),
        ));
        let mut run = RunContext::builder(format!("run-{}", RandomIds.hex(12)), Arc::clone(&filled))
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
        })
    }

    /// Runs the algorithm and the runners to their ends.
    pub(super) async fn run(self) -> Result<FitReport<O>, TrainerError> {
        let clock = SystemClock::new();
        let began = clock.now();
        if let Some(resources) = &self.parts.initial_resources {
            self.store.add_resources(resources.clone()).await?;
        }
        let stop = StopSignal::new();
        let last_words = TaskTracker::new();
        let counts = Arc::new(Counting {
            run: self.run.clone(),
            tally: Mutex::default(),
        });
        let mut runners = self.start_runners(&stop, &last_words, &counts);

        tracing::info!(
            target: "lightning::trainer",
            run_id = self.run.id(),
            algorithm = %self.algorithm.name(),
            agent = %self.agent.name(),
            n_runners = self.parts.n_runners,
            "the run begins"
        );
        let output = {
            let algorithm = AssertUnwindSafe(self.algorithm.run(&self.cx)).catch_unwind();
            tokio::select! {
                biased;
                output = algorithm => self.judge(output),
                error = self.first_end(&mut runners) => Err(error),
            }
        };
        let stopped = self.stop_runners(runners, &stop, output.is_err()).await;
        last_words.close();
        last_words.wait().await;
        let output = output?;
        stopped?;

        let identity = self.run.algorithm().clone();
        let report = FitReport {
            run_id: self.run.id().to_owned(),
            algorithm: identity.name,
            version: identity.version,
            parameters: identity.parameters,
            output,
            rollouts: counts.tally().counts(),
            seconds: clock.now() - began,
            metrics: self.run.metrics(),
            run_dir: (!self.run.folder().is_temporary()).then(|| self.run.folder().path().to_owned()),
        };
        if report.run_dir.is_some() {
            let mut text = Vec::new();
            let mut json = serde_json::Serializer::pretty(&mut text);
            report.serialize(&mut json).map_err(RunError::Unwritable)?;
            write(self.run.folder().clone(), text).await?;
        }
        Ok(report)
    }

    fn start_runners(
        &self,
        stop: &StopSignal,
        last_words: &TaskTracker,
        counts: &Arc<Counting>,
    ) -> JoinSet<Result<RunnerReport, RunnerError>> {
        let mut runners = JoinSet::new();
        for number in 0..self.parts.n_runners {
            let mut runner = Runner::builder(Arc::clone(&self.agent), Arc::clone(&self.store))
                .worker_id(format!("{}-runner-{number}", self.run.id()))
                .extensions(&self.parts.scope)
                .max_rollouts(self.parts.max_rollouts)
                .patience(self.parts.store_patience)
                .last_words(last_words.clone())
                .hook(Arc::clone(counts) as Arc<dyn Hook>);
            for hook in &self.parts.hooks {
                runner = runner.hook(Arc::clone(hook));
            }
            let (runner, stop) = (runner.build(), stop.clone());
            runners.spawn(async move { runner.iter(&stop).await });
        }
        runners
    }

    fn judge(
        &self,
        output: Result<anyhow::Result<O>, Box<dyn std::any::Any + Send>>,
    ) -> Result<O, TrainerError> {
        let algorithm = || self.algorithm.name().into_owned();
        match output {
            Ok(Ok(output)) => Ok(output),
            Ok(Err(source)) => Err(TrainerError::Failed {
                algorithm: algorithm(),
                source,
            }),
            Err(panic) => {
                let message = crate::runner::panic_message(&*panic);
                Err(TrainerError::Panicked {
                    algorithm: algorithm(),
                    message,
                })
            }
        }
    }

    /// Resolves when a runner has failed, or all have ended: nothing is left for the algorithm to wait for.
    async fn first_end(&self, runners: &mut JoinSet<Result<RunnerReport, RunnerError>>) -> TrainerError {
        loop {
            match runners.join_next().await {
                Some(Ok(Ok(_))) => {}
                Some(Ok(Err(error))) => return error.into(),
                Some(Err(error)) => return TrainerError::RunnerPanicked(error.to_string()),
                None => {
                    return TrainerError::RunnersEnded {
                        algorithm: self.algorithm.name().into_owned(),
                    };
                }
            }
        }
    }

    /// Lets the runners finish what they have, or after a failure drop it; gives the first error.
    async fn stop_runners(
        &self,
        mut runners: JoinSet<Result<RunnerReport, RunnerError>>,
        stop: &StopSignal,
        at_once: bool,
    ) -> Result<(), TrainerError> {
        if at_once {
            stop.abort();
        } else {
            stop.stop();
        }
        let mut grace = std::pin::pin!(tokio::time::sleep(self.parts.stop_grace));
        let mut patient = !at_once;
        let mut first = Ok(());
        loop {
            let ended = tokio::select! {
                ended = runners.join_next() => ended,
                () = &mut grace, if patient => {
                    stop.abort();
                    patient = false;
                    continue;
                }
            };
            let outcome = match ended {
                None => return first,
                Some(Ok(outcome)) => outcome.map(drop).map_err(TrainerError::from),
                Some(Err(error)) => Err(TrainerError::RunnerPanicked(error.to_string())),
            };
            first = first.and(outcome);
        }
    }
}

async fn write(folder: RunFolder, report: Vec<u8>) -> Result<(), TrainerError> {
    let written = tokio::task::spawn_blocking(move || folder.replace("report.json", &report)).await;
    match written {
        Ok(written) => written.map(drop).map_err(TrainerError::from),
        Err(error) => Err(TrainerError::Runtime(format!(
            "the report could not be written: {error}"
        ))),
    }
}

/// Counts what the runners do, for the report and the stop conditions.
struct Counting {
    run: RunContext,
    tally: Mutex<Tally>,
}

#[derive(Clone, Copy, Default)]
struct Tally {
    succeeded: u64,
    failed: u64,
    rewarded: u64,
    reward: f64,
}

impl Counting {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn counts(self) -> RolloutCounts {
        RolloutCounts {
            succeeded: self.succeeded,
            failed: self.failed,
            rewarded: self.rewarded,
            mean_reward: (self.rewarded > 0).then(|| self.reward / self.rewarded as f64),
        }
    }
}

impl Hook for Counting {
    fn on_rollout_end<'a>(&'a self, _: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        Box::pin(async move {
            self.run.count_rollout();
            let reward = end.succeeded().then(|| end.reward()).flatten();
            let mut tally = self.tally();
            tally.succeeded += u64::from(end.succeeded());
            tally.failed += u64::from(!end.succeeded());
            if let Some(reward) = reward {
                tally.rewarded += 1;
                tally.reward += reward.primary();
            }
            Ok(())
        })
    }
}
