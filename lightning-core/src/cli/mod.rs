//! The program `lightning`: runs what a run file says; runs a store, looks into one, and says what is wrong with one.
//!
//! ```text
//! lightning store                          run a store
//! lightning proxy --config models.yaml      run an LLM proxy
//! lightning rollouts list --status failed  what is in it
//! lightning rollouts show ro-0123456789ab
//! lightning spans list ro-0123456789ab
//! lightning workers list
//! lightning resources list
//! lightning doctor http://127.0.0.1:4747   whether all is well with it
//! lightning run run.yaml                   run what a run file says
//! lightning new demo                       a project to begin with
//! lightning report runs/one               what a run came to, as text and as a page
//! lightning schema                         what a run file may say, for editors
//! lightning store export sqlite:run.db      everything in it, as lines of JSON; `import`, `check`, `archive`, `purge`
//! lightning token new --role runner --file tokens
//! lightning serve-model DIR                serve a small language model (with the feature `lm`)
//! lightning train JOB.json                 train one
//! ```
//!
//! A program with algorithms and agents of its own gets all of this by [`main_with`].
//!
//! `--help` tells the rest. What is asked for goes to standard output, everything else to standard error.

mod args;
mod doctor;
mod look;
mod new;
mod proxy;
mod report;
mod run;
mod serve;
#[cfg(feature = "lm")]
mod serve_model;
mod table;
mod token;
#[cfg(feature = "lm")]
mod train;
mod whole;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser as _;

use self::args::{Args, StoreArgs, Task};
use crate::{config::Setup, registry::Registry};

/// Runs the program with the arguments of the process. Run files may name the algorithms that come with this crate.
pub fn main() -> ExitCode {
    main_with(Registry::shipped())
}

/// As [`main`], for a program whose run files may name these algorithms and agents: its `main` is this call.
///
/// ```no_run
/// use lightning_core::{prelude::*, registry::Registry};
///
/// /// The shorter, the better.
/// #[rollout]
/// async fn be_brief(task: &String) -> f64 {
///     1.0 / (1 + task.len()) as f64
/// }
///
/// fn main() -> std::process::ExitCode {
///     lightning_core::cli::main_with(Registry::shipped().agent(be_brief::agent()))
/// }
/// ```
pub fn main_with(setup: impl Into<Setup>) -> ExitCode {
    #[cfg(feature = "lm")]
    if let Some(code) = crate::train_process::train_process() {
        return code;
    }
    let setup = setup.into();
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // Writing fails only when nobody reads.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.into()),
    };
    let result = runtime.block_on(async {
        match args.task {
            Task::Store(StoreArgs { task: Some(task), .. }) => whole::run(task).await,
            Task::Store(options) => serve::run(options).await,
            Task::Proxy(options) => proxy::run(options).await,
            Task::Rollouts(task) => look::rollouts(task).await.map(|()| ExitCode::SUCCESS),
            Task::Spans(task) => look::spans(task).await.map(|()| ExitCode::SUCCESS),
            Task::Workers(task) => look::workers(task).await.map(|()| ExitCode::SUCCESS),
            Task::Resources(task) => look::resources(task).await.map(|()| ExitCode::SUCCESS),
            Task::Doctor(at) => doctor::run(at).await,
            Task::Run(options) => run::run(options, &setup).await,
            Task::New(options) => new::run(&options),
            Task::Report(options) => report::run(&options),
            Task::Schema => run::schema(&setup),
            Task::Token(task) => token::run(task).map(|()| ExitCode::SUCCESS),
            #[cfg(feature = "lm")]
            Task::ServeModel(options) => serve_model::run(options).await,
            #[cfg(feature = "lm")]
            Task::Train(options) => train::run(options).await,
        }
    });
    // What still runs, such as a parked read of standard input, must not hold the program up.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    // If nobody reads that either, the status says it.
    let _ = complain(&crate::emitter::error_message(error));
    ExitCode::FAILURE
}

fn complain(message: &str) -> io::Result<()> {
    writeln!(io::stderr(), "lightning: {message}")
}

/// Writes to standard output. If nobody reads any more, there is nothing left to do.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
