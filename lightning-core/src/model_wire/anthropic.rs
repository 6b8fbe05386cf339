//! The events of Anthropic's Messages.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Assembled, append, list_in, object_in, set};
use crate::types::JsonObject;

#[derive(Debug, Default)]
pub(super) struct MessageEvents {
    message: JsonObject,
    blocks: BTreeMap<u64, Block>,
    ended: bool,
}

#[derive(Debug, Default)]
struct Block {
    content: JsonObject,
    /// The input of a tool, which comes as pieces of JSON text.
    input: String,
}

impl MessageEvents {
    pub(super) fn push(&mut self, mut event: JsonObject) {
        let kind = match event.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            _ => String::new(),
        };
        let index = event.get("index").and_then(Value::as_u64).unwrap_or_default();
        let mut take = |key: &str| match event.remove(key) {
            Some(Value::Object(object)) => object,
            _ => JsonObject::new(),
        };
        match kind.as_str() {
            "message_start" => self.message = take("message"),
            "content_block_start" => {
                let content = take("content_block");
                let input = String::new();
                self.blocks.insert(index, Block { content, input });
            }
            "content_block_delta" => self.blocks.entry(index).or_default().add(take("delta")),
            "message_delta" => {
                for (key, value) in take("delta") {
                    set(&mut self.message, key, value);
                }
                let usage = take("usage");
                let known = object_in(&mut self.message, "usage");
                for (key, value) in usage {
                    set(known, key, value);
                }
            }
            "message_stop" => self.ended = true,
            "error" => {
                let error = Value::Object(take("error"));
                self.message.insert("error".to_owned(), error);
            }
            _ => {}
        }
    }

    pub(super) fn finish(mut self) -> Assembled {
        let blocks = self.blocks.into_values().map(Block::whole);
        let blocks: Vec<Value> = blocks.collect();
        if blocks.is_empty() && self.message.contains_key("error") {
            self.message.remove("content");
        } else {
            self.message.insert("content".to_owned(), blocks.into());
        }
        Assembled {
            answer: Value::Object(self.message),
            complete: self.ended,
        }
    }
}

impl Block {
    fn add(&mut self, delta: JsonObject) {
        for (key, value) in delta {
            match (key.as_str(), value) {
                ("type", _) => {}
                ("partial_json", Value::String(text)) => self.input.push_str(&text),
                ("citation", citation) => list_in(&mut self.content, "citations").push(citation),
                ("signature", signature) => set(&mut self.content, key, signature),
                (_, Value::String(text)) => append(&mut self.content, &key, &text),
                (_, value) => set(&mut self.content, key, value),
            }
        }
    }

    fn whole(mut self) -> Value {
        if !self.input.is_empty() {
            // Of a stream that broke off, the input is no JSON, and kept as text.
            let input = serde_json::from_str(&self.input).unwrap_or(Value::String(self.input));
            self.content.insert("input".to_owned(), input);
        }
        Value::Object(self.content)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assembled(events: &[Value]) -> Assembled {
        let mut all = MessageEvents::default();
        for event in events {
            all.push(event.as_object().unwrap().clone());
        }
        all.finish()
    }

    #[test]
    fn blocks_are_put_together() {
        let block = |index: u64, block: Value| json!({"type": "content_block_start", "index": index, "content_block": block});
        let delta =
            |index: u64, delta: Value| json!({"type": "content_block_delta", "index": index, "delta": delta});
        let all = assembled(&[
            json!({"type": "message_start", "message": {"id": "msg", "role": "assistant", "content": [],
                "usage": {"input_tokens": 5, "output_tokens": 1}}}),
            block(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "so"})),
            delta(0, json!({"type": "signature_delta", "signature": "sig"})),
            json!({"type": "ping"}),
            block(1, json!({"type": "text", "text": ""})),
            delta(1, json!({"type": "text_delta", "text": "He"})),
            delta(1, json!({"type": "text_delta", "text": "llo"})),
            delta(1, json!({"type": "citations_delta", "citation": {"n": 1}})),
            block(
                2,
                json!({"type": "tool_use", "id": "t", "name": "look", "input": {}}),
            ),
            delta(2, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
            delta(2, json!({"type": "input_json_delta", "partial_json": " 1}"})),
            json!({"type": "content_block_stop", "index": 2}),
            json!({"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}}),
            json!({"type": "message_stop"}),
        ]);
        assert!(all.complete);
        assert_eq!(
            all.answer,
            json!({
                "id": "msg", "role": "assistant", "stop_reason": "tool_use",
                "usage": {"input_tokens": 5, "output_tokens": 9},
                "content": [
                    {"type": "thinking", "thinking": "so", "signature": "sig"},
                    {"type": "text", "text": "Hello", "citations": [{"n": 1}]},
                    {"type": "tool_use", "id": "t", "name": "look", "input": {"a": 1}},
                ],
            })
        );
    }

    #[test]
    fn an_error_and_an_early_end_are_told() {
        let all =
            assembled(&[json!({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}})]);
        assert_eq!(
            all.answer,
            json!({"error": {"type": "overloaded_error", "message": "busy"}})
        );
        assert!(!all.complete);
    }
}
