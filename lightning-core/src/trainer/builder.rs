//! What a trainer is made of.

use std::{
    any::Any,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use super::{Controls, Resume, RunFailure, Trainer, TrainerError, failure::OnFailure, fleet::Fleet};
use crate::{
    adapter::TraceAdapter,
    agent::Hook,
    alerts::Alerts,
    algorithm::{AlgoOutput, Algorithm},
    execution::{RunnerLimits, Strategy},
    inject::Scope,
    llm_proxy::LlmProxy,
    run::{ConfigurationHistory, Prices, ProgressSink, StopWhen},
    store::{MemoryStore, Store, open_url},
    terminal::Screen,
    tracer::RecordingOptions,
    types::{NamedResources, RolloutConfig, Task},
};

/// All of a trainer but its algorithm.
#[derive(Clone)]
pub(super) struct Parts {
    pub(super) n_runners: usize,
    pub(super) max_rollouts: Option<u64>,
    pub(super) store: StoreChoice,
    /// The adapter, the proxy and the values of one's own.
    pub(super) scope: Scope,
    pub(super) initial_resources: Option<NamedResources>,
    pub(super) hooks: Vec<Arc<dyn Hook>>,
    pub(super) rollout_config: RolloutConfig,
    pub(super) run_dir: Option<PathBuf>,
    pub(super) resume: Resume,
    pub(super) on_failure: Vec<OnFailure>,
    pub(super) seed: u64,
    pub(super) stop_when: StopWhen,
    pub(super) prices: Option<Prices>,
    pub(super) alerts: Alerts,
    /// If not set, the environment may choose one.
    pub(super) strategy: Option<Strategy>,
    pub(super) runner_limits: RunnerLimits,
    pub(super) handle_interrupts: bool,
    pub(super) store_patience: Duration,
    pub(super) abort_grace: Option<Duration>,
    pub(super) heartbeat: Option<Duration>,
    pub(super) recording: Option<RecordingOptions>,
    pub(super) cancellation: CancellationToken,
    pub(super) screen: Option<Screen>,
    pub(super) progress: Option<Arc<dyn ProgressSink>>,
    pub(super) controls: Controls,
    pub(super) configuration: Option<ConfigurationHistory>,
    /// What executes the rollouts in the place of the trainer's own runners.
    pub(super) fleet: Option<Arc<dyn Fleet>>,
}

/// Which store a run uses.
#[derive(Clone)]
pub(super) enum StoreChoice {
    /// The one in the run folder, or a fresh one in memory.
    Fresh,
    /// This one.
    Given(Arc<dyn Store>),
    /// The one at this URL.
    Url(String),
}

impl StoreChoice {
    /// Where the store is; `None` if it is in memory, or was given as it is.
    pub(super) fn url(&self, run_dir: Option<&Path>) -> Option<String> {
        match self {
            Self::Fresh => run_dir.and_then(own_store),
            Self::Given(_) => None,
            Self::Url(url) => Some(url.clone()),
        }
    }

    /// The store, which is opened off the runtime's threads if it has to be.
    pub(super) async fn open(&self, run_dir: Option<&Path>) -> Result<Arc<dyn Store>, TrainerError> {
        let url = match self {
            Self::Given(store) => return Ok(Arc::clone(store)),
            Self::Fresh | Self::Url(_) => self.url(run_dir),
        };
        let Some(url) = url else {
            return Ok(Arc::new(MemoryStore::new()));
        };
        #[cfg(feature = "client")]
        if url.starts_with("http://") || url.starts_with("https://") {
            let client = crate::client::StoreClient::builder(&url).token_from_env().build();
            let client = client.map_err(|error| TrainerError::OpenStore(error.to_string()))?;
            let answers = client.probe().await;
            answers.map_err(|error| TrainerError::OpenStore(error.to_string()))?;
            return Ok(Arc::new(client));
        }
        let opened = tokio::task::spawn_blocking(move || open_url(&url)).await;
        let opened = opened.map_err(|error| TrainerError::OpenStore(error.to_string()))?;
        opened.map_err(|error| TrainerError::OpenStore(error.to_string()))
    }
}

/// The store in the run folder, by URL, if there can be one.
fn own_store(run_dir: &Path) -> Option<String> {
    cfg!(feature = "sqlite").then(|| format!("sqlite:{}", run_dir.join("store.db").display()))
}

/// Builds a [`Trainer`].
#[derive(Debug)]
pub struct TrainerBuilder<A> {
    algorithm: A,
    parts: Parts,
}

/// The trainer has no algorithm yet.
#[derive(Debug)]
pub struct NoAlgorithm(());

/// The trainer's algorithm, for tasks of type `T`, returning an `O`.
pub struct With<T, O>(Arc<dyn Algorithm<T, Output = O>>);

impl<T, O> fmt::Debug for With<T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("With").finish_non_exhaustive()
    }
}

