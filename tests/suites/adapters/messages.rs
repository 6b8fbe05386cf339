use lightning_core::{
    adapter::{AdaptError, ToMessages, TraceAdapter},
    types::Span,
};
use serde_json::{Value, json};

use crate::{span, under_root};

fn call(id: &str, attributes: Value) -> Span {
    span(id, "root", "any", (1.0, 2.0), attributes)
}

#[test]
fn a_conversation_is_a_line_for_fine_tuning() {
    let attributes = json!({
        "gen_ai.prompt.0.role": "system", "gen_ai.prompt.0.content": "be brief",
        "gen_ai.prompt.1.role": "user",
        "gen_ai.prompt.1.content": "[{\"type\": \"image_url\", \"image_url\": {\"url\": \"http://i/1\"}}]",
        "gen_ai.prompt.2.role": "assistant", "gen_ai.prompt.2.content": "let me see",
        "gen_ai.prompt.2.tool_calls.0.id": "c0", "gen_ai.prompt.2.tool_calls.0.name": "look",
        "gen_ai.prompt.2.tool_calls.0.arguments": "{\"at\": 1}",
        "gen_ai.prompt.3.role": "tool", "gen_ai.prompt.3.tool_call_id": "c0", "gen_ai.prompt.3.content": "3",
        "gen_ai.completion.0.role": "assistant",
        "gen_ai.request.functions.0.name": "look", "gen_ai.request.functions.0.description": "looks",
        "gen_ai.request.functions.0.parameters": "{\"type\": \"object\"}",
    });
    let tool = json!({"tool.name": "look", "tool.parameters": "{}", "tool.call.id": "c1", "tool.call.type": "function"});
    let spans = under_root([call("a", attributes), span("t", "a", "tool", (1.0, 2.0), tool)]);
    let result = ToMessages::new().adapt(&spans).unwrap();
    let mut lines = Vec::new();
    result.write_json_lines(&mut lines).unwrap();
    let line: Value = serde_json::from_slice(lines.strip_suffix(b"\n").unwrap()).unwrap();
    let look = |id: &str, arguments: &str| json!([{"id": id, "type": "function", "function": {"name": "look", "arguments": arguments}}]);
    assert_eq!(
        line,
        json!({
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://i/1"}}]},
                {"role": "assistant", "content": "let me see", "tool_calls": look("c0", "{\"at\": 1}")},
                {"role": "tool", "content": "3", "tool_call_id": "c0"},
                {"role": "assistant", "content": null, "tool_calls": look("c1", "{}")},
            ],
            "tools": [{"type": "function", "function": {
                "name": "look", "description": "looks", "parameters": {"type": "object"},
            }}],
        })
    );
}

#[test]
fn what_cannot_be_read_names_the_span_and_the_place() {
    let answered = |more: Value| {
        let mut attributes =
            json!({"gen_ai.completion.0.role": "assistant", "gen_ai.completion.0.content": "that"});
        attributes
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        attributes
    };
    for (attributes, expected) in [
        (
            json!({"gen_ai.prompt.0.content": "x"}),
            "`gen_ai.prompt.0` has no `role`",
        ),
        (
            json!({"gen_ai.prompt.0.role": "critic"}),
            "has the role `critic`, which is none of developer, system",
        ),
        (json!({"gen_ai.prompt.0.role": "tool"}), "has no `tool_call_id`"),
        (
            json!({"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": 3}),
            "neither text nor a list",
        ),
        (
            json!({"gen_ai.prompt.role": "user"}),
            "`gen_ai.prompt` is no list",
        ),
        (
            json!({"gen_ai.request.functions.0.name": "f"}),
            "has no `parameters`",
        ),
        (
            json!({"gen_ai.request.functions.0.name": "f", "gen_ai.request.functions.0.parameters": "{"}),
            "are no JSON",
        ),
        (
            json!({"gen_ai.completion.0.tool_calls.0.id": "c"}),
            "has a tool call that has no `name`",
        ),
    ] {
        let spans = under_root([call("a", answered(attributes))]);
        match ToMessages::new().adapt(&spans) {
            Err(AdaptError::Malformed { span_id, problem }) => {
                assert_eq!(span_id, "a");
                assert!(problem.contains(expected), "{problem}");
            }
            other => panic!("{expected}: {other:?}"),
        }
    }
}
