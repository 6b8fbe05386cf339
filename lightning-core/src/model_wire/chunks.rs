//! The chunks of OpenAI's chat and text completions, as OpenAI, vLLM, SGLang, Ollama and llama.cpp stream them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Assembled, append, as_object, list_in, object_in, set};
use crate::types::JsonObject;

/// Texts of a message that come in one piece; all others come in parts. Some servers repeat them in every part.
const WHOLE: [&str; 5] = ["id", "name", "role", "type", "format"];

#[derive(Debug, Default)]
pub(super) struct Chunks {
    answer: JsonObject,
    choices: BTreeMap<u64, JsonObject>,
    done: bool,
}

impl Chunks {
    /// The stream said that it ends here.
    #[cfg(any(feature = "client", feature = "llm-proxy"))]
    pub(super) fn done(&mut self) {
        self.done = true;
    }

    pub(super) fn push(&mut self, chunk: JsonObject) {
        for (key, value) in chunk {
            match (key.as_str(), value) {
                ("choices", Value::Array(choices)) => {
                    for (place, choice) in choices.into_iter().enumerate() {
                        if let Value::Object(choice) = choice {
                            let index = choice.get("index").and_then(Value::as_u64);
                            let index = index.unwrap_or(place as u64);
                            merge_choice(self.choices.entry(index).or_default(), choice);
                        }
                    }
                }
                ("object", Value::String(object)) => {
                    let whole = object.strip_suffix(".chunk").unwrap_or(&object);
                    set(&mut self.answer, key, whole.into());
                }
                (_, value) => set(&mut self.answer, key, value),
            }
        }
    }

    pub(super) fn finish(mut self) -> Assembled {
        let ended = |choice: &JsonObject| choice.get("finish_reason").is_some_and(Value::is_string);
        let complete = self.done || (!self.choices.is_empty() && self.choices.values().all(ended));
        let choices = self.choices.into_iter().map(|(index, mut choice)| {
            choice.insert("index".to_owned(), index.into());
            if let Some(Value::Object(message)) = choice.get_mut("message") {
                message.entry("role").or_insert("assistant".into());
                message.entry("content").or_insert(Value::Null);
                if let Some(Value::Array(calls)) = message.get_mut("tool_calls") {
                    for call in calls {
                        as_object(call).remove("index");
                    }
                }
            }
            Value::Object(choice)
        });
        let choices: Vec<Value> = choices.collect();
        if !choices.is_empty() || !self.answer.contains_key("error") {
            self.answer.insert("choices".to_owned(), choices.into());
        }
        Assembled {
            answer: Value::Object(self.answer),
            complete,
        }
    }
}

fn merge_choice(choice: &mut JsonObject, more: JsonObject) {
    for (key, value) in more {
        match (key.as_str(), value) {
            ("index", _) => {}
            ("delta", Value::Object(delta)) => merge_message(object_in(choice, "message"), delta),
            ("delta", _) => {}
            ("text", Value::String(text)) => append(choice, "text", &text),
            ("token_ids", Value::Array(ids)) => list_in(choice, "token_ids").extend(ids),
            ("logprobs", Value::Object(logprobs)) => extend_lists(object_in(choice, "logprobs"), logprobs),
            (_, value) => set(choice, key, value),
        }
    }
}

/// Adds lists to the lists of the same name; all else is replaced.
fn extend_lists(object: &mut JsonObject, more: JsonObject) {
    for (key, value) in more {
        match value {
            Value::Array(items) => list_in(object, &key).extend(items),
            value => set(object, key, value),
        }
    }
}

fn merge_message(message: &mut JsonObject, delta: JsonObject) {
    for (key, value) in delta {
        match (key.as_str(), value) {
            ("tool_calls", Value::Array(calls)) => {
                let known = list_in(message, "tool_calls");
                for call in calls {
                    if let Value::Object(call) = call {
                        merge_call(known, call);
                    }
                }
            }
            (_, value) => merge_part(message, key, value),
        }
    }
}

/// Adds what a chunk says to what earlier ones said under the same name.
fn merge_part(object: &mut JsonObject, key: String, value: Value) {
    match value {
        Value::Null => {
            object.entry(key).or_insert(Value::Null);
        }
        Value::String(text) if WHOLE.contains(&key.as_str()) => {
            let known = object.get(&key).and_then(Value::as_str);
            if known.is_none_or(str::is_empty) {
                object.insert(key, text.into());
            }
        }
        Value::String(text) => append(object, &key, &text),
        Value::Array(items) => list_in(object, &key).extend(items),
        Value::Object(more) => {
            let inner = object_in(object, &key);
            for (key, value) in more {
                merge_part(inner, key, value);
            }
        }
        scalar => {
            object.insert(key, scalar);
        }
    }
}

