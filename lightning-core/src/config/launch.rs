//! From what a run file says to a trainer.

use std::{borrow::Cow, path::Path, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    ConfigError, Problem, RunFile,
    programs::Programs,
    said::{AgentChoice, Model, PriceChoice, Proxy, Said, StoreChoice, StrategyChoice, Tasks},
};
use crate::{
    agent::{Agent, AgentFuture, RolloutContext},
    chat::{ChatModel as _, HttpChat},
    client::StoreClient,
    execution::{ClientServer, SharedMemory},
    llm_proxy::{LlmProxyError, ReverseProxy},
    registry::{AnyAgent, Registry},
    run::{ConfigurationHistory, Prices},
    store::{Store, open_url},
    trainer::{Controls, DevReport, NoAlgorithm, Trainer, TrainerBuilder},
    types::{Dataset, RolloutConfig},
};

type Change = Box<dyn Fn(TrainerBuilder<NoAlgorithm>) -> TrainerBuilder<NoAlgorithm> + Send + Sync>;

/// What a program can do for run files: its algorithms and agents, and what a trainer of its needs besides.
///
/// ```
/// use lightning_core::{config::Setup, prelude::*, registry::Registry};
///
/// #[derive(Clone, Inject)]
/// struct Judge;
///
/// /// Says yes to everything.
/// #[rollout]
/// async fn agree(task: &String, #[inject] judge: Judge) -> f64 {
///     let _ = (task, judge);
///     1.0
/// }
///
/// let registry = Registry::shipped().agent(agree::agent());
/// let setup = Setup::new(registry).trainer(|trainer| trainer.extension(Judge));
/// # drop(setup);
/// ```
pub struct Setup {
    registry: Arc<Registry>,
    changes: Vec<Change>,
}

impl Setup {
    /// These algorithms and agents.
    pub fn new(registry: Registry) -> Self {
        Self {
            registry: Arc::new(registry),
            changes: Vec::new(),
        }
    }

    /// Adds to each trainer what a run file cannot say: extensions, an adapter, hooks. It is called before what the run
    /// file says is set.
    #[must_use]
    pub fn trainer(
        mut self,
        change: impl Fn(TrainerBuilder<NoAlgorithm>) -> TrainerBuilder<NoAlgorithm> + Send + Sync + 'static,
    ) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// The algorithms and agents.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    pub(super) fn shared_registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }
}

impl From<Registry> for Setup {
    fn from(registry: Registry) -> Self {
        Self::new(registry)
    }
}

impl std::fmt::Debug for Setup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setup")
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

/// The dry run of what the file says: [`Trainer::dev`].
///
/// # Errors
///
/// Those of [`Run::run`](super::Run::run), and what the dry run finds wanting. An agent that is a program cannot be tried out in this way.
pub async fn dev(file: &RunFile, setup: &Setup) -> Result<DevReport<Value>, ConfigError> {
    if let AgentChoice::Program(_) = file.said.agent {
        let message = "a dry run needs the agent in this program, and this one is a program of its own; start a run with \
                       `--set stop_when.rollouts=3` instead";
        return Err(Problem::new(None, "agent.command", message).into());
    }
    let ready = Ready::new(file, setup, Controls::new(), &ConfigurationHistory::new()).await?;
    let Ready {
        trainer,
        agent,
        train,
        val,
    } = ready;
    Ok(trainer.dev(agent, train, val).await?)
}

/// A run that can begin.
pub(super) struct Ready {
    pub(super) trainer: Trainer<Value, Value>,
    pub(super) agent: AnyAgent,
    pub(super) train: Option<Dataset<Value>>,
    pub(super) val: Option<Dataset<Value>>,
}

