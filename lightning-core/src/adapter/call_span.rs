//! What the span of a call says of prompt and answer, under the keys that tracers use.

use serde_json::Value;

use super::{AdaptError, CallMetadata, Prompt, Response, Triplet};
use crate::{
    semconv,
    types::{JsonObject, Span, SpanStatusCode, unflatten_under},
};

const RESPONSE_ID: [&str; 2] = [semconv::GEN_AI_RESPONSE_ID, "agentlightning.operation.output.id"];
const PROMPT_TOKEN_IDS: [&str; 2] = [
    "prompt_token_ids",
    // What Weave records.
    "agentlightning.operation.output.prompt_token_ids",
];
const RESPONSE_TOKEN_IDS: [&str; 4] = [
    "response_token_ids",
    // What Weave records of the answers of older and newer servers.
    "agentlightning.operation.output.response_token_ids.0",
    "agentlightning.operation.output.choices.0.token_ids",
    "agentlightning.operation.output.choices.0.provider_specific_fields.token_ids",
];
const REQUEST: [&str; 2] = ["gen_ai.request", semconv::OPERATION_INPUT];
const RESPONSE: [&str; 2] = ["gen_ai.response", semconv::OPERATION_OUTPUT];
const PROMPT: [&str; 2] = ["gen_ai.prompt", "agentlightning.operation.input.messages"];
const COMPLETION: [&str; 2] = ["gen_ai.completion", "agentlightning.operation.output.choices"];
const LOGPROBS: &str = "logprobs.content";

/// The id of the answer. Exporters write empty text for what is not there.
pub(super) fn response_id(attributes: &JsonObject) -> Option<&str> {
    let text = |key| attributes.get(key)?.as_str();
    RESPONSE_ID.into_iter().filter_map(text).find(|id| !id.is_empty())
}

/// Whether the call ended with an error in place of an answer.
pub(super) fn failed(span: &Span) -> bool {
    let answer_begins = |key: &String| COMPLETION.iter().any(|prefix| key.starts_with(prefix));
    span.status.status_code == SpanStatusCode::Error
        && response_id(&span.attributes).is_none()
        && token_ids_under(&span.attributes, &RESPONSE_TOKEN_IDS).is_none()
        && !span.attributes.keys().any(answer_begins)
}

pub(super) fn has_token_ids(span: &Span) -> bool {
    let some = |keys: &[&str]| token_ids_under(&span.attributes, keys).is_some_and(|ids| !ids.is_empty());
    some(&PROMPT_TOKEN_IDS) && some(&RESPONSE_TOKEN_IDS)
}

/// The triplet of a call, without a reward.
///
/// Errors if the probabilities are no JSON.
pub(super) fn triplet(span: &Span, agent_name: Option<&str>) -> Result<Triplet, AdaptError> {
    let attributes = &span.attributes;
    let token_ids = |keys: &[&str]| token_ids_under(attributes, keys).unwrap_or_default();
    let nested = |keys: [&str; 2]| keys.into_iter().find_map(|key| some_under(attributes, key));
    let mut request = nested(REQUEST);
    let mut response = nested(RESPONSE);
    // Weave records a whole request and a whole answer: what has a place of its own is not said twice.
    remove(&mut request, &["messages"]);
    remove(
        &mut response,
        &["choices", "prompt_token_ids", "response_token_ids"],
    );
    let prompt = nested(PROMPT);
    let logprobs = match attributes.get(LOGPROBS) {
        Some(Value::String(text)) => Some(
            read_logprobs(text)
                .map_err(|error| AdaptError::malformed(span, format!("`{LOGPROBS}` is no JSON: {error}")))?,
        ),
        _ => None,
    };
    Ok(Triplet {
        prompt: Prompt {
            token_ids: token_ids(&PROMPT_TOKEN_IDS),
            image_urls: prompt.as_ref().map(image_urls).unwrap_or_default(),
            raw_content: prompt,
        },
        response: Response {
            token_ids: token_ids(&RESPONSE_TOKEN_IDS),
            raw_content: nested(COMPLETION),
            logprobs,
        },
        reward: None,
        metadata: CallMetadata {
            request,
            response,
            response_id: response_id(attributes).map(str::to_owned),
            agent_name: agent_name.map(str::to_owned),
            span_id: span.span_id.clone(),
        },
    })
}

fn remove(object: &mut Option<Value>, keys: &[&str]) {
    if let Some(Value::Object(object)) = object {
        for key in keys {
            object.remove(*key);
        }
    }
}

fn some_under(attributes: &JsonObject, prefix: &str) -> Option<Value> {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(object) => object.is_empty(),
        _ => false,
    };
    unflatten_under(attributes, prefix).filter(|value| !is_empty(value))
}

/// The first of the attributes that is a list of token ids.
fn token_ids_under(attributes: &JsonObject, keys: &[&str]) -> Option<Vec<u32>> {
    keys.iter().find_map(|key| token_ids(attributes.get(*key)?))
}

