//! Runs that are spread over several processes.

use std::{process, sync::Arc};

use super::{
    TrainerError,
    builder::{Parts, StoreChoice},
    runners,
};
use crate::{
    agent::Agent,
    client::{ClientError, StoreClient},
    execution::{ClientServer, Counted, DONE, Place, RunnerProcess, Strategy},
    runner::StopSignal,
    store::Store,
    terminal::Screen,
    types::Task,
};

/// What a process of runners exits with if it was asked to end.
const INTERRUPTED: i32 = 130;

/// A run whose runners are elsewhere.
pub(super) struct Spread {
    pub(super) strategy: ClientServer,
    pub(super) place: Place,
    pub(super) store: Arc<dyn Store>,
    pub(super) counted: Counted,
    /// Which `fit` of the program this is.
    pub(super) fit: String,
}

/// Where the algorithm of such a run stands.
pub(super) struct Entered {
    strategy: ClientServer,
    place: Place,
    fit: String,
}

/// Finds out where this process stands. In one that only has runners, they run, and the process ends with them.
///
/// `None` if everything is here.
pub(super) async fn enter<T: Task>(
    parts: &Parts,
    agent: &Arc<dyn Agent<T>>,
    fit: String,
) -> Result<Option<Entered>, TrainerError> {
    if let Some(started) = RunnerProcess::of_this()? {
        let Err(error) = be_runners(parts, agent, &started, &fit).await;
        let message = format!("a process of runners cannot go on: {error}");
        tracing::error!(target: "lightning::runner", error = %error, "a process of runners cannot go on");
        if parts.screen.is_some() {
            Screen::stderr().print(&message);
        }
        process::exit(1);
    }
    let strategy = match &parts.strategy {
        Some(Strategy::ClientServer(strategy)) => strategy.clone(),
        Some(Strategy::SharedMemory(_)) => return Ok(None),
        None => match ClientServer::by_environment()? {
            Some(strategy) => strategy,
            None => return Ok(None),
        },
    };
    let strategy = match &parts.store {
        StoreChoice::Url(url) if url.starts_with("http://") || url.starts_with("https://") => {
            strategy.store_url(url)
        }
        _ => strategy,
    };
    let place = strategy.place()?;
    if let Place::Runner { url } = &place {
        let stop = StopSignal::new();
        let work = runners::Work {
            url,
            token: None,
            run_id: None,
            runners: parts.n_runners,
            stop_grace: strategy.grace(),
            limits: parts.runner_limits,
            stop: &stop,
        };
        let (_, asked) = runners::work(parts, Arc::clone(agent), work).await?;
        process::exit(if asked { INTERRUPTED } else { 0 });
    }
    parts.runner_limits_beside(&place)?;
    Ok(Some(Entered { strategy, place, fit }))
}

impl Entered {
    /// Opens the store, once the run folder is this run's.
    pub(super) async fn open(self, parts: &Parts) -> Result<Spread, TrainerError> {
        let store = match &self.place {
            Place::Elsewhere { url, .. } | Place::Runner { url } => {
                let refused = |error: ClientError| TrainerError::OpenStore(error.to_string());
                let client = StoreClient::builder(url)
                    .token_from_env()
                    .build()
                    .map_err(refused)?;
                client.probe().await.map_err(|error| refused(error.into()))?;
                Arc::new(client)
            }
            Place::Served { .. } => parts.store.open(parts.run_dir.as_deref()).await?,
        };
        let (store, counted) = Counted::over(store);
        Ok(Spread {
            strategy: self.strategy,
            place: self.place,
            store,
            counted,
            fit: self.fit,
        })
    }
}

/// What a process does that was started for runners. It does not outlive this, unless something is wrong.
async fn be_runners<T: Task>(
    parts: &Parts,
    agent: &Arc<dyn Agent<T>>,
    started: &RunnerProcess,
    fit: &str,
) -> Result<std::convert::Infallible, TrainerError> {
    let stop = StopSignal::new();
    let held = started.hold_on(stop.clone());
    let told = held.map_err(|error| TrainerError::Runtime(format!("no thread can be started: {error}")))?;
    if started.fit != fit {
        return Err(TrainerError::OtherFit {
            expected: started.fit.clone(),
            found: fit.to_owned(),
        });
    }
    let access = told.await.map_err(|_| {
        let problem = "nothing on the standard input says where the store is; leave that alone before `fit`";
        TrainerError::Runtime(problem.to_owned())
    })?;
    let work = runners::Work {
        url: &access.url,
        token: access.token.as_deref(),
        run_id: Some(&started.run_id),
        runners: started.runners,
        stop_grace: started.stop_grace,
        limits: started.limits,
        stop: &stop,
    };
    let (_, asked) = runners::work(parts, Arc::clone(agent), work).await?;
    process::exit(if asked { INTERRUPTED } else { DONE });
}
