//! Requests and answers of every interface in the shape of OpenAI's chat completions, as far as a record needs them.

use serde_json::{Value, json};

use super::Endpoint;
use crate::types::JsonObject;

/// A request as a chat request: `messages`, `tools`, and all other fields as they are.
pub(crate) fn request_as_chat(endpoint: Endpoint, request: &Value) -> Value {
    let Value::Object(mut chat) = request.clone() else {
        return Value::Null;
    };
    let mut take = |key: &str| chat.remove(key).unwrap_or_default();
    let mut messages = Vec::new();
    let mut tools = Vec::new();
    match endpoint {
        Endpoint::ChatCompletions => return request.clone(),
        Endpoint::Completions => messages.extend(texts(take("prompt"))),
        Endpoint::Embeddings => messages.extend(texts(take("input"))),
        Endpoint::Messages => {
            messages.extend(some_content(take("system")).map(|system| message("system", system)));
            for said in list(&take("messages")) {
                messages_of_anthropic(said, &mut messages);
            }
            tools.extend(
                list(&take("tools"))
                    .iter()
                    .map(|tool| function(tool, "input_schema")),
            );
        }
        Endpoint::Responses => {
            messages.extend(some_content(take("instructions")).map(|text| message("system", text)));
            match take("input") {
                text @ Value::String(_) => messages.push(message("user", text)),
                items => list(&items)
                    .iter()
                    .for_each(|item| messages_of_item(item, &mut messages)),
            }
            let told = take("tools");
            let functions = list(&told).iter().filter(|tool| tool["type"] == "function");
            tools.extend(functions.map(|tool| function(tool, "parameters")));
        }
    }
    chat.insert("messages".to_owned(), messages.into());
    if !tools.is_empty() {
        chat.insert("tools".to_owned(), tools.into());
    }
    if let Some(most) = chat.remove("max_output_tokens") {
        chat.insert("max_tokens".to_owned(), most);
    }
    Value::Object(chat)
}

/// An answer as a chat completion: `choices`, `usage` as chat completions count it, and all other fields as they are.
pub(crate) fn answer_as_chat(endpoint: Endpoint, answer: &Value) -> Value {
    let Value::Object(mut chat) = answer.clone() else {
        return Value::Null;
    };
    match endpoint {
        Endpoint::ChatCompletions => {}
        Endpoint::Completions => {
            if let Some(Value::Array(choices)) = chat.get_mut("choices") {
                for choice in choices {
                    if let Some(text) = choice.as_object_mut().and_then(|choice| choice.remove("text")) {
                        choice["message"] = message("assistant", text);
                    }
                }
            }
        }
        // The vectors are large, and no text.
        Endpoint::Embeddings => {
            chat.remove("data");
        }
        Endpoint::Messages => {
            let content = chat.remove("content").unwrap_or_default();
            let reason = chat.remove("stop_reason").unwrap_or_default();
            let (said, calls) = parts_and_calls(list(&content));
            one_choice(&mut chat, &content, &said, calls, &reason);
        }
        Endpoint::Responses => {
            let output = chat.remove("output").unwrap_or_default();
            let reason = match &chat.get("incomplete_details").unwrap_or(&Value::Null)["reason"] {
                Value::Null => chat.get("status").cloned().unwrap_or_default(),
                reason => reason.clone(),
            };
            let (mut said, mut calls, mut probabilities) = (Vec::new(), Vec::new(), Vec::new());
            for item in list(&output) {
                match item["type"].as_str() {
                    Some("message") => {
                        for part in list(&item["content"]) {
                            said.extend(text_of(part).map(str::to_owned));
                            probabilities.extend_from_slice(list(&part["logprobs"]));
                        }
                    }
                    Some("function_call") => calls.push(call_of_item(item)),
                    _ => {}
                }
            }
            one_choice(&mut chat, &output, &said, calls, &reason);
            if !probabilities.is_empty() {
                let choice = chat.get_mut("choices").and_then(|choices| choices.get_mut(0));
                if let Some(choice) = choice {
                    choice["logprobs"] = json!({ "content": probabilities });
                }
            }
        }
    }
    if let Some(Value::Object(usage)) = chat.get_mut("usage") {
        usage_as_chat(usage);
    }
    Value::Object(chat)
}