/// A list of whole numbers that tokens can have.
pub(super) fn token_ids(value: &Value) -> Option<Vec<u32>> {
    let id = |item: &Value| u32::try_from(item.as_u64()?).ok();
    value.as_array()?.iter().map(id).collect()
}

/// The addresses of images in messages: parts `{"type": "image_url", "image_url": {"url": …}}` of their contents, which
/// may be JSON text.
fn image_urls(prompt: &Value) -> Vec<String> {
    let messages: Vec<&Value> = match prompt {
        Value::Array(messages) => messages.iter().collect(),
        // Messages are numbered, but stand beside something else.
        Value::Object(object) => {
            let numbered = object
                .iter()
                .filter_map(|(key, message)| Some((key.parse::<u64>().ok()?, message)));
            let mut numbered: Vec<_> = numbered.collect();
            numbered.sort_by_key(|(number, _)| *number);
            if numbered.is_empty() {
                vec![prompt]
            } else {
                numbered.into_iter().map(|(_, message)| message).collect()
            }
        }
        _ => Vec::new(),
    };
    let mut urls = Vec::new();
    for content in messages.into_iter().filter_map(|message| message.get("content")) {
        let parsed: Value;
        let parts = match content {
            Value::String(text) if text.trim_start().starts_with('[') => {
                parsed = serde_json::from_str(text).unwrap_or_default();
                parsed.as_array()
            }
            other => other.as_array(),
        };
        let images = parts
            .into_iter()
            .flatten()
            .filter(|part| part.get("type").is_some_and(|kind| kind == "image_url"));
        let of_images = images.filter_map(|part| part.get("image_url")?.get("url")?.as_str());
        urls.extend(of_images.map(str::to_owned));
    }
    urls
}

/// Python writes infinities, which logarithms of 0 are, without quotes; they become null.
fn read_logprobs(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text).or_else(|error| {
        if !text.contains("Infinity") && !text.contains("NaN") {
            return Err(error);
        }
        let mut plain = String::with_capacity(text.len());
        for (number, part) in outside_and_inside_of_quotes(text).enumerate() {
            if number % 2 == 0 {
                let part = part.replace("-Infinity", "null").replace("Infinity", "null");
                plain.push_str(&part.replace("NaN", "null"));
            } else {
                plain.push_str(part);
            }
        }
        serde_json::from_str(&plain)
    })
}

/// The parts of a JSON text: what is outside of quotes, the quoted text, what is outside, and so on.
fn outside_and_inside_of_quotes(text: &str) -> impl Iterator<Item = &str> {
    let (mut rest, mut inside) = (Some(text), false);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut escaped = false;
        let end = text.char_indices().find(|(at, c)| {
            let ends = *c == '"' && !escaped && (!inside || *at > 0);
            escaped = inside && *c == '\\' && !escaped;
            ends
        });
        let part = match end {
            Some((at, _)) => {
                // The quotes go with what they enclose.
                let (part, after) = text.split_at(at + usize::from(inside));
                rest = Some(after);
                part
            }
            None => {
                rest = None;
                text
            }
        };
        inside = !inside;
        Some(part)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn infinities_outside_of_text_are_null() {
        let text =
            r#"[{"token": "-Infinity \" NaN", "logprob": -Infinity}, {"token": "\\", "logprob": NaN}]"#;
        assert_eq!(
            read_logprobs(text).unwrap(),
            json!([{"token": "-Infinity \" NaN", "logprob": null}, {"token": "\\", "logprob": null}])
        );
        assert!(read_logprobs("[Infinity").is_err());
        assert!(read_logprobs("nothing").is_err());
    }

    #[test]
    fn images_are_found_in_lists_and_texts() {
        let part = |url: &str| json!({"type": "image_url", "image_url": {"url": url}});
        let text = json!([part("b"), {"type": "text", "text": "t"}]).to_string();
        let messages = json!([{"content": [part("a")]}, {"content": text}, {"content": "plain"}, 3, {}]);
        assert_eq!(image_urls(&messages), ["a", "b"]);
        let numbered = json!({"10": {"content": [part("c")]}, "9": {"content": [part("b")]}, "more": {"content": [part("a")]}});
        assert_eq!(image_urls(&numbered), ["b", "c"]);
        assert_eq!(image_urls(&json!({"content": [part("a")]})), ["a"]);
        assert_eq!(image_urls(&json!("text")), [""; 0]);
    }

    #[test]
    fn token_ids_are_whole_numbers() {
        for (value, expected) in [
            (json!([1, 2]), Some(vec![1, 2])),
            (json!([]), Some(vec![])),
            (json!([1, -2]), None),
            (json!([1.5]), None),
            (json!([true]), None),
            (json!([4_294_967_296_u64]), None),
            (json!("[1, 2]"), None),
        ] {
            assert_eq!(token_ids(&value), expected, "{value}");
        }
    }
}
