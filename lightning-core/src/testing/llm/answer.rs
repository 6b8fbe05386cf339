//! Answers in the shape of OpenAI's API: as one object, and as the events of a stream.

use serde_json::{Value, json};

use super::{ReceivedRequest, Reply, Usage};
use crate::types::JsonObject;

/// The answer as one object.
pub(super) fn complete(reply: &Reply, request: &ReceivedRequest) -> Value {
    let mut message = json!({"role": "assistant", "content": reply.text});
    if !reply.tool_calls.is_empty() {
        message["tool_calls"] = tool_calls(reply, false);
    }
    let mut choice = json!({"index": 0, "message": message, "finish_reason": finish_reason(reply)});
    choice["logprobs"] = reply.logprobs.as_ref().map_or(Value::Null, |logprobs| {
        let content: Vec<Value> = logprobs
            .iter()
            .map(|token| logprob(&token.token, token.logprob))
            .collect();
        json!({ "content": content })
    });
    if let Some(ids) = &reply.token_ids {
        choice["token_ids"] = json!(ids);
    }
    let mut answer = head(request, "chat.completion");
    answer.insert("choices".to_owned(), json!([choice]));
    answer.insert("usage".to_owned(), usage(reply, request));
    if let Some(ids) = &reply.prompt_token_ids {
        answer.insert("prompt_token_ids".to_owned(), json!(ids));
    }
    Value::Object(answer)
}

/// The answer as the data of the events of a stream, without the final `[DONE]`.
///
/// The first event says who speaks, the last why the answer ends. Between them stands a piece of the text each: the
/// tokens where the script names them with their log-probabilities, and words otherwise.
pub(super) fn events(reply: &Reply, request: &ReceivedRequest) -> Vec<Value> {
    let pieces: Vec<(&str, Option<f64>)> = match &reply.logprobs {
        Some(logprobs) => logprobs
            .iter()
            .map(|token| (token.token.as_str(), Some(token.logprob)))
            .collect(),
        None => {
            let text = reply.text.as_deref().unwrap_or_default();
            text.split_inclusive(char::is_whitespace)
                .map(|word| (word, None))
                .collect()
        }
    };
    let mut choices = vec![json!({"delta": {"role": "assistant", "content": ""}})];
    choices.extend(pieces.iter().map(|(text, probability)| {
        let mut choice = json!({"delta": {"content": text}});
        if let Some(probability) = probability {
            choice["logprobs"] = json!({"content": [logprob(text, *probability)]});
        }
        choice
    }));
    if !reply.tool_calls.is_empty() {
        choices.push(json!({"delta": {"tool_calls": tool_calls(reply, true)}}));
    }
    spread_token_ids(reply, &mut choices);
    choices.push(json!({"delta": {}, "finish_reason": finish_reason(reply)}));

    let mut events: Vec<JsonObject> = Vec::new();
    for mut choice in choices {
        let mut event = head(request, "chat.completion.chunk");
        choice["index"] = json!(0);
        if choice.get("finish_reason").is_none() {
            choice["finish_reason"] = Value::Null;
        }
        event.insert("choices".to_owned(), json!([choice]));
        events.push(event);
    }
    if let (Some(first), Some(ids)) = (events.first_mut(), &reply.prompt_token_ids) {
        first.insert("prompt_token_ids".to_owned(), json!(ids));
    }
    if request.wants_usage() {
        let mut event = head(request, "chat.completion.chunk");
        event.insert("choices".to_owned(), json!([]));
        event.insert("usage".to_owned(), usage(reply, request));
        events.push(event);
    }
    events.into_iter().map(Value::Object).collect()
}

/// Gives each event but the first its share of the token ids, in order.
fn spread_token_ids(reply: &Reply, choices: &mut [Value]) {
    let Some(ids) = &reply.token_ids else { return };
    let first_piece = usize::from(choices.len() > 1);
    let pieces = &mut choices[first_piece..];
    let count = pieces.len();
    for (place, choice) in pieces.iter_mut().enumerate() {
        let share = ids.len() * place / count..ids.len() * (place + 1) / count;
        choice["token_ids"] = json!(ids[share]);
    }
}

/// An error as OpenAI's API tells it.
pub(super) fn error(kind: &str, message: &str) -> Value {
    json!({"error": {"message": message, "type": kind, "param": null, "code": null}})
}

/// The list of models.
pub(super) fn models(names: &[String]) -> Value {
    let models: Vec<Value> = names
        .iter()
        .map(|name| json!({"id": name, "object": "model", "created": 0, "owned_by": "script"}))
        .collect();
    json!({"object": "list", "data": models})
}

/// What every answer begins with. Nothing in it changes from one run of a test to the next.
fn head(request: &ReceivedRequest, object: &str) -> JsonObject {
    let call = request.call.unwrap_or_default();
    let fields = [
        ("id", json!(format!("chatcmpl-{call}"))),
        ("object", json!(object)),
        ("created", json!(call)),
        ("model", json!(request.model())),
    ];
    fields
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

fn logprob(token: &str, logprob: f64) -> Value {
    json!({"token": token, "logprob": logprob, "bytes": token.as_bytes(), "top_logprobs": []})
}

fn tool_calls(reply: &Reply, numbered: bool) -> Value {
    let calls = reply.tool_calls.iter().enumerate().map(|(index, call)| {
        let arguments = match &call.arguments {
            Value::Null => "{}".to_owned(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let mut call = json!({
            "id": format!("call_{index}"),
            "type": "function",
            "function": {"name": call.name, "arguments": arguments},
        });
        if numbered {
            call["index"] = json!(index);
        }
        call
    });
    calls.collect()
}

fn finish_reason(reply: &Reply) -> &str {
    match &reply.finish_reason {
        Some(reason) => reason,
        None if reply.tool_calls.is_empty() => "stop",
        None => "tool_calls",
    }
}

fn usage(reply: &Reply, request: &ReceivedRequest) -> Value {
    let counted = |ids: &Option<Vec<u32>>| ids.as_ref().map(|ids| ids.len() as u64);
    let words = || {
        let text = reply.text.as_deref().unwrap_or_default();
        text.split_whitespace().count() as u64
    };
    let Usage {
        prompt_tokens,
        completion_tokens,
    } = reply.usage.unwrap_or_else(|| Usage {
        prompt_tokens: counted(&reply.prompt_token_ids).unwrap_or_else(|| request.words()),
        completion_tokens: counted(&reply.token_ids).unwrap_or_else(words),
    });
    json!({
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens.saturating_add(completion_tokens),
    })
}
