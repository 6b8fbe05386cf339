//! OpenTelemetry's trace export: reading a request, the spans in it as [`Span`]s, and the answers.

use std::sync::Arc;

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
    },
    common::v1::{AnyValue, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as proto, span, status::StatusCode},
};
use prost::Message;
use serde_json::{Number, Value, json};

use crate::{
    semconv,
    types::{
        AttemptId, JsonObject, NestedTooDeep, RolloutId, Span, SpanContext, SpanEvent, SpanLink,
        SpanResource, SpanStatus, SpanStatusCode, Timestamp, flatten_into,
    },
};

/// How a request is written, and so its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    /// The encoding that a content type names.
    pub(crate) fn from_content_type(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Some(Self::Protobuf),
            "application/json" => Some(Self::Json),
            _ => None,
        }
    }

    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// A span that is to be stored, and whether it brought its sequence id along.
#[derive(Debug)]
pub(crate) struct ArrivedSpan {
    pub(crate) span: Span,
    pub(crate) needs_sequence_id: bool,
}

/// What a request holds.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) spans: Vec<ArrivedSpan>,
    pub(crate) rejected: Rejections,
}

/// The spans that are not stored, and why: one reason stands for all.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    count: usize,
    first: Option<String>,
}

impl Rejections {
    pub(crate) fn add(&mut self, reason: impl FnOnce() -> String) {
        self.count += 1;
        self.first.get_or_insert_with(reason);
    }

    fn message(&self) -> String {
        let first = self.first.as_deref().unwrap_or_default();
        match self.count {
            0 | 1 => first.to_owned(),
            count => format!("{first} ({count} spans in all were not stored)"),
        }
    }
}

/// Reads a request. An empty body is a request without spans.
///
/// # Errors
///
/// What is wrong, for the sender.
pub(crate) fn decode(body: &[u8], encoding: Encoding) -> Result<Arrived, String> {
    let request = if body.is_empty() {
        ExportTraceServiceRequest::default()
    } else {
        match encoding {
            Encoding::Protobuf => ExportTraceServiceRequest::decode(body)
                .map_err(|error| format!("the body is no OTLP trace request: {error}"))?,
            Encoding::Json => serde_json::from_slice(body)
                .map_err(|error| format!("the body is no OTLP trace request in JSON: {error}"))?,
        }
    };
    let mut arrived = Arrived::default();
    for batch in request.resource_spans {
        let resource = match resource_of(batch.resource, batch.schema_url) {
            Ok(resource) => Origin::of(resource),
            Err(problem) => {
                for _ in batch.scope_spans.iter().flat_map(|scope| &scope.spans) {
                    arrived
                        .rejected
                        .add(|| format!("the attributes of the resource: {problem}"));
                }
                continue;
            }
        };
        for span in batch.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            match span_from(span, &resource) {
                Ok(span) => arrived.spans.push(span),
                Err(problem) => arrived.rejected.add(|| problem),
            }
        }
    }
    Ok(arrived)
}

/// The answer to a request that was read.
pub(crate) fn success(rejected: &Rejections, encoding: Encoding) -> Vec<u8> {
    let partial = (rejected.count > 0).then(|| ExportTracePartialSuccess {
        rejected_spans: i64::try_from(rejected.count).unwrap_or(i64::MAX),
        error_message: rejected.message(),
    });
    match encoding {
        Encoding::Protobuf => ExportTraceServiceResponse {
            partial_success: partial,
        }
        .encode_to_vec(),
        Encoding::Json => match partial {
            None => json!({}),
            Some(partial) => json!({"partialSuccess": {
                // 64-bit integers are texts in protobuf's JSON.
                "rejectedSpans": partial.rejected_spans.to_string(),
                "errorMessage": partial.error_message,
            }}),
        }
        .to_string()
        .into_bytes(),
    }
}

