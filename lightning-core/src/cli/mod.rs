//! The program `lightning`: runs a store, looks into one, and says what is wrong with one.
//!
//! ```text
//! lightning store                          run a store
//! lightning rollouts list --status failed  what is in it
//! lightning rollouts show ro-0123456789ab
//! lightning spans list ro-0123456789ab
//! lightning workers list
//! lightning resources list
//! lightning doctor http://127.0.0.1:4747   whether all is well with it
//! lightning token new --role runner --file tokens
//! ```
//!
//! `--help` tells the rest. What is asked for goes to standard output, everything else to standard error.

mod args;
mod doctor;
mod look;
mod serve;
mod table;
mod token;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser as _;

use self::args::{Args, Task};

/// Runs the program with the arguments of the process.
pub fn main() -> ExitCode {
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
            Task::Store(options) => serve::run(options).await,
            Task::Rollouts(task) => look::rollouts(task).await.map(|()| ExitCode::SUCCESS),
            Task::Spans(task) => look::spans(task).await.map(|()| ExitCode::SUCCESS),
            Task::Workers(task) => look::workers(task).await.map(|()| ExitCode::SUCCESS),
            Task::Resources(task) => look::resources(task).await.map(|()| ExitCode::SUCCESS),
            Task::Doctor(at) => doctor::run(at).await,
            Task::Token(task) => token::run(task).map(|()| ExitCode::SUCCESS),
        }
    });
    // What still runs, such as a parked read of standard input, must not hold the program up.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| fail(&error))
}

fn fail(error: &anyhow::Error) -> ExitCode {
    let _ = writeln!(
        io::stderr(),
        "lightning: {}",
        crate::emitter::error_message(error)
    );
    ExitCode::FAILURE
}

/// Writes to standard output. If nobody reads any more, there is nothing left to do.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}
