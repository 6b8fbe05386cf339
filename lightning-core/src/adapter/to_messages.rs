//! From spans to chat messages.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::{
    AdaptError, CalledFunction, ChatMessage, Conversation, EmptyReason, FunctionDefinition, LeftOut,
    ToolCall, ToolDefinition, TraceAdapter, call_span,
    calls::CallFilter,
    error::names,
    lineage::within,
    ordered::{ordered, parent_id},
};
use crate::types::{JsonObject, Span, model_calls, unflatten_under};

const PROMPT: &str = "gen_ai.prompt";
const COMPLETION: &str = "gen_ai.completion";
const REQUEST: &str = "gen_ai.request";
/// The roles of messages that fine-tuning takes.
const ROLES: [&str; 5] = ["developer", "system", "user", "assistant", "tool"];
/// The types of the parts that a message may be made of.
const PARTS: [&str; 5] = ["text", "image_url", "input_audio", "file", "refusal"];

/// Chat messages from the spans of any tracer or proxy that writes `gen_ai.prompt.*` and `gen_ai.completion.*`: one
/// [`Conversation`] for each call, in the order of sequence ids.
///
/// The answer calls the tools that spans directly within the call tell of (`tool.*`, as AgentOps records them), or else
/// those that its own attributes name. Calls without an answer are left out, and so are those whose role is `judge`, with
/// what lies within them, and those with the id of an earlier answer.
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct ToMessages {
    filter: CallFilter,
}

impl ToMessages {
    /// All calls but those of judges.
    pub fn new() -> Self {
        Self::default()
    }

    /// Leaves out calls of these roles, in place of `judge` alone.
    pub fn leave_out_roles<R: Into<String>>(mut self, roles: impl IntoIterator<Item = R>) -> Self {
        self.filter.roles_left_out = roles.into_iter().map(Into::into).collect();
        self
    }
}

/// The conversations of an attempt, at least one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversations {
    /// The conversations, in order.
    pub conversations: Vec<Conversation>,
    /// The calls that are not among them.
    pub left_out: LeftOut,
}

impl Conversations {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.conversations.len()
    }

    /// Whether there are none. An adapter gives no such thing.
    pub fn is_empty(&self) -> bool {
        self.conversations.is_empty()
    }

    /// The conversations, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Conversation> {
        self.conversations.iter()
    }
}

impl IntoIterator for Conversations {
    type Item = Conversation;
    type IntoIter = std::vec::IntoIter<Conversation>;

    fn into_iter(self) -> Self::IntoIter {
        self.conversations.into_iter()
    }
}

impl<'a> IntoIterator for &'a Conversations {
    type Item = &'a Conversation;
    type IntoIter = std::slice::Iter<'a, Conversation>;

    fn into_iter(self) -> Self::IntoIter {
        self.conversations.iter()
    }
}

impl TraceAdapter for ToMessages {
    type Output = Conversations;

    fn describe(&self) -> String {
        "chat messages of calls".to_owned()
    }

    fn adapt(&self, spans: &[Span]) -> Result<Conversations, AdaptError> {
        let spans = ordered(spans)?;
        let mut children: HashMap<&str, Vec<&Span>> = HashMap::new();
        for span in &spans {
            if let Some(parent) = parent_id(span) {
                children.entry(parent).or_default().push(span);
            }
        }
        let role_left_out = within(&spans, |span| self.filter.leaves_out_role_of(span));
        let (mut conversations, mut left_out, mut answers) = (Vec::new(), LeftOut::default(), HashSet::new());
        for (span, role_left_out) in spans.iter().zip(role_left_out) {
            let has = |prefix: &str| span.attributes.keys().any(|key| is_under(key, prefix));
            if !has(PROMPT) && !has(COMPLETION) {
                continue;
            }
            let inner = children.get(span.span_id.as_str()).map_or(&[][..], Vec::as_slice);
            if role_left_out {
                left_out.by_role += 1;
            } else if call_span::response_id(&span.attributes).is_some_and(|id| answers.contains(id)) {
                left_out.repeated += 1;
            } else if let Some(conversation) = conversation(span, inner)? {
                answers.extend(call_span::response_id(&span.attributes));
                conversations.push(conversation);
            } else {
                left_out.without_answer += 1;
            }
        }
        if !conversations.is_empty() {
            return Ok(Conversations {
                conversations,
                left_out,
            });
        }
        Err(if left_out.total() > 0 {
            EmptyReason::AllLeftOut(left_out).into()
        } else {
            let all: Vec<Span> = spans.into_iter().cloned().collect();
            EmptyReason::NoModelCall {
                wanted: format!("a span with attributes `{PROMPT}.*` and `{COMPLETION}.*`"),
                span_names: names(&all),
                look_alike: names(model_calls(&all).iter().map(|call| call.span)),
            }
            .into()
        })
    }
}

