//! What is kept of the calls that pass through the proxy: an [`Exchange`] each, recorded as spans of its attempt.
//!
//! The forwarding plane [begins](Recorder::begin) a call, passes bytes on, and hands over what went by. Nothing here slows a
//! call or can make it fail; nothing here knows how the bytes travelled.

mod body;
mod recorder;
mod spans;
mod writer;

use std::sync::Arc;

use bytes::Bytes;

use crate::{
    ids::IdSource,
    types::{AttemptId, RolloutId, Span, Timestamp},
};

pub(crate) use crate::model_wire::Endpoint;
pub(crate) use recorder::{CallTicket, Recorder, RecorderFigures, RecorderOptions};

/// One call, as it passed through the proxy.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) rollout: RolloutId,
    pub(crate) attempt: AttemptId,
    /// Drawn before the call, if the store answered in time.
    pub(crate) sequence_id: Option<u64>,
    pub(crate) endpoint: Endpoint,
    /// The name that was asked for.
    pub(crate) model: String,
    /// The name at the backend.
    pub(crate) upstream_model: String,
    /// The backend's name or base URL; never a key.
    pub(crate) backend: String,
    /// As the client sent it.
    pub(crate) request: Bytes,
    /// Of the answer; 0 if there was none.
    pub(crate) http_status: u16,
    pub(crate) streamed: bool,
    pub(crate) content_encoding: Option<String>,
    /// A copy of what went to the client.
    pub(crate) response: Bytes,
    /// Whether the copy ends where its limit was reached.
    pub(crate) truncated: bool,
    /// What went wrong on the way: the connection was lost, the client went away.
    pub(crate) error: Option<String>,
    pub(crate) started: Timestamp,
    /// When the first byte of the answer's body came.
    pub(crate) first_byte: Option<Timestamp>,
    pub(crate) ended: Timestamp,
    /// How often the call was tried again.
    pub(crate) retries: u32,
}

/// The spans that a call becomes.
pub(crate) fn call_spans(call: &Exchange, ids: &dyn IdSource) -> Vec<Span> {
    spans::of_call(call, ids, &Arc::default()).0
}