/// A trainer that has an algorithm.
#[diagnostic::on_unimplemented(
    message = "this trainer has no algorithm",
    label = "call `.algorithm(name::algorithm())` before this"
)]
pub trait HasAlgorithm {
    /// The trainer.
    type Trainer;

    #[doc(hidden)]
    #[expect(private_interfaces, reason = "only this module implements and calls it")]
    fn finish(self, parts: Parts) -> Self::Trainer;
}

#[diagnostic::do_not_recommend]
impl<T: Task, O: AlgoOutput> HasAlgorithm for With<T, O> {
    type Trainer = Trainer<T, O>;

    #[expect(private_interfaces, reason = "only this module implements and calls it")]
    fn finish(self, parts: Parts) -> Trainer<T, O> {
        Trainer {
            algorithm: self.0,
            parts,
        }
    }
}

/// Every type is itself. Asked for in this way, a trainer without an algorithm is told by [`HasAlgorithm`] what it lacks;
/// asked for directly, the compiler would only say that there is no such method.
#[doc(hidden)]
pub trait Itself<A> {
    fn itself(self) -> A;
}

impl<A> Itself<A> for A {
    fn itself(self) -> A {
        self
    }
}

impl TrainerBuilder<NoAlgorithm> {
    pub(super) fn new() -> Self {
        Self {
            algorithm: NoAlgorithm(()),
            parts: Parts {
                n_runners: 1,
                max_rollouts: None,
                store: StoreChoice::Fresh,
                scope: Scope::new(),
                initial_resources: None,
                hooks: Vec::new(),
                rollout_config: RolloutConfig {
                    timeout_seconds: Some(600.0),
                    unresponsive_seconds: Some(120.0),
                    ..RolloutConfig::default()
                },
                run_dir: None,
                resume: Resume::default(),
                on_failure: Vec::new(),
                seed: 0,
                stop_when: StopWhen::never(),
                prices: None,
                alerts: Alerts::default(),
                strategy: None,
                runner_limits: RunnerLimits::default(),
                handle_interrupts: true,
                store_patience: Duration::from_secs(60),
                abort_grace: None,
                heartbeat: None,
                recording: None,
                cancellation: CancellationToken::new(),
                screen: Some(Screen::stderr()),
                progress: None,
                controls: Controls::new(),
                configuration: None,
                fleet: None,
            },
        }
    }
}

impl<A> TrainerBuilder<A> {
    /// What to run: `name::algorithm()` of a function with `#[algo]`, or an [`Algorithm`] of one's own.
    pub fn algorithm<T: Task, O, G: Algorithm<T, Output = O>>(
        self,
        algorithm: G,
    ) -> TrainerBuilder<With<T, O>> {
        TrainerBuilder {
            algorithm: With(Arc::new(algorithm)),
            parts: self.parts,
        }
    }

    /// How many rollouts are executed at once; at least 1, and 1 if not set.
    #[must_use]
    pub fn n_runners(mut self, runners: usize) -> Self {
        self.parts.n_runners = runners;
        self
    }

    /// How many rollouts each runner executes at most; without end if not set.
    #[must_use]
    pub fn max_rollouts(mut self, limit: u64) -> Self {
        self.parts.max_rollouts = Some(limit);
        self
    }

