//! Listening, accepting, and coming to an end.

use std::{io, net::SocketAddr, sync::Arc};

use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio_util::sync::CancellationToken;

use super::{ServerOptions, app::App, routes};
use crate::{
    listening::{self, Limits},
    store::Store,
};

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another port, or 0 for any that is free")]
    Bind {
        /// The address that was asked for.
        address: String,
        /// What the system says.
        source: io::Error,
    },

    /// Others could reach the store, and nothing would keep them out.
    #[error(
        "{address} can be reached from other machines: set a token (`lightning store --token-file FILE`), or listen on \
         127.0.0.1; `--insecure` serves everybody who can reach it"
    )]
    Open {
        /// The address that was asked for.
        address: SocketAddr,
    },

    /// An origin for CORS is no origin.
    #[error("`{origin}` is no origin; write `scheme://host`, `scheme://host:port`, or `*`")]
    Origin {
        /// What was given.
        origin: String,
    },
}

/// A server that listens, and serves once it is told to.
pub struct StoreServer {
    listener: TcpListener,
    address: SocketAddr,
    store: Arc<dyn Store>,
    options: ServerOptions,
}

impl std::fmt::Debug for StoreServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StoreServer")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl StoreServer {
    /// Listens on an address; port 0 is any that is free. Callers can connect from now on, and are answered by
    /// [`serve`](Self::serve).
    ///
    /// # Errors
    ///
    /// [`Bind`](ServerError::Bind); [`Open`](ServerError::Open) if the address is not a loopback one and the options
    /// neither hold a token nor are insecure; [`Origin`](ServerError::Origin).
    pub async fn bind(
        address: impl ToSocketAddrs + std::fmt::Display + Clone,
        store: Arc<dyn Store>,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        let refused = |source| ServerError::Bind {
            address: address.to_string(),
            source,
        };
        let listener = TcpListener::bind(address.clone()).await.map_err(refused)?;
        Self::over(listener, store, options)
    }

    /// Takes a listener that is bound already, such as one that was handed over by another process. Within a Tokio
    /// runtime only.
    ///
    /// # Errors
    ///
    /// Those of [`bind`](Self::bind).
    pub fn on(
        listener: std::net::TcpListener,
        store: Arc<dyn Store>,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        let listener = listener
            .set_nonblocking(true)
            .and_then(|()| TcpListener::from_std(listener));
        let listener = listener.map_err(|source| ServerError::Bind {
            address: "the listener that was handed over".to_owned(),
            source,
        })?;
        Self::over(listener, store, options)
    }

    fn over(
        listener: TcpListener,
        store: Arc<dyn Store>,
        options: ServerOptions,
    ) -> Result<Self, ServerError> {
        for origin in &options.cors_origins {
            check_origin(origin)?;
        }
        let address = listener.local_addr().map_err(|source| ServerError::Bind {
            address: "the listener".to_owned(),
            source,
        })?;
        if options.tokens.is_empty() && !address.ip().is_loopback() {
            if !options.insecure {
                return Err(ServerError::Open { address });
            }
            tracing::warn!(
                target: "lightning::server",
                %address,
                "whoever reaches this address may read and change everything: no token is asked for"
            );
        }
        Ok(Self {
            listener,
            address,
            store,
            options,
        })
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address for clients on this machine, such as `http://127.0.0.1:4747`.
    pub fn url(&self) -> String {
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address {
                SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("http://{address}")
    }

    /// Serves until `stop` is cancelled. Then nothing more is accepted, those who are parked are told that the
    /// server is shutting down, and requests under way are finished, for as long as the options allow.
    ///
    /// When the future is dropped, all connections are closed at once.
    pub async fn serve(self, stop: CancellationToken) {
        let app = App::new(self.store, &self.options, stop.child_token());
        let router = routes::router(app, &self.options);
        serve_router(self.listener, router, &self.options, stop).await;
    }
}

/// Serves a router until `stop` is cancelled, then finishes requests under way for as long as the options allow. When the
/// future is dropped, all connections are closed at once.
pub(crate) async fn serve_router(
    listener: TcpListener,
    router: axum::Router,
    options: &ServerOptions,
    stop: CancellationToken,
) {
    let limits = Limits {
        connections: options.max_connections,
        header_timeout: options.header_timeout,
    };
    let address = listener.local_addr().ok();
    tracing::info!(target: "lightning::server", ?address, "listening");
    let connections = listening::accept(listener, &limits, &stop, TowerToHyperService::new(router)).await;
    tracing::info!(target: "lightning::server", connections = connections.count(), "draining");
    let connections = connections.finish(options.drain_timeout).await;
    if connections > 0 {
        tracing::warn!(target: "lightning::server", connections, "gave up on requests that did not end");
    }
}

fn check_origin(origin: &str) -> Result<(), ServerError> {
    let host = origin
        .split_once("://")
        .map(|(scheme, host)| (!scheme.is_empty()).then_some(host));
    let is_host = |host: &str| !host.is_empty() && host.bytes().all(|b| b.is_ascii_graphic() && b != b'/');
    if origin == "*" || host.flatten().is_some_and(is_host) {
        return Ok(());
    }
    Err(ServerError::Origin {
        origin: origin.to_owned(),
    })
}
