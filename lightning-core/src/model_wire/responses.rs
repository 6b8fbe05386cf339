//! The events of OpenAI's Responses.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Assembled, append, as_object, list_in};
use crate::types::JsonObject;

#[derive(Debug, Default)]
pub(super) struct ResponseEvents {
    response: JsonObject,
    items: BTreeMap<u64, JsonObject>,
    ended: bool,
}

/// Far more parts than an item has. Their numbers come from outside, and are places in a list.
const MAX_PARTS: u64 = 4096;

impl ResponseEvents {
    pub(super) fn push(&mut self, mut event: JsonObject) {
        let kind = match event.get("type") {
            Some(Value::String(kind)) => kind.clone(),
            _ => String::new(),
        };
        let number = |key: &str| event.get(key).and_then(Value::as_u64).unwrap_or_default();
        let (output, content) = (number("output_index"), number("content_index"));
        let summary = number("summary_index");
        match kind.as_str() {
            "error" => {
                let error = match event.remove("error") {
                    Some(error @ Value::Object(_)) => error,
                    _ => Value::Object(event),
                };
                self.response.insert("error".to_owned(), error);
            }
            "response.output_item.added" | "response.output_item.done" => {
                if let Some(Value::Object(item)) = event.remove("item") {
                    self.items.insert(output, item);
                }
            }
            "response.content_part.added" | "response.content_part.done" => {
                if let (Some(part), Some(place)) =
                    (event.remove("part"), self.part(output, "content", content))
                {
                    *place = part;
                }
            }
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                self.add_text(output, ("content", content), "text", &event);
                if let (Some(Value::Array(more)), Some(part)) =
                    (event.remove("logprobs"), self.part(output, "content", content))
                    && !more.is_empty()
                {
                    list_in(as_object(part), "logprobs").extend(more);
                }
            }
            "response.refusal.delta" => self.add_text(output, ("content", content), "refusal", &event),
            "response.reasoning_summary_text.delta" => {
                self.add_text(output, ("summary", summary), "text", &event);
            }
            "response.function_call_arguments.delta" => {
                if let Some(Value::String(delta)) = event.get("delta") {
                    append(self.items.entry(output).or_default(), "arguments", delta);
                }
            }
            _ => {
                // The others that matter hold the whole answer as it is by then.
                if let Some(Value::Object(response)) = event.remove("response") {
                    self.response = response;
                    self.ended |= matches!(
                        kind.as_str(),
                        "response.completed" | "response.incomplete" | "response.failed" | "response.done"
                    );
                }
            }
        }
    }

    fn add_text(&mut self, output: u64, (list, place): (&str, u64), key: &str, event: &JsonObject) {
        if let (Some(Value::String(delta)), Some(part)) = (event.get("delta"), self.part(output, list, place))
        {
            append(as_object(part), key, delta);
        }
    }

    fn part(&mut self, output: u64, list: &str, place: u64) -> Option<&mut Value> {
        let parts = list_in(self.items.entry(output).or_default(), list);
        let place = usize::try_from(place).ok().filter(|_| place < MAX_PARTS)?;
        if parts.len() <= place {
            parts.resize(place + 1, Value::Null);
        }
        parts.get_mut(place)
    }

    pub(super) fn finish(mut self) -> Assembled {
        let told = self.response.get("output").and_then(Value::as_array);
        // Some servers leave the output out of the answer at the end.
        if told.is_none_or(Vec::is_empty) && !self.items.is_empty() {
            let items = self.items.into_values().map(Value::Object).collect();
            self.response.insert("output".to_owned(), Value::Array(items));
        }
        Assembled {
            answer: Value::Object(self.response),
            complete: self.ended,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assembled(events: &[Value]) -> Assembled {
        let mut all = ResponseEvents::default();
        for event in events {
            all.push(event.as_object().unwrap().clone());
        }
        all.finish()
    }

    fn events() -> Vec<Value> {
        vec![
            json!({"type": "response.created", "response": {"id": "resp", "status": "in_progress", "output": []}}),
            json!({"type": "response.output_item.added", "output_index": 0,
                "item": {"type": "message", "role": "assistant", "content": []}}),
            json!({"type": "response.content_part.added", "output_index": 0, "content_index": 0,
                "part": {"type": "output_text", "text": ""}}),
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "He"}),
            json!({"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "delta": "y",
                "logprobs": [{"token": "y", "logprob": -0.5}]}),
            json!({"type": "response.output_item.added", "output_index": 1,
                "item": {"type": "function_call", "call_id": "c", "name": "look", "arguments": ""}}),
            json!({"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"}),
        ]
    }

    #[test]
    fn the_last_event_has_the_whole_answer() {
        let mut events = events();
        let whole = json!({"id": "resp", "status": "completed", "output": [{"type": "message"}]});
        events.push(json!({"type": "response.completed", "response": whole}));
        assert_eq!(
            assembled(&events),
            Assembled {
                answer: whole,
                complete: true
            }
        );
    }

    #[test]
    fn a_stream_that_breaks_off_gives_what_there_is() {
        let all = assembled(&events());
        assert!(!all.complete);
        assert_eq!(
            all.answer["output"],
            json!([
                {"type": "message", "role": "assistant", "content": [
                    {"type": "output_text", "text": "Hey", "logprobs": [{"token": "y", "logprob": -0.5}]}]},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
            ])
        );
    }

    #[test]
    fn errors_are_told_and_absurd_places_are_passed_over() {
        let all = assembled(&[
            json!({"type": "response.output_text.delta", "content_index": u64::MAX, "delta": "x"}),
            json!({"type": "error", "message": "no", "code": "c"}),
        ]);
        assert_eq!(all.answer["error"]["message"], "no");
    }
}
