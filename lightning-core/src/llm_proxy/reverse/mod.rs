//! The reverse proxy: it passes calls on byte by byte, and a copy of what went by to those who record it.

mod access;
mod balance;
mod breaker;
mod call;
mod config;
mod flow;
mod gate;
mod headers;
mod modes;
mod outline;
mod pages;
mod record;
mod refusal;
mod retry;
mod route;
mod serve;
mod table;
mod tee;
mod upstream;

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

pub use self::config::ProxyConfig;
use self::{access::Access, flow::Flow, modes::Modes, table::Table};
use super::{
    ApiFamily, ControlProxy, LlmProxy, LlmProxyError, ProxyFuture, ProxyModel,
    capture::{Recorder, RecorderOptions},
};
use crate::{
    clock::{Clock, SystemClock},
    ids::{IdSource, RandomIds},
    store::Store,
    types::{AttemptId, ProxyLlm, Resource, RolloutId, Secret},
};

/// The port that `lightning proxy` listens on.
pub const DEFAULT_PORT: u16 = 4748;

/// A reverse proxy between agents and models.
///
/// It speaks OpenAI's and Anthropic's interfaces on both sides, changes no more of a request than the name of the model and
/// the parameters that the request leaves open, and nothing of an answer. Calls under
/// `/rollout/{rollout_id}/attempt/{attempt_id}` are recorded in the store as spans of that attempt.
///
/// A clone is another handle on the same proxy. It ends when it is stopped, or when the last handle is dropped: then calls
/// under way are cut off.
///
/// ```no_run
/// use lightning_core::{llm_proxy::{ControlProxy as _, ProxyModel, ReverseProxy}, store::MemoryStore};
/// use std::sync::Arc;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let proxy = ReverseProxy::builder()
///     .model(ProxyModel::new("small", "http://127.0.0.1:8000/v1"))
///     .store(Arc::new(MemoryStore::new()))
///     .build()?;
/// proxy.start().await?;
/// println!("listening on {}", proxy.url().unwrap_or_default());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ReverseProxy(Arc<Inner>);

struct Inner {
    shared: Arc<Shared>,
    settings: Settings,
    store: Mutex<Option<Arc<dyn Store>>>,
    /// Where it listens, or did last.
    bound: Mutex<Option<SocketAddr>>,
    running: tokio::sync::Mutex<Option<Running>>,
    /// What of `running` can be asked without waiting.
    serving: Mutex<Option<Arc<Serving>>>,
    /// One change of the models at a time.
    changing: Mutex<()>,
}

struct Running {
    serving: Arc<Serving>,
    stop: CancellationToken,
    accepting: AbortOnDropHandle<()>,
}

/// What all calls share, from one start to the next.
struct Shared {
    table: RwLock<Arc<Table>>,
    flow: Arc<Flow>,
    access: Access,
    options: Options,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

/// What calls share between a start and a stop.
struct Serving {
    shared: Arc<Shared>,
    store: Option<Arc<dyn Store>>,
    recorder: Option<Recorder>,
    modes: Modes,
}

impl Shared {
    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }
}

#[derive(Clone, Debug)]
struct Settings {
    address: String,
    public_url: Option<String>,
    token: Option<Secret>,
    keeps_store: bool,
}

/// What the proxy allows, and how long it is patient.
#[derive(Clone, Debug)]
struct Options {
    max_body_bytes: usize,
    capture_bytes: usize,
    max_connections: usize,
    header_timeout: Duration,
    body_timeout: Duration,
    stop_grace: Duration,
    record_patience: Duration,
    recording: RecorderOptions,
    pause_retry_after: Duration,
}

