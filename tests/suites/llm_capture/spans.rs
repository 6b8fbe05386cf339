//! One call, as spans.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use lightning_core::{
    adapter::{ProxyToTriplets, ToMessages, TraceAdapter as _},
    semconv,
    testing::ProxiedCall,
    types::{Span, SpanStatusCode, model_calls},
};
use serde_json::{Value, json};

use crate::fixtures::{self, Fixture};

#[track_caller]
fn says(fixture: &Fixture, span: &Span, expected: &Value) {
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(
            span.attributes.get(key),
            Some(value),
            "{}: `{key}` of {}",
            fixture.name,
            span.name
        );
    }
}

#[test]
fn every_server_is_understood() {
    for fixture in fixtures::all() {
        let name = &fixture.name;
        let spans = fixture.call().spans("ro-1", "at-1");
        let expected = &fixture.expected;
        assert_eq!(spans[0].name, semconv::PROXY_REQUEST, "{name}");
        says(&fixture, &spans[0], &expected["request"]);
        match expected.get("raw") {
            None => assert_eq!(spans.len(), 1, "{name}"),
            Some(raw) => {
                assert_eq!(spans.len(), 2, "{name}");
                assert_eq!(spans[1].name, semconv::RAW_REQUEST, "{name}");
                assert_eq!(spans[1].parent_id.as_ref(), Some(&spans[0].span_id), "{name}");
                assert_eq!(spans[1].trace_id, spans[0].trace_id, "{name}");
                says(&fixture, &spans[1], raw);
            }
        }
        let status = &spans[0].status;
        assert_eq!(
            status.description.as_deref(),
            expected["problem"].as_str(),
            "{name}"
        );
        let code = if expected["problem"].is_null() {
            SpanStatusCode::Ok
        } else {
            SpanStatusCode::Error
        };
        assert_eq!(status.status_code, code, "{name}");
        let calls = model_calls(&spans);
        assert_eq!(calls.len(), 1, "{name}");
        let counted = &spans[0].attributes.get(semconv::GEN_AI_PROMPT_TOKENS);
        assert_eq!(calls[0].input_tokens, counted.and_then(Value::as_u64), "{name}");
    }
}

#[test]
fn the_adapters_read_every_call() {
    for fixture in fixtures::all() {
        let name = &fixture.name;
        let spans = fixture.call().spans("ro-1", "at-1");
        let expected = &fixture.expected;
        let triplets = ProxyToTriplets::new().adapt(&spans);
        if expected["prompt"].is_null() {
            assert!(triplets.is_err(), "{name}: {triplets:?}");
        } else {
            let triplets = triplets.unwrap().triplets;
            let [triplet] = &triplets[..] else {
                panic!("{name}: {triplets:?}")
            };
            assert_eq!(json!(triplet.prompt.token_ids), expected["prompt"], "{name}");
            assert_eq!(json!(triplet.response.token_ids), expected["response"], "{name}");
            assert_eq!(
                triplet.metadata.response_id.as_deref(),
                spans[0].attributes[semconv::GEN_AI_RESPONSE_ID].as_str()
            );
            // What was said stands at the request, around the raw one.
            let content = triplet
                .response
                .raw_content
                .as_ref()
                .unwrap_or_else(|| panic!("{name} says nothing"));
            assert_eq!(content[0]["role"], "assistant", "{name}: {content}");
            if !expected["logprobs"].is_null() {
                let logprobs = triplet.response.logprobs.as_ref().unwrap();
                let logprobs = logprobs.as_array().unwrap().iter();
                let logprobs: Vec<&Value> = logprobs.map(|token| &token["logprob"]).collect();
                assert_eq!(json!(logprobs), expected["logprobs"], "{name}");
            }
        }
        let conversations = ToMessages::new().adapt(&spans);
        if expected["raw"].is_null() {
            assert!(conversations.is_err(), "{name}: no answer, no conversation");
        } else {
            let conversations = conversations.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(conversations.len(), 1, "{name}");
        }
    }
}

#[test]
fn the_answer_to_tools_is_a_conversation() {
    let spans = fixtures::named("anthropic-messages").call().spans("ro-1", "at-1");
    let conversations = ToMessages::new().adapt(&spans).unwrap();
    let conversation = conversations.iter().next().unwrap();
    let roles: Vec<&str> = conversation
        .messages
        .iter()
        .map(|message| message.role.as_str())
        .collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "assistant"]);
    assert_eq!(conversation.messages[4].tool_calls[0].function.name, "weather");
    assert_eq!(conversation.messages[3].tool_call_id.as_deref(), Some("toolu_0"));
}

