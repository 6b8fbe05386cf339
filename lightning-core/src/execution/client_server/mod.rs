//! Algorithm and runners in processes of their own, on one machine or on many.

mod children;
mod counting;
mod place;

use std::{sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

pub use self::place::PlaceError;
pub(crate) use self::{children::DONE, counting::Counted, place::Place};
use self::{
    children::{Program, supervise},
    place::Plan,
};
use super::{
    ExecutionError, Interrupts, Role, RunnerLimits, RunnerProcess, SharedMemory, StoreAccess, Work,
    cancel_what_is_left,
    environment::{Environment, EnvironmentError},
};
use crate::{
    client::token_from_env,
    clock::{Clock as _, SystemClock},
    runner::RunnerReport,
    server::{ServerOptions, StoreServer},
    store::Store,
    types::{Secret, WorkerQuery},
};

/// Algorithm and runners in processes of their own, on one machine or on many; they meet at a store behind a URL.
///
/// In the role [`Both`](Role::Both), the process that calls `fit` runs the algorithm, serves its store, and starts this very
/// program again for each runner. There, `fit` executes the agent and never returns; see [`role`](super::role). In the roles
/// [`Algorithm`](Role::Algorithm) and [`Runner`](Role::Runner), a process does one of the two.
///
/// What is not set here is taken from the environment: `LIGHTNING_ROLE`, `LIGHTNING_STORE_URL`, `LIGHTNING_SERVER_HOST`,
/// `LIGHTNING_SERVER_PORT`, `LIGHTNING_MANAGED_STORE`, and where these are not set, 0.3.0's `AGL_CURRENT_ROLE`,
/// `AGL_SERVER_HOST`, `AGL_SERVER_PORT`, `AGL_MANAGED_STORE`.
///
/// How it stops: the store tells the runners to, on all machines, and they finish what they have; after
/// [`stop_grace`](Self::stop_grace), the runners that were started here drop it; after [`cancel_grace`](Self::cancel_grace)
/// they get SIGTERM, after [`kill_grace`](Self::kill_grace) SIGKILL. When the process that started them dies, whatever the
/// reason, they end within [`orphan_grace`](Self::orphan_grace).
#[derive(Clone, Debug)]
pub struct ClientServer {
    role: Option<Role>,
    /// It may hold a token.
    store_url: Option<Secret>,
    host: Option<String>,
    port: Option<u16>,
    managed_store: Option<bool>,
    runners_per_process: usize,
    restarts: u32,
    keep_runners: bool,
    options: ServerOptions,
    token: Option<Secret>,
    delays: Delays,
}

/// After which time without a heartbeat a worker is not waited for.
const SILENCE: Duration = Duration::from_secs(30);

/// How long a store may take to tell the runners to stop. Not a step of stopping: those that were started here are stopped all
/// the same meanwhile, and those elsewhere would wait on for ever.
const TELLING: Duration = Duration::from_secs(10);

/// How long each step of stopping may take.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Delays {
    stop: Duration,
    cancel: Duration,
    kill: Duration,
    orphan: Duration,
}

impl Default for ClientServer {
    fn default() -> Self {
        Self {
            role: None,
            store_url: None,
            host: None,
            port: None,
            managed_store: None,
            runners_per_process: 1,
            restarts: 5,
            keep_runners: false,
            options: ServerOptions::default(),
            token: None,
            delays: Delays {
                stop: Duration::from_secs(5),
                cancel: Duration::from_secs(2),
                kill: Duration::from_secs(1),
                orphan: Duration::from_secs(1),
            },
        }
    }
}

impl ClientServer {
    /// All by the environment; without any, the role `both` on this machine.
    pub fn new() -> Self {
        Self::default()
    }

