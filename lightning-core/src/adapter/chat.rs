//! Conversations in the form in which OpenAI's fine-tuning takes them.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One conversation: a call of a model with everything that led to it, and its answer.
///
/// Its JSON form is a line of OpenAI's fine-tuning format.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Conversation {
    /// The messages, the answer at the end.
    pub messages: Vec<ChatMessage>,
    /// The tools that the model could call.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<ToolDefinition>,
}

/// A message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatMessage {
    /// `developer`, `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// Text, or a list of parts; null for an answer that only calls tools.
    #[serde(default)]
    pub content: Option<Value>,
    /// The tools that the model calls.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
    /// The call that a tool's message answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

/// A call of a tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolCall {
    /// What the answer names it by.
    pub id: String,
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// What is called.
    pub function: CalledFunction,
}

/// A function with its arguments.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CalledFunction {
    /// Its name.
    pub name: String,
    /// The arguments as JSON text, as the model wrote it.
    pub arguments: String,
}

/// A tool that a model can call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ToolDefinition {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function.
    pub function: FunctionDefinition,
}

/// A function that a model can call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionDefinition {
    /// Its name.
    pub name: String,
    /// What it does.
    #[serde(default)]
    pub description: String,
    /// Its parameters, as a JSON schema.
    pub parameters: Value,
}
