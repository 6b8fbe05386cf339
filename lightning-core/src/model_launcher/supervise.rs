//! The task that owns a server: carries out orders, and starts the server again when it dies.

use std::{pin::pin, sync::Arc, time::Duration};

use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, sleep_until, timeout},
};

use super::{
    LaunchError, ModelState, Spec, base_url,
    process::{Process, launch},
};
use crate::llm_proxy::{LlmProxy, LlmProxyError};

/// From which age on the end of a server counts as the first one.
const LONG_LIFE: Duration = Duration::from_secs(300);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

type Reply = oneshot::Sender<Result<(), LaunchError>>;

/// What users ask for. That they may have gone is no reason not to do it.
pub(super) enum Order {
    Follow { proxy: LlmProxy, reply: Reply },
    Swap { checkpoint: String, reply: Reply },
    Stop { reply: Reply },
}

/// Where the server stands.
#[expect(clippy::large_enum_variant, reason = "there is one of it for a server")]
enum Phase {
    Ready(Process, Instant),
    /// It died and is started again then.
    Dead(Instant),
    Down,
}

pub(super) struct Supervisor {
    spec: Arc<Spec>,
    checkpoint: String,
    orders: mpsc::Receiver<Order>,
    state: watch::Sender<ModelState>,
    proxies: Vec<LlmProxy>,
    /// Where the proxies believe the server to be.
    known: String,
    deaths: u32,
    pause: Duration,
}

impl Supervisor {
    pub(super) fn new(
        spec: Arc<Spec>,
        checkpoint: String,
        orders: mpsc::Receiver<Order>,
        state: watch::Sender<ModelState>,
    ) -> Self {
        Self {
            pause: spec.restart_pause,
            spec,
            checkpoint,
            orders,
            state,
            proxies: Vec::new(),
            known: String::new(),
            deaths: 0,
        }
    }

    pub(super) async fn run(mut self, first: Process) {
        self.known = base_url(first.url());
        let mut phase = Phase::Ready(first, Instant::now());
        let mut waiting = None;
        loop {
            let order = match waiting.take() {
                Some(order) => Some(order),
                None => match &mut phase {
                    Phase::Ready(process, since) => tokio::select! {
                        biased;
                        order = self.orders.recv() => order,
                        how = process.ended() => {
                            let (output, lived) = (process.said(), since.elapsed());
                            phase = self.died(how, output, lived).await;
                            continue;
                        }
                    },
                    Phase::Dead(until) => tokio::select! {
                        biased;
                        order = self.orders.recv() => order,
                        () = sleep_until(*until) => {
                            (phase, waiting) = self.start_again().await;
                            continue;
                        }
                    },
                    Phase::Down => self.orders.recv().await,
                },
            };
            match order {
                // Nobody can ask for anything any more.
                None => return,
                Some(Order::Follow { proxy, reply }) => {
                    let _ = reply.send(self.follow(proxy));
                }
                Some(Order::Swap { checkpoint, reply }) => {
                    (phase, waiting) = self.swap(phase, checkpoint, reply).await;
                }
                Some(Order::Stop { reply }) => {
                    if let Phase::Ready(process, _) = phase {
                        process.end(self.spec.stop_grace).await;
                    }
                    self.resume().await;
                    self.state.send_replace(ModelState::Stopped);
                    let _ = reply.send(Ok(()));
                    return;
                }
            }
        }
    }

    fn follow(&mut self, proxy: LlmProxy) -> Result<(), LaunchError> {
        let is_there = proxy.models().iter().any(|model| {
            model
                .backends
                .iter()
                .any(|backend| backend.base_url == self.known)
        });
        if !is_there {
            let base_url = self.known.clone();
            return Err(LaunchError::NotAtProxy { base_url });
        }
        self.proxies.push(proxy);
        Ok(())
    }

    /// The server has died, for the first time or once more.
    async fn died(&mut self, how: String, output: String, lived: Duration) -> Phase {
        if lived >= LONG_LIFE {
            (self.deaths, self.pause) = (0, self.spec.restart_pause);
        }
        self.deaths += 1;
        let (program, times) = (self.spec.program().to_owned(), self.deaths);
        if times > self.spec.restarts {
            let error = LaunchError::GaveUp {
                program,
                times,
                how,
                output,
            };
            return self.down(error).await;
        }
        tracing::warn!(target: "lightning::model", program, how, times, "a server died; it is started again");
        self.state.send_replace(ModelState::Starting);
        for proxy in &self.proxies {
            say_failure(proxy.pause().await);
        }
        let until = Instant::now() + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Phase::Dead(until)
    }

