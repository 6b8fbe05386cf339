//! A process that another one has started as a runner.

use std::{
    env,
    io::{self, BufRead as _, Read as _},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::{EnvironmentError, RunnerLimits};
use crate::runner::StopSignal;

/// What such a process exits with if whoever started it has gone, and it could not end in order.
const ORPHANED: i32 = 70;

/// What a process that was started as a runner has to know. No secret is among it: what a process has in its environment,
/// those have as well that an agent starts, and `ps e` shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RunnerProcess {
    /// Who started it.
    pub(crate) parent: u32,
    /// Which of the processes it is, from 0.
    pub(crate) place: usize,
    /// How many runners it is to have.
    pub(crate) runners: usize,
    /// For which `fit` of the program it was started.
    pub(crate) fit: String,
    /// For which run.
    pub(crate) run_id: String,
    /// How long it may take to end when whoever started it has gone, or wants it to end at once.
    pub(crate) end_within: Duration,
    pub(crate) stop_grace: Duration,
    pub(crate) limits: RunnerLimits,
}

/// The first line on the standard input of such a process: where the store is, and what it wants to be shown.
#[derive(Serialize, Deserialize)]
pub(crate) struct StoreAccess {
    /// With its token if there is one.
    pub(crate) url: String,
    /// The token, if that is not within the URL.
    pub(crate) token: Option<String>,
}

impl StoreAccess {
    pub(super) fn line(&self) -> serde_json::Result<Vec<u8>> {
        let mut line = serde_json::to_vec(self)?;
        line.push(b'\n');
        Ok(line)
    }
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

    /// Hears on the standard input where the store is; nothing comes if whoever started this process has gone.
    ///
    /// From then on, aborts the runners when whoever started this process lets go of its standard input, which also happens when it is
    /// killed; and ends the process if that takes too long.
    ///
    /// The thread lives as long as the process.
    pub(crate) fn hold_on(&self, stop: StopSignal) -> io::Result<oneshot::Receiver<StoreAccess>> {
        let end_within = self.end_within;
        let (tell, told) = oneshot::channel();
        let watch = move || {
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            let read = input.read_until(b'\n', &mut line);
            match serde_json::from_slice(&line) {
                // Nobody listens if this process ends already.
                Ok(access) if read.is_ok() => drop(tell.send(access)),
                _ => drop(tell),
            }
            let mut ignored = [0; 64];
            while matches!(input.read(&mut ignored), Ok(1..)) {}
            stop.abort();
            // Nobody will say anything, so this only takes its time.
            let (_silent, nobody) = std::sync::mpsc::channel::<()>();
            let _ = nobody.recv_timeout(end_within);
            std::process::exit(ORPHANED);
        };
        let thread = std::thread::Builder::new().name("lightning-lifeline".to_owned());
        thread.spawn(watch).map(|_| told)
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
