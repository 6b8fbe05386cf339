//! A rough measure of the memory that a span takes.

use serde_json::Value;

use crate::types::{JsonObject, Span};

/// Bytes, roughly: the record and its texts; the allocator's own overhead is left out.
pub(super) fn of_span(span: &Span) -> u64 {
    let texts = span.trace_id.len()
        + span.span_id.len()
        + span.parent_id.as_ref().map_or(0, String::len)
        + span.name.len()
        + span.status.description.as_ref().map_or(0, String::len);
    let events: usize = span
        .events
        .iter()
        .map(|event| event.name.len() + of_object(&event.attributes))
        .sum();
    let links: usize = span
        .links
        .iter()
        .map(|link| link.attributes.as_ref().map_or(0, of_object))
        .sum();
    let bytes = size_of::<Span>()
        + texts
        + events
        + links
        + of_object(&span.attributes)
        + of_object(&span.resource.attributes)
        + of_object(&span.extra);
    bytes as u64
}

fn of_object(object: &JsonObject) -> usize {
    object
        .iter()
        .map(|(key, value)| size_of::<String>() + key.len() + of_value(value))
        .sum()
}

fn of_value(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(of_value).sum(),
            Value::Object(object) => of_object(object),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}
