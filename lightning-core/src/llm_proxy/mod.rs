//! The LLM proxy as an algorithm sees it: something whose models can be changed while agents talk to it.
//!
//! Knows no HTTP.

#[cfg(feature = "llm-proxy")]
#[allow(dead_code, unused_imports, reason = "some of it only the test kit looks at")]
pub(crate) mod capture;
mod model;
#[cfg(feature = "llm-proxy")]
mod reverse;

use std::{
    fmt,
    future::{Future, ready},
    ops::Deref,
    pin::Pin,
    sync::Arc,
};

pub use self::model::{
    ApiFamily, BreakerLimits, CallLimits, ParametersByMode, ProxyBackend, ProxyModel, Retries, SecretSource,
    TimeLimits,
};
#[cfg(feature = "llm-proxy")]
pub use self::reverse::{DEFAULT_PORT, ProxyConfig, ReverseProxy, ReverseProxyBuilder};
use crate::{
    store::{SharedError, Store},
    types::{AttemptId, Resource, RolloutId},
};

/// What a control of the proxy returns.
pub type ProxyFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LlmProxyError>> + Send + 'a>>;

/// Controls a proxy that stands between agents and models.
///
/// What concerns the running of the proxy defaults to nothing: that suits one that somebody else runs.
pub trait ControlProxy: Send + Sync + 'static {
    /// Gives the store that calls are recorded in from the next start on. One that was built with a store keeps that.
    fn use_store(&self, store: Arc<dyn Store>) {
        drop(store);
    }

    /// Whether it accepts calls.
    fn is_running(&self) -> bool {
        true
    }

    /// Begins to accept calls. Does nothing when it does already. After a stop it listens where it did before.
    ///
    /// Errors with [`LlmProxyError::Bind`] if the address cannot be listened on, [`LlmProxyError::Open`] if others could
    /// reach it and nothing would keep them out, and [`LlmProxyError::Invalid`] if a key is not where it should be.
    fn start(&self) -> ProxyFuture<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    /// Accepts nothing more, gives the calls under way some time to end, and records what is to be recorded. Does nothing
    /// when it does not run. Once begun, it ends whether or not the future is awaited to the end.
    fn stop(&self) -> ProxyFuture<'_, ()> {
        Box::pin(ready(Ok(())))
    }

    /// Stops and starts, at the same address. Errors as [`start`](Self::start) does.
    fn restart(&self) -> ProxyFuture<'_, ()> {
        Box::pin(async move {
            self.stop().await?;
            self.start().await
        })
    }

    /// Replaces the list of models. New calls see it at once; calls under way end with the model they began with.
    ///
    /// Errors with [`LlmProxyError::Invalid`] if the list is empty or one of them cannot be, and leaves all as it was.
    fn set_models(&self, models: Vec<ProxyModel>) -> ProxyFuture<'_, ()>;

    /// The models as they are now.
    fn models(&self) -> Vec<ProxyModel>;

    /// Refuses new calls, with `429` and the advice to come again, until [`resume`](Self::resume). Calls under way go on.
    /// Does nothing when already paused.
    fn pause(&self) -> ProxyFuture<'_, ()>;

    /// Pauses and waits until no call is under way. Cancel safe: the proxy stays paused.
    fn drain(&self) -> ProxyFuture<'_, ()>;

    /// Lets calls through again. Does nothing when not paused.
    fn resume(&self) -> ProxyFuture<'_, ()>;

    /// The resource that sends an agent's calls through this proxy: to `model`, or to the first one.
    ///
    /// Errors with [`LlmProxyError::UnknownModel`] if the proxy has no such model, and with
    /// [`LlmProxyError::Unavailable`] if it has never been started, so that it has no address.
    fn as_resource(&self, model: Option<&str>) -> Result<Resource, LlmProxyError>;

    /// Resolves when every call that this attempt has made so far is recorded, or given up. The trainer's runners wait for
    /// it before they report an attempt, so that nobody reads half a trace. Cancel safe.
    ///
    /// Errors with [`LlmProxyError::Unavailable`] if the store has not taken them for as long as the proxy is patient. What is
    /// not recorded by then still will be.
    fn recorded<'a>(&'a self, rollout_id: &'a RolloutId, attempt_id: &'a AttemptId) -> ProxyFuture<'a, ()> {
        let _ = (rollout_id, attempt_id);
        Box::pin(ready(Ok(())))
    }
}

/// Why the proxy did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LlmProxyError {
    /// There is no such model: name one of those it has.
    #[error("the proxy has no model `{model}`; it has: {}", known.join(", "))]
    UnknownModel {
        /// The model that was asked for.
        model: String,
        /// The models that there are.
        known: Vec<String>,
    },

    /// The address cannot be listened on.
    #[error(
        "the LLM proxy cannot listen on {address}: {source}; choose another port, or 0 for any that is free"
    )]
    Bind {
        /// The address that was asked for.
        address: String,
        /// What the system says.
        source: SharedError,
    },

    /// Others could use the models, and nothing would keep them out.
    #[error(
        "{address} can be reached from other machines, and the proxy holds keys: set a token, listen on 127.0.0.1, or say \
         that it is to be insecure"
    )]
    Open {
        /// The address that was asked for.
        address: String,
    },

    /// The request cannot be carried out as it stands.
    #[error("invalid `{field}`: {problem}")]
    Invalid {
        /// The offending field, such as `models[1].backends[0].api_key`.
        field: String,
        /// What is wrong with it, and what would be right.
        problem: String,
    },

    /// The proxy cannot be reached, or is shutting down: try again later.
    #[error("the LLM proxy is unavailable: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
        /// The cause, where there is one.
        source: Option<SharedError>,
    },
}

/// A handle on a proxy. A clone is another handle on the same one.
#[derive(Clone)]
pub struct LlmProxy(Arc<dyn ControlProxy>);

impl LlmProxy {
    /// A handle on `proxy`.
    pub fn new(proxy: impl ControlProxy) -> Self {
        Self(Arc::new(proxy))
    }
}

impl From<Arc<dyn ControlProxy>> for LlmProxy {
    fn from(proxy: Arc<dyn ControlProxy>) -> Self {
        Self(proxy)
    }
}

impl Deref for LlmProxy {
    type Target = dyn ControlProxy;

    fn deref(&self) -> &Self::Target {
        &*self.0
    }
}

impl fmt::Debug for LlmProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmProxy").finish_non_exhaustive()
    }
}