    /// Nothing is served until somebody asks for it.
    async fn down(&self, error: LaunchError) -> Phase {
        tracing::error!(target: "lightning::model", error = %error, "a server of a model is down");
        self.state.send_replace(ModelState::Failed(error));
        self.resume().await;
        Phase::Down
    }

    async fn start_again(&mut self) -> (Phase, Option<Order>) {
        match self.launch().await {
            Err(order) => (Phase::Down, order),
            Ok(Ok(process)) => {
                let since = Instant::now();
                say_launch_failure(self.serve(&process).await);
                (Phase::Ready(process, since), None)
            }
            Ok(Err(LaunchError::ExitedEarly { how, output, .. })) => {
                (self.died(how, output, Duration::ZERO).await, None)
            }
            Ok(Err(error)) => (
                self.died(error.to_string(), String::new(), Duration::ZERO).await,
                None,
            ),
        }
    }

    async fn swap(&mut self, phase: Phase, checkpoint: String, reply: Reply) -> (Phase, Option<Order>) {
        self.state.send_replace(ModelState::Starting);
        for proxy in &self.proxies {
            match timeout(self.spec.drain_timeout, proxy.drain()).await {
                Ok(drained) => say_failure(drained),
                Err(_) => tracing::warn!(
                    target: "lightning::model",
                    "calls are under way still; they are cut off with the server"
                ),
            }
        }
        if let Phase::Ready(process, _) = phase {
            process.end(self.spec.stop_grace).await;
        }
        self.checkpoint = checkpoint;
        (self.deaths, self.pause) = (0, self.spec.restart_pause);
        match self.launch().await {
            Err(order) => {
                let _ = reply.send(Err(LaunchError::Interrupted));
                (Phase::Down, order)
            }
            Ok(Ok(process)) => {
                let since = Instant::now();
                let _ = reply.send(self.serve(&process).await);
                (Phase::Ready(process, since), None)
            }
            Ok(Err(error)) => {
                let phase = self.down(error.clone()).await;
                let _ = reply.send(Err(error));
                (phase, None)
            }
        }
    }

    /// Starts the server, unless an order comes before it is ready.
    async fn launch(&mut self) -> Result<Result<Process, LaunchError>, Option<Order>> {
        let (spec, checkpoint) = (Arc::clone(&self.spec), self.checkpoint.clone());
        // What was started is killed with the future.
        let mut launching = pin!(launch(&spec, &checkpoint));
        loop {
            tokio::select! {
                biased;
                order = self.orders.recv() => match order {
                    Some(Order::Follow { proxy, reply }) => {
                        let _ = reply.send(self.follow(proxy));
                    }
                    order => return Err(order),
                },
                launched = &mut launching => return Ok(launched),
            }
        }
    }

    /// Tells everybody that the server is ready, and where.
    async fn serve(&mut self, process: &Process) -> Result<(), LaunchError> {
        let now = base_url(process.url());
        let mut told = Ok(());
        for proxy in &self.proxies {
            let mut models = proxy.models();
            let backends = models.iter_mut().flat_map(|model| &mut model.backends);
            let ours = backends.filter(|backend| backend.base_url == self.known);
            ours.for_each(|backend| backend.base_url.clone_from(&now));
            if let Err(error) = proxy.set_models(models).await {
                told = Err(LaunchError::Proxy(error));
            }
        }
        self.known = now;
        self.resume().await;
        self.state.send_replace(process.ready(&self.checkpoint));
        told
    }

    async fn resume(&self) {
        for proxy in &self.proxies {
            say_failure(proxy.resume().await);
        }
    }
}

fn say_failure(done: Result<(), LlmProxyError>) {
    if let Err(error) = done {
        tracing::warn!(target: "lightning::model", %error, "a proxy did not do what it was told");
    }
}

fn say_launch_failure(done: Result<(), LaunchError>) {
    if let Err(error) = done {
        tracing::warn!(target: "lightning::model", %error, "a server is ready, but not all know where");
    }
}
