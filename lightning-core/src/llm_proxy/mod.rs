//! The LLM proxy as an algorithm sees it: something whose models can be changed while agents talk to it.
//!
//! Knows no HTTP.

#[cfg(feature = "llm-proxy")]
#[allow(dead_code, unused_imports, reason = "the forwarding plane calls it")]
pub(crate) mod capture;

use std::{fmt, future::Future, ops::Deref, pin::Pin, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    store::SharedError,
    types::{JsonObject, Resource},
};

/// What a control of the proxy returns.
pub type ProxyFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, LlmProxyError>> + Send + 'a>>;

/// Controls a proxy that stands between agents and models.
pub trait ControlProxy: Send + Sync + 'static {
    /// Replaces the list of models. Calls under way end with the model they began with.
    ///
    /// Errors with [`LlmProxyError::Invalid`] if the list is empty.
    fn set_models(&self, models: Vec<ProxyModel>) -> ProxyFuture<'_, ()>;

    /// The models as they are now.
    fn models(&self) -> Vec<ProxyModel>;

    /// Holds new calls back until [`resume`](Self::resume). Calls under way go on. Does nothing when already paused.
    fn pause(&self) -> ProxyFuture<'_, ()>;

    /// Pauses and waits until no call is under way. Cancel safe: the proxy stays paused.
    fn drain(&self) -> ProxyFuture<'_, ()>;

    /// Lets calls through again. Does nothing when not paused.
    fn resume(&self) -> ProxyFuture<'_, ()>;

    /// The resource that sends an agent's calls through this proxy: to `model`, or to the first one.
    ///
    /// Errors with [`LlmProxyError::UnknownModel`] if the proxy has no such model.
    fn as_resource(&self, model: Option<&str>) -> Result<Resource, LlmProxyError>;
}

/// A model behind the proxy. The key never shows in `Debug`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct ProxyModel {
    /// The name that agents use. Several entries of one name share the calls.
    pub name: String,
    /// The base URL of the model's server, such as `http://127.0.0.1:8000/v1`.
    pub endpoint: String,
    /// The model's name at that server; `name`, if this is `None`.
    #[serde(default)]
    pub upstream_model: Option<String>,
    /// The key, where the server wants one.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Parameters that are added to each request that does not set them.
    #[serde(default)]
    pub parameters: JsonObject,
}

impl ProxyModel {
    /// A model that has the same name on both sides, without a key.
    pub fn new(name: impl Into<String>, endpoint: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            endpoint: endpoint.into(),
            upstream_model: None,
            api_key: None,
            parameters: JsonObject::new(),
        }
    }
}

impl fmt::Debug for ProxyModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyModel")
            .field("name", &self.name)
            .field("endpoint", &self.endpoint)
            .field("upstream_model", &self.upstream_model)
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("parameters", &self.parameters)
            .finish()
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

    /// The request cannot be carried out as it stands.
    #[error("invalid `{field}`: {problem}")]
    Invalid {
        /// The offending field.
        field: &'static str,
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