impl Ready {
    pub(super) async fn new(
        file: &RunFile,
        setup: &Setup,
        controls: Controls,
        history: &ConfigurationHistory,
    ) -> Result<Self, ConfigError> {
        let said = &file.said;
        let mut problems = Vec::new();
        let train = read(file, "datasets.train", said.datasets.train.clone(), &mut problems).await;
        let val = read(file, "datasets.val", said.datasets.val.clone(), &mut problems).await;
        let spread = said.strategy.as_ref().and_then(StrategyChoice::client_server);
        // A run that is spread opens its store by itself: only one of its processes has it.
        let store = match (&spread, &said.store) {
            (None, Some(store)) => open(file, store, &mut problems).await,
            _ => None,
        };
        let prices = prices(file, said.prices.clone(), &mut problems).await;
        let proxy = said.proxy.as_ref().map(proxy);
        let proxy = proxy.and_then(|proxy| file.keep("proxy", proxy, &mut problems));
        let chosen = (said.algorithm.name.as_str(), said.algorithm.parameters.clone());
        let algorithm = file.keep(
            "algorithm",
            setup.registry.build_algorithm(chosen.0, chosen.1),
            &mut problems,
        );
        let programs = match &said.agent {
            AgentChoice::Program(program) => {
                let folder = file.path().parent().unwrap_or(Path::new(""));
                Some(Programs::new(program.clone(), folder, said.quiet))
            }
            AgentChoice::Registered(_) => None,
        };
        let agent = match &said.agent {
            AgentChoice::Program(program) => {
                let name = program.name.clone().unwrap_or_else(|| program.command.join(" "));
                Some(Arc::new(Elsewhere(name)) as AnyAgent)
            }
            AgentChoice::Registered(chosen) => {
                let built = setup
                    .registry
                    .build_agent(&chosen.name, chosen.parameters.clone());
                file.keep("agent", built, &mut problems)
            }
        };
        let model = said.model.as_ref().map(chat);
        let model = model.and_then(|model| file.keep("model", model, &mut problems));
        let (Some(algorithm), Some(agent), true) = (algorithm, agent, problems.is_empty()) else {
            return Err(ConfigError::Invalid(problems));
        };
        let mut trainer = Trainer::builder();
        for change in &setup.changes {
            trainer = change(trainer);
        }
        if let Some(model) = model {
            trainer = trainer.extension(model.shared());
        }
        if let Some(programs) = programs {
            trainer = trainer.fleet(Arc::new(programs));
        }
        if let Some(prices) = prices {
            trainer = trainer.prices(prices);
        }
        if let Some(proxy) = proxy {
            trainer = trainer.llm_proxy(proxy);
        }
        trainer = configured(trainer, said);
        if let Some(store) = store {
            trainer = trainer.store(store);
        }
        if let Some(strategy) = spread {
            trainer = on_processes(trainer, strategy, said);
        }
        let trainer = trainer.controls(controls).configuration(history.clone());
        Ok(Self {
            trainer: trainer.algorithm(algorithm).build()?,
            agent,
            train,
            val,
        })
    }
}

/// The trainer as the run file has it.
fn configured(mut trainer: TrainerBuilder<NoAlgorithm>, said: &Said) -> TrainerBuilder<NoAlgorithm> {
    let seconds = Duration::try_from_secs_f64;
    trainer = trainer
        .n_runners(said.n_runners.unwrap_or(1))
        .seed(said.seed)
        .resume(said.resume)
        .stop_when(said.stop_when.clone())
        .alerts(said.alerts.alerts())
        .rollout_config(rollout_config(said));
    if let Some(resources) = &said.resources {
        trainer = trainer.initial_resources(resources.clone());
    }
    if let Some(path) = &said.run_dir {
        trainer = trainer.run_dir(path);
    }
    if let Some(limit) = said.max_rollouts {
        trainer = trainer.max_rollouts(limit);
    }
    // The schema has them positive; durations that are too long for the type are as good as none.
    if let Some(Ok(grace)) = said.stop_grace_seconds.map(seconds) {
        trainer = trainer.strategy(SharedMemory::new().stop_grace(grace));
    }
    if let Some(Ok(grace)) = said.abort_grace_seconds.map(seconds) {
        trainer = trainer.abort_grace(grace);
    }
    if let Some(Ok(patience)) = said.store_patience_seconds.map(seconds) {
        trainer = trainer.store_patience(patience);
    }
    if let Some(Ok(interval)) = said.heartbeat_seconds.map(seconds) {
        trainer = trainer.heartbeat(interval);
    }
    if said.quiet {
        trainer = trainer.quiet();
    }
    trainer
}

/// The time limits and retries of rollouts, as the run file has them.
pub(super) fn rollout_config(said: &Said) -> RolloutConfig {
    said.rollout_config.over(RolloutConfig {
        timeout_seconds: Some(600.0),
        unresponsive_seconds: Some(120.0),
        ..RolloutConfig::default()
    })
}