fn one_choice(chat: &mut JsonObject, content: &Value, said: &[String], calls: Vec<Value>, reason: &Value) {
    // An error has no answer beside it.
    if content.is_null() && chat.contains_key("error") {
        return;
    }
    let mut message = message("assistant", said.concat().into());
    if said.is_empty() && !calls.is_empty() {
        message["content"] = Value::Null;
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    let choice = json!({"index": 0, "message": message, "finish_reason": reason});
    chat.insert("choices".to_owned(), json!([choice]));
}

/// Fills in chat completions' names for what others name otherwise. Anthropic counts what it read from its cache apart.
fn usage_as_chat(usage: &mut JsonObject) {
    let count = |key: &str| usage.get(key).and_then(Value::as_u64);
    let cached = ["cache_creation_input_tokens", "cache_read_input_tokens"];
    let input = count("input_tokens").map(|tokens| {
        let cached = cached.into_iter().filter_map(count);
        cached.fold(tokens, u64::saturating_add)
    });
    let output = count("output_tokens");
    for (key, tokens) in [("prompt_tokens", input), ("completion_tokens", output)] {
        if let (Some(tokens), false) = (tokens, usage.contains_key(key)) {
            usage.insert(key.to_owned(), tokens.into());
        }
    }
}

fn message(role: &str, content: Value) -> Value {
    let fields = [("role", Value::from(role)), ("content", content)];
    fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Content that says something; a list of nothing but texts as one text.
fn some_content(content: Value) -> Option<Value> {
    match &content {
        Value::Null => None,
        Value::Array(parts) => {
            let texts: Option<Vec<&str>> = parts.iter().map(text_of).collect();
            Some(texts.map_or_else(|| content.clone(), |texts| texts.concat().into()))
        }
        _ => Some(content),
    }
}

/// The text of a part of a content.
fn text_of(part: &Value) -> Option<&str> {
    match part["type"].as_str() {
        Some("text" | "output_text" | "input_text") | None => part["text"].as_str(),
        Some("refusal") => part["refusal"].as_str(),
        _ => None,
    }
}

/// A text, several of them, or tokens, each as what a user says.
fn texts(prompt: Value) -> Vec<Value> {
    match prompt {
        Value::Null => Vec::new(),
        Value::Array(items) if items.iter().any(|item| !item.is_number()) => {
            items.into_iter().map(|item| message("user", item)).collect()
        }
        other => vec![message("user", other)],
    }
}

fn function(tool: &Value, schema: &str) -> Value {
    json!({"type": "function", "function": {
        "name": tool["name"], "description": tool["description"], "parameters": tool[schema],
    }})
}

fn call(id: &Value, name: &Value, arguments: &Value) -> Value {
    let arguments = match arguments {
        Value::Null => "{}".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}})
}

fn call_of_item(item: &Value) -> Value {
    let id = if item["call_id"].is_null() {
        &item["id"]
    } else {
        &item["call_id"]
    };
    call(id, &item["name"], &item["arguments"])
}

/// The texts among Anthropic's blocks, and the calls of tools.
fn parts_and_calls(blocks: &[Value]) -> (Vec<String>, Vec<Value>) {
    let texts = blocks
        .iter()
        .filter_map(|block| text_of(block).map(str::to_owned));
    let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
    let calls = calls.map(|block| call(&block["id"], &block["name"], &block["input"]));
    (texts.collect(), calls.collect())
}

