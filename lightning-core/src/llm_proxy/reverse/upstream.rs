//! One try at a backend.

use std::{
    error::Error,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode, Uri, Version,
    body::{Frame, Incoming},
    header::{HeaderName, HeaderValue},
    http::uri::{PathAndQuery, Scheme},
};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout, timeout_at};
use tower_service::Service;

use super::{route::Target, tee::causes};
use crate::llm_proxy::ApiFamily;

/// The address of a backend, and the connections to it.
///
/// This is hyper's own client and not reqwest, on which our other clients stand: it hands out the frames of a body as they
/// were read, and adds no header. Both have the same TLS below them.
pub(super) struct Upstream {
    client: Client<Connector, Full<Bytes>>,
    /// Where each target is, in the order of [`Target::ALL`].
    uris: Vec<Uri>,
    /// What every request says: the key, and the backend's own headers.
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// What came of a try: the head of the answer, and the first piece of its body.
pub(super) struct Reply {
    pub(super) head: Response<Incoming>,
    pub(super) first: Option<Frame<Bytes>>,
}

/// Why nothing came of a try.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReply {
    #[error("no connection, or it was lost before the answer began: {0}")]
    Lost(String),
    #[error("the answer did not begin within {0:?}")]
    TimedOut(Duration),
}

impl Upstream {
    /// Prepares to call the server of a base URL. Connects to nobody yet.
    pub(super) fn new(
        base_url: &str,
        family: ApiFamily,
        headers: Vec<(HeaderName, HeaderValue)>,
        connect: Duration,
    ) -> Result<Self, String> {
        let base: Uri = base_url
            .parse()
            .map_err(|error| format!("it is no URL: {error}"))?;
        let mut path = base.path().trim_end_matches('/').to_owned();
        // A bare host means the API's usual place; and Anthropic's clients leave the version out of the base URL.
        let lacks_version = match family {
            ApiFamily::OpenAi => path.is_empty(),
            ApiFamily::Anthropic => !path.ends_with("/v1"),
        };
        if lacks_version {
            path.push_str("/v1");
        }
        let uris = Target::ALL
            .into_iter()
            .map(|target| {
                let mut parts = base.clone().into_parts();
                let whole: PathAndQuery = format!("{path}{}", target.path())
                    .parse()
                    .map_err(|error| format!("its path is none: {error}"))?;
                parts.path_and_query = Some(whole);
                Uri::from_parts(parts).map_err(|error| format!("it is no URL: {error}"))
            })
            .collect::<Result<_, String>>()?;
        let is_tls = base.scheme() == Some(&Scheme::HTTPS);
        Ok(Self {
            client: client(is_tls, connect)?,
            uris,
            headers,
        })
    }

    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// Sends a request and waits for the first byte of the answer's body. Dropping the future cancels the request.
    pub(super) async fn send(
        &self,
        target: Target,
        query: Option<&str>,
        mut headers: HeaderMap,
        body: Bytes,
        first_byte: Duration,
        until: Instant,
    ) -> Result<Reply, NoReply> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_11;
        *request.uri_mut() = self.uri(target, query)?;
        for (name, value) in &self.headers {
            headers.insert(name.clone(), value.clone());
        }
        *request.headers_mut() = headers;
        let began = Instant::now();
        let until = until.min(began + first_byte);
        let answered = async {
            let answer = self.client.request(request).await;
            let mut head = answer.map_err(|error| NoReply::Lost(causes(&error)))?;
            // Whatever went wrong is told in the body's first piece or not at all, so it need not be waited for.
            let first = if head.status() == StatusCode::OK {
                let frame = head.body_mut().frame().await;
                frame.transpose().map_err(|error| NoReply::Lost(causes(&error)))?
            } else {
                None
            };
            Ok(Reply { head, first })
        };
        let late = |_| Err(NoReply::TimedOut(until - began));
        timeout_at(until, answered).await.unwrap_or_else(late)
    }

    fn uri(&self, target: Target, query: Option<&str>) -> Result<Uri, NoReply> {
        let uri = self.uris[target.index()].clone();
        let Some(query) = query else { return Ok(uri) };
        let wrong = |error: hyper::http::Error| NoReply::Lost(error.to_string());
        let whole = format!("{}?{query}", uri.path());
        let mut parts = uri.into_parts();
        parts.path_and_query = Some(
            whole
                .parse()
                .map_err(|error: hyper::http::uri::InvalidUri| wrong(error.into()))?,
        );
        Uri::from_parts(parts).map_err(|error| wrong(error.into()))
    }
}

type Tls = HttpsConnector<HttpConnector>;

/// Connects within a time limit, TLS included.
#[derive(Clone)]
struct Connector {
    inner: Tls,
    limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = <Tls as Service<Uri>>::Response;
    type Error = Box<dyn Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, limit) = (self.inner.call(uri), self.limit);
        Box::pin(async move {
            let connected = timeout(limit, connecting).await;
            connected.unwrap_or_else(|_| Err(format!("no connection within {limit:?}").into()))
        })
    }
}

fn client(is_tls: bool, connect: Duration) -> Result<Client<Connector, Full<Bytes>>, String> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let provider = rustls::crypto::ring::default_provider();
    let tls = HttpsConnectorBuilder::new();
    // Reading the certificates of the system takes its time, so it is done only where they are needed.
    let tls = if is_tls {
        tls.with_provider_and_platform_verifier(provider)
            .map_err(|error| format!("TLS cannot be set up: {error}"))?
    } else {
        let config = rustls::ClientConfig::builder_with_provider(provider.into())
            .with_safe_default_protocol_versions()
            .map_err(|error| format!("TLS cannot be set up: {error}"))?;
        let config = config
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth();
        tls.with_tls_config(config)
    };
    let connector = Connector {
        inner: tls.https_or_http().enable_http1().wrap_connector(http),
        limit: connect,
    };
    Ok(Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        // Shorter than servers keep idle connections, so that none is used as it is being closed.
        .pool_idle_timeout(Duration::from_secs(4))
        .build(connector))
}
