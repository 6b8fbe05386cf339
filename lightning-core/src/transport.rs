//! How our clients reach a server over HTTP. Knows nothing of what is said there.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Url;

use crate::types::Secret;

/// Why no client can be made.
pub(crate) enum SetUpError {
    Http(reqwest::Error),
    Tls(rustls::Error),
}

impl SetUpError {
    fn in_words(self) -> String {
        match self {
            Self::Http(error) => error.without_url().to_string(),
            Self::Tls(error) => error.to_string(),
        }
    }
}

/// A client for the server of this URL, which follows no redirects: they would take the key elsewhere.
pub(crate) fn client_for(url: &Url, connect_timeout: Duration) -> Result<reqwest::Client, SetUpError> {
    let mut http = reqwest::Client::builder()
        .user_agent(concat!("lightning/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(connect_timeout)
        // Shorter than servers keep idle connections, so that none is used as it is being closed.
        .pool_idle_timeout(Duration::from_secs(15))
        .redirect(reqwest::redirect::Policy::none());
    if is_loopback(url) {
        http = http.no_proxy();
    }
    // Fails if one is installed already, which is then used. It is done for plain HTTP too: other clients in the program
    // share this build of reqwest, and would panic without a provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    if url.scheme() == "http" {
        // Reading the certificates of the system takes its time, so it is done only where they are needed.
        http = http.tls_backend_preconfigured(without_certificates().map_err(SetUpError::Tls)?);
    }
    http.build().map_err(SetUpError::Http)
}

/// What trusts nobody.
fn without_certificates() -> Result<rustls::ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config =
        rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(config
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth())
}

/// Whether the server runs on this machine, where no proxy is asked.
pub(crate) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Asks servers for small answers. One connection to a server serves many questions.
#[derive(Default)]
pub(crate) struct Asking {
    clients: Mutex<HashMap<String, reqwest::Client>>,
}

/// How much of an answer is read.
const LONGEST_ANSWER: usize = 64 << 10;

impl Asking {
    /// What is at an address, and with which status it came. Errors in words, without the address. Cancel safe.
    pub(crate) async fn get(
        &self,
        url: &str,
        key: Option<&Secret>,
        timeout: Duration,
    ) -> Result<(u16, Vec<u8>), String> {
        let url = Url::parse(url).map_err(|error| format!("the address is no URL: {error}"))?;
        let mut request = self.client_for(&url)?.get(url).timeout(timeout);
        if let Some(key) = key {
            request = request.bearer_auth(key.expose());
        }
        let in_words = |error: reqwest::Error| error.without_url().to_string();
        let mut response = request.send().await.map_err(in_words)?;
        let mut body = Vec::new();
        while let Some(part) = response.chunk().await.map_err(in_words)? {
            if body.len() + part.len() > LONGEST_ANSWER {
                return Err(format!("the answer is longer than {LONGEST_ANSWER} bytes"));
            }
            body.extend_from_slice(&part);
        }
        Ok((response.status().as_u16(), body))
    }

    fn client_for(&self, url: &Url) -> Result<reqwest::Client, String> {
        let origin = url.origin().ascii_serialization();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&origin) {
            return Ok(client.clone());
        }
        let client = client_for(url, CONNECT_TIMEOUT).map_err(SetUpError::in_words)?;
        clients.insert(origin, client.clone());
        Ok(client)
    }
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Sends JSON to an address, and wants to hear that it was taken. Errors in words, without the address, which may hold a
/// password.
pub(crate) async fn post_json(url: &str, body: Vec<u8>, timeout: Duration) -> Result<(), String> {
    let url = Url::parse(url).map_err(|error| format!("the address is no URL: {error}"))?;
    let client = client_for(&url, timeout).map_err(SetUpError::in_words)?;
    let sent = client
        .post(url)
        .timeout(timeout)
        .header(reqwest::header::CONTENT_TYPE, "application/json")
        .body(body)
        .send()
        .await;
    match sent {
        Ok(response) if response.status().is_success() => Ok(()),
        Ok(response) => Err(format!("the answer was {}", response.status())),
        Err(error) => Err(error.without_url().to_string()),
    }
}

/// Asks a server whether it is there.
pub(crate) struct Probe {
    http: reqwest::Client,
    url: Url,
    timeout: Duration,
}

impl Probe {
    /// Asks this address, and waits so long for an answer. Errors in words.
    pub(crate) fn new(url: &str, timeout: Duration) -> Result<Self, String> {
        let url = Url::parse(url).map_err(|error| format!("{url} is no URL: {error}"))?;
        let http = client_for(&url, timeout).map_err(|error| match error {
            SetUpError::Http(error) => error.without_url().to_string(),
            SetUpError::Tls(error) => error.to_string(),
        })?;
        Ok(Self { http, url, timeout })
    }

    /// Whether the answer has a status of 2xx; what there was instead, as `answered 503`.
    pub(crate) async fn ask(&self) -> Result<(), String> {
        match self.http.get(self.url.clone()).timeout(self.timeout).send().await {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(format!("answered {}", response.status())),
            Err(error) if error.is_timeout() => Err("gave no answer in time".to_owned()),
            Err(error) if error.is_connect() => Err("refused the connection".to_owned()),
            Err(error) => Err(format!("gave no answer: {}", error.without_url())),
        }
    }
}
