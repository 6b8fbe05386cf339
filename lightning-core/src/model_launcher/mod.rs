//! Servers of big models as processes of ours: started, waited for, given the next checkpoint, stopped.
//!
//! vLLM is what this was made for; any program will do that serves a model over HTTP and says when it is ready.
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use lightning_core::{llm_proxy::LlmProxy, model_launcher::ModelLauncher};
//!
//! # async fn example(proxy: LlmProxy) -> Result<(), Box<dyn std::error::Error>> {
//! let command = ["vllm", "serve", "{checkpoint}", "--port", "{port}", "--served-model-name", "policy"];
//! let launcher = ModelLauncher::new(command)?.start_timeout(Duration::from_secs(900)).stop_grace(Duration::from_secs(30));
//! let model = launcher.start("Qwen/Qwen3-4B").await?;
//! proxy.set_models(vec![model.proxy_model("policy")]).await?;
//! model.follow(proxy).await?;
//! // … collect, train, and then:
//! model.swap("runs/7/checkpoint-1").await?;
//! model.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! **What becomes of the processes.** A server leads a process group; TERM and KILL go to all of it, and what a server leaves
//! behind when it ends is killed. On Unix a small shell in the same group holds a pipe of ours: when this process is gone,
//! however it went, SIGKILL included, the group gets TERM and, after the grace, KILL. Only what has left its group by `setsid`
//! is out of reach. On other systems the server is killed when its handle is dropped, and outlives a process that was itself
//! killed: there, have a service manager look after it.
//!
//! This module knows the proxy by its controls alone, and no model but by its address.

mod error;
mod process;
mod supervise;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::task::AbortOnDropHandle;

pub use self::error::LaunchError;
use self::supervise::{Order, Supervisor};
use crate::{
    llm_proxy::{LlmProxy, ProxyBackend, ProxyModel},
    types::Secret,
};

/// How servers of a model are started. `Debug` shows no value of the environment.
#[derive(Clone, Debug)]
pub struct ModelLauncher(Spec);

#[derive(Clone, Debug)]
struct Spec {
    command: Vec<String>,
    folder: Option<PathBuf>,
    environment: Vec<(String, Secret)>,
    port: Option<u16>,
    health_path: String,
    start_timeout: Duration,
    stop_grace: Duration,
    drain_timeout: Duration,
    restarts: u32,
    restart_pause: Duration,
}

impl ModelLauncher {
    /// Servers that this command starts: a program and its arguments, in which `{checkpoint}`, `{port}` and `{host}`
    /// (127.0.0.1) are replaced, wherever they stand. It must go on in the foreground.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Command`], if there is no program, or `{checkpoint}` does not occur.
    pub fn new<S: Into<String>>(command: impl IntoIterator<Item = S>) -> Result<Self, LaunchError> {
        let command: Vec<String> = command.into_iter().map(Into::into).collect();
        let wrong = |problem: &str| {
            Err(LaunchError::Command {
                problem: problem.to_owned(),
            })
        };
        if command.first().is_none_or(|program| program.trim().is_empty()) {
            return wrong("it names no program");
        }
        if command.iter().any(|part| part.contains('\0')) {
            return wrong("an argument has a zero byte in it");
        }
        if !command.iter().any(|part| part.contains("{checkpoint}")) {
            return wrong("`{checkpoint}` does not occur in it, so every checkpoint would be the same");
        }
        Ok(Self(Spec {
            command,
            folder: None,
            environment: Vec::new(),
            port: None,
            health_path: "/health".to_owned(),
            start_timeout: Duration::from_secs(600),
            stop_grace: Duration::from_secs(10),
            drain_timeout: Duration::from_secs(120),
            restarts: 3,
            restart_pause: Duration::from_secs(1),
        }))
    }

    /// The folder that the program is started in; that of this process if not set.
    #[must_use]
    pub fn folder(mut self, folder: impl Into<PathBuf>) -> Self {
        self.0.folder = Some(folder.into());
        self
    }

    /// A variable of the program's environment, beside those of this process. The placeholders are replaced here too.
    #[must_use]
    pub fn env(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.0.environment.push((name.into(), value.into()));
        self
    }

    /// The port, where it has to be a certain one; if not set, one that is free, and another one at each start.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.0.port = Some(port);
        self
    }

    /// What is asked for whether the server is ready: a path that answers with a status of 2xx once it is; `/health` if not
    /// set. It is asked again after 50 ms, then more and more seldom, at last once in a second.
    #[must_use]
    pub fn health_path(mut self, path: impl Into<String>) -> Self {
        self.0.health_path = path.into();
        self
    }

    /// How long a server may take until it is ready; 10 minutes if not set.
    #[must_use]
    pub fn start_timeout(mut self, timeout: Duration) -> Self {
        self.0.start_timeout = timeout;
        self
    }

    /// How long a server may take to end after TERM; 10 s if not set. Then it gets KILL.
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.0.stop_grace = grace;
        self
    }

    /// How long a swap waits for the calls that are under way at the proxies that follow; 2 minutes if not set. Then they are
    /// cut off with the server.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.0.drain_timeout = timeout;
        self
    }

    /// How often in succession a server is started again that has died; 3 times if not set. One that was ready for five
    /// minutes counts as a success.
    #[must_use]
    pub fn restarts(mut self, restarts: u32) -> Self {
        self.0.restarts = restarts;
        self
    }

    /// The pause before a server that died is started again; 1 s if not set. It is doubled each time.
    #[must_use]
    pub fn restart_pause(mut self, pause: Duration) -> Self {
        self.0.restart_pause = pause;
        self
    }

    /// Starts a server of this checkpoint and waits until it is ready. Has to be called within Tokio. Cancel safe: what was
    /// started is killed.
    ///
    /// # Errors
    ///
    /// [`LaunchError::Start`], [`LaunchError::ExitedEarly`], [`LaunchError::Unhealthy`]; nothing is left running.
    pub async fn start(&self, checkpoint: impl Into<String>) -> Result<LaunchedModel, LaunchError> {
        let (spec, checkpoint) = (Arc::new(self.0.clone()), checkpoint.into());
        let process = process::launch(&spec, &checkpoint).await?;
        let (state, seen) = watch::channel(process.ready(&checkpoint));
        let (orders, queue) = mpsc::channel(8);
        let task = Supervisor::new(spec, checkpoint, queue, state).run(process);
        Ok(LaunchedModel {
            orders,
            state: seen,
            _task: AbortOnDropHandle::new(tokio::spawn(task)),
        })
    }
}

