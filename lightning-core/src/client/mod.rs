//! A store behind a URL: our server, or one of Python's `agl store`.
//!
//! ```no_run
//! use lightning_core::{client::StoreClient, store::Store, types::NewRollout};
//! use serde_json::json;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let store = StoreClient::connect("http://127.0.0.1:4747").await?;
//! let rollout = store.enqueue_rollout(NewRollout::new(json!({"question": "2 + 2?"}))).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every mutation carries a request key, so it is repeated after a broken connection without taking effect twice. Those
//! who wait are parked at the server where it announces that it can do so; elsewhere the client sleeps and asks again,
//! and repeats only what does no harm when it is done twice. This module knows no runners and no algorithms.
//!
//! TLS is rustls on ring. With the feature `client` every other reqwest client of the program uses the process's rustls
//! provider as well; building a store's client installs ring as that provider unless there is one.

mod build;
mod call;
mod commands;
mod features;
mod store;
mod waits;

#[cfg(feature = "cli")]
pub(crate) use build::TOKEN_VARIABLE;
#[cfg(feature = "server")]
pub(crate) use build::token_from_env;
pub use build::{ClientError, StoreClient, StoreClientBuilder};