fn is_under(key: &str, prefix: &str) -> bool {
    key.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('.'))
}

/// The conversation of a call; nothing if there is no answer.
fn conversation(span: &Span, inner: &[&Span]) -> Result<Option<Conversation>, AdaptError> {
    let mut messages = Vec::new();
    for (number, message) in list(span, PROMPT)?.into_iter().enumerate() {
        let place = format!("{PROMPT}.{number}");
        messages.push(
            prompt_message(&message)
                .map_err(|problem| AdaptError::malformed(span, format!("`{place}` {problem}")))?,
        );
    }
    let told = inner.iter().filter_map(|tool| tool_span(tool).transpose());
    let told: Vec<ToolCall> = told.collect::<Result<_, _>>()?;
    let mut answered = false;
    for (number, answer) in list(span, COMPLETION)?.into_iter().enumerate() {
        if answer.get("role").and_then(Value::as_str) != Some("assistant") {
            continue;
        }
        let malformed =
            |problem: String| AdaptError::malformed(span, format!("`{COMPLETION}.{number}` {problem}"));
        let tool_calls = match &told[..] {
            [] => tool_calls(&answer).map_err(malformed)?,
            told => told.to_vec(),
        };
        messages.push(ChatMessage {
            role: "assistant".to_owned(),
            content: content(&answer).map_err(malformed)?,
            tool_calls,
            tool_call_id: None,
        });
        answered = true;
    }
    let tools = tools(span)?;
    Ok(answered.then_some(Conversation { messages, tools }))
}

fn prompt_message(message: &Value) -> Result<ChatMessage, String> {
    let role = text_in(message, "role")?;
    if !ROLES.contains(&role.as_str()) {
        return Err(format!(
            "has the role `{role}`, which is none of {}",
            ROLES.join(", ")
        ));
    }
    let tool_calls = if role == "assistant" {
        tool_calls(message)?
    } else {
        Vec::new()
    };
    let tool_call_id = if role == "tool" {
        Some(text_in(message, "tool_call_id")?)
    } else {
        None
    };
    let content = content(message)?;
    Ok(ChatMessage {
        // Only an answer that calls tools may say nothing.
        content: if tool_calls.is_empty() {
            content.or(Some("".into()))
        } else {
            content
        },
        role,
        tool_calls,
        tool_call_id,
    })
}

fn text_in(object: &Value, key: &str) -> Result<String, String> {
    match object.get(key) {
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("has a `{key}` that is no text")),
        None => Err(format!("has no `{key}`")),
    }
}

/// Text or parts. Tracers write parts as JSON text.
fn content(message: &Value) -> Result<Option<Value>, String> {
    match message.get("content") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(parts)) => Ok(Some(Value::Array(parts.clone()))),
        Some(Value::String(text)) => Ok(Some(parts_in(text).unwrap_or_else(|| text.clone().into()))),
        Some(_) => Err("has a `content` that is neither text nor a list".to_owned()),
    }
}

fn parts_in(text: &str) -> Option<Value> {
    if !text.trim_start().starts_with('[') {
        return None;
    }
    let parts: Value = serde_json::from_str(text).ok()?;
    let is_part = |part: &Value| {
        part.get("type")
            .and_then(Value::as_str)
            .is_some_and(|kind| PARTS.contains(&kind))
    };
    let are_parts = parts
        .as_array()
        .is_some_and(|parts| !parts.is_empty() && parts.iter().all(is_part));
    are_parts.then_some(parts)
}

/// The calls of tools that a message's own attributes name.
fn tool_calls(message: &Value) -> Result<Vec<ToolCall>, String> {
    let Some(Value::Array(calls)) = message.get("tool_calls") else {
        return Ok(Vec::new());
    };
    let call = |call: &Value| -> Result<ToolCall, String> {
        // Flat, or as OpenAI nests it.
        let function = call.get("function").unwrap_or(call);
        Ok(ToolCall {
            id: text_in(call, "id")?,
            kind: "function".to_owned(),
            function: CalledFunction {
                name: text_in(function, "name")?,
                arguments: arguments(function.get("arguments")),
            },
        })
    };
    let calls: Result<_, String> = calls.iter().map(call).collect();
    calls.map_err(|problem| format!("has a tool call that {problem}"))
}

/// JSON text, whatever it was recorded as.
fn arguments(recorded: Option<&Value>) -> String {
    match recorded {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "{}".to_owned(),
    }
}

