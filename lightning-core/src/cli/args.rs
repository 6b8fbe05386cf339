//! The arguments.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};

use super::run::RunArgs;
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
    /// Run what a run file says.
    Run(RunArgs),
    /// Write the JSON Schema of run files, for editors.
    Schema,
    /// Run a store, until Ctrl-C or SIGTERM; or do something with a whole one.
    Store(StoreArgs),
    /// Run an LLM proxy, until Ctrl-C or SIGTERM.
    Proxy(ProxyArgs),
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
    /// A file with the tokens of those who may change the model while it is served: lines `ROLE TOKEN NAME`, of which those
    /// with the role `admin` count. It is read again on SIGHUP. Without it nobody may.
    #[arg(long, value_name = "FILE")]
    pub(super) admin_token_file: Option<PathBuf>,
    /// How many requests are answered at the same time.
    #[arg(long, default_value_t = 32)]
    pub(super) batch: usize,
    /// What is logged: a level, or directives such as `warn,lightning::server=debug`.
    #[arg(long, env = "LIGHTNING_LOG", default_value = "warn,lightning=info")]
    pub(super) log_level: String,
}

#[derive(Debug, ClapArgs)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct StoreArgs {
    #[command(subcommand)]
    pub(super) task: Option<StoreTask>,
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

#[derive(Debug, ClapArgs)]
pub(super) struct ProxyArgs {
    /// The file with the models: YAML, JSON or TOML. It is read again on SIGHUP.
    #[arg(long, value_name = "FILE")]
    pub(super) config: PathBuf,
    /// The address to listen on. Other than loopback ones need a token, or `--insecure`.
    #[arg(long, default_value = "127.0.0.1")]
    pub(super) host: String,
    /// The port; 0 picks one that is free.
    #[arg(long, default_value_t = crate::llm_proxy::DEFAULT_PORT)]
    pub(super) port: u16,
    /// Where calls of rollouts are recorded: the address of a store's server, or `sqlite:PATH`. A server's token stands in
    /// the variable LIGHTNING_STORE_TOKEN. Without a store nothing is recorded.
    #[arg(long, value_name = "URL", env = "LIGHTNING_STORE_URL", hide_env_values = true)]
    pub(super) store: Option<String>,
    /// A file that holds the token which clients must show as their API key, and nothing else.
    #[arg(long, value_name = "FILE")]
    pub(super) token_file: Option<PathBuf>,
    /// Let everybody use the models who can reach the address.
    #[arg(long)]
    pub(super) insecure: bool,
    /// The address that agents use, where it is not the one listened on.
    #[arg(long, value_name = "URL")]
    pub(super) public_url: Option<String>,
    /// What is logged: a level, or directives such as `warn,lightning::llm_proxy=debug`.
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

#[derive(Debug, Subcommand)]
pub(super) enum StoreTask {
    /// Write everything that a store holds as lines of JSON. Keys of models are among it.
    Export {
        #[command(flatten)]
        store: WholeStore,
        /// The file to write, which must not be there yet; standard output if left out.
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take in what `export` or `archive` wrote. What is there already is passed over.
    Import {
        #[command(flatten)]
        store: WholeStore,
        /// The file to read; standard input if left out.
        #[arg(long, value_name = "FILE")]
        input: Option<PathBuf>,
    },
    /// Look through the file of a store that nobody has open for what must hold in it. Exits with 1 if something does not.
    Check {
        /// The file.
        path: PathBuf,
    },
    /// Write what ended some time ago to a file, and then take it out of the store for good.
    Archive {
        #[command(flatten)]
        store: WholeStore,
        /// How long ago it must have ended: a number and `s`, `m`, `h` or `d`.
        #[arg(long, value_name = "TIME", value_parser = span_of_time)]
        older_than: f64,
        /// The file to write, which must not be there yet.
        #[arg(long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Take what ended some time ago out of the store for good: rollouts with their attempts and spans, and resources that
    /// none uses. Nothing brings it back.
    Purge {
        #[command(flatten)]
        store: WholeStore,
        /// How long ago it must have ended: a number and `s`, `m`, `h` or `d`.
        #[arg(long, value_name = "TIME", value_parser = span_of_time)]
        older_than: f64,
    },
}

/// A store that is read or changed as a whole.
#[derive(Debug, ClapArgs)]
pub(super) struct WholeStore {
    /// The store: `sqlite:PATH`, or the address of one that runs.
    #[arg(env = "LIGHTNING_STORE_URL", hide_env_values = true)]
    pub(super) url: String,
    #[command(flatten)]
    pub(super) token: TokenSource,
}

/// Seconds.
fn span_of_time(text: &str) -> Result<f64, String> {
    let unit = text.chars().last().and_then(|unit| match unit {
        's' => Some(1.0),
        'm' => Some(60.0),
        'h' => Some(3_600.0),
        'd' => Some(86_400.0),
        _ => None,
    });
    let number = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    match (number.parse::<f64>(), unit) {
        (Ok(number), Some(unit)) if number.is_finite() && number >= 0.0 => Ok(number * unit),
        _ => Err("write a number and s, m, h or d, such as 30d".to_owned()),
    }
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