/// `google.rpc.Status`, the body of an answer that is no success.
#[derive(Clone, PartialEq, Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The body of a refusal, with one of gRPC's codes.
pub(crate) fn refusal(code: i32, message: &str, encoding: Encoding) -> Vec<u8> {
    match encoding {
        Encoding::Protobuf => RpcStatus {
            code,
            message: message.to_owned(),
        }
        .encode_to_vec(),
        Encoding::Json => json!({"code": code, "message": message}).to_string().into_bytes(),
    }
}

fn resource_of(resource: Option<Resource>, schema_url: String) -> Result<SpanResource, NestedTooDeep> {
    Ok(SpanResource {
        attributes: attributes_from(resource.map(|resource| resource.attributes).unwrap_or_default())?,
        schema_url,
        extra: JsonObject::new(),
    })
}

/// A resource, and what it says of the rollout of its spans: most say it for all of them.
struct Origin {
    resource: Arc<SpanResource>,
    rollout_id: Option<RolloutId>,
    attempt_id: Option<AttemptId>,
    sequence_id: Option<String>,
}

impl Origin {
    fn of(resource: SpanResource) -> Self {
        let said = |key: &str| resource.attributes.get(key).and_then(text_of);
        Self {
            rollout_id: said(semconv::ROLLOUT_ID).map(RolloutId::from),
            attempt_id: said(semconv::ATTEMPT_ID).map(AttemptId::from),
            sequence_id: said(semconv::SPAN_SEQUENCE_ID),
            resource: Arc::new(resource),
        }
    }
}

/// Reads one span. What the span says of its rollout goes before what its resource says.
fn span_from(span: proto::Span, origin: &Origin) -> Result<ArrivedSpan, String> {
    let name = span.name;
    let problem = |problem: &dyn std::fmt::Display| format!("span `{name}`: {problem}");
    let attributes = attributes_from(span.attributes).map_err(|error| problem(&error))?;
    let said = |key: &str| attributes.get(key).and_then(text_of);
    let rollout_id = said(semconv::ROLLOUT_ID).map(RolloutId::from);
    let attempt_id = said(semconv::ATTEMPT_ID).map(AttemptId::from);
    let (Some(rollout_id), Some(attempt_id)) = (
        rollout_id.or_else(|| origin.rollout_id.clone()),
        attempt_id.or_else(|| origin.attempt_id.clone()),
    ) else {
        return Err(problem(&format_args!(
            "neither it nor its resource names both `{}` and `{}`",
            semconv::ROLLOUT_ID,
            semconv::ATTEMPT_ID
        )));
    };
    let sequence_id = said(semconv::SPAN_SEQUENCE_ID).or_else(|| origin.sequence_id.clone());
    let sequence_id = sequence_id.and_then(|text| text.trim().parse().ok());
    let trace_id =
        hex_id(&span.trace_id, 16).ok_or_else(|| problem(&"its trace id is not 16 bytes, or zero"))?;
    let span_id = hex_id(&span.span_id, 8).ok_or_else(|| problem(&"its span id is not 8 bytes, or zero"))?;
    let events = span.events.into_iter().map(event_from);
    let events = events
        .collect::<Result<_, _>>()
        .map_err(|error| problem(&error))?;
    let links = span.links.into_iter().map(link_from);
    let links = links.collect::<Result<_, _>>().map_err(|error| problem(&error))?;
    let span = Span {
        parent_id: hex_id(&span.parent_span_id, 8),
        status: status_from(span.status.unwrap_or_default()),
        events,
        links,
        start_time: time_from(span.start_time_unix_nano),
        end_time: time_from(span.end_time_unix_nano),
        attributes,
        resource: origin.resource.clone(),
        ..Span::new(
            rollout_id,
            attempt_id,
            sequence_id.unwrap_or(0),
            trace_id,
            span_id,
            name,
        )
    };
    Ok(ArrivedSpan {
        span,
        needs_sequence_id: sequence_id.is_none(),
    })
}

/// An id or a number as text; empty text counts as absent, since exporters send that after they were reset.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

