//! Differences in triplets.

use lightning_core::{
    adapter::ProxyToTriplets,
    types::{Span, SpanStatusCode},
};
use serde_json::{Value, json};

use super::{CALL, Case, Error, Is, call, case, in_order, reward, span, tracer, under_root};
use crate::compare::Run;

pub(super) fn calls() -> Vec<Case> {
    let with_role = |role: &str| {
        let mut judge = span(
            "judge",
            "root",
            "judging",
            (3.0, 9.0),
            json!({"agentlightning.call.role": role}),
        );
        judge.parent_id = Some("root".to_owned());
        let mut inner = call("b", (4.0, 5.0));
        inner.parent_id = Some("judge".to_owned());
        under_root([call("a", (1.0, 2.0)), judge, inner])
    };
    let mut failed = span(
        "b",
        "root",
        CALL,
        (3.0, 4.0),
        json!({"gen_ai.request.model": "m"}),
    );
    failed.status.status_code = SpanStatusCode::Error;
    vec![
        case(
            "a call of a judge",
            with_role("judge"),
            tracer(),
            "/1/metadata/response_id",
            Is(json!("b")),
            Is(Value::Null),
        ),
        case(
            "a call that failed",
            under_root([call("a", (1.0, 2.0)), failed, reward(0.5, 5.0, json!({}))]),
            tracer(),
            "/0/reward",
            Is(Value::Null),
            Is(json!(0.5)),
        ),
        case(
            "a call without an agent",
            under_root([call("a", (1.0, 2.0))]),
            tracer(),
            "/0/metadata/agent_name",
            Is(json!("*")),
            Is(Value::Null),
        ),
        case(
            "answers with empty ids",
            under_root(
                ["a", "b"].map(|id| span(id, "root", CALL, (1.0, 2.0), json!({"gen_ai.response.id": ""}))),
            ),
            tracer(),
            "/1/metadata",
            Is(Value::Null),
            Is(
                json!({"request": null, "response": {"id": ""}, "response_id": null, "agent_name": null, "span_id": "b"}),
            ),
        ),
    ]
}

pub(super) fn attributes() -> Vec<Case> {
    let one = |attributes: Value| under_root([span("a", "root", CALL, (1.0, 2.0), attributes)]);
    vec![
        case(
            "token ids that no token has",
            one(json!({"prompt_token_ids": [true, -1]})),
            tracer(),
            "/0/prompt/token_ids",
            Is(json!([1, -1])),
            Is(json!([])),
        ),
        case(
            "a prompt that is no messages",
            one(json!({"gen_ai.prompt": "what?"})),
            tracer(),
            "/0/prompt/raw_content",
            Error("Cannot unflatten"),
            Is(json!("what?")),
        ),
        case(
            "numbers with zeros at the front",
            one(json!({"gen_ai.prompt.00.role": "user"})),
            tracer(),
            "/0/prompt/raw_content",
            Error("KeyError"),
            Is(json!({"00": {"role": "user"}})),
        ),
        case(
            "the logarithm of 0",
            one(json!({"logprobs.content": "[{\"token\": \"a\", \"logprob\": -Infinity}]"})),
            tracer(),
            "/0/response/logprobs",
            Is(json!([{"token": "a", "logprob": "-inf"}])),
            Is(json!([{"token": "a", "logprob": null}])),
        ),
    ]
}

