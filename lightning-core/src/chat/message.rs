//! A request to a chat model and its answer, in OpenAI's shape.

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::ChatError;
use crate::types::JsonObject;

/// A request to a chat model. What this type does not name goes along in `extra`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatRequest {
    /// Which model is to answer; the one that the endpoint is set up with if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The conversation so far.
    pub messages: Vec<Message>,
    /// How much the answers to the same request differ; the endpoint decides if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// How many tokens the answer may have; the endpoint decides if `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    /// All other fields, such as `tools` or `seed`.
    #[serde(flatten)]
    pub extra: JsonObject,
    /// Whose call it is, such as [`ROLE_JUDGE`](crate::semconv::ROLE_JUDGE); it is recorded and not sent.
    #[serde(skip)]
    pub role: Option<String>,
}

/// One message. What this type does not name goes along in `extra`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// Who speaks: `system`, `user`, `assistant`, `tool`.
    pub role: String,
    /// Text, or a list of parts; null where there is none.
    #[serde(default)]
    pub content: Value,
    /// All other fields, such as `tool_calls`.
    #[serde(flatten)]
    pub extra: JsonObject,
}

impl ChatRequest {
    /// A request with this conversation, and all else left to the endpoint.
    pub fn new(messages: impl IntoIterator<Item = Message>) -> Self {
        Self {
            messages: messages.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Names the model that is to answer; `None` leaves it to the endpoint.
    #[must_use]
    pub fn model(mut self, model: Option<impl Into<String>>) -> Self {
        self.model = model.map(Into::into);
        self
    }

    /// Sets the temperature.
    #[must_use]
    pub fn temperature(mut self, temperature: f64) -> Self {
        self.temperature = Some(temperature);
        self
    }

    /// How many tokens the answer may have.
    #[must_use]
    pub fn max_tokens(mut self, tokens: u64) -> Self {
        self.max_tokens = Some(tokens);
        self
    }

    /// Sets any other field, such as `seed` or `response_format`.
    #[must_use]
    pub fn field(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.extra.insert(name.into(), value.into());
        self
    }

    /// Offers the model a function to call. `parameters` is a JSON schema of what it takes.
    #[must_use]
    pub fn tool(
        mut self,
        name: impl Into<String>,
        description: impl Into<String>,
        parameters: impl Into<Value>,
    ) -> Self {
        let tool = json!({"type": "function", "function": {
            "name": name.into(), "description": description.into(), "parameters": parameters.into(),
        }});
        match self.extra.get_mut("tools") {
            Some(Value::Array(tools)) => tools.push(tool),
            _ => {
                self.extra.insert("tools".to_owned(), json!([tool]));
            }
        }
        self
    }

    /// Says whose call it is.
    #[must_use]
    pub fn role(mut self, role: impl Into<String>) -> Self {
        self.role = Some(role.into());
        self
    }

    /// The text of the last message. Of a content in parts, the texts one after the other.
    pub fn last_text(&self) -> String {
        self.messages.last().map(Message::text).unwrap_or_default()
    }
}

impl Message {
    /// A message with text.
    pub fn new(role: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            role: role.into(),
            content: Value::String(text.into()),
            extra: JsonObject::new(),
        }
    }

    /// What the model is told to be.
    pub fn system(text: impl Into<String>) -> Self {
        Self::new("system", text)
    }

    /// What the model is asked.
    pub fn user(text: impl Into<String>) -> Self {
        Self::new("user", text)
    }

    /// What the model said.
    pub fn assistant(text: impl Into<String>) -> Self {
        Self::new("assistant", text)
    }

    /// What the tool gave that the model asked for.
    pub fn tool(call: &ToolCall, result: impl Into<String>) -> Self {
        let mut message = Self::new("tool", result);
        let id = call.id.as_str().into();
        message.extra.insert("tool_call_id".to_owned(), id);
        message
    }

    /// Its text. Of a content in parts, the texts one after the other.
    pub fn text(&self) -> String {
        text_of(&self.content)
    }
}

fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    }
}

