//! Spans: what an agent did, as OpenTelemetry has it, under a rollout and an attempt.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{AttemptId, JsonObject, RolloutId, Timestamp};

/// One operation of an attempt.
///
/// Unknown fields are kept at every level, so that what a newer producer writes comes back as it went in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// The rollout that the span belongs to.
    pub rollout_id: RolloutId,
    /// The attempt that the span belongs to.
    pub attempt_id: AttemptId,
    /// Orders the spans of a rollout, whatever the clocks of their producers say.
    pub sequence_id: u64,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The span that this one is part of.
    #[serde(default)]
    pub parent_id: Option<String>,
    /// What was done; see [`semconv`](crate::semconv) for the names with a meaning.
    pub name: String,
    /// How it ended.
    pub status: SpanStatus,
    /// Scalars and lists of scalars by name.
    #[serde(default)]
    pub attributes: JsonObject,
    /// What happened meanwhile.
    #[serde(default)]
    pub events: Vec<SpanEvent>,
    /// Other spans that this one has to do with.
    #[serde(default)]
    pub links: Vec<SpanLink>,
    /// When it began.
    #[serde(default)]
    pub start_time: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub end_time: Option<Timestamp>,
    /// Its own ids, once more, as OpenTelemetry writes them.
    #[serde(default)]
    pub context: Option<SpanContext>,
    /// The ids of its parent.
    #[serde(default)]
    pub parent: Option<SpanContext>,
    /// What produced it. Shared: all spans of a producer have the same.
    #[serde(default)]
    pub resource: Arc<SpanResource>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: JsonObject,
}

impl Span {
    /// A span with its ids and a name; all else empty, status `OK`.
    pub fn new(
        rollout_id: impl Into<RolloutId>,
        attempt_id: impl Into<AttemptId>,
        sequence_id: u64,
        trace_id: impl Into<String>,
        span_id: impl Into<String>,
        name: impl Into<String>,
    ) -> Self {
        let (trace_id, span_id) = (trace_id.into(), span_id.into());
        Self {
            rollout_id: rollout_id.into(),
            attempt_id: attempt_id.into(),
            sequence_id,
            context: Some(SpanContext::new(trace_id.clone(), span_id.clone())),
            trace_id,
            span_id,
            parent_id: None,
            name: name.into(),
            status: SpanStatus {
                status_code: SpanStatusCode::Ok,
                ..SpanStatus::default()
            },
            attributes: JsonObject::new(),
            events: Vec::new(),
            links: Vec::new(),
            start_time: None,
            end_time: None,
            parent: None,
            resource: Arc::default(),
            extra: JsonObject::new(),
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum SpanStatusCode {
    /// Nobody said.
    #[default]
    Unset,
    /// Well.
    Ok,
    /// With an error.
    Error,
}

/// How an operation ended, with a word on it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanStatus {
    /// How it ended.
    pub status_code: SpanStatusCode,
    /// What went wrong.
    #[serde(default)]
    pub description: Option<String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: JsonObject,
}

/// Something that happened during a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanEvent {
    /// What happened.
    pub name: String,
    /// Scalars and lists of scalars by name.
    #[serde(default)]
    pub attributes: JsonObject,
    /// When.
    #[serde(default)]
    pub timestamp: Option<Timestamp>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: JsonObject,
}

/// Another span that a span has to do with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanLink {
    /// Which one.
    pub context: SpanContext,
    /// Scalars and lists of scalars by name.
    #[serde(default)]
    pub attributes: Option<JsonObject>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: JsonObject,
}

/// The ids of a span as OpenTelemetry writes them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpanContext {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// Whether the span came from another process.
    #[serde(default)]
    pub is_remote: bool,
    /// Vendor data that travels with the trace.
    #[serde(default)]
    pub trace_state: BTreeMap<String, String>,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: JsonObject,
}

impl SpanContext {
    /// A local context without trace state.
    pub fn new(trace_id: impl Into<String>, span_id: impl Into<String>) -> Self {
        Self {
            trace_id: trace_id.into(),
            span_id: span_id.into(),
            is_remote: false,
            trace_state: BTreeMap::new(),
            extra: JsonObject::new(),
        }
    }
}

/// What produced a span: a service, a process, a library.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SpanResource {
    /// Scalars and lists of scalars by name.
    #[serde(default)]
    pub attributes: JsonObject,
    /// Where the names of the attributes are explained.
    #[serde(default)]
    pub schema_url: String,
    /// Fields that this version does not know.
    #[serde(flatten)]
    pub extra: JsonObject,
}
