//! The arguments.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::{
    client::StoreClient,
    server::DEFAULT_PORT,
    types::{RolloutStatus, Secret, WorkerStatus},
};

/// Train LLM agents with algorithms of your own.
#[derive(Debug, Parser)]
#[command(name = "lightning", version, disable_help_subcommand = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) task: Task,
}

#[derive(Debug, Subcommand)]
pub(super) enum Task {
    /// Run a store, until Ctrl-C or SIGTERM.
    Store(StoreArgs),
    /// Look at rollouts.
    #[command(subcommand)]
    Rollouts(RolloutsTask),
    /// Look at the spans of a rollout.
    #[command(subcommand)]
    Spans(SpansTask),
    /// Look at workers.
    #[command(subcommand)]
    Workers(WorkersTask),
    /// Look at resources.
    #[command(subcommand)]
    Resources(ResourcesTask),
    /// Check whether all is well with a store.
    Doctor(DoctorArgs),
    /// Serve a small language model, until Ctrl-C or SIGTERM.
    #[cfg(feature = "lm")]
    ServeModel(ServeModelArgs),
}

#[cfg(feature = "lm")]
#[derive(Debug, ClapArgs)]
pub(super) struct ServeModelArgs {
    /// The folder of the model: config.json, model.safetensors and, unless its tokens are bytes, tokenizer.json.
    pub(super) folder: PathBuf,
    /// The loopback address to listen on.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// The port; 0 picks one that is free.
    #[arg(long, default_value_t = 8000)]
    pub(super) port: u16,
    /// What requests call the model; the name of the folder if left out.
    #[arg(long)]
    pub(super) name: Option<String>,
    /// What answers say about which weights wrote them.
    #[arg(long, default_value = "0")]
    pub(super) model_version: String,
    /// How many requests are answered at the same time.
    #[arg(long, default_value_t = 32)]
    pub(super) batch: usize,
    /// What is logged: a level, or directives such as `warn,lightning::server=debug`.
    #[arg(long, env = "LIGHTNING_LOG", default_value = "warn,lightning=info")]
    pub(super) log_level: String,
}

#[derive(Debug, ClapArgs)]
pub(super) struct StoreArgs {
    /// The address to listen on. Other than loopback ones need a token.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// The port; 0 picks one that is free.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub(super) port: u16,
    /// An origin whose web pages may use the store, or `*`. May be given several times.
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub(super) cors_origins: Vec<String>,
    /// Where rollouts are kept: `memory`, and all is gone when the program ends; or `sqlite:PATH`, a file that keeps
    /// what was acknowledged.
    #[arg(long, value_name = "STORE", default_value = "memory")]
    pub(super) backend: String,
    /// A file that holds the token which callers must show. The variable LIGHTNING_TOKEN may hold the token itself.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// The largest body of a request that is accepted, in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=4096))]
    pub(super) max_body: u32,
    /// What is logged: a level, or directives such as `warn,lightning::server=debug`.
    #[arg(long, env = "LIGHTNING_LOG", default_value = "warn,lightning=info")]
    pub(super) log_level: String,
    /// How a line of the log is written.
    #[arg(long, env = "LIGHTNING_LOG_FORMAT", value_enum, ignore_case = true, default_value_t = LogStyle::Text)]
    pub(super) log_format: LogStyle,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum LogStyle {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Which store.
#[derive(Debug, ClapArgs)]
pub(super) struct StoreAddress {
    /// The address of the store.
    #[arg(
        long,
        env = "LIGHTNING_STORE",
        default_value = "http://127.0.0.1:4747",
        hide_env_values = true
    )]
    url: String,
}

impl StoreAddress {
    pub(super) async fn connect(&self) -> anyhow::Result<StoreClient> {
        connect(&self.url).await
    }
}

/// A client that gives up soon: somebody is looking at the screen.
pub(super) async fn connect(url: &str) -> anyhow::Result<StoreClient> {
    let mut client = StoreClient::builder(url).retry_for(std::time::Duration::from_millis(500));
    if let Some(token) = token_from_env() {
        client = client.token(token);
    }
    let client = client.build()?;
    client.probe().await?;
    Ok(client)
}

/// The token that the environment holds. It is no argument: those can be read by others on the machine.
pub(super) fn token_from_env() -> Option<Secret> {
    let token = std::env::var("LIGHTNING_TOKEN").ok()?;
    (!token.is_empty()).then(|| token.into())
}

/// How much, and in which form.
#[derive(Debug, ClapArgs)]
pub(super) struct ListOptions {
    /// How many at most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: u32,
    /// How many to pass over.
    #[arg(long, default_value_t = 0)]
    pub(super) offset: usize,
    /// Write JSON, one record a line.
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    pub(super) store: StoreAddress,
}

#[derive(Debug, Subcommand)]
pub(super) enum RolloutsTask {
    /// List rollouts, the newest first.
    List {
        /// Only those in this status. May be given several times.
        #[arg(long, value_parser = rollout_status)]
        status: Vec<RolloutStatus>,
        #[command(flatten)]
        options: ListOptions,
    },
    /// Show a rollout and its attempts as JSON.
    Show {
        /// The rollout.
        rollout_id: String,
        #[command(flatten)]
        store: StoreAddress,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum SpansTask {
    /// List the spans of a rollout, by sequence id.
    List {
        /// The rollout.
        rollout_id: String,
        /// Only those of this attempt, or of the `latest`.
        #[arg(long)]
        attempt: Option<String>,
        #[command(flatten)]
        options: ListOptions,
    },
    /// Show a span as JSON.
    Show {
        /// The rollout.
        rollout_id: String,
        /// The span.
        span_id: String,
        #[command(flatten)]
        store: StoreAddress,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum WorkersTask {
    /// List workers.
    List {
        /// Only those in this status. May be given several times.
        #[arg(long, value_parser = worker_status)]
        status: Vec<WorkerStatus>,
        #[command(flatten)]
        options: ListOptions,
    },
    /// Show a worker as JSON.
    Show {
        /// The worker.
        worker_id: String,
        #[command(flatten)]
        store: StoreAddress,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum ResourcesTask {
    /// List sets of resources, the latest first.
    List {
        #[command(flatten)]
        options: ListOptions,
    },
    /// Show a set of resources as JSON. Keys of models are not shown.
    Show {
        /// The set of resources, or `latest`.
        resources_id: String,
        /// Which version; the latest if left out.
        #[arg(long = "at-version", value_name = "NUMBER")]
        version: Option<u64>,
        #[command(flatten)]
        store: StoreAddress,
    },
}

#[derive(Debug, ClapArgs)]
pub(super) struct DoctorArgs {
    /// The address of the store.
    #[arg(
        env = "LIGHTNING_STORE",
        default_value = "http://127.0.0.1:4747",
        hide_env_values = true
    )]
    pub(super) url: String,
}

fn rollout_status(name: &str) -> Result<RolloutStatus, String> {
    let found = RolloutStatus::ALL
        .into_iter()
        .find(|status| status.as_str() == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = RolloutStatus::ALL.iter().map(|status| status.as_str()).collect();
        format!("one of {}", names.join(", "))
    })
}

fn worker_status(name: &str) -> Result<WorkerStatus, String> {
    match name {
        "idle" => Ok(WorkerStatus::Idle),
        "busy" => Ok(WorkerStatus::Busy),
        "unknown" => Ok(WorkerStatus::Unknown),
        _ => Err("one of idle, busy, unknown".to_owned()),
    }
}