    /// What this process does.
    #[must_use]
    pub fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
        self
    }

    /// Where the store is, such as `http://10.0.0.5:4747`; a password in it is the token. Whoever has such a URL serves no
    /// store himself.
    #[must_use]
    pub fn store_url(mut self, url: impl AsRef<str>) -> Self {
        self.store_url = Some(url.as_ref().into());
        self
    }

    /// On which address the store is served, or in the role `runner`, where it is; 127.0.0.1 if not set.
    #[must_use]
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// On which port; if not set, any that is free in the role `both`, and 4747 otherwise.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Whether the process with the algorithm serves the trainer's store; if not set, it does, unless there is a URL.
    #[must_use]
    pub fn managed_store(mut self, managed: bool) -> Self {
        self.managed_store = Some(managed);
        self
    }

    /// How many of the trainer's runners share a process in the role `both`; 1 if not set. They share one request to the
    /// store while they wait.
    #[must_use]
    pub fn runners_per_process(mut self, runners: usize) -> Self {
        self.runners_per_process = runners.max(1);
        self
    }

    /// How often in succession a process of runners is started again that has ended before its time; 5 times if not set.
    /// Then the run ends with an error. One that has lived for 30 s counts as a success.
    #[must_use]
    pub fn restarts(mut self, restarts: u32) -> Self {
        self.restarts = restarts;
        self
    }

    /// How the store is served: tokens, limits. Without any, only on this machine.
    #[must_use]
    pub fn server_options(mut self, options: ServerOptions) -> Self {
        self.options = options;
        self
    }

    /// The token that the runners which are started here show to a store that is served with tokens; one of the role
    /// `runner` is enough.
    #[must_use]
    pub fn runner_token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Leaves the runners on other machines alone when the algorithm has ended, so that the next one finds them; they are
    /// told to stop if not set. Runners that were started here always end.
    #[must_use]
    pub fn keep_runners(mut self, keep: bool) -> Self {
        self.keep_runners = keep;
        self
    }

    /// How long runners may take to finish what they have once the algorithm has returned; 5 s if not set.
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.delays.stop = grace;
        self
    }

    /// How long runners that were started here may take to drop what they have and to report it; 2 s if not set. Then they
    /// get SIGTERM.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> Self {
        self.delays.cancel = grace;
        self
    }

    /// How long they may take after SIGTERM; 1 s if not set. Then they get SIGKILL.
    #[must_use]
    pub fn kill_grace(mut self, grace: Duration) -> Self {
        self.delays.kill = grace;
        self
    }

    /// How long runners that were started here may live on once the process that started them has gone; 1 s if not set.
    #[must_use]
    pub fn orphan_grace(mut self, grace: Duration) -> Self {
        self.delays.orphan = grace;
        self
    }

    /// By the environment, if that names a role.
    pub(crate) fn by_environment() -> Result<Option<Self>, EnvironmentError> {
        Ok(Environment::of_process()?.role.map(|_| Self::new()))
    }

    pub(crate) fn grace(&self) -> Duration {
        self.delays.stop
    }

    /// Where this process stands.
    pub(crate) fn place(&self) -> Result<Place, PlaceError> {
        Ok(Plan::of(self, &Environment::of_process()?)?.place)
    }

    /// Runs the algorithm here and the runners elsewhere to their ends.
    pub(crate) async fn execute<O>(
        &self,
        mut work: Work<'_, impl Future<Output = anyhow::Result<O>>>,
        interrupts: Interrupts,
        site: Site<'_>,
    ) -> Result<O, ExecutionError> {
        let Site { place, store, .. } = &site;
        // Before anybody is started who would want to connect.
        let closing = CancellationToken::new();
        let (url, serving) = match place {
            Place::Served { address, both } => {
                let token = self.token.clone().or_else(token_from_env);
                if *both && !self.options.tokens.admit_runner(token.as_ref()) {
                    let problem = "the store asks for tokens, and the one that the runners show is none of them, or one of the \
                                   role `read`: give `runner_token` one of the role `runner`";
                    return Err(ExecutionError::Setup(problem.to_owned()));
                }
                let server = StoreServer::bind(address.clone(), Arc::clone(store), self.options.clone());
                let server = server
                    .await
                    .map_err(|error| ExecutionError::Setup(error.to_string()))?;
                let url = server.url();
                (url, Some(Serving(tokio::spawn(server.serve(closing.clone())))))
            }
            Place::Elsewhere { url, .. } | Place::Runner { url } => (url.clone(), None),
        };
        let both = match place {
            Place::Served { both, .. } | Place::Elsewhere { both, .. } => *both,
            Place::Runner { .. } => false,
        };
        if both {
            let program =
                Program::this(self.processes(&site), &self.access(&url)).map_err(ExecutionError::Setup)?;
            let program = Arc::new(program);
            for place in 0..program.count() {
                let child = supervise(
                    Arc::clone(&program),
                    place,
                    work.stop.clone(),
                    self.delays,
                    self.restarts,
                );
                work.runners.push(child.boxed());
            }
        } else {
            tracing::info!(target: "lightning::trainer", url = shown(&url), "runners can come to the store");
            let stop = work.stop.clone();
            // Somebody else's runners have no end that is known here.
            let others = async move {
                stop.stopping().await;
                Ok(RunnerReport::default())
            };
            work.runners.push(others.boxed());
        }
        let stop = work.stop.clone();
        let telling = async {
            stop.stopping().await;
            if !self.keep_runners {
                self.tell_runners(&**store).await;
            }
        };
        let strategy = SharedMemory::new().stop_grace(self.delays.stop);
        let counted = site.counted.follow(site.run, &**store);
        let executed = async {
            let outcome = tokio::join!(strategy.execute(work, interrupts), telling).0;
            if matches!(outcome, Err(ExecutionError::Interrupted)) {
                // Before the store is closed, for those elsewhere hear of it there.
                cancel_what_is_left(site.run).await;
            }
            if !both && !self.keep_runners && outcome.is_ok() && serving.is_some() {
                self.let_runners_finish(&**store, site.counted).await;
            }
            site.counted.close();
            outcome
        };
        let (outcome, ()) = tokio::join!(executed, counted);
        closing.cancel();
        if let Some(mut serving) = serving {
            // It does not panic; and if it did, it would have ended.
            let _ = (&mut serving.0).await;
        }
        outcome
    }

    fn access(&self, url: &str) -> StoreAccess {
        StoreAccess {
            url: url.to_owned(),
            token: self.token.as_ref().map(|token| token.expose().to_owned()),
        }
    }

    fn processes(&self, site: &Site<'_>) -> Vec<RunnerProcess> {
        let process = |place, runners| RunnerProcess {
            parent: std::process::id(),
            place,
            runners,
            fit: site.fit.to_owned(),
            run_id: site.run.id().to_owned(),
            end_within: self.delays.orphan,
            stop_grace: self.delays.stop,
            limits: site.limits,
        };
        let mut left = site.n_runners;
        let mut processes = Vec::new();
        while left > 0 {
            let runners = left.min(self.runners_per_process);
            processes.push(process(processes.len(), runners));
            left -= runners;
        }
        processes
    }

    async fn tell_runners(&self, store: &dyn Store) {
        match tokio::time::timeout(TELLING, store.drain_workers(None)).await {
            Ok(Ok(workers)) => {
                tracing::debug!(target: "lightning::trainer", workers, "the runners were told to stop");
            }
            Ok(Err(error)) => {
                tracing::warn!(
                    target: "lightning::trainer",
                    error = %error,
                    "the runners could not be told to stop; those on other machines wait for the next run"
                );
            }
            Err(_) => {
                tracing::warn!(
                    target: "lightning::trainer",
                    "the store did not answer, so the runners could not be told to stop"
                );
            }
        }
    }

    /// Keeps the store open for those on other machines, until they have finished what they have and know that they are to
    /// stop. Those of whom nothing was heard lately are not waited for.
    async fn let_runners_finish(&self, store: &dyn Store, counted: &Counted) {
        let Ok(workers) = store.query_workers(WorkerQuery::default()).await else {
            return;
        };
        let lately = SystemClock::new().now() + -SILENCE.as_secs_f64();
        let workers = workers.items.into_iter();
        let alive = workers.filter(|worker| worker.last_heartbeat_time.is_some_and(|last| last > lately));
        let alive: Vec<_> = alive.map(|worker| worker.worker_id).collect();
        let told = counted.all_told(&alive);
        if tokio::time::timeout(self.delays.stop, told).await.is_err() {
            tracing::warn!(
                target: "lightning::trainer",
                "some runners on other machines have not asked for work since the run ended, so they do not know that it has"
            );
        }
    }
}

/// What is known only where a run is set up.
pub(crate) struct Site<'a> {
    pub(crate) place: Place,
    /// The algorithm's store as it is to be served.
    pub(crate) store: Arc<dyn Store>,
    pub(crate) counted: &'a Counted,
    pub(crate) run: &'a crate::run::RunContext,
    pub(crate) n_runners: usize,
    pub(crate) limits: RunnerLimits,
    /// Which `fit` of the program this is.
    pub(crate) fit: &'a str,
}

/// Serves until it is dropped.
struct Serving(tokio::task::JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The URL without its password.
fn shown(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
        _ => url.to_owned(),
    }
}
