//! Setting a client up.

use std::{fmt, sync::Arc, time::Duration};

use reqwest::Url;

use super::features::KnownFeatures;
use crate::{
    clock::{Clock, SystemClock},
    ids::{IdSource, RandomIds},
    store::StoreError,
    transport::{self, SetUpError},
    types::Secret,
    wire,
};

/// Why a client could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The address is no URL of a store.
    #[error("`{address}` is no address of a store: {problem}; write something like http://127.0.0.1:4747")]
    Address {
        /// The address that was given, without its password.
        address: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The HTTP client could not be made.
    #[error("cannot set up HTTP: {0}")]
    Http(#[source] reqwest::Error),

    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] rustls::Error),

    /// The store does not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The variable that holds a token for a store.
pub(crate) const TOKEN_VARIABLE: &str = "LIGHTNING_STORE_TOKEN";

/// A [`Store`](crate::store::Store) over HTTP. A clone shares the connections.
#[derive(Clone)]
pub struct StoreClient {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) http: reqwest::Client,
    /// Up to and including the store's prefix, without a slash at the end.
    pub(super) base: Url,
    pub(super) token: Option<Secret>,
    pub(super) features: KnownFeatures,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
    pub(super) request_timeout: Duration,
    pub(super) retry_for: Duration,
    pub(super) poll_interval: Duration,
    pub(super) longest_wait: Duration,
}

impl fmt::Debug for StoreClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreClient")
            .field("url", &self.url())
            .finish_non_exhaustive()
    }
}

/// Builds a [`StoreClient`].
#[derive(Clone, Debug)]
pub struct StoreClientBuilder {
    url: Secret,
    token: Option<Secret>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    request_timeout: Duration,
    retry_for: Duration,
    poll_interval: Duration,
    longest_wait: Duration,
}

impl StoreClient {
    /// A client of the store at `url`, such as `http://127.0.0.1:4747`. A password in the URL is sent as the token.
    pub fn builder(url: impl AsRef<str>) -> StoreClientBuilder {
        StoreClientBuilder {
            url: url.as_ref().into(),
            token: None,
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(RandomIds),
            request_timeout: Duration::from_secs(30),
            retry_for: Duration::from_secs(30),
            poll_interval: Duration::from_secs(1),
            longest_wait: Duration::from_secs(30),
        }
    }

    /// A client of the store at `url` that has asked the server what it is able to do.
    ///
    /// # Errors
    ///
    /// Those of [`build`](StoreClientBuilder::build), and [`ClientError::Store`] if the store does not answer within the
    /// time for retries.
    pub async fn connect(url: impl AsRef<str>) -> Result<Self, ClientError> {
        let client = Self::builder(url).build()?;
        client.probe().await?;
        Ok(client)
    }

    /// Asks the server whether it is there, and what it is able to do.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if it does not answer within the time for retries.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.inner.probe().await.map(drop)
    }

    /// Sends an empty OTLP export, to see whether traces are taken.
    ///
    /// # Errors
    ///
    /// [`StoreError::Unavailable`] if the server does not answer, and others if it does not take traces.
    pub async fn probe_otlp(&self) -> Result<(), StoreError> {
        self.inner.probe_otlp().await
    }

    /// Where exporters of OpenTelemetry send traces: what `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` should be.
    pub fn otlp_endpoint(&self) -> String {
        without_password(self.inner.otlp_url())
    }

    /// The address of the server, without its password.
    pub fn url(&self) -> String {
        let mut url = self.inner.base.clone();
        let root = url.path().strip_suffix(wire::PREFIX).map(str::to_owned);
        url.set_path(&root.unwrap_or_default());
        without_password(url)
    }
}

fn without_password(mut url: Url) -> String {
    // Both fail only for URLs that cannot have a user, and so have none.
    let _ = url.set_password(None);
    let _ = url.set_username("");
    url.as_str().trim_end_matches('/').to_owned()
}

impl StoreClientBuilder {
    /// The token that the server wants.
    #[must_use]
    pub fn token(mut self, token: impl Into<Secret>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The token that the variable `LIGHTNING_STORE_TOKEN` holds, if it holds one. It is sent to whichever server the URL
    /// names.
    #[must_use]
    pub fn token_from_env(mut self) -> Self {
        if let Some(token) = token_from_env() {
            self.token = Some(token);
        }
        self
    }

    /// How long one request may take that does not wait for anything; 30 s if not set.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How long to go on trying while the server cannot be reached; 30 s if not set, zero for a single try.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.retry_for = time;
        self
    }