/// The call of a tool that a part belongs to is told by its index. Some servers leave it out, or give every call the same
/// one: a part with a name and another id begins a call of its own.
fn merge_call(known: &mut Vec<Value>, part: JsonObject) {
    let text = |call: &JsonObject, key: &str| {
        call.get(key)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let id = text(&part, "id");
    let named = part
        .get("function")
        .and_then(|function| function["name"].as_str())
        .is_some_and(|name| !name.is_empty());
    let index = part.get("index").and_then(Value::as_u64);
    // The last one with this index: those before it have ended.
    let place = match index {
        Some(index) => known
            .iter()
            .rposition(|call| call["index"].as_u64() == Some(index)),
        None => known.len().checked_sub(1),
    };
    let place = place.filter(|place| {
        let of_known = known[*place]["id"].as_str().unwrap_or_default();
        !named || id.is_empty() || of_known.is_empty() || of_known == id
    });
    let call = match place {
        Some(place) => &mut known[place],
        None => {
            known.push(Value::Object(JsonObject::new()));
            let last = known.len() - 1;
            &mut known[last]
        }
    };
    let call = as_object(call);
    for (key, value) in part {
        match key.as_str() {
            "index" => {
                call.insert(key, value);
            }
            _ => merge_part(call, key, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assembled(chunks: &[Value]) -> Assembled {
        let mut all = Chunks::default();
        for chunk in chunks {
            all.push(chunk.as_object().unwrap().clone());
        }
        all.finish()
    }

    fn delta(delta: &Value) -> Value {
        json!({"choices": [{"index": 0, "delta": delta}]})
    }

    #[test]
    fn choices_are_told_apart_by_their_index() {
        let piece = |index: u64, text: &str, ids: &[u64]| {
            json!({"id": "c", "object": "chat.completion.chunk", "choices": [{
                "index": index, "delta": {"content": text}, "token_ids": ids, "finish_reason": null,
                "logprobs": {"content": [{"token": text, "logprob": -1.0}]},
            }]})
        };
        let all = assembled(&[
            json!({"id": "c", "model": "m", "prompt_token_ids": [7, 8], "choices": []}),
            piece(1, "b", &[2]),
            piece(0, "a", &[1]),
            piece(1, "c", &[3, 4]),
            json!({"choices": [{"index": 1, "delta": {}, "finish_reason": "stop", "stop_reason": 5}]}),
            json!({"choices": [], "usage": {"prompt_tokens": 2}}),
        ]);
        assert!(!all.complete, "the first choice has not ended");
        assert_eq!(
            all.answer,
            json!({
                "id": "c", "model": "m", "object": "chat.completion", "prompt_token_ids": [7, 8],
                "usage": {"prompt_tokens": 2},
                "choices": [
                    {"index": 0, "message": {"role": "assistant", "content": "a"}, "token_ids": [1],
                     "finish_reason": null, "logprobs": {"content": [{"token": "a", "logprob": -1.0}]}},
                    {"index": 1, "message": {"role": "assistant", "content": "bc"}, "token_ids": [2, 3, 4],
                     "finish_reason": "stop", "stop_reason": 5,
                     "logprobs": {"content": [{"token": "b", "logprob": -1.0}, {"token": "c", "logprob": -1.0}]}},
                ],
            })
        );
    }

    #[test]
    fn calls_of_tools_are_told_apart_by_index_or_id() {
        let part = |index: Option<u64>, id: Option<&str>, name: Option<&str>, arguments: &str| json!({"index": index, "id": id, "type": "function", "function": {"name": name, "arguments": arguments}});
        let calls = |parts: Vec<Value>| {
            let chunks: Vec<Value> = parts
                .into_iter()
                .map(|part| delta(&json!({"tool_calls": [part]})))
                .collect();
            let message = assembled(&chunks).answer["choices"][0]["message"].clone();
            let calls = message["tool_calls"].as_array().unwrap().clone();
            calls
                .iter()
                .map(|call| {
                    format!(
                        "{} {} {}",
                        call["id"], call["function"]["name"], call["function"]["arguments"]
                    )
                })
                .collect::<Vec<_>>()
        };
        let by_index = calls(vec![
            part(Some(0), Some("a"), Some("f"), ""),
            part(Some(1), Some("b"), Some("g"), "{"),
            part(Some(0), None, None, "{}"),
            part(Some(1), None, None, "}"),
        ]);
        assert_eq!(by_index, [r#""a" "f" "{}""#, r#""b" "g" "{}""#]);
        // A fresh id and the name in every part, as some servers write them.
        let repeated = calls(vec![
            part(Some(0), Some("a"), Some("f"), "{"),
            part(Some(0), Some("x"), None, "1"),
            part(Some(0), Some("a"), Some("f"), "}"),
        ]);
        assert_eq!(repeated, [r#""a" "f" "{1}""#]);
        let same_index = calls(vec![
            part(Some(0), Some("a"), Some("f"), "{}"),
            part(Some(0), Some("b"), Some("f"), "{}"),
        ]);
        assert_eq!(same_index, [r#""a" "f" "{}""#, r#""b" "f" "{}""#]);
        let no_index = calls(vec![
            part(None, Some("a"), Some("f"), "{"),
            part(None, None, None, "}"),
            part(None, Some("b"), Some("g"), "{}"),
        ]);
        assert_eq!(no_index, [r#""a" "f" "{}""#, r#""b" "g" "{}""#]);
    }

    #[test]
    fn texts_are_joined_and_the_unknown_is_kept() {
        let all = assembled(&[
            delta(&json!({"role": "assistant", "content": "", "reasoning_content": "hm"})),
            delta(&json!({"role": "assistant", "reasoning_content": "m", "audio": {"id": "a", "data": "x"}})),
            delta(&json!({"content": "hi", "audio": {"id": "a", "data": "y"}, "annotations": [1]})),
            delta(&json!({"content": null, "annotations": [2], "odd": 3})),
            json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "timings": {"n": 1}}),
        ]);
        assert!(all.complete);
        assert_eq!(
            all.answer["choices"][0]["message"],
            json!({"role": "assistant", "content": "hi", "reasoning_content": "hmm", "annotations": [1, 2], "odd": 3,
                   "audio": {"id": "a", "data": "xy"}})
        );
        assert_eq!(all.answer["timings"], json!({"n": 1}));
    }

    #[test]
    fn an_error_in_the_stream_stands_in_the_answer() {
        let all = assembled(&[
            delta(&json!({"content": "a"})),
            json!({"error": {"message": "no"}}),
        ]);
        assert_eq!(all.answer["error"]["message"], "no");
        assert_eq!(
            assembled(&[json!({"error": "no"})]).answer,
            json!({"error": "no"})
        );
    }
}
