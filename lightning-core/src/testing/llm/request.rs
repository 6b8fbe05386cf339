//! What the server was asked.

use std::fmt;

use serde_json::Value;

/// A request as it came in. `Debug` shows the names of its headers but not their values, for there may be a key.
#[derive(Clone, PartialEq)]
#[non_exhaustive]
pub struct ReceivedRequest {
    /// Which chat completion it is, counted from 1; `None` if it asks for something else.
    pub call: Option<u64>,
    /// The method, such as `POST`.
    pub method: String,
    /// The path, such as `/v1/chat/completions`.
    pub path: String,
    /// The body; null if it is not JSON.
    pub body: Value,
    pub(super) headers: Vec<(String, String)>,
}

impl ReceivedRequest {
    /// The value of a header; upper and lower case are the same.
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        let (_, value) = headers.find(|(header, _)| header.eq_ignore_ascii_case(name))?;
        Some(value)
    }

    /// The model that is asked for; empty if none is.
    pub fn model(&self) -> &str {
        self.body["model"].as_str().unwrap_or_default()
    }

    /// The messages.
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The text of the last message. Of a content in parts, the texts one after the other.
    pub fn last_message(&self) -> String {
        self.messages().last().map(text_of).unwrap_or_default()
    }

    /// Whether the answer shall be streamed.
    pub fn streams(&self) -> bool {
        self.body["stream"].as_bool().unwrap_or(false)
    }

    /// Whether a streamed answer shall tell its usage.
    pub(super) fn wants_usage(&self) -> bool {
        self.body["stream_options"]["include_usage"]
            .as_bool()
            .unwrap_or(false)
    }

    /// How many words all messages have together.
    pub(super) fn words(&self) -> u64 {
        let words = |message| text_of(message).split_whitespace().count() as u64;
        self.messages().iter().map(words).sum()
    }
}

fn text_of(message: &Value) -> String {
    match &message["content"] {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

impl fmt::Debug for ReceivedRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ReceivedRequest")
            .field("call", &self.call)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("headers", &headers)
            .field("body", &self.body)
            .finish()
    }
}
