//! Any [`Store`] over HTTP, in the wire format of `agentlightning==0.3.0`, with OTLP traces and metrics.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use lightning_core::{server::{ServerOptions, StoreServer}, store::MemoryStore};
//! use tokio_util::sync::CancellationToken;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let server = StoreServer::bind("127.0.0.1:4747", Arc::new(MemoryStore::new()), ServerOptions::default()).await?;
//! println!("listening on {}", server.url());
//! server.serve(CancellationToken::new()).await;
//! # Ok(())
//! # }
//! ```
//!
//! The handlers are thin: they read a request, hand a command or a query to the store, and write down its answer. What a
//! status becomes, who is woken and when, is the store's business. This module knows no runners and no algorithms.
//!
//! Who may call what is a table, [`access`]: the router is built from it, so there is no route that it does not name.

mod app;
mod auth;
mod extract;
mod metrics;
mod openapi;
mod options;
mod otlp;
mod refusal;
mod routes;
mod secrets;
mod serve;
mod table;
mod tokens;

#[cfg(feature = "lm")]
pub(crate) use auth::shown_role;
pub use options::ServerOptions;
#[cfg(feature = "cli")]
pub(crate) use secrets::without_secrets;
#[cfg(feature = "lm")]
pub(crate) use serve::serve_router;
pub use serve::{ServerError, StoreServer};
pub use table::Access;
pub use tokens::{Role, Tokens, TokensError, token_line};

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::store::Store;

/// The port that servers of stores listen on.
pub const DEFAULT_PORT: u16 = 4747;

/// The routes over a store, to be merged into a larger router or called in a test.
///
/// Those who wait are parked until the store wakes them; nothing ends that wait when the surrounding server shuts down.
/// [`StoreServer`] does that too.
pub fn router(store: Arc<dyn Store>, options: &ServerOptions) -> axum::Router {
    routes::router(app::App::new(store, options, CancellationToken::new()), options)
}

/// Every route and who may call it: the table that the router is built from.
pub fn access() -> Vec<Access> {
    routes::table().iter().map(table::Route::access).collect()
}