pub(super) fn rewards() -> Vec<Case> {
    let two = |link: Value| {
        under_root([
            call("a", (1.0, 2.0)),
            call("b", (3.0, 4.0)),
            reward(0.5, 5.0, link),
        ])
    };
    let link = |key: &str, value: &str| json!({"agentlightning.link.0.key_match": key, "agentlightning.link.0.value_match": value});
    let odd = |attributes: Value| {
        under_root([
            call("a", (1.0, 2.0)),
            span(
                "reward",
                "root",
                "agentlightning.annotation",
                (3.0, 4.0),
                attributes,
            ),
        ])
    };
    vec![
        case(
            "a reward that is linked to an answer",
            two(link("gen_ai.response.id", "a")),
            tracer(),
            "/0/reward",
            Is(Value::Null),
            Is(json!(0.5)),
        ),
        case(
            "a reward that is linked to a span",
            two(link("span_id", "a")),
            tracer(),
            "/0/reward",
            Is(Value::Null),
            Is(json!(0.5)),
        ),
        case(
            "a reward that is linked to what is no call",
            two(link("span_id", "root")),
            tracer(),
            "/1/reward",
            Is(json!(0.5)),
            Is(Value::Null),
        ),
        case(
            "a reward that is text",
            odd(json!({"agentlightning.reward.0.name": "primary", "agentlightning.reward.0.value": "0.5"})),
            tracer(),
            "/0/reward",
            Is(json!(0.5)),
            Is(Value::Null),
        ),
        case(
            "a reward without a name",
            odd(json!({"agentlightning.reward.0.value": 0.5})),
            tracer(),
            "/0/reward",
            Error("ValidationError"),
            Is(json!(0.5)),
        ),
        case(
            "an output of AgentOps that is no object",
            odd(json!({"agentops.task.output": "[1]"})),
            tracer(),
            "/0/reward",
            Error("AttributeError"),
            Is(Value::Null),
        ),
    ]
}

pub(super) fn proxies() -> Vec<Case> {
    let proxy = || Run::proxy("proxy", ProxyToTriplets::new());
    let raw = |prompt: &str, more: Value| {
        let mut attributes = json!({
            "llm.hosted_vllm.prompt_token_ids": prompt,
            "llm.hosted_vllm.response_token_ids": "[[3, 4]]",
            "llm.hosted_vllm.id": "a",
        });
        attributes
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        under_root([span("a", "root", "raw_gen_ai_request", (1.0, 2.0), attributes)])
    };
    let linked = |mut spans: Vec<Span>| {
        let mut other = spans[1].clone();
        other.span_id = "b".to_owned();
        other
            .attributes
            .insert("llm.hosted_vllm.id".to_owned(), json!("b"));
        let link = json!({"agentlightning.link.0.key_match": "gen_ai.response.id", "agentlightning.link.0.value_match": "a"});
        spans.extend([other, reward(0.5, 5.0, link)]);
        in_order(spans)
    };
    vec![
        case(
            "no call",
            under_root([]),
            proxy(),
            "",
            Is(json!([])),
            Error("no span is a call of a model"),
        ),
        case(
            "calls without token ids",
            raw("None", json!({})),
            proxy(),
            "",
            Is(json!([])),
            Error("none of 1 calls of a model says which tokens"),
        ),
        case(
            "tuples",
            raw("(1, 2)", json!({})),
            proxy(),
            "/0/prompt/token_ids",
            Is(Value::Null),
            Is(json!([1, 2])),
        ),
        case(
            "JSON where Python's notation is expected",
            raw(
                "[1, 2]",
                json!({"llm.hosted_vllm.response_token_ids": "[]", "llm.hosted_vllm.choices": "[{\"stop\": null, \"token_ids\": [5]}]"}),
            ),
            proxy(),
            "/0/response/token_ids",
            Is(Value::Null),
            Is(json!([5])),
        ),
        case(
            "what else is known of a call",
            raw("[1, 2]", json!({"gen_ai.prompt.0.role": "user"})),
            proxy(),
            "/0/prompt/raw_content",
            Is(Value::Null),
            Is(json!([{"role": "user"}])),
        ),
        case(
            "a call of a judge",
            raw("[1, 2]", json!({"agentlightning.call.role": "judge"})),
            proxy(),
            "/0/prompt/token_ids",
            Is(json!([1, 2])),
            Error("every call of a model is left out: 1 of a role that is left out"),
        ),
        case(
            "a reward that is linked to an answer",
            linked(raw("[1, 2]", json!({}))),
            proxy(),
            "/0/reward",
            Is(Value::Null),
            Is(json!(0.5)),
        ),
    ]
}