/// One message of Anthropic's: results of tools, which are messages of their own elsewhere, and what else it says.
fn messages_of_anthropic(said: &Value, messages: &mut Vec<Value>) {
    let role = said["role"].as_str().unwrap_or("user");
    let Some(blocks) = said["content"].as_array() else {
        messages.push(message(role, said["content"].clone()));
        return;
    };
    let (results, others): (Vec<&Value>, Vec<&Value>) =
        blocks.iter().partition(|block| block["type"] == "tool_result");
    for result in results {
        let mut answer = message(
            "tool",
            some_content(result["content"].clone()).unwrap_or_default(),
        );
        answer["tool_call_id"] = result["tool_use_id"].as_str().unwrap_or_default().into();
        messages.push(answer);
    }
    let others: Vec<Value> = others.into_iter().cloned().collect();
    if role == "assistant" {
        let (texts, calls) = parts_and_calls(&others);
        let mut answer = message(role, texts.concat().into());
        if !calls.is_empty() {
            answer["tool_calls"] = calls.into();
        }
        messages.push(answer);
    } else if !others.is_empty() {
        let parts: Vec<Value> = others.into_iter().map(image_as_chat).collect();
        messages.push(message(role, some_content(parts.into()).unwrap_or_default()));
    }
}

/// An image as chat completions have it; any other part as it is.
fn image_as_chat(part: Value) -> Value {
    let source = &part["source"];
    let url = match (part["type"].as_str(), source["type"].as_str()) {
        (Some("image"), Some("base64")) => {
            let (kind, data) = (source["media_type"].as_str(), source["data"].as_str());
            format!(
                "data:{};base64,{}",
                kind.unwrap_or_default(),
                data.unwrap_or_default()
            )
        }
        (Some("image"), Some("url")) => source["url"].as_str().unwrap_or_default().to_owned(),
        _ => return part,
    };
    json!({"type": "image_url", "image_url": {"url": url}})
}

/// One item of the input of Responses.
fn messages_of_item(item: &Value, messages: &mut Vec<Value>) {
    match item["type"].as_str() {
        Some("message") | None => {
            let role = item["role"].as_str().unwrap_or("user");
            let content = match &item["content"] {
                Value::Array(parts) => Value::Array(parts.iter().map(part_as_chat).collect()),
                other => other.clone(),
            };
            messages.push(message(role, some_content(content).unwrap_or_default()));
        }
        Some("function_call") => {
            let mut said = message("assistant", Value::Null);
            said["tool_calls"] = json!([call_of_item(item)]);
            messages.push(said);
        }
        Some("function_call_output") => {
            let mut answer = message("tool", some_content(item["output"].clone()).unwrap_or_default());
            answer["tool_call_id"] = item["call_id"].as_str().unwrap_or_default().into();
            messages.push(answer);
        }
        // What only some models take, such as reasoning, says nothing to others.
        _ => {}
    }
}