/// The call of a tool that a span within the call of the model tells of, if it does.
fn tool_span(span: &Span) -> Result<Option<ToolCall>, AdaptError> {
    let tool = match grouped(&span.attributes, "tool") {
        Some(tool @ Value::Object(_)) => tool,
        Some(_) => return Err(AdaptError::malformed(span, "`tool` is a list, not an object")),
        None => return Ok(None),
    };
    let malformed = |problem: String| AdaptError::malformed(span, format!("`tool` {problem}"));
    let call = tool.get("call").unwrap_or(&Value::Null);
    Ok(Some(ToolCall {
        id: text_in(call, "id").map_err(|problem| malformed(format!("has a `call` that {problem}")))?,
        kind: text_in(call, "type").unwrap_or_else(|_| "function".to_owned()),
        function: CalledFunction {
            name: text_in(&tool, "name").map_err(malformed)?,
            arguments: arguments(tool.get("parameters")),
        },
    }))
}

fn tools(span: &Span) -> Result<Vec<ToolDefinition>, AdaptError> {
    let functions = match grouped(&span.attributes, "gen_ai.request.functions") {
        Some(Value::Array(functions)) => functions,
        Some(_) => {
            return Err(AdaptError::malformed(
                span,
                format!("`{REQUEST}.functions` is no list"),
            ));
        }
        None => return Ok(Vec::new()),
    };
    let definition = |function: &Value| -> Result<ToolDefinition, String> {
        let parameters = match function.get("parameters") {
            Some(Value::String(text)) => serde_json::from_str(text)
                .map_err(|error| format!("has `parameters` that are no JSON: {error}"))?,
            Some(other) => other.clone(),
            None => return Err("has no `parameters`".to_owned()),
        };
        Ok(ToolDefinition {
            kind: "function".to_owned(),
            function: FunctionDefinition {
                name: text_in(function, "name")?,
                description: text_in(function, "description").unwrap_or_default(),
                parameters,
            },
        })
    };
    let definitions: Result<_, String> = functions.iter().map(definition).collect();
    definitions.map_err(|problem| AdaptError::malformed(span, format!("`{REQUEST}.functions` {problem}")))
}

fn list(span: &Span, prefix: &str) -> Result<Vec<Value>, AdaptError> {
    match grouped(&span.attributes, prefix) {
        Some(Value::Array(items)) => Ok(items),
        Some(_) => Err(AdaptError::malformed(span, format!("`{prefix}` is no list"))),
        None => Ok(Vec::new()),
    }
}

/// What stands under a prefix, nested. Unlike in [`unflatten_under`], one numbered key makes a list of all numbered ones,
/// whatever is missing between them or stands beside them: recorders cut long lists, and add to short ones.
fn grouped(attributes: &JsonObject, prefix: &str) -> Option<Value> {
    match unflatten_under(attributes, prefix)? {
        nested @ (Value::Array(_) | Value::Object(_)) => Some(numbered_as_lists(nested)),
        _ => None,
    }
}

fn numbered_as_lists(value: Value) -> Value {
    // As deep as the keys of attributes are at most.
    match value {
        Value::Object(object) => {
            let is_number = |key: &str| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_digit());
            if object.keys().any(|key| is_number(key)) {
                let items = object.into_iter().filter(|(key, _)| is_number(key));
                let mut items: Vec<(String, Value)> = items.collect();
                // By number: without zeros at the front, more digits are more.
                items.sort_by(|(a, _), (b, _)| {
                    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
                    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
                });
                Value::Array(
                    items
                        .into_iter()
                        .map(|(_, item)| numbered_as_lists(item))
                        .collect(),
                )
            } else {
                Value::Object(
                    object
                        .into_iter()
                        .map(|(key, value)| (key, numbered_as_lists(value)))
                        .collect(),
                )
            }
        }
        Value::Array(items) => Value::Array(items.into_iter().map(numbered_as_lists).collect()),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_make_lists_whatever_is_missing() {
        let attributes = json!({"p.10.a": 1, "p.9.b.1": 2, "p.x": 3, "q.a.0": 1, "q.b": [1, 2], "r": 1});
        let attributes = attributes.as_object().unwrap();
        assert_eq!(grouped(attributes, "p"), Some(json!([{"b": [2]}, {"a": 1}])));
        assert_eq!(grouped(attributes, "q"), Some(json!({"a": [1], "b": [1, 2]})));
        assert_eq!(grouped(attributes, "r"), None);
        assert_eq!(grouped(attributes, "s"), None);
    }

    #[test]
    fn only_lists_of_parts_are_parts() {
        assert_eq!(
            parts_in(r#" [{"type": "text", "text": "a"}]"#),
            Some(json!([{"type": "text", "text": "a"}]))
        );
        for text in [
            "[]",
            "[1]",
            r#"[{"type": "date"}]"#,
            "plain",
            "[",
            r#"{"type": "text"}"#,
        ] {
            assert_eq!(parts_in(text), None, "{text}");
        }
    }
}
