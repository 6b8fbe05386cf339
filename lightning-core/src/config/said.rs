//! What a run file says, in types. It has been held against the schema before.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::{
    alerts::Alerts,
    data::{DataError, FileFormat, TaskFile},
    execution::ClientServer,
    llm_proxy::ProxyModel,
    run::{Prices, StopWhen},
    trainer::Resume,
    types::{Dataset, JsonObject, Llm, NamedResources, RolloutConfig, Secret},
};

/// All of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Said {
    pub(super) algorithm: Choice,
    pub(super) agent: AgentChoice,
    pub(super) model: Option<Model>,
    #[serde(default)]
    pub(super) datasets: Datasets,
    pub(super) resources: Option<NamedResources>,
    /// If left out, where the trainer keeps them by itself.
    pub(super) store: Option<StoreChoice>,
    pub(super) run_dir: Option<PathBuf>,
    #[serde(default)]
    pub(super) resume: Resume,
    #[serde(default)]
    pub(super) seed: u64,
    pub(super) n_runners: Option<usize>,
    pub(super) max_rollouts: Option<u64>,
    #[serde(default)]
    pub(super) rollout_config: RolloutLimits,
    #[serde(default)]
    pub(super) stop_when: StopWhen,
    pub(super) prices: Option<PriceChoice>,
    #[serde(default)]
    pub(super) alerts: AlertRules,
    pub(super) proxy: Option<Proxy>,
    pub(super) strategy: Option<StrategyChoice>,
    pub(super) stop_grace_seconds: Option<f64>,
    pub(super) abort_grace_seconds: Option<f64>,
    pub(super) store_patience_seconds: Option<f64>,
    pub(super) heartbeat_seconds: Option<f64>,
    #[serde(default)]
    pub(super) log: Log,
    #[serde(default)]
    pub(super) quiet: bool,
}

/// What models cost.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum PriceChoice {
    File(PathBuf),
    Table(Prices),
}

/// As [`Alerts`], but what is left out is the default.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct AlertRules {
    failures: Option<f64>,
    missing_rewards: Option<f64>,
    time_outs: Option<f64>,
    no_progress_seconds: Option<f64>,
    oldest_queued_seconds: Option<f64>,
    no_reward_at_all: Option<bool>,
    webhook: Option<Secret>,
}

impl AlertRules {
    pub(super) fn alerts(&self) -> Alerts {
        let mut alerts = Alerts::default();
        if let Some(share) = self.failures {
            alerts = alerts.failures(share);
        }
        if let Some(share) = self.missing_rewards {
            alerts = alerts.missing_rewards(share);
        }
        if let Some(share) = self.time_outs {
            alerts = alerts.time_outs(share);
        }
        // The schema has them positive; what is too long for the type is as good as never.
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        if let Some(seconds) = self.no_progress_seconds {
            alerts = alerts.no_progress(time(seconds));
        }
        if let Some(seconds) = self.oldest_queued_seconds {
            alerts = alerts.oldest_queued(time(seconds));
        }
        if let Some(alert) = self.no_reward_at_all {
            alerts = alerts.no_reward_at_all(alert);
        }
        if let Some(url) = &self.webhook {
            alerts = alerts.webhook(url.expose());
        }
        alerts
    }
}

/// The LLM proxy of the run.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Proxy {
    pub(super) models: Vec<ProxyModel>,
    pub(super) host: Option<String>,
    #[serde(default)]
    pub(super) port: u16,
    pub(super) public_url: Option<String>,
    pub(super) token: Option<Secret>,
}

/// Where algorithm and runners live.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct StrategyChoice {
    pub(super) name: StrategyName,
    role: Option<String>,
    host: Option<String>,
    port: Option<u16>,
    runners_per_process: Option<usize>,
    restarts: Option<u32>,
    #[serde(default)]
    keep_runners: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum StrategyName {
    SharedMemory,
    ClientServer,
}

impl StrategyChoice {
    /// The strategy of processes, if it is that one.
    pub(super) fn client_server(&self) -> Option<ClientServer> {
        if self.name == StrategyName::SharedMemory {
            return None;
        }
        let mut strategy = ClientServer::new()
            .runners_per_process(self.runners_per_process.unwrap_or(1))
            .keep_runners(self.keep_runners);
        // The schema knows the same roles.
        if let Some(Ok(role)) = self.role.as_deref().map(str::parse) {
            strategy = strategy.role(role);
        }
        if let Some(host) = &self.host {
            strategy = strategy.host(host);
        }
        if let Some(port) = self.port {
            strategy = strategy.port(port);
        }
        if let Some(restarts) = self.restarts {
            strategy = strategy.restarts(restarts);
        }
        Some(strategy)
    }
}