/// Builds a [`ReverseProxy`].
#[derive(Clone)]
pub struct ReverseProxyBuilder {
    models: Vec<ProxyModel>,
    store: Option<Arc<dyn Store>>,
    settings: Settings,
    is_open: bool,
    options: Options,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl ReverseProxy {
    /// Builds a proxy; only models have to be given.
    pub fn builder() -> ReverseProxyBuilder {
        ReverseProxyBuilder {
            models: Vec::new(),
            store: None,
            settings: Settings {
                address: "127.0.0.1:0".to_owned(),
                public_url: None,
                token: None,
                keeps_store: false,
            },
            is_open: false,
            options: Options {
                max_body_bytes: 64 << 20,
                capture_bytes: 32 << 20,
                max_connections: 16_384,
                header_timeout: Duration::from_secs(30),
                body_timeout: Duration::from_secs(60),
                stop_grace: Duration::from_secs(10),
                record_patience: Duration::from_secs(300),
                recording: RecorderOptions::default(),
                pause_retry_after: Duration::from_secs(1),
            },
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(RandomIds),
        }
    }

    /// Where it listens, or did last; `None` before the first start.
    pub fn address(&self) -> Option<SocketAddr> {
        *lock(&self.0.bound)
    }

    /// The address for clients, without `/v1`: the public one if that was given, else one for clients on this machine.
    /// `None` before the first start.
    pub fn url(&self) -> Option<String> {
        if let Some(url) = &self.0.settings.public_url {
            return Some(url.clone());
        }
        let mut address = self.address()?;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Some(format!("http://{address}"))
    }

    /// How many calls are under way.
    pub fn calls_under_way(&self) -> usize {
        self.0.shared.flow.under_way()
    }

    /// Waits for the recordings of an attempt as long as it may take.
    async fn wait_for_records(&self, rollout: &RolloutId, attempt: &AttemptId) -> Result<(), LlmProxyError> {
        let serving = lock(&self.0.serving).clone();
        let Some(recorder) = serving.as_ref().and_then(|serving| serving.recorder.as_ref()) else {
            return Ok(());
        };
        let shared = &self.0.shared;
        let patience = shared.options.record_patience;
        let deadline = shared.clock.now() + patience;
        tokio::select! {
            biased;
            () = recorder.recorded(rollout, attempt) => Ok(()),
            () = shared.clock.sleep_past(deadline) => {
                let calls = recorder.unsettled(rollout, attempt);
                Err(LlmProxyError::Unavailable {
                    reason: format!(
                        "{calls} calls of the attempt {attempt} are not recorded after {patience:?}; is the store there? They \
                         are recorded when it is"
                    ),
                    source: None,
                })
            }
        }
    }

    async fn start_now(&self) -> Result<(), LlmProxyError> {
        let inner = &*self.0;
        let mut running = inner.running.lock().await;
        if running.is_some() {
            return Ok(());
        }
        let listener = self.listen().await?;
        let shared = Arc::clone(&inner.shared);
        let store = lock(&inner.store).clone();
        let recorder = store.as_ref().map(|store| {
            let (clock, ids) = (Arc::clone(&shared.clock), Arc::clone(&shared.ids));
            Recorder::start(Arc::clone(store), clock, ids, &shared.options.recording)
        });
        let serving = Arc::new(Serving {
            shared,
            store,
            recorder,
            modes: Modes::default(),
        });
        let stop = CancellationToken::new();
        let accepting = tokio::spawn(serve::serve(Arc::clone(&serving), listener, stop.clone()));
        *lock(&inner.serving) = Some(Arc::clone(&serving));
        *running = Some(Running {
            serving,
            stop,
            accepting: AbortOnDropHandle::new(accepting),
        });
        Ok(())
    }

    /// Listens, at the address of the last start if there was one.
    async fn listen(&self) -> Result<TcpListener, LlmProxyError> {
        let inner = &*self.0;
        let before = self.address();
        let named = before.map_or_else(|| inner.settings.address.clone(), |address| address.to_string());
        let refused = |source: std::io::Error| LlmProxyError::Bind {
            address: named.clone(),
            source: Arc::new(source),
        };
        let listener = match before {
            Some(address) => TcpListener::bind(address).await,
            None => TcpListener::bind(&inner.settings.address).await,
        };
        let listener = listener.map_err(refused)?;
        let address = listener.local_addr().map_err(refused)?;
        if !address.ip().is_loopback() && !inner.shared.access.suits_other_machines() {
            return Err(LlmProxyError::Open {
                address: address.to_string(),
            });
        }
        *lock(&inner.bound) = Some(address);
        tracing::info!(target: "lightning::llm_proxy", %address, "listening");
        Ok(listener)
    }

    async fn stop_now(&self) {
        let mut running = self.0.running.lock().await;
        let Some(ended) = running.take() else { return };
        // From now on it does not run: who starts it waits for the end of this.
        *lock(&self.0.serving) = None;
        ended.stop.cancel();
        // It ends by itself, within its grace.
        let _ = ended.accepting.await;
        if let Some(recorder) = &ended.serving.recorder {
            recorder.shutdown(self.0.shared.options.stop_grace).await;
        }
    }

    fn change(&self, models: Vec<ProxyModel>) -> Result<(), LlmProxyError> {
        let _one_at_a_time = lock(&self.0.changing);
        let before = self.0.shared.table();
        let after = Arc::new(Table::new(models, Some(&before))?);
        let count = after.models().len();
        *self
            .0
            .shared
            .table
            .write()
            .unwrap_or_else(PoisonError::into_inner) = after;
        tracing::info!(target: "lightning::llm_proxy", models = count, "the models were changed");
        Ok(())
    }
}

impl ControlProxy for ReverseProxy {
    fn use_store(&self, store: Arc<dyn Store>) {
        if !self.0.settings.keeps_store {
            *lock(&self.0.store) = Some(store);
        }
    }