#[test]
fn a_call_says_how_it_went() {
    let call = fixtures::named("vllm-chat-stream").call();
    let spans = call
        .times(10.0, 10.25, 11.5)
        .retries(2)
        .sequence_id(7)
        .spans("ro-1", "at-1");
    let attributes = &spans[0].attributes;
    for (key, value) in [
        (semconv::CALL_LATENCY, json!(1.5)),
        (semconv::CALL_FIRST_TOKEN, json!(0.25)),
        (semconv::CALL_RETRIES, json!(2)),
        (semconv::CALL_BACKEND, json!("http://127.0.0.1:8000/v1")),
        (semconv::CALL_UPSTREAM_MODEL, json!("qwen")),
        (semconv::HTTP_STATUS, json!(200)),
    ] {
        assert_eq!(attributes.get(key), Some(&value), "{key}");
    }
    assert!(!attributes.contains_key(semconv::CALL_TRUNCATED));
    let times = |span: &Span| {
        (
            span.start_time.unwrap().as_secs_f64(),
            span.end_time.unwrap().as_secs_f64(),
        )
    };
    for span in &spans {
        assert_eq!(
            (span.sequence_id, times(span)),
            (7, (10.0, 11.5)),
            "{}",
            span.name
        );
    }
    // An answer in one piece has no first token that could be told from the last.
    let whole = fixtures::named("vllm-chat")
        .call()
        .times(10.0, 10.25, 11.5)
        .spans("ro-1", "at-1");
    assert!(!whole[0].attributes.contains_key(semconv::CALL_FIRST_TOKEN));
}

#[test]
fn packed_answers_are_read() {
    for name in ["vllm-chat", "vllm-chat-stream", "error-vllm-400"] {
        let fixture = fixtures::named(name);
        let mut packed = GzEncoder::new(Vec::new(), Compression::default());
        packed.write_all(fixture.response.as_bytes()).unwrap();
        let call = ProxiedCall::new(&fixture.path, fixture.request.as_str(), packed.finish().unwrap());
        let spans = call.status(fixture.status).encoding("gzip").spans("ro-1", "at-1");
        says(&fixture, &spans[0], &fixture.expected["request"]);
        assert_eq!(
            spans[0].status.description.as_deref(),
            fixture.expected["problem"].as_str()
        );
    }
    let unknown = fixtures::named("vllm-chat")
        .call()
        .encoding("compress")
        .spans("ro-1", "at-1");
    let status = &unknown[0].status;
    assert_eq!(
        status.description.as_deref(),
        Some("the answer is encoded as `compress`, which is not recorded")
    );
}

#[test]
fn what_was_cut_says_so() {
    let fixture = fixtures::named("vllm-chat-stream");
    let half = &fixture.response[..fixture.response.len() / 2];
    let call = || ProxiedCall::new(&fixture.path, fixture.request.as_str(), half);
    // The copy is short, the answer was not.
    let spans = call().truncated().spans("ro-1", "at-1");
    assert_eq!(spans[0].attributes[semconv::CALL_TRUNCATED], true);
    assert_eq!(spans[0].status.status_code, SpanStatusCode::Ok);
    // The client went away: what it got is kept.
    let spans = call().error("the client went away").spans("ro-1", "at-1");
    assert_eq!(
        spans[0].status.description.as_deref(),
        Some("the client went away")
    );
    assert_eq!(spans[0].attributes["gen_ai.completion.0.content"], "Grü");
    assert_eq!(spans[0].events[0].name, semconv::EXCEPTION_EVENT);
}

#[test]
fn what_never_came_is_an_error() {
    let call = || ProxiedCall::new("/v1/chat/completions", r#"{"model": "m", "messages": []}"#, "");
    let problem = |call: ProxiedCall| call.spans("ro-1", "at-1")[0].status.description.clone().unwrap();
    assert_eq!(
        problem(call().status(0).error("connection refused")),
        "no answer: connection refused"
    );
    assert_eq!(problem(call().status(0)), "no answer: nothing came back");
    assert_eq!(problem(call()), "the answer is no JSON");
    assert_eq!(problem(call().status(502)), "the model's server answered 502");
    let says = |text: &str| ProxiedCall::new("/v1/completions", "{", text).status(500);
    assert_eq!(
        problem(says("Internal Server Error")),
        "the model's server answered 500: Internal Server Error"
    );
    assert_eq!(
        problem(says(r#"{"detail": "no"}"#)),
        "the model's server answered 500: no"
    );
    assert_eq!(
        problem(says(r#"{"odd": 1}"#)),
        r#"the model's server answered 500: {"odd":1}"#
    );
    let long = problem(says(&"x".repeat(1_000_000)));
    assert!(long.len() < 3000, "{}", long.len());
}