fn part_as_chat(part: &Value) -> Value {
    match part["type"].as_str() {
        Some("input_image") => json!({"type": "image_url", "image_url": {"url": part["image_url"]}}),
        _ => part.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anthropics_messages() {
        let request = json!({
            "model": "m", "max_tokens": 9, "system": [{"type": "text", "text": "Be brief."}],
            "messages": [
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": [
                    {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t", "name": "look", "input": {"at": 1}}]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "nothing"}]},
                    {"type": "text", "text": "And this?"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QQ=="}}]},
            ],
            "tools": [{"name": "look", "description": "d", "input_schema": {"type": "object"}}],
        });
        let chat = request_as_chat(Endpoint::Messages, &request);
        assert_eq!(
            chat,
            json!({
                "model": "m", "max_tokens": 9,
                "messages": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Look."},
                    {"role": "assistant", "content": "I look.", "tool_calls": [
                        {"id": "t", "type": "function", "function": {"name": "look", "arguments": "{\"at\":1}"}}]},
                    {"role": "tool", "content": "nothing", "tool_call_id": "t"},
                    {"role": "user", "content": [
                        {"type": "text", "text": "And this?"},
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}}]},
                ],
                "tools": [{"type": "function", "function": {
                    "name": "look", "description": "d", "parameters": {"type": "object"}}}],
            })
        );
        let answer = json!({
            "id": "msg", "model": "m", "stop_reason": "tool_use",
            "content": [{"type": "text", "text": "So."}, {"type": "tool_use", "id": "t", "name": "look", "input": {}}],
            "usage": {"input_tokens": 5, "output_tokens": 3, "cache_read_input_tokens": 100},
        });
        let chat = answer_as_chat(Endpoint::Messages, &answer);
        assert_eq!(
            chat["choices"],
            json!([{"index": 0, "finish_reason": "tool_use", "message": {"role": "assistant", "content": "So.",
                "tool_calls": [{"id": "t", "type": "function", "function": {"name": "look", "arguments": "{}"}}]}}])
        );
        assert_eq!(
            (
                &chat["usage"]["prompt_tokens"],
                &chat["usage"]["completion_tokens"]
            ),
            (&json!(105), &json!(3))
        );
    }

    #[test]
    fn openais_responses() {
        let request = json!({
            "model": "m", "instructions": "Be brief.", "max_output_tokens": 7,
            "input": [
                {"role": "user", "content": [{"type": "input_text", "text": "Look."}]},
                {"type": "reasoning", "summary": []},
                {"type": "function_call", "call_id": "c", "name": "look", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "c", "output": "nothing"},
            ],
            "tools": [{"type": "function", "name": "look", "parameters": {}}, {"type": "web_search"}],
        });
        let chat = request_as_chat(Endpoint::Responses, &request);
        assert_eq!(
            chat["messages"],
            json!([
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "Look."},
                {"role": "assistant", "content": null, "tool_calls": [
                    {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
                {"role": "tool", "content": "nothing", "tool_call_id": "c"},
            ])
        );
        assert_eq!(
            (chat["tools"].as_array().unwrap().len(), &chat["max_tokens"]),
            (1, &json!(7))
        );
        let answer = json!({
            "id": "resp", "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "error": null,
            "output": [{"type": "reasoning"}, {"type": "message", "content": [
                {"type": "output_text", "text": "Hi", "logprobs": [{"token": "Hi", "logprob": -0.5}]}]}],
            "usage": {"input_tokens": 5, "output_tokens": 3},
        });
        let chat = answer_as_chat(Endpoint::Responses, &answer);
        assert_eq!(
            chat["choices"],
            json!([{"index": 0, "finish_reason": "max_output_tokens",
                "logprobs": {"content": [{"token": "Hi", "logprob": -0.5}]},
                "message": {"role": "assistant", "content": "Hi"}}])
        );
    }

    #[test]
    fn texts_and_embeddings() {
        let messages = |endpoint, request: Value| request_as_chat(endpoint, &request)["messages"].clone();
        let user = |content: Value| json!({"role": "user", "content": content});
        assert_eq!(
            messages(Endpoint::Completions, json!({"prompt": "a"})),
            json!([user(json!("a"))])
        );
        assert_eq!(
            messages(Endpoint::Embeddings, json!({"input": ["a", "b"]})),
            json!([user(json!("a")), user(json!("b"))])
        );
        assert_eq!(
            messages(Endpoint::Completions, json!({"prompt": [1, 2]})),
            json!([user(json!([1, 2]))])
        );
        let answer = json!({"choices": [{"text": "x", "index": 0, "finish_reason": "stop"}]});
        assert_eq!(
            answer_as_chat(Endpoint::Completions, &answer)["choices"][0]["message"],
            json!({"role": "assistant", "content": "x"})
        );
        let answer = answer_as_chat(
            Endpoint::Embeddings,
            &json!({"data": [{"embedding": [0.1]}], "model": "m"}),
        );
        assert_eq!(answer, json!({"model": "m"}));
    }

    #[test]
    fn what_has_another_shape_does_no_harm() {
        let endpoints = [
            Endpoint::ChatCompletions,
            Endpoint::Completions,
            Endpoint::Embeddings,
            Endpoint::Responses,
            Endpoint::Messages,
        ];
        for endpoint in endpoints {
            for odd in [
                json!(null),
                json!(3),
                json!([]),
                json!({}),
                json!({
                    "messages": 3, "prompt": {}, "input": 4, "content": {}, "output": "x", "choices": [3, {"text": 4}],
                    "tools": "x", "system": 3, "usage": [], "error": "no",
                }),
            ] {
                request_as_chat(endpoint, &odd);
                answer_as_chat(endpoint, &odd);
            }
        }
    }
}