    fn is_running(&self) -> bool {
        lock(&self.0.serving).is_some()
    }

    fn start(&self) -> ProxyFuture<'_, ()> {
        Box::pin(self.start_now())
    }

    fn stop(&self) -> ProxyFuture<'_, ()> {
        let proxy = self.clone();
        // A task, so that a stop that was begun comes to its end.
        let stopping = async move { proxy.stop_now().await };
        Box::pin(async move {
            tokio::spawn(stopping)
                .await
                .map_err(|error| LlmProxyError::Unavailable {
                    reason: "it could not be stopped in order".to_owned(),
                    source: Some(Arc::new(error)),
                })
        })
    }

    fn set_models(&self, models: Vec<ProxyModel>) -> ProxyFuture<'_, ()> {
        let proxy = self.clone();
        Box::pin(async move {
            // Keys are read from files, and certificates from the system.
            let changed = tokio::task::spawn_blocking(move || proxy.change(models)).await;
            changed.map_err(|error| LlmProxyError::Unavailable {
                reason: "the models could not be changed".to_owned(),
                source: Some(Arc::new(error)),
            })?
        })
    }

    fn models(&self) -> Vec<ProxyModel> {
        let table = self.0.shared.table();
        table.models().iter().map(|model| model.spec.clone()).collect()
    }

    fn pause(&self) -> ProxyFuture<'_, ()> {
        Box::pin(async {
            self.0.shared.flow.pause();
            Ok(())
        })
    }

    fn drain(&self) -> ProxyFuture<'_, ()> {
        Box::pin(async {
            self.0.shared.flow.pause();
            self.0.shared.flow.drained().await;
            Ok(())
        })
    }

    fn resume(&self) -> ProxyFuture<'_, ()> {
        Box::pin(async {
            self.0.shared.flow.resume();
            Ok(())
        })
    }

    fn as_resource(&self, model: Option<&str>) -> Result<Resource, LlmProxyError> {
        let table = self.0.shared.table();
        let found = match model {
            Some(name) => table.get(name),
            None => table.models().first(),
        };
        let found = found.ok_or_else(|| LlmProxyError::UnknownModel {
            model: model.unwrap_or_default().to_owned(),
            known: table.names(),
        })?;
        let url = self.url().ok_or_else(|| LlmProxyError::Unavailable {
            reason: "it has no address yet; start it first".to_owned(),
            source: None,
        })?;
        // Anthropic's clients put the version into the path themselves.
        let version = match found.spec.family {
            ApiFamily::OpenAi => "/v1",
            ApiFamily::Anthropic => "",
        };
        let mut resource = ProxyLlm::new(format!("{url}{version}"), &found.spec.name);
        resource.api_key.clone_from(&self.0.settings.token);
        Ok(resource.into())
    }

    fn recorded<'a>(&'a self, rollout_id: &'a RolloutId, attempt_id: &'a AttemptId) -> ProxyFuture<'a, ()> {
        Box::pin(self.wait_for_records(rollout_id, attempt_id))
    }
}

impl From<ReverseProxy> for LlmProxy {
    fn from(proxy: ReverseProxy) -> Self {
        Self::new(proxy)
    }
}