/// A function that the model wants called.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ToolCall {
    /// Names the call, for the message with its result.
    pub id: String,
    /// The function.
    pub name: String,
    /// What it is called with: JSON text, as the model wrote it.
    pub arguments: String,
}

impl ToolCall {
    /// What it is called with.
    ///
    /// # Errors
    ///
    /// [`ChatError::Malformed`] if that is no JSON, or no `T`: models make mistakes.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ChatError> {
        serde_json::from_str(&self.arguments).map_err(|error| ChatError::Malformed {
            problem: format!("the arguments of `{}`: {error}", self.name),
        })
    }
}

/// What a chat model answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChatAnswer {
    /// The text of the first choice; empty if it only calls tools.
    pub text: String,
    /// Why it ends: `stop`, `length`, `tool_calls`, …
    pub finish_reason: Option<String>,
    /// The model that answered.
    pub model: Option<String>,
    /// How many tokens went in.
    pub input_tokens: Option<u64>,
    /// How many tokens came out.
    pub output_tokens: Option<u64>,
    /// The answer as it came.
    pub raw: Value,
}

impl ChatAnswer {
    /// An answer with this text, for models of one's own.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        Self {
            raw: json!({"choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": text},
                "finish_reason": "stop",
            }]}),
            text,
            finish_reason: Some("stop".to_owned()),
            model: None,
            input_tokens: None,
            output_tokens: None,
        }
    }

    /// Reads an answer in OpenAI's shape.
    ///
    /// # Errors
    ///
    /// [`ChatError::Malformed`] if it has no message, [`ChatError::Refused`] if the server or the model refuses in it.
    pub fn from_json(raw: Value) -> Result<Self, ChatError> {
        if let Some(error) = raw.get("error").filter(|error| !error.is_null()) {
            let message = error["message"].as_str().or(error.as_str());
            return Err(ChatError::Refused {
                status: None,
                message: message.map_or_else(|| error.to_string(), str::to_owned),
            });
        }
        let malformed = |problem: &str| {
            Err(ChatError::Malformed {
                problem: problem.to_owned(),
            })
        };
        let choice = &raw["choices"][0];
        let Some(message) = choice["message"].as_object() else {
            return malformed("it has no `choices[0].message`");
        };
        let content = message.get("content").unwrap_or(&Value::Null);
        if !matches!(content, Value::Null | Value::String(_) | Value::Array(_)) {
            return malformed("its `choices[0].message.content` is neither text nor null");
        }
        let text = text_of(content);
        if let Some(refusal) = message.get("refusal").and_then(Value::as_str)
            && text.is_empty()
        {
            return Err(ChatError::Refused {
                status: None,
                message: refusal.to_owned(),
            });
        }
        let owned = |value: &Value| value.as_str().map(str::to_owned);
        Ok(Self {
            text,
            finish_reason: owned(&choice["finish_reason"]),
            model: owned(&raw["model"]),
            input_tokens: raw["usage"]["prompt_tokens"].as_u64(),
            output_tokens: raw["usage"]["completion_tokens"].as_u64(),
            raw,
        })
    }

    /// The functions that the model wants called, in order.
    pub fn tool_calls(&self) -> Vec<ToolCall> {
        let calls = self.raw["choices"][0]["message"]["tool_calls"].as_array();
        let owned = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let call = |call: &Value| ToolCall {
            id: owned(&call["id"]),
            name: owned(&call["function"]["name"]),
            arguments: match &call["function"]["arguments"] {
                Value::String(text) => text.clone(),
                Value::Null => "{}".to_owned(),
                other => other.to_string(),
            },
        };
        calls.into_iter().flatten().map(call).collect()
    }

    /// The answer as a message, with all its fields: what goes into the next request before the results of tools.
    pub fn message(&self) -> Message {
        let message = &self.raw["choices"][0]["message"];
        let said = Message::deserialize(message).ok();
        said.unwrap_or_else(|| Message::assistant(self.text.clone()))
    }

    /// Whether the answer was cut off because it would have been too long.
    pub fn is_cut_off(&self) -> bool {
        self.finish_reason.as_deref() == Some("length")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_sent_without_what_is_not_set_and_without_its_role() {
        let mut request = ChatRequest::new([Message::user("2 + 2?")]).role("judge");
        request.extra.insert("seed".to_owned(), 7.into());
        let sent = serde_json::to_value(&request).unwrap();
        assert_eq!(
            sent,
            json!({"messages": [{"role": "user", "content": "2 + 2?"}], "seed": 7})
        );
        let read: ChatRequest = serde_json::from_value(sent).unwrap();
        assert_eq!(
            (read.extra, read.role),
            (request.extra, None),
            "what is not known is kept"
        );
    }

    #[test]
    fn an_answer_tells_text_end_and_usage() {
        let raw = json!({
            "model": "small-2",
            "choices": [{"message": {"content": [{"type": "text", "text": "fo"}, {"text": "ur"}]}, "finish_reason": "length"}],
            "usage": {"prompt_tokens": 5, "completion_tokens": 1},
        });
        let answer = ChatAnswer::from_json(raw.clone()).unwrap();
        assert_eq!((answer.text.as_str(), answer.is_cut_off()), ("four", true));
        assert_eq!((answer.input_tokens, answer.output_tokens), (Some(5), Some(1)));
        assert_eq!((answer.model.as_deref(), answer.raw), (Some("small-2"), raw));
    }

    #[test]
    fn an_answer_that_only_calls_tools_has_no_text() {
        let raw = json!({"choices": [{"message": {"content": null, "tool_calls": []}}]});
        assert_eq!(ChatAnswer::from_json(raw).unwrap().text, "");
    }

    #[test]
    fn tools_are_offered_called_and_answered() {
        let schema = json!({"type": "object"});
        let request = ChatRequest::new([Message::user("Look.")])
            .tool("look", "Looks.", schema.clone())
            .tool("hear", "Hears.", schema)
            .max_tokens(5);
        assert_eq!(request.extra["tools"][1]["function"]["name"], "hear");
        let raw = json!({"choices": [{"message": {"role": "assistant", "content": null, "odd": 1, "tool_calls": [
            {"id": "c", "type": "function", "function": {"name": "look", "arguments": "{\"at\": 3}"}},
            {"function": {"name": "hear"}}]}}]});
        let answer = ChatAnswer::from_json(raw.clone()).unwrap();
        let calls = answer.tool_calls();
        assert_eq!(calls[0].parse::<Value>().unwrap(), json!({"at": 3}));
        assert_eq!(
            calls[0].parse::<u64>().unwrap_err().to_string().split(';').next(),
            Some(
                "the answer is not one of a chat model: the arguments of `look`: invalid type: map, expected u64 at line 1 column 0"
            )
        );
        assert_eq!((calls[1].id.as_str(), calls[1].arguments.as_str()), ("", "{}"));
        let said = serde_json::to_value(answer.message()).unwrap();
        assert_eq!(said, raw["choices"][0]["message"], "nothing is lost");
        let result = serde_json::to_value(Message::tool(&calls[0], "nothing")).unwrap();
        assert_eq!(
            result,
            json!({"role": "tool", "content": "nothing", "tool_call_id": "c"})
        );
    }

    #[test]
    fn what_is_no_answer_is_told_apart() {
        let kind = |raw: Value| ChatAnswer::from_json(raw).unwrap_err();
        for raw in [
            json!({}),
            json!([]),
            json!({"choices": []}),
            json!({"choices": [{"message": {"content": 4}}]}),
        ] {
            assert!(matches!(kind(raw.clone()), ChatError::Malformed { .. }), "{raw}");
        }
        for raw in [
            json!({"error": {"message": "no"}}),
            json!({"error": "no"}),
            json!({"choices": [{"message": {"content": null, "refusal": "no"}}]}),
        ] {
            let ChatError::Refused { message, .. } = kind(raw.clone()) else {
                panic!("{raw}")
            };
            assert_eq!(message, "no");
        }
    }
}
