//! Differences in messages.

use lightning_core::adapter::ToMessages;
use serde_json::{Value, json};

use super::{CALL, Case, Error, Is, case, span, under_root};
use crate::compare::Run;

pub(super) fn messages() -> Vec<Case> {
    let messages = || Run::messages("messages", ToMessages::new());
    let told = |id: &str, more: Value| {
        let mut attributes = json!({
            "gen_ai.response.id": id, "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "what?",
            "gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "that",
        });
        attributes
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        span(id, "root", CALL, (1.0, 2.0), attributes)
    };
    let one = |more: Value| under_root([told("a", more)]);
    let parts = json!([{"type": "text", "text": "see"}]);
    let called = json!([{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]);
    vec![
        case(
            "no call",
            under_root([]),
            messages(),
            "",
            Is(json!([])),
            Error("no span is a call of a model"),
        ),
        case(
            "a call without an answer",
            under_root([
                span(
                    "a",
                    "root",
                    CALL,
                    (1.0, 2.0),
                    json!({"gen_ai.request.model": "m"}),
                ),
                told("b", json!({})),
            ]),
            messages(),
            "/0/messages",
            Is(json!([])),
            Is(json!([{"role": "user", "content": "what?"}, {"role": "assistant", "content": "that"}])),
        ),
        case(
            "a call that was told before",
            under_root([told("a", json!({})), {
                let mut again = told("a", json!({}));
                again.span_id = "b".to_owned();
                again
            }]),
            messages(),
            "/1/messages/0/role",
            Is(json!("user")),
            Is(Value::Null),
        ),
        case(
            "a call of a judge",
            one(json!({"agentlightning.call.role": "judge"})),
            messages(),
            "/0/messages/0/role",
            Is(json!("user")),
            Error("every call of a model is left out: 1 of a role that is left out"),
        ),
        case(
            "parts of a message",
            one(json!({"gen_ai.prompt.0.content": parts.to_string()})),
            messages(),
            "/0/messages/0/content",
            Is(json!(parts.to_string())),
            Is(parts),
        ),
        case(
            "what is said beside a call of a tool",
            one(json!({
                "gen_ai.prompt.0.role": "assistant", "gen_ai.prompt.0.content": "let me see",
                "gen_ai.prompt.0.tool_calls.0.id": "c", "gen_ai.prompt.0.tool_calls.0.name": "f",
                "gen_ai.prompt.0.tool_calls.0.arguments": "{}",
            })),
            messages(),
            "/0/messages/0/content",
            Is(Value::Null),
            Is(json!("let me see")),
        ),
        case(
            "tools that the answer's own attributes name",
            one(json!({
                "gen_ai.completion.0.tool_calls.0.id": "c", "gen_ai.completion.0.tool_calls.0.name": "f",
                "gen_ai.completion.0.tool_calls.0.arguments": "{}",
            })),
            messages(),
            "/0/messages/1/tool_calls",
            Is(Value::Null),
            Is(called),
        ),
        case(
            "arguments of a tool that are no text",
            under_root([told("a", json!({})), {
                let attributes = json!({"tool.name": "f", "tool.call.id": "c", "tool.call.type": "function", "tool.parameters.a": 1});
                span("tool", "a", "tool", (1.0, 2.0), attributes)
            }]),
            messages(),
            "/0/messages/1/tool_calls/0/function/arguments",
            Is(json!({"a": 1})),
            Is(json!("{\"a\":1}")),
        ),
    ]
}