impl fmt::Debug for ReverseProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseProxy")
            .field("address", &self.address())
            .field("models", &self.0.shared.table().names())
            .finish_non_exhaustive()
    }
}

impl ReverseProxyBuilder {
    /// Adds a model.
    #[must_use]
    pub fn model(mut self, model: ProxyModel) -> Self {
        self.models.push(model);
        self
    }

    /// Adds models.
    #[must_use]
    pub fn models(mut self, models: impl IntoIterator<Item = ProxyModel>) -> Self {
        self.models.extend(models);
        self
    }

    /// Where calls are recorded. Without one, a trainer gives its own; otherwise nothing is recorded.
    #[must_use]
    pub fn store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// The address to listen on; a free port of 127.0.0.1 if not set. One that can be reached from other machines needs a
    /// token, or [`insecure`](Self::insecure).
    #[must_use]
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.settings.address = address.into();
        self
    }

    /// The address that agents use, without `/v1`, where it is not the one listened on: `http://gpu-box:4748`.
    #[must_use]
    pub fn public_url(mut self, url: impl Into<String>) -> Self {
        self.settings.public_url = Some(url.into().trim_end_matches('/').to_owned());
        self
    }

    /// What clients must show as their API key. Agents get it with the resource.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.settings.token = Some(token.into());
        self
    }

    /// Lets everybody use the models who can reach the address.
    #[must_use]
    pub fn insecure(mut self) -> Self {
        self.is_open = true;
        self
    }

    /// The largest request that is accepted, in bytes; 64 MiB if not set.
    #[must_use]
    pub fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.options.max_body_bytes = bytes;
        self
    }

    /// How much of an answer is kept for its record, in bytes; 32 MiB if not set. The client gets all of it.
    #[must_use]
    pub fn capture_bytes(mut self, bytes: usize) -> Self {
        self.options.capture_bytes = bytes;
        self
    }

    /// How long calls under way may take to end when the proxy is stopped, and recordings after them; 10 s if not set.
    #[must_use]
    pub fn stop_grace(mut self, grace: Duration) -> Self {
        self.options.stop_grace = grace;
        self
    }

    /// How many calls wait at most to be recorded, and how many bytes their requests and answers have together; 10 000 and
    /// 256 MiB if not set. What finds no room while the store is away is counted, and told of when it is back.
    #[must_use]
    pub fn max_waiting_records(mut self, calls: usize, bytes: usize) -> Self {
        (self.options.recording.max_calls, self.options.recording.max_bytes) = (calls, bytes);
        self
    }

    /// How long [`recorded`](ControlProxy::recorded) waits for the calls of an attempt while the store does not take them; 5
    /// minutes if not set. A request of `…/recorded` waits for no longer either.
    #[must_use]
    pub fn record_patience(mut self, patience: Duration) -> Self {
        self.options.record_patience = patience;
        self
    }

    /// When callers are asked to come again while the proxy is paused; after 1 s if not set.
    #[must_use]
    pub fn pause_retry_after(mut self, after: Duration) -> Self {
        self.options.pause_retry_after = after;
        self
    }

    /// Where time comes from; the machine's if not set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where ids come from; random if not set.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Checks everything, and reads the keys from where they are. Listens to nobody yet.
    ///
    /// # Errors
    ///
    /// [`LlmProxyError::Invalid`] if there are no models, or one of them cannot be.
    pub fn build(self) -> Result<ReverseProxy, LlmProxyError> {
        let table = Table::new(self.models, None)?;
        let mut settings = self.settings;
        settings.keeps_store = self.store.is_some();
        let shared = Arc::new(Shared {
            table: RwLock::new(Arc::new(table)),
            flow: Arc::default(),
            access: Access::new(settings.token.as_ref(), self.is_open),
            options: self.options,
            clock: self.clock,
            ids: self.ids,
        });
        Ok(ReverseProxy(Arc::new(Inner {
            shared,
            settings,
            store: Mutex::new(self.store),
            bound: Mutex::default(),
            running: tokio::sync::Mutex::default(),
            serving: Mutex::default(),
            changing: Mutex::default(),
        })))
    }
}

impl fmt::Debug for ReverseProxyBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReverseProxyBuilder")
            .field("models", &self.models)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
