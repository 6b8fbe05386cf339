//! The store: where algorithms and runners meet.
//!
//! [`Store`] is the contract. Every mutation is a [`Command`]; a backend carries commands out one at a time, asks
//! [`lifecycle`] what they mean, and persists the outcome. The verbs that users call are provided by the trait.
//!
//! This module knows nothing of HTTP, runners or algorithms.

mod claim;
mod command;
mod contract;
mod error;
mod layer;
pub mod lifecycle;
mod line;
pub mod memory;
mod paging;
mod record;
#[cfg(feature = "sqlite")]
pub mod sqlite;
pub mod transfer;
mod url;
mod watch;

pub use command::{Answer, AttemptRef, Command, Request, RequestKey, SpanOutcome};
#[cfg(feature = "client")]
pub(crate) use contract::claim_one_by_one;
pub use contract::{Capabilities, EndOfAttempt, RolloutCount, Statistics, Store, StoreFuture};
pub use error::{NotFound, SharedError, StoreError};
pub use layer::{LayeredStore, StoreLayer};
pub use memory::MemoryStore;
pub use record::{ImportOutcome, PurgeTarget, Purged, Record, RolloutRecord};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use url::open_url;