/// Puts the runners into processes of their own.
fn on_processes(
    trainer: TrainerBuilder<NoAlgorithm>,
    mut strategy: ClientServer,
    said: &Said,
) -> TrainerBuilder<NoAlgorithm> {
    if let Some(Ok(grace)) = said.stop_grace_seconds.map(Duration::try_from_secs_f64) {
        strategy = strategy.stop_grace(grace);
    }
    let trainer = match &said.store {
        Some(store) => trainer.store_url(with_token(store)),
        None => trainer,
    };
    trainer.strategy(strategy)
}

/// The address of a store, with its token as the password, for this process and those that it starts.
fn with_token(store: &StoreChoice) -> String {
    let mut url = store.url.clone();
    let token = store.token.clone().or_else(token_from_environment);
    if let (Some(token), Some((scheme, rest))) = (token, url.split_once("://"))
        && scheme.starts_with("http")
        && !rest.contains('@')
    {
        let token = percent_encoding::utf8_percent_encode(token.expose(), percent_encoding::NON_ALPHANUMERIC);
        url = format!("{scheme}://:{token}@{rest}");
    }
    url
}

fn proxy(said: &Proxy) -> Result<ReverseProxy, LlmProxyError> {
    let host = said.host.as_deref().unwrap_or("127.0.0.1");
    let address = match host.contains(':') {
        true => format!("[{host}]:{}", said.port),
        false => format!("{host}:{}", said.port),
    };
    let mut proxy = ReverseProxy::builder()
        .models(said.models.clone())
        .address(address);
    if let Some(url) = &said.public_url {
        proxy = proxy.public_url(url);
    }
    if let Some(token) = &said.token {
        proxy = proxy.token(token.clone());
    }
    proxy.build()
}

async fn prices(file: &RunFile, choice: Option<PriceChoice>, problems: &mut Vec<Problem>) -> Option<Prices> {
    let path = match choice? {
        PriceChoice::Table(prices) => return Some(prices),
        PriceChoice::File(path) => path,
    };
    let read = tokio::task::spawn_blocking(move || Prices::from_file(path)).await;
    let read = file.keep("prices", read, problems)?;
    file.keep("prices", read, problems)
}

fn chat(model: &Model) -> Result<HttpChat, crate::chat::HttpChatError> {
    let mut chat = HttpChat::builder(model.llm.llm());
    if let Some(Ok(timeout)) = model.timeout_seconds.map(Duration::try_from_secs_f64) {
        chat = chat.timeout(timeout);
    }
    if let Some(retries) = model.retries {
        chat = chat.retries(retries);
    }
    if let Some(calls) = model.in_flight {
        chat = chat.in_flight(calls);
    }
    chat.build()
}

async fn read(
    file: &RunFile,
    key: &str,
    tasks: Option<Tasks>,
    problems: &mut Vec<Problem>,
) -> Option<Dataset<Value>> {
    let tasks = tasks?;
    let read = tokio::task::spawn_blocking(move || tasks.read()).await;
    let read = file.keep(key, read, problems)?;
    file.keep(key, read, problems)
}

async fn open(file: &RunFile, store: &StoreChoice, problems: &mut Vec<Problem>) -> Option<Arc<dyn Store>> {
    let url = store.url.clone();
    if url.starts_with("http://") || url.starts_with("https://") {
        let mut client = StoreClient::builder(&url);
        if let Some(token) = store.token.clone().or_else(token_from_environment) {
            client = client.token(token);
        }
        let client = file.keep("store", client.build(), problems)?;
        file.keep("store", client.probe().await, problems)?;
        return Some(Arc::new(client));
    }
    let opened = tokio::task::spawn_blocking(move || open_url(&url)).await;
    let opened = file.keep("store", opened, problems)?;
    file.keep("store", opened, problems)
}

fn token_from_environment() -> Option<crate::types::Secret> {
    let token = std::env::var("LIGHTNING_TOKEN").ok()?;
    (!token.is_empty()).then(|| token.into())
}

/// An agent that is executed by other processes.
struct Elsewhere(String);

impl Agent<Value> for Elsewhere {
    fn rollout<'a>(&'a self, _: &'a Value, _: &'a RolloutContext) -> AgentFuture<'a> {
        let name = &self.0;
        Box::pin(async move { anyhow::bail!("`{name}` is a program of its own, which is not executed here") })
    }

    fn name(&self) -> Cow<'static, str> {
        self.0.clone().into()
    }
}
