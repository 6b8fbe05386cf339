//! What travels between a store's server and its clients: paths, headers, bodies, errors; and OTLP.
//!
//! The format is that of `agentlightning==0.3.0`. What is ours besides is announced in the header
//! [`FEATURES_HEADER`], so that a client finds out what it may ask for, and a server of Python's is used as it is.
//!
//! This module knows neither sockets nor routers; the records themselves are those of [`types`](crate::types), whose JSON
//! form is the wire format's.

mod body;
mod error;
mod key;
mod object;
#[cfg(feature = "server")]
pub(crate) mod otlp;
mod search;

#[cfg(feature = "client")]
pub(crate) use body::RolloutBody;
pub(crate) use body::{
    AttemptUpdateBody, AttemptWaitBody, DequeueBody, DrainAnswer, DrainBody, EndBody, EnqueueBody,
    IdTargetsBody, LeaveBody, NextIdAnswer, NextIdBody, NextIdsAnswer, OutcomesAnswer, PurgeBody,
    RecordsBody, StartAttemptBody, StartBody, VersionQuery, WaitBody, WorkerUpdateBody,
};
#[cfg(feature = "server")]
pub(crate) use body::{OutcomeBody, RolloutUpdateBody, SpansBody};
#[cfg(feature = "server")]
pub(crate) use error::status_of;
pub(crate) use error::{ErrorBody, WireError};
#[cfg(feature = "server")]
pub(crate) use key::decode_key;
#[cfg(feature = "client")]
pub(crate) use key::encode_key;
pub(crate) use object::Object;
pub(crate) use search::{AttemptSearch, ResourcesSearch, RolloutSearch, SpanSearch, WorkerSearch};

/// What every path of the store's own interface begins with.
pub(crate) const PREFIX: &str = "/v1/agl";

/// Where OTLP traces are taken.
pub(crate) const OTLP_TRACES: &str = "/v1/traces";

/// The header that carries a request key.
pub(crate) const KEY_HEADER: &str = "idempotency-key";
/// The header in which a server, and a client, say what they are able to do: names from below, with commas between.
pub(crate) const FEATURES_HEADER: &str = "lightning-features";
/// The header that names a request in logs.
#[cfg(feature = "server")]
pub(crate) const REQUEST_ID_HEADER: &str = "x-request-id";

/// The server parks who waits: `wait` in a dequeue, long time limits in waits, and the wait for the end of an attempt.
pub(crate) const WAIT: &str = "wait";
/// The server carries a command out once under a request key.
pub(crate) const IDEMPOTENCY: &str = "idempotency";
/// The server takes spans, and draws sequence ids, many at once; and it gives out earlier versions of resources.
pub(crate) const BATCH: &str = "batch";
/// The server takes in records of other stores, and takes out what has ended.
pub(crate) const RECORDS: &str = "records";
/// The server tells workers to stop, and claims for several workers at once: `worker_ids` in a dequeue.
pub(crate) const FLEET: &str = "fleet";
/// What the server acknowledged survives its end.
pub(crate) const DURABLE: &str = "durable";
/// The client reads resources of the kind `json`.
pub(crate) const JSON_RESOURCES: &str = "json-resources";

/// Whether a features header names a feature.
pub(crate) fn names_feature(header: &str, feature: &str) -> bool {
    header.split(',').any(|name| name.trim() == feature)
}
