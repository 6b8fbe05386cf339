//! The small language model behind an OpenAI-style endpoint.
//!
//! `/v1/chat/completions` and `/v1/completions`, streamed or whole, `/v1/models` and `/health`. Beyond OpenAI's fields
//! there are those of vLLM that training needs: `return_token_ids` in a request brings `prompt_token_ids` and `token_ids`.
//! Every answer names the version of the weights that wrote it, in `model_version` and in the header
//! `Lightning-Model-Version`.
//!
//! The weights are changed by [`Engine::swap`] while the server runs, or over HTTP by `POST /admin/model` with
//! `{"folder": "runs/7/checkpoint-3", "model_version": "3"}`. That route exists only for who shows an admin's token (see
//! [`ModelServer::admin`]), since it reads any folder of this machine. Answers under way, and those that wait for their turn,
//! are written by the weights that were there when their request came, and say so; nothing is cut off.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use lightning_core::{
//!     lm::{Checkpoint, Engine, EngineOptions, Served},
//!     model_server::ModelServer,
//! };
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let served = Served::new(Checkpoint::load("model")?, "1");
//! let engine = Arc::new(Engine::start(served, EngineOptions::default())?);
//! let server = ModelServer::bind("127.0.0.1:0", Arc::clone(&engine), "small").await?;
//! println!("listening on {}/v1", server.url());
//! server.serve(CancellationToken::new()).await;
//! # Ok(())
//! # }
//! ```

mod admin;
mod answer;
mod request;
mod routes;

use std::{io, net::SocketAddr, sync::Arc};

use tokio::{
    net::{TcpListener, ToSocketAddrs},
    sync::Semaphore,
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, SystemClock},
    ids::{IdSource, RandomIds},
    lm::Engine,
    server::{ServerOptions, Tokens, serve_router},
};

/// The header that names the version of the weights.
pub const VERSION_HEADER: &str = "lightning-model-version";

/// Why a server could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ModelServerError {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another port, or 0 for any that is free")]
    Bind {
        /// The address that was asked for.
        address: String,
        /// What the system says.
        source: io::Error,
    },

    /// Others could reach the model, and nothing would keep them out.
    #[error(
        "{address} can be reached from other machines: listen on 127.0.0.1, and put a proxy with a token before it"
    )]
    Open {
        /// The address that was asked for.
        address: SocketAddr,
    },
}

/// A server that listens, and serves once it is told to.
pub struct ModelServer {
    listener: TcpListener,
    address: SocketAddr,
    engine: Arc<Engine>,
    name: String,
    options: ServerOptions,
    admins: Tokens,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl std::fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelServer")
            .field("address", &self.address)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl ModelServer {
    /// Listens on a loopback address; port 0 is any that is free. `name` is what requests call the model. Web pages are kept
    /// out: requests that come from one, or call the server by a name other than `localhost`.
    ///
    /// # Errors
    ///
    /// [`Bind`](ModelServerError::Bind), [`Open`](ModelServerError::Open).
    pub async fn bind(
        address: impl ToSocketAddrs + std::fmt::Display + Clone,
        engine: Arc<Engine>,
        name: impl Into<String>,
    ) -> Result<Self, ModelServerError> {
        let refused = |source| ModelServerError::Bind {
            address: address.to_string(),
            source,
        };
        let listener = TcpListener::bind(address.clone()).await.map_err(refused)?;
        let bound = listener.local_addr().map_err(refused)?;
        if !bound.ip().is_loopback() {
            return Err(ModelServerError::Open { address: bound });
        }
        Ok(Self {
            listener,
            address: bound,
            engine,
            name: name.into(),
            options: ServerOptions::default(),
            admins: Tokens::new(),
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(RandomIds),
        })
    }

    /// Lets those change the model over HTTP who show one of these tokens with the role `admin`. Without any, nobody can.
    #[must_use]
    pub fn admin(mut self, tokens: Tokens) -> Self {
        self.admins = tokens;
        self
    }

    /// Takes ids, and the seeds of requests that name none, from elsewhere.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// Takes the time from elsewhere.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The address, such as `http://127.0.0.1:8000`. The endpoint of OpenAI's clients is `/v1` below it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Serves until `stop` is cancelled, then finishes what is under way for ten seconds. When the future is dropped, all
    /// connections are closed at once, and the model stops writing their answers.
    pub async fn serve(self, stop: CancellationToken) {
        let shared = Arc::new(routes::Shared {
            engine: self.engine,
            name: self.name,
            admins: self.admins,
            loading: Semaphore::new(1),
            max_body: self.options.max_body_bytes,
            body_timeout: self.options.body_timeout,
            clock: self.clock,
            ids: self.ids,
        });
        serve_router(self.listener, routes::router(shared), &self.options, stop).await;
    }
}