fn hex_id(bytes: &[u8], length: usize) -> Option<String> {
    let given = bytes.len() == length && bytes.iter().any(|byte| *byte != 0);
    given.then(|| hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = String::with_capacity(2 * bytes.len());
    for digit in bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]) {
        text.push(char::from(DIGITS[usize::from(digit)]));
    }
    text
}

/// Nanoseconds as seconds; zero means that nobody said.
fn time_from(nanoseconds: u64) -> Option<Timestamp> {
    (nanoseconds != 0).then(|| Timestamp::from_secs_f64(nanoseconds as f64 / 1e9))
}

fn status_from(status: proto::Status) -> SpanStatus {
    SpanStatus {
        status_code: match StatusCode::try_from(status.code) {
            Ok(StatusCode::Ok) => SpanStatusCode::Ok,
            Ok(StatusCode::Error) => SpanStatusCode::Error,
            Ok(StatusCode::Unset) | Err(_) => SpanStatusCode::Unset,
        },
        description: (!status.message.is_empty()).then_some(status.message),
        extra: JsonObject::new(),
    }
}

fn event_from(event: span::Event) -> Result<SpanEvent, String> {
    Ok(SpanEvent {
        attributes: attributes_from(event.attributes).map_err(|error| error.to_string())?,
        name: event.name,
        timestamp: time_from(event.time_unix_nano),
        extra: JsonObject::new(),
    })
}

fn link_from(link: span::Link) -> Result<SpanLink, String> {
    let attributes = attributes_from(link.attributes).map_err(|error| error.to_string())?;
    let trace_id = hex_id(&link.trace_id, 16).ok_or("the trace id of a link is not 16 bytes, or zero")?;
    let span_id = hex_id(&link.span_id, 8).ok_or("the span id of a link is not 8 bytes, or zero")?;
    Ok(SpanLink {
        context: SpanContext::new(trace_id, span_id),
        attributes: (!attributes.is_empty()).then_some(attributes),
        extra: JsonObject::new(),
    })
}

/// Attributes as the store has them: flat, and without nulls, both of which the Python client refuses.
fn attributes_from(entries: Vec<KeyValue>) -> Result<JsonObject, NestedTooDeep> {
    let mut attributes = JsonObject::new();
    for entry in entries {
        match value_from(entry.value) {
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {
                attributes.insert(entry.key, Value::Array(items));
            }
            nested @ (Value::Array(_) | Value::Object(_)) => {
                flatten_into(&mut attributes, entry.key, nested)?;
            }
            scalar => {
                attributes.insert(entry.key, scalar);
            }
        }
    }
    attributes.retain(|_, value| !value.is_null());
    Ok(attributes)
}

/// A value. What is nested is bounded by the decoders, so that recursion is safe here.
fn value_from(value: Option<AnyValue>) -> Value {
    use any_value::Value as Kind;
    match value.and_then(|value| value.value) {
        None | Some(Kind::StringValueStrindex(_)) => Value::Null,
        Some(Kind::StringValue(text)) => Value::String(text),
        Some(Kind::BoolValue(truth)) => Value::Bool(truth),
        Some(Kind::IntValue(number)) => number.into(),
        // JSON has no infinities and no NaN; their names are better than nothing.
        Some(Kind::DoubleValue(number)) => match Number::from_f64(number) {
            Some(number) => Value::Number(number),
            None => Value::String(number.to_string()),
        },
        Some(Kind::ArrayValue(array)) => {
            let items = array.values.into_iter().map(|item| value_from(Some(item)));
            Value::Array(items.collect())
        }
        Some(Kind::KvlistValue(list)) => {
            let entries = list.values.into_iter();
            Value::Object(
                entries
                    .map(|entry| (entry.key, value_from(entry.value)))
                    .collect(),
            )
        }
        Some(Kind::BytesValue(bytes)) => Value::String(hex(&bytes)),
    }
}