/// How a server is doing.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum ModelState {
    /// It answers.
    Ready {
        /// Its address, such as `http://127.0.0.1:41234`.
        url: String,
        /// What it serves.
        checkpoint: String,
    },
    /// It is being started, because it died or because another checkpoint is to be served.
    Starting,
    /// It is down and nobody starts it again but [`LaunchedModel::swap`].
    Failed(LaunchError),
    /// It was stopped.
    Stopped,
}

/// A server that was started. Dropped, it is killed at once; see [`stop`](Self::stop).
pub struct LaunchedModel {
    orders: mpsc::Sender<Order>,
    state: watch::Receiver<ModelState>,
    _task: AbortOnDropHandle<()>,
}

impl LaunchedModel {
    /// How it is doing.
    pub fn state(&self) -> ModelState {
        self.state.borrow().clone()
    }

    /// How it is doing, to wait for changes.
    pub fn watch(&self) -> watch::Receiver<ModelState> {
        self.state.clone()
    }

    /// Its address, such as `http://127.0.0.1:41234`, if it is ready. It changes with each start unless there is a fixed port.
    pub fn url(&self) -> Option<String> {
        match &*self.state.borrow() {
            ModelState::Ready { url, .. } => Some(url.clone()),
            _ => None,
        }
    }

    /// The server as a model of the proxy, at the address that it has now; one that nobody listens at, if it is not ready.
    pub fn proxy_model(&self, name: impl Into<String>) -> ProxyModel {
        ProxyModel::new(name, self.backend().base_url)
    }

    /// The same as a backend, for models with settings of their own.
    pub fn backend(&self) -> ProxyBackend {
        let url = self.url().unwrap_or_else(|| "http://127.0.0.1:9".to_owned());
        ProxyBackend::new(base_url(&url))
    }

    /// Has a proxy follow: where it has a backend at the server's address, it gets the new one after each start, all other
    /// settings kept. While the server is down the proxy is paused, so that calls are refused with `429` and the advice to
    /// come again, whatever model they are for; when it is ready again, or has failed for good, the proxy is resumed.
    ///
    /// # Errors
    ///
    /// [`LaunchError::NotAtProxy`], if no backend has the address; [`LaunchError::Down`].
    pub async fn follow(&self, proxy: impl Into<LlmProxy>) -> Result<(), LaunchError> {
        let proxy = proxy.into();
        self.order(|reply| Order::Follow { proxy, reply }).await
    }

    /// Serves another checkpoint: pauses the proxies that follow and waits for the calls under way there, stops the server,
    /// starts one of the new checkpoint, waits until it is ready, tells the proxies its address and resumes them. So there is
    /// never memory for two wanted. Without a proxy, whoever calls the server directly is cut off.
    ///
    /// It goes on whether or not the future is awaited to the end.
    ///
    /// # Errors
    ///
    /// Those of [`ModelLauncher::start`]; then nothing is served, the proxies let calls through to fail, and the next swap may
    /// name the old checkpoint again. [`LaunchError::Interrupted`], if another order came meanwhile; [`LaunchError::Proxy`],
    /// if a proxy did not take the new address.
    pub async fn swap(&self, checkpoint: impl Into<String>) -> Result<(), LaunchError> {
        let checkpoint = checkpoint.into();
        self.order(|reply| Order::Swap { checkpoint, reply }).await
    }

    /// Stops the server: TERM to its process group, KILL after the grace. Returns when it has gone. Proxies that follow are
    /// resumed and still name it.
    pub async fn stop(self) {
        // If nobody takes the order, there is nothing to stop.
        let _ = self.order(|reply| Order::Stop { reply }).await;
    }

    async fn order(
        &self,
        order: impl FnOnce(oneshot::Sender<Result<(), LaunchError>>) -> Order,
    ) -> Result<(), LaunchError> {
        let (reply, answer) = oneshot::channel();
        if self.orders.send(order(reply)).await.is_err() {
            return Err(LaunchError::Down);
        }
        answer.await.unwrap_or(Err(LaunchError::Down))
    }
}

impl fmt::Debug for LaunchedModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LaunchedModel")
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}

/// The endpoint of OpenAI's interface at a server.
fn base_url(url: &str) -> String {
    format!("{url}/v1")
}