/// Something registered, with its parameters.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) name: String,
    pub(super) parameters: JsonObject,
}

impl<'de> Deserialize<'de> for Choice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Name(String),
            Whole {
                name: String,
                #[serde(default)]
                parameters: JsonObject,
            },
        }

        let (name, parameters) = match Written::deserialize(deserializer)? {
            Written::Name(name) => (name, JsonObject::new()),
            Written::Whole { name, parameters } => (name, parameters),
        };
        Ok(Self { name, parameters })
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum AgentChoice {
    Program(Program),
    Registered(Choice),
}

/// A program that is a runner.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Program {
    pub(super) command: Vec<String>,
    /// Values may be keys.
    #[serde(default)]
    pub(super) environment: BTreeMap<String, Secret>,
    pub(super) name: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Model {
    #[serde(flatten)]
    pub(super) llm: ModelAddress,
    pub(super) timeout_seconds: Option<f64>,
    pub(super) retries: Option<usize>,
    pub(super) in_flight: Option<usize>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ModelAddress {
    endpoint: String,
    model: String,
    api_key: Option<Secret>,
    #[serde(default)]
    sampling_parameters: JsonObject,
}

impl ModelAddress {
    pub(super) fn llm(&self) -> Llm {
        let mut llm = Llm::new(&self.endpoint, &self.model);
        llm.api_key = self.api_key.clone();
        llm.sampling_parameters = self.sampling_parameters.clone();
        llm
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Datasets {
    pub(super) train: Option<Tasks>,
    pub(super) val: Option<Tasks>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Tasks {
    Path(PathBuf),
    Inline(Vec<Value>),
    File {
        file: PathBuf,
        format: Option<TaskFormat>,
        first: Option<usize>,
    },
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum TaskFormat {
    Jsonl,
    Json,
    Yaml,
    Toml,
    Csv,
}

impl From<TaskFormat> for FileFormat {
    fn from(format: TaskFormat) -> Self {
        match format {
            TaskFormat::Jsonl => Self::JsonLines,
            TaskFormat::Json => Self::Json,
            TaskFormat::Yaml => Self::Yaml,
            TaskFormat::Toml => Self::Toml,
            TaskFormat::Csv => Self::Csv,
        }
    }
}

impl Tasks {
    /// Reads them, with blocking calls.
    pub(super) fn read(&self) -> Result<Dataset<Value>, DataError> {
        let (file, first) = match self {
            Self::Inline(tasks) => return Ok(tasks.clone().into()),
            Self::Path(path) => (TaskFile::new(path), None),
            Self::File { file, format, first } => {
                let file = TaskFile::new(file);
                let file = match format {
                    Some(format) => file.format((*format).into()),
                    None => file,
                };
                (file, *first)
            }
        };
        let mut tasks: Vec<Value> = file.read()?;
        tasks.truncate(first.unwrap_or(usize::MAX));
        Ok(tasks.into())
    }
}

/// Where rollouts are kept.
#[derive(Clone, Debug)]
pub(super) struct StoreChoice {
    pub(super) url: String,
    pub(super) token: Option<Secret>,
}

impl<'de> Deserialize<'de> for StoreChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Url(String),
            Whole { url: String, token: Option<Secret> },
        }

        Ok(match Written::deserialize(deserializer)? {
            Written::Url(url) => Self { url, token: None },
            Written::Whole { url, token } => Self { url, token },
        })
    }
}

/// As [`RolloutConfig`], but what is left out is the trainer's default.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct RolloutLimits {
    timeout_seconds: Option<f64>,
    unresponsive_seconds: Option<f64>,
    max_attempts: Option<u32>,
    retry_condition: Option<Vec<crate::types::AttemptStatus>>,
}

impl RolloutLimits {
    pub(super) fn over(&self, mut config: RolloutConfig) -> RolloutConfig {
        config.timeout_seconds = self.timeout_seconds.or(config.timeout_seconds);
        config.unresponsive_seconds = self.unresponsive_seconds.or(config.unresponsive_seconds);
        config.max_attempts = self.max_attempts.unwrap_or(config.max_attempts);
        if let Some(condition) = &self.retry_condition {
            config.retry_condition.clone_from(condition);
        }
        config
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Log {
    pub(super) levels: Option<String>,
    #[serde(default)]
    pub(super) format: Format,
    pub(super) file: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    #[default]
    Text,
    Json,
}
