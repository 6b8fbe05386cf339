//! Links and tags: what a span says about other spans, and about itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JsonObject, Span, unflatten_under};
use crate::semconv;

/// Points at the spans that have a certain attribute, also at ones that do not exist yet.
///
/// Unlike [`SpanLink`](super::SpanLink), which is OpenTelemetry's and names one span by its ids, this is a query:
/// [`query_linked_spans`] answers it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Link {
    /// The attribute to be compared; `trace_id` and `span_id` stand for the ids themselves.
    pub key_match: String,
    /// The text that the attribute must be.
    pub value_match: String,
}

impl Link {
    /// The spans whose attribute `key` is `value`, such as `gen_ai.response.id`.
    pub fn new(key: impl Into<String>, value: impl Into<String>) -> Self {
        Self {
            key_match: key.into(),
            value_match: value.into(),
        }
    }

    /// The span with this id.
    pub fn to_span(span_id: impl Into<String>) -> Self {
        Self::new("span_id", span_id)
    }

    /// The spans of the trace with this id.
    pub fn to_trace(trace_id: impl Into<String>) -> Self {
        Self::new("trace_id", trace_id)
    }

    /// Whether the link points at `span`.
    pub fn matches(&self, span: &Span) -> bool {
        match self.key_match.as_str() {
            "trace_id" => span.trace_id == self.value_match,
            "span_id" => span.span_id == self.value_match,
            key => span.attributes.get(key).and_then(Value::as_str) == Some(&self.value_match),
        }
    }
}

/// The spans that **every** one of the links points at, in their order. Without links, that is all of them.
pub fn query_linked_spans<'a>(spans: &'a [Span], links: &[Link]) -> Vec<&'a Span> {
    let linked = |span: &&Span| links.iter().all(|link| link.matches(span));
    spans.iter().filter(linked).collect()
}

/// The links that a span carries, in the order of their numbers. Malformed ones are passed over.
pub fn links_of(span: &Span) -> Vec<Link> {
    let entries = listed(&span.attributes, semconv::LINK_PREFIX);
    let links = entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok());
    links.collect()
}

/// The tags that a span carries, in the order of their numbers. Those that are no text are passed over.
pub fn tags_of(span: &Span) -> Vec<String> {
    let entries = listed(&span.attributes, semconv::TAG_PREFIX);
    let tags = entries.into_iter().filter_map(|entry| match entry {
        Value::String(tag) => Some(tag),
        _ => None,
    });
    tags.collect()
}

/// The entries of a list of attributes, by number, whether or not the numbering is complete.
fn listed(attributes: &JsonObject, prefix: &str) -> Vec<Value> {
    match unflatten_under(attributes, prefix) {
        Some(Value::Array(items)) => items,
        Some(Value::Object(object)) => {
            let numbered = object
                .into_iter()
                .filter_map(|(key, value)| Some((key.parse::<u64>().ok()?, value)));
            let mut numbered: Vec<(u64, Value)> = numbered.collect();
            numbered.sort_by_key(|(number, _)| *number);
            numbered.into_iter().map(|(_, value)| value).collect()
        }
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(id: &str, attributes: &Value) -> Span {
        let mut span = Span::new("ro-1", "at-1", 1, "trace-1", id, "model.call");
        span.attributes = attributes.as_object().unwrap().clone();
        span
    }

    #[test]
    fn every_link_must_match() {
        let spans = [
            span("a", &json!({"gen_ai.response.id": "r1", "n": 1})),
            span("b", &json!({"gen_ai.response.id": "r1"})),
            span("c", &json!({"gen_ai.response.id": "r2"})),
        ];
        let found = |links: &[Link]| -> Vec<&str> {
            let linked = query_linked_spans(&spans, links);
            linked.into_iter().map(|span| span.span_id.as_str()).collect()
        };
        let response = Link::new("gen_ai.response.id", "r1");
        assert_eq!(found(std::slice::from_ref(&response)), ["a", "b"]);
        assert_eq!(found(&[response.clone(), Link::to_span("b")]), ["b"]);
        assert_eq!(found(&[response, Link::to_trace("trace-2")]), [""; 0]);
        assert_eq!(found(&[Link::new("n", "1")]), [""; 0], "a number is no text");
        assert_eq!(found(&[]), ["a", "b", "c"]);
    }

    #[test]
    fn links_and_tags_are_read_in_order() {
        let mut attributes = JsonObject::new();
        for index in 0..12 {
            attributes.insert(format!("agentlightning.tag.{index}"), json!(format!("t{index}")));
        }
        attributes.insert("agentlightning.tag.3".to_owned(), json!(3));
        attributes.insert("agentlightning.link.1.key_match".to_owned(), json!("span_id"));
        attributes.insert("agentlightning.link.1.value_match".to_owned(), json!("x"));
        attributes.insert("agentlightning.link.2.key_match".to_owned(), json!("alone"));
        let span = span("a", &Value::Object(attributes));
        assert_eq!(links_of(&span), [Link::to_span("x")]);
        assert_eq!(
            tags_of(&span),
            ["t0", "t1", "t2", "t4", "t5", "t6", "t7", "t8", "t9", "t10", "t11"]
        );
    }
}