    /// Where rollouts, spans and resources are kept; if not set, `store.db` in the [run folder](Self::run_dir), or without
    /// one, or without the feature `sqlite`, a fresh [`MemoryStore`](crate::store::MemoryStore) for each run.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.parts.store = StoreChoice::Given(store);
        self
    }

    /// Where rollouts, spans and resources are kept, by URL: `memory:`, `sqlite:run.db`, or the address of a server,
    /// `http://127.0.0.1:4747`. It is opened when a run begins and closed when it ends.
    ///
    /// What a kind of store needs: the feature `sqlite`, or the feature `client`.
    #[must_use]
    pub fn store_url(mut self, url: impl Into<String>) -> Self {
        self.parts.store = StoreChoice::Url(url.into());
        self
    }

    /// The resources to begin with: the algorithm gets them, and the store has them before the first rollout.
    #[must_use]
    pub fn initial_resources(mut self, resources: NamedResources) -> Self {
        self.parts.initial_resources = Some(resources);
        self
    }

    /// The trace adapter that the algorithm gets.
    #[must_use]
    pub fn adapter<D: TraceAdapter>(self, adapter: D) -> Self {
        self.map_scope(|scope| scope.with_adapter(adapter))
    }

    /// The LLM proxy that agents call and that the algorithm gets.
    ///
    /// One that does not run yet is started with the run, records in the run's store, and is stopped with the run. Its
    /// models are among the initial resources: the first one as `llm`, the others under their own names; what was given
    /// under such a name stays. Attempts are reported once their calls are recorded.
    #[must_use]
    pub fn llm_proxy(self, proxy: impl Into<LlmProxy>) -> Self {
        self.map_scope(|scope| scope.with_llm_proxy(proxy.into()))
    }

    /// A value of one's own, for `#[inject]` parameters of the algorithm and of the agent.
    #[must_use]
    pub fn extension<V: Any + Send + Sync>(self, value: V) -> Self {
        self.map_scope(|scope| scope.with_extension(value))
    }

    /// Runs around each rollout.
    #[must_use]
    pub fn hook(mut self, hook: Arc<dyn Hook>) -> Self {
        self.parts.hooks.push(hook);
        self
    }

    /// Time limits and attempts of rollouts that the algorithm enqueues without any: 600 s, 120 s of silence, one
    /// attempt, if not set.
    #[must_use]
    pub fn rollout_config(mut self, config: RolloutConfig) -> Self {
        self.parts.rollout_config = config;
        self
    }

    /// Where the run keeps its metrics, checkpoints and report, and, with the feature `sqlite` and unless another one is set,
    /// its store; a temporary folder that goes with the run if not set.
    ///
    /// If a run was begun there before, this one goes on with it: see [`resume`](Self::resume).
    #[must_use]
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.parts.run_dir = Some(path.into());
        self
    }

    /// What to do with a run that was begun in the [run folder](Self::run_dir) before; to go on with it if it is the same, if
    /// not set.
    #[must_use]
    pub fn resume(mut self, resume: Resume) -> Self {
        self.parts.resume = resume;
        self
    }

    /// Calls something when a run has no result, with the error and the state of the run, on a thread where it may block.
    /// `fit` returns when it has returned. Several are called in their order; a panic in one is logged.
    #[must_use]
    pub fn on_failure(mut self, call: impl Fn(&RunFailure) + Send + Sync + 'static) -> Self {
        self.parts.on_failure.push(Arc::new(call));
        self
    }

    /// Decides the algorithm's random choices; 0 if not set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.parts.seed = seed;
        self
    }

    /// When the algorithm should stop by itself.
    #[must_use]
    pub fn stop_when(mut self, condition: StopWhen) -> Self {
        self.parts.stop_when = condition;
        self
    }

    /// What models cost. With it the report says what the run cost, and [`StopWhen::cost`] can be used.
    #[must_use]
    pub fn prices(mut self, prices: Prices) -> Self {
        self.parts.prices = Some(prices);
        self
    }

    /// What the run is watched for, and who is told besides the log and the screen; the rules of [`Alerts::default`] if not
    /// set.
    #[must_use]
    pub fn alerts(mut self, alerts: Alerts) -> Self {
        self.parts.alerts = alerts;
        self
    }

    /// Where algorithm and runners live, and how they stop. If not set: as the environment says, if `LIGHTNING_ROLE` or
    /// `AGL_CURRENT_ROLE` is set and the features `client` and `server` are there, and all in this process otherwise, with
    /// 5 s for the runners to finish what they have once the algorithm has returned.
    #[must_use]
    pub fn strategy(mut self, strategy: impl Into<Strategy>) -> Self {
        self.parts.strategy = Some(strategy.into());
        self
    }

    /// What each process of runners may take; nothing is limited if not set.
    #[must_use]
    pub fn runner_limits(mut self, limits: RunnerLimits) -> Self {
        self.parts.runner_limits = limits;
        self
    }

    /// Whether Ctrl-C and SIGTERM are listened to during a run; they are if not set. The first asks the algorithm to stop
    /// and to return its best result so far, the second aborts the run, the third ends the process. Outside of runs, these
    /// signals do what they always do.
    #[must_use]
    pub fn handle_interrupts(mut self, listen: bool) -> Self {
        self.parts.handle_interrupts = listen;
        self
    }

    /// How long runners go on trying while the store is unavailable, before they end the run; 60 s if not set.
    #[must_use]
    pub fn store_patience(mut self, patience: Duration) -> Self {
        self.parts.store_patience = patience;
        self
    }

    /// How long an agent may go on after it was cancelled; see
    /// [`RunnerBuilder::abort_grace`](crate::runner::RunnerBuilder::abort_grace).
    #[must_use]
    pub fn abort_grace(mut self, grace: Duration) -> Self {
        self.parts.abort_grace = Some(grace);
        self
    }

    /// How often runners send heartbeats; see
    /// [`RunnerBuilder::heartbeat`](crate::runner::RunnerBuilder::heartbeat).
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.parts.heartbeat = Some(interval);
        self
    }

    /// How the spans of agents are kept and sent; see
    /// [`RunnerBuilder::recording`](crate::runner::RunnerBuilder::recording).
    #[must_use]
    pub fn recording(mut self, options: RecordingOptions) -> Self {
        self.parts.recording = Some(options);
        self
    }

    /// Asks the algorithm to stop and to return its best result so far; see
    /// [`RunContext::should_stop`](crate::run::RunContext::should_stop).
    #[must_use]
    pub fn cancellation(mut self, token: CancellationToken) -> Self {
        self.parts.cancellation = token;
        self
    }

    /// Where the run shows what it is going to do, how far it has got, and what came of it; the process's standard error if
    /// not set.
    #[must_use]
    pub fn screen(mut self, screen: Screen) -> Self {
        self.parts.screen = Some(screen);
        self
    }

    /// Shows nothing of the run, as a test wants it.
    #[must_use]
    pub fn quiet(mut self) -> Self {
        self.parts.screen = None;
        self
    }

    /// Where the run's progress goes, in place of the screen.
    #[must_use]
    pub fn progress(mut self, sink: Arc<dyn ProgressSink>) -> Self {
        self.parts.progress = Some(sink);
        self
    }

    /// What changes the run while it goes on.
    #[must_use]
    pub fn controls(mut self, controls: Controls) -> Self {
        self.parts.controls = controls;
        self
    }

    /// The configurations that the run uses, to be kept in its folder.
    #[must_use]
    pub fn configuration(mut self, history: ConfigurationHistory) -> Self {
        self.parts.configuration = Some(history);
        self
    }

    /// What executes the rollouts in the place of the trainer's own runners. The agent that `fit` is given is then only a
    /// name.
    #[cfg(feature = "cli")]
    pub(crate) fn fleet(mut self, fleet: Arc<dyn Fleet>) -> Self {
        self.parts.fleet = Some(fleet);
        self
    }

    fn map_scope(mut self, change: impl FnOnce(Scope) -> Scope) -> Self {
        self.parts.scope = change(self.parts.scope);
        self
    }

    /// Runners without an algorithm, for the store at this URL: the trainer's `n_runners`, `max_rollouts`, hooks, limits
    /// and values of one's own count, the rest does not. They share one request to the store while they wait.
    ///
    /// ```no_run
    /// # use lightning_core::{agent::agent_fn, trainer::Trainer};
    /// # #[tokio::main]
    /// # async fn main() -> anyhow::Result<()> {
    /// let agent = agent_fn(|task: String, _| async move { task.len() as f64 });
    /// let runners = Trainer::builder().n_runners(8).runner_only("http://10.0.0.5:4747")?;
    /// let report = runners.run(agent).await?;
    /// println!("{} attempts", report.attempts);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`TrainerError::NoRunners`].
    #[cfg(feature = "client")]
    pub fn runner_only(self, url: impl Into<String>) -> Result<super::RunnerOnly, TrainerError> {
        if self.parts.n_runners == 0 {
            return Err(TrainerError::NoRunners);
        }
        Ok(super::RunnerOnly::new(self.parts, url.into()))
    }

    /// The trainer.
    ///
    /// # Errors
    ///
    /// [`TrainerError::NoRunners`], [`TrainerError::RolloutConfig`] for time limits that make no sense, and
    /// [`TrainerError::Prices`] for a limit of cost without prices, or a price that is none.
    pub fn build<G: HasAlgorithm>(self) -> Result<G::Trainer, TrainerError>
    where
        A: Itself<G>,
    {
        if self.parts.n_runners == 0 {
            return Err(TrainerError::NoRunners);
        }
        crate::store::lifecycle::check_config(&self.parts.rollout_config)
            .map_err(TrainerError::RolloutConfig)?;
        match &self.parts.prices {
            None if self.parts.stop_when.needs_prices() => {
                return Err(TrainerError::Prices(
                    "`stop_when` has a limit of cost, but nothing says what models cost; give `prices`"
                        .to_owned(),
                ));
            }
            Some(prices) => {
                if let Some((model, price)) = prices.nonsense() {
                    return Err(TrainerError::Prices(format!(
                        "the price of `{model}` is {} in and {} out; give numbers from 0",
                        price.input, price.output
                    )));
                }
            }
            None => {}
        }
        Ok(self.algorithm.itself().finish(self.parts))
    }
}

impl Parts {
    /// Refuses limits that runners cannot have where they are.
    #[cfg(all(feature = "client", feature = "server"))]
    pub(super) fn runner_limits_beside(&self, place: &crate::execution::Place) -> Result<(), TrainerError> {
        match place {
            crate::execution::Place::Served { both: true, .. }
            | crate::execution::Place::Elsewhere { both: true, .. }
            | crate::execution::Place::Runner { .. } => Ok(()),
            _ => Ok(self.runner_limits.check_beside_algorithm()?),
        }
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("n_runners", &self.n_runners)
            .field("scope", &self.scope)
            .field("initial_resources", &self.initial_resources)
            .field("rollout_config", &self.rollout_config)
            .finish_non_exhaustive()
    }
}
