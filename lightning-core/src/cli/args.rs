//! The arguments.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use crate::{
    server::{DEFAULT_PORT, Role},
    types::{RolloutStatus, WorkerStatus},
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
    /// Make tokens for a store.
    #[command(subcommand)]
    Token(TokenTask),
}

#[derive(Debug, ClapArgs)]
pub(super) struct StoreArgs {
    /// The address to listen on. Other than loopback ones need tokens, or `--insecure`.
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
    /// A file with the tokens that callers must show: lines `ROLE TOKEN NAME`, the role being `admin`, `runner` or `read`.
    /// It is read again on SIGHUP. Without it, the variable LIGHTNING_STORE_TOKEN may hold the token of an admin.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Ask for no token, wherever the store listens.
    #[arg(long, conflicts_with = "token_file")]
    pub(super) insecure: bool,
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
        env = "LIGHTNING_STORE_URL",
        default_value = "http://127.0.0.1:4747",
        hide_env_values = true
    )]
    pub(super) url: String,
    #[command(flatten)]
    pub(super) token: TokenSource,
}

/// Where the token is. It is no argument itself: those can be read by others on the machine.
#[derive(Debug, ClapArgs)]
pub(super) struct TokenSource {
    /// A file that holds the token to show, and nothing else. Without it, the variable LIGHTNING_STORE_TOKEN may hold the
    /// token.
    #[arg(long = "token-file", value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum TokenTask {
    /// Make a token, print it, and add a line to a file of tokens that lets it in. The file gets its digest only.
    New {
        /// What the token opens: `admin`, `runner` or `read`.
        #[arg(long, value_parser = role)]
        role: Role,
        /// What stands in logs in place of the token.
        #[arg(long)]
        name: Option<String>,
        /// The file; made if there is none.
        #[arg(long)]
        file: PathBuf,
    },
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
        env = "LIGHTNING_STORE_URL",
        default_value = "http://127.0.0.1:4747",
        hide_env_values = true
    )]
    pub(super) url: String,
    #[command(flatten)]
    pub(super) token: TokenSource,
}

fn role(name: &str) -> Result<Role, String> {
    Role::from_name(name).ok_or_else(|| "one of admin, runner, read".to_owned())
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