    /// How often to ask a server that parks nobody; every second if not set.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.poll_interval = interval.max(Duration::from_millis(10));
        self
    }

    /// How long one request may be parked before it is sent anew; 30 s if not set. Less than what proxies on the way
    /// take for a dead connection.
    #[must_use]
    pub fn longest_wait(mut self, wait: Duration) -> Self {
        self.longest_wait = wait.max(Duration::from_millis(10));
        self
    }

    /// Where time comes from; the machine's if not set. It measures waits, not retries.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Where request keys come from; random if not set.
    #[must_use]
    pub fn ids(mut self, ids: impl IdSource) -> Self {
        self.ids = Arc::new(ids);
        self
    }

    /// The client. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`ClientError::Address`] and [`ClientError::Http`].
    pub fn build(self) -> Result<StoreClient, ClientError> {
        let base = base_url(self.url.expose())?;
        let http = transport::client_for(&base, Duration::from_secs(5))?;
        Ok(StoreClient {
            inner: Arc::new(Inner {
                http,
                base,
                token: self.token,
                features: KnownFeatures::default(),
                clock: self.clock,
                ids: self.ids,
                request_timeout: self.request_timeout,
                retry_for: self.retry_for,
                poll_interval: self.poll_interval,
                longest_wait: self.longest_wait,
            }),
        })
    }
}

/// The token that the variable [`TOKEN_VARIABLE`] holds, if it holds one.
pub(crate) fn token_from_env() -> Option<Secret> {
    let token = std::env::var(TOKEN_VARIABLE).ok()?;
    let token = token.trim();
    (!token.is_empty()).then(|| token.into())
}

impl From<SetUpError> for ClientError {
    fn from(error: SetUpError) -> Self {
        match error {
            SetUpError::Http(error) => Self::Http(error),
            SetUpError::Tls(error) => Self::Tls(error),
        }
    }
}

fn base_url(address: &str) -> Result<Url, ClientError> {
    let refused = |shown: &str, problem: &str| ClientError::Address {
        address: shown.to_owned(),
        problem: problem.to_owned(),
    };
    // What cannot be parsed is not shown: nobody knows where its password is.
    let mut url = Url::parse(address).map_err(|error| refused("…", &error.to_string()))?;
    let shown = without_password(url.clone());
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused(
            &shown,
            "it begins neither with http:// nor with https://",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused(&shown, "it has a query or a fragment"));
    }
    let root = url.path().trim_end_matches('/');
    let root = root.strip_suffix(wire::PREFIX).unwrap_or(root);
    let path = format!("{root}{}", wire::PREFIX);
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        for address in [
            "http://h:1",
            "http://h:1/",
            "http://h:1/v1/agl",
            "http://h:1/v1/agl/",
            "http://x:secret@h:1",
        ] {
            let client = StoreClient::builder(address).build().unwrap();
            assert_eq!(client.inner.base.path(), "/v1/agl");
            assert_eq!(client.url(), "http://h:1");
        }
        let client = StoreClient::builder("https://h/behind/a/proxy").build().unwrap();
        assert_eq!(client.inner.base.as_str(), "https://h/behind/a/proxy/v1/agl");
        for wrong in [
            "h:1",
            "",
            "ftp://h",
            "http://h?x=1",
            "http://h#x",
            "127.0.0.1:4747",
        ] {
            let error = StoreClient::builder(wrong).build().unwrap_err();
            assert!(matches!(error, ClientError::Address { .. }), "{wrong}");
        }
    }

    #[test]
    fn passwords_are_not_shown() {
        let client = StoreClient::builder("http://x:secret@h:1")
            .token("hidden")
            .build()
            .unwrap();
        let error = StoreClient::builder("ftp://x:secret@h:1").build().unwrap_err();
        let shown = format!(
            "{client:?} {error} {:?}",
            StoreClient::builder("http://x:secret@h").token("hidden")
        );
        assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
    }
}
