//! A chat request and its answer, in OpenAI's shape, as the attributes that `agentlightning==0.3.0` reads.
//!
//! What is missing or has another shape is left out: the span of a call tells what there was.

use serde_json::Value;

use super::tokens;
use crate::{semconv, types::JsonObject};

/// Where a request has a parameter, and the attribute for it.
const PARAMETERS: [(&str, &str); 7] = [
    ("model", semconv::GEN_AI_REQUEST_MODEL),
    ("max_tokens", "gen_ai.request.max_tokens"),
    ("temperature", "gen_ai.request.temperature"),
    ("top_p", "gen_ai.request.top_p"),
    ("frequency_penalty", "gen_ai.request.frequency_penalty"),
    ("presence_penalty", "gen_ai.request.presence_penalty"),
    ("user", "gen_ai.user"),
];

/// Where an answer has a figure, and the attribute for it.
const ANSWER: [(&str, &str); 7] = [
    ("/id", semconv::GEN_AI_RESPONSE_ID),
    ("/model", semconv::GEN_AI_RESPONSE_MODEL),
    ("/system_fingerprint", "gen_ai.openai.system_fingerprint"),
    ("/usage/prompt_tokens", semconv::GEN_AI_PROMPT_TOKENS),
    ("/usage/completion_tokens", semconv::GEN_AI_COMPLETION_TOKENS),
    ("/usage/total_tokens", "gen_ai.usage.total_tokens"),
    (
        "/usage/completion_tokens_details/reasoning_tokens",
        "gen_ai.usage.reasoning_tokens",
    ),
];

/// The log-probabilities of the first choice's tokens.
pub(crate) const LOGPROBS: &str = "logprobs.content";

/// What is known before the call.
pub(crate) fn of_request(request: &Value) -> JsonObject {
    let mut attributes = JsonObject::new();
    put(&mut attributes, "gen_ai.request.type", &"chat".into());
    put(&mut attributes, "gen_ai.system", &"OpenAI".into());
    let streams = request["stream"].as_bool().unwrap_or(false);
    put(&mut attributes, "gen_ai.request.streaming", &streams.into());
    for (field, key) in PARAMETERS {
        put(&mut attributes, key, &request[field]);
    }
    for (index, message) in list(&request["messages"]).iter().enumerate() {
        let prefix = format!("gen_ai.prompt.{index}");
        for field in ["role", "content", "tool_call_id"] {
            put(&mut attributes, &format!("{prefix}.{field}"), &message[field]);
        }
        put_tool_calls(&mut attributes, &prefix, message);
    }
    for (index, tool) in list(&request["tools"]).iter().enumerate() {
        for field in ["name", "description", "parameters"] {
            let key = format!("gen_ai.request.functions.{index}.{field}");
            put(&mut attributes, &key, &tool["function"][field]);
        }
    }
    attributes
}

/// What is known after the call.
pub(crate) fn of_answer(answer: &Value) -> JsonObject {
    let mut attributes = figures_and_texts(answer);
    put_logprobs(&mut attributes, answer);
    for (key, ids) in [
        ("prompt_token_ids", tokens::of_prompt(answer)),
        ("response_token_ids", tokens::of_choice(answer, 0)),
    ] {
        if let Some(ids) = ids {
            attributes.insert(key.to_owned(), ids.into());
        }
    }
    attributes
}

/// The log-probabilities of the first choice's tokens.
pub(crate) fn put_logprobs(attributes: &mut JsonObject, answer: &Value) {
    if let Some(content) = answer.pointer("/choices/0/logprobs/content") {
        put(attributes, LOGPROBS, content);
    }
}

/// What is known after the call, but for token ids and log-probabilities.
pub(crate) fn figures_and_texts(answer: &Value) -> JsonObject {
    let mut attributes = JsonObject::new();
    for (place, key) in ANSWER {
        put(
            &mut attributes,
            key,
            answer.pointer(place).unwrap_or(&Value::Null),
        );
    }
    for (place, choice) in list(&answer["choices"]).iter().enumerate() {
        let index = choice["index"].as_u64().unwrap_or(place as u64);
        let prefix = format!("gen_ai.completion.{index}");
        put(
            &mut attributes,
            &format!("{prefix}.finish_reason"),
            &choice["finish_reason"],
        );
        for field in ["role", "content", "refusal"] {
            put(
                &mut attributes,
                &format!("{prefix}.{field}"),
                &choice["message"][field],
            );
        }
    }
    attributes
}

/// The tools that each choice asks for, as attributes of the call itself.
#[cfg(feature = "llm-proxy")]
pub(crate) fn tool_calls(answer: &Value) -> JsonObject {
    let mut attributes = JsonObject::new();
    for (place, choice) in list(&answer["choices"]).iter().enumerate() {
        let index = choice["index"].as_u64().unwrap_or(place as u64);
        let prefix = format!("gen_ai.completion.{index}");
        put_tool_calls(&mut attributes, &prefix, &choice["message"]);
    }
    attributes
}

fn put_tool_calls(attributes: &mut JsonObject, prefix: &str, message: &Value) {
    for (place, call) in list(&message["tool_calls"]).iter().enumerate() {
        let prefix = format!("{prefix}.tool_calls.{place}");
        put(attributes, &format!("{prefix}.id"), &call["id"]);
        for field in ["name", "arguments"] {
            put(attributes, &format!("{prefix}.{field}"), &call["function"][field]);
        }
    }
}

/// The tools that an answer asks for: the name of a span for each, and its attributes.
pub(crate) fn tool_spans(answer: &Value) -> Vec<(String, JsonObject)> {
    let calls = list(&answer["choices"])
        .iter()
        .flat_map(|choice| list(&choice["message"]["tool_calls"]));
    let span = |call: &Value| {
        let name = call["function"]["name"].as_str().unwrap_or_default();
        let mut attributes = JsonObject::new();
        put(&mut attributes, "agentops.span.kind", &"tool".into());
        put(&mut attributes, "tool.name", &name.into());
        put(&mut attributes, "tool.parameters", &call["function"]["arguments"]);
        put(&mut attributes, "tool.call.id", &call["id"]);
        let kind = call["type"].as_str().unwrap_or("function");
        put(&mut attributes, "tool.call.type", &kind.into());
        (format!("tool_call.{name}"), attributes)
    };
    calls.map(span).collect()
}

/// What an answer says that is an error instead of an answer.
pub(crate) fn refusal(answer: &Value) -> Option<String> {
    let error = answer.get("error").filter(|error| !error.is_null())?;
    let message = error["message"].as_str().or(error.as_str());
    Some(message.map_or_else(|| error.to_string(), str::to_owned))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Sets an attribute: scalars as they are, anything nested as JSON text, nothing for null.
pub(crate) fn put(attributes: &mut JsonObject, key: &str, value: &Value) {
    let value = match value {
        Value::Null => return,
        Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
        Value::Array(_) | Value::Object(_) => value.to_string().into(),
    };
    attributes.insert(key.to_owned(), value);
}
