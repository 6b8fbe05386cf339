//! A process that another one has started as a runner.

use std::{
    env,
    io::{self, Read as _},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{EnvironmentError, RunnerLimits};
use crate::runner::StopSignal;

/// What such a process exits with if whoever started it has gone, and it could not end in order.
const ORPHANED: i32 = 70;

/// What a process that was started as a runner has to know.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct RunnerProcess {
    /// Who started it.
    pub(crate) parent: u32,
    /// Which of the processes it is, from 0.
    pub(crate) place: usize,
    /// How many runners it is to have.
    pub(crate) runners: usize,
    /// Where the store is, with its token if there is one.
    pub(crate) store_url: String,
    /// The token that it wants, if that is not within the URL.
    pub(crate) token: Option<String>,
    /// For which `fit` of the program it was started.
    pub(crate) fit: String,
    /// How long it may take to end when whoever started it has gone, or wants it to end at once.
    pub(crate) end_within: Duration,
    pub(crate) stop_grace: Duration,
    pub(crate) limits: RunnerLimits,
}

impl RunnerProcess {
    /// The variable that says all of this.
    pub(crate) const VARIABLE: &'static str = "LIGHTNING_RUNNER_PROCESS";

    /// Whether this process was started as a runner.
    pub(crate) fn is_one() -> bool {
        env::var_os(Self::VARIABLE).is_some()
    }

    /// What this process has to know, if it was started as a runner.
    pub(crate) fn of_this() -> Result<Option<Self>, EnvironmentError> {
        let Some(value) = env::var_os(Self::VARIABLE) else {
            return Ok(None);
        };
        let value = value.to_string_lossy().into_owned();
        let refused = |problem: &str| EnvironmentError {
            variable: Self::VARIABLE.to_owned(),
            // It may hold a token.
            value: "…".to_owned(),
            problem: problem.to_owned(),
        };
        let process: Self = serde_json::from_str(&value)
            .map_err(|_| refused("was not set by this program; it is not for people to set: remove it"))?;
        if process.parent != parent_id() {
            return Err(refused(
                "is meant for another process, or whoever started this one has gone; if an agent starts this program, let \
                 it remove the variable",
            ));
        }
        Ok(Some(process))
    }

    /// Aborts the runners when whoever started this process lets go of its standard input, which also happens when it is
    /// killed; and ends the process if that takes too long.
    ///
    /// The thread lives as long as the process.
    pub(crate) fn hold_on(&self, stop: StopSignal) -> io::Result<()> {
        let end_within = self.end_within;
        let watch = move || {
            let mut input = io::stdin().lock();
            let mut ignored = [0; 64];
            while matches!(input.read(&mut ignored), Ok(1..)) {}
            stop.abort();
            // Nobody will say anything, so this only takes its time.
            let (_silent, nobody) = std::sync::mpsc::channel::<()>();
            let _ = nobody.recv_timeout(end_within);
            std::process::exit(ORPHANED);
        };
        let thread = std::thread::Builder::new().name("lightning-lifeline".to_owned());
        thread.spawn(watch).map(drop)
    }
}

#[cfg(unix)]
fn parent_id() -> u32 {
    std::os::unix::process::parent_id()
}

/// Nobody can be started so here.
#[cfg(not(unix))]
fn parent_id() -> u32 {
    0
}
