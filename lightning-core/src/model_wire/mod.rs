//! What the servers of models write: streams put together, the interfaces brought into one shape, and what of it becomes
//! attributes of spans.
//!
//! All of it is pure, takes what comes from outside, and leaves out what it does not understand: nothing here can fail or
//! panic. It knows nothing of connections, recordings or stores.

mod anthropic;
pub(crate) mod attributes;
mod chunks;
#[cfg(feature = "llm-proxy")]
mod one_shape;
mod responses;
#[cfg(any(feature = "client", feature = "llm-proxy"))]
pub(crate) mod sse;
pub(crate) mod tokens;

use serde_json::Value;

#[cfg(feature = "llm-proxy")]
pub(crate) use self::one_shape::{answer_as_chat, request_as_chat};
use self::{anthropic::MessageEvents, chunks::Chunks, responses::ResponseEvents};
use crate::types::JsonObject;

/// Which of the interfaces a call is made through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint {
    /// OpenAI's `/v1/chat/completions`.
    ChatCompletions,
    /// OpenAI's `/v1/completions`.
    #[cfg_attr(
        not(feature = "llm-proxy"),
        expect(dead_code, reason = "only the proxy sees it")
    )]
    Completions,
    /// OpenAI's `/v1/embeddings`.
    #[cfg_attr(
        not(feature = "llm-proxy"),
        expect(dead_code, reason = "only the proxy sees it")
    )]
    Embeddings,
    /// OpenAI's `/v1/responses`.
    #[cfg_attr(
        not(feature = "llm-proxy"),
        expect(dead_code, reason = "only the proxy sees it")
    )]
    Responses,
    /// Anthropic's `/v1/messages`.
    #[cfg_attr(
        not(feature = "llm-proxy"),
        expect(dead_code, reason = "only the proxy sees it")
    )]
    Messages,
}

#[cfg(feature = "llm-proxy")]
impl Endpoint {
    /// The interface at this path, which begins with `/v1/`.
    pub(crate) fn of_path(path: &str) -> Option<Self> {
        match path.trim_end_matches('/') {
            "/v1/chat/completions" => Some(Self::ChatCompletions),
            "/v1/completions" => Some(Self::Completions),
            "/v1/embeddings" => Some(Self::Embeddings),
            "/v1/responses" => Some(Self::Responses),
            "/v1/messages" => Some(Self::Messages),
            _ => None,
        }
    }
}

/// Puts the events of a streamed answer together to the answer that would have come in one piece.
#[derive(Debug)]
pub(crate) struct Assembler(Kind);

#[derive(Debug)]
enum Kind {
    Chunks(Chunks),
    Messages(MessageEvents),
    Responses(ResponseEvents),
}

/// A streamed answer in one piece.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Assembled {
    /// In the shape that the interface has for answers in one piece. An error that came as an event stands in `error`.
    pub(crate) answer: Value,
    /// Whether the answer came to its end.
    pub(crate) complete: bool,
}

impl Assembler {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        Self(match endpoint {
            Endpoint::ChatCompletions | Endpoint::Completions | Endpoint::Embeddings => {
                Kind::Chunks(Chunks::default())
            }
            Endpoint::Messages => Kind::Messages(MessageEvents::default()),
            Endpoint::Responses => Kind::Responses(ResponseEvents::default()),
        })
    }

    /// Takes the data of one event. What is no object is passed over.
    pub(crate) fn push(&mut self, event: Value) {
        let Value::Object(event) = event else { return };
        match &mut self.0 {
            Kind::Chunks(chunks) => chunks.push(event),
            Kind::Messages(events) => events.push(event),
            Kind::Responses(events) => events.push(event),
        }
    }

    /// Takes the text of one event: JSON, or the `[DONE]` that ends a stream. What is neither is passed over.
    #[cfg(any(feature = "client", feature = "llm-proxy"))]
    pub(crate) fn push_text(&mut self, data: &str) {
        if data.trim() == "[DONE]" {
            if let Kind::Chunks(chunks) = &mut self.0 {
                chunks.done();
            }
        } else if let Ok(event) = serde_json::from_str(data) {
            self.push(event);
        }
    }

    pub(crate) fn finish(self) -> Assembled {
        match self.0 {
            Kind::Chunks(chunks) => chunks.finish(),
            Kind::Messages(events) => events.finish(),
            Kind::Responses(events) => events.finish(),
        }
    }
}

/// A whole streamed answer from the bytes of its body.
#[cfg(feature = "llm-proxy")]
pub(crate) fn assemble(endpoint: Endpoint, body: &[u8]) -> Assembled {
    let mut assembler = Assembler::new(endpoint);
    let mut events = sse::Events::new(usize::MAX);
    events.push(body, |event| assembler.push_text(event.data));
    events.finish(|event| assembler.push_text(event.data));
    assembler.finish()
}

/// Sets a field unless the value says nothing.
fn set(object: &mut JsonObject, key: String, value: Value) {
    let empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    if !empty || !object.contains_key(&key) {
        object.insert(key, value);
    }
}

/// Appends text to a field; what is there and no text is replaced.
fn append(object: &mut JsonObject, key: &str, more: &str) {
    match object.get_mut(key) {
        Some(Value::String(text)) => text.push_str(more),
        _ => {
            object.insert(key.to_owned(), more.into());
        }
    }
}

/// The field as an object, which it becomes if it is none.
fn object_in<'a>(object: &'a mut JsonObject, key: &str) -> &'a mut JsonObject {
    let value = object.entry(key).or_insert(Value::Null);
    as_object(value)
}

/// The field as a list, which it becomes if it is none.
fn list_in<'a>(object: &'a mut JsonObject, key: &str) -> &'a mut Vec<Value> {
    let value = object.entry(key).or_insert(Value::Null);
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(list) => list,
        _ => unreachable!("it was made a list"),
    }
}

/// The value as an object, which it becomes if it is none.
fn as_object(value: &mut Value) -> &mut JsonObject {
    if !value.is_object() {
        *value = Value::Object(JsonObject::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("it was made an object"),
    }
}
