//! Calls of a chat model, compared with what the instrumentation of `agentlightning==0.3.0` records.

use std::time::Duration;

use lightning_core::{
    adapter::{ToMessages, TraceAdapter as _, TracerToTriplets},
    clock::Clock as _,
    emitter::{ModelCall, emit_message, model_call},
    semconv,
    types::SpanStatusCode,
};

use super::*;

fn golden() -> serde_json::Map<String, Value> {
    serde_json::from_str(include_str!("../../golden/model_calls.json")).unwrap()
}

/// Attributes with JSON text read: how it is spaced and escaped does not matter.
fn read(attributes: &Value) -> Value {
    let attributes = attributes.as_object().unwrap().iter().map(|(key, value)| {
        let nested = value
            .as_str()
            .filter(|text| text.starts_with(['[', '{']))
            .map(|text| serde_json::from_str(text).unwrap());
        (key.clone(), nested.unwrap_or_else(|| value.clone()))
    });
    Value::Object(attributes.collect())
}

fn request() -> Value {
    json!({"model": "small", "messages": [{"role": "user", "content": "2 + 2?"}]})
}

fn begin() -> ModelCall {
    model_call(&request()).unwrap()
}

#[test]
fn a_call_has_the_attributes_that_the_reference_gives_it() {
    for (name, case) in golden() {
        let spans = recorded(|| {
            let call = model_call(&case["request"]).unwrap();
            call.finish(&case["answer"]).unwrap();
        });
        let (tools, calls): (Vec<&Span>, Vec<&Span>) =
            spans.iter().partition(|span| span.name.starts_with("tool_call."));
        let [call] = calls[..] else {
            panic!("{name}: {spans:?}")
        };
        assert_eq!(call.name, semconv::CHAT_COMPLETION);
        assert_eq!(call.status.status_code, SpanStatusCode::Ok);
        let ours = Value::Object(call.attributes.clone());
        assert_eq!(read(&ours), read(&case["attributes"]), "{name}");

        let tools: Vec<Value> = tools
            .iter()
            .map(|span| {
                assert_eq!(span.parent_id.as_ref(), Some(&call.span_id), "{name}");
                json!({"name": span.name, "status": span.status.status_code, "attributes": span.attributes})
            })
            .collect();
        let mut expected = case["tools"].clone();
        for tool in expected.as_array_mut().unwrap() {
            // The reference writes the name of a constant of its own.
            tool["attributes"]["agentops.span.kind"] = json!("tool");
        }
        assert_eq!(Value::Array(tools), expected, "{name}");
    }
}

/// The golden calls, read by the adapters for tracers. Those of a judge are no data, and leave the others as they are.
#[test]
fn the_adapters_read_what_is_recorded() {
    for (name, case) in golden() {
        let spans = recorded(|| {
            let call = model_call(&case["request"]).unwrap();
            call.finish(&case["answer"]).unwrap();
            let judging = begin().role(semconv::ROLE_JUDGE);
            judging.finish(&json!({"id": "judgement"})).unwrap();
            emit_reward(0.5).unwrap();
        });
        let triplets = TracerToTriplets::new().adapt(&spans).unwrap().triplets;
        let [triplet] = &triplets[..] else {
            panic!("{name}: {triplets:?}")
        };
        assert_eq!(triplet.reward, Some(0.5), "{name}");
        assert_eq!(
            triplet.metadata.response_id.as_deref(),
            Some("chatcmpl-1"),
            "{name}"
        );
        let has_ids = name.starts_with("token_ids");
        let expected: (&[u32], &[u32]) = if has_ids {
            (&[1, 2, 3], &[7, 8, 9])
        } else {
            (&[], &[])
        };
        let (prompt, response) = (&triplet.prompt, &triplet.response);
        assert_eq!(
            (&prompt.token_ids[..], &response.token_ids[..]),
            expected,
            "{name}"
        );

        let conversations = ToMessages::new().adapt(&spans).unwrap();
        let conversation = conversations.iter().next().unwrap();
        let answer = conversation.messages.last().unwrap();
        let asked = &case["answer"]["choices"].as_array().unwrap().last().unwrap()["message"];
        assert_eq!(
            answer.content.clone().unwrap_or_default(),
            asked["content"],
            "{name}"
        );
        let tools = asked["tool_calls"].as_array().map_or(&[][..], |tools| tools);
        assert_eq!(json!(answer.tool_calls), json!(tools), "{name}");
    }
}

#[test]
fn the_times_of_a_call_are_those_of_the_call() {
    let clock = ManualClock::default();
    let recording = Recording::start(
        "ro-1".into(),
        "at-1".into(),
        Arc::new(clock.clone()),
        Arc::new(SequentialIds::default()),
        RecordingOptions::default(),
    );
    let began = clock.now();
    recording.in_scope(|| {
        let call = begin();
        clock.advance(Duration::from_secs(3));
        call.finish(&json!({"choices": []})).unwrap();
    });
    let span = &recording.drain()[0];
    assert_eq!(
        (span.start_time, span.end_time),
        (Some(began), Some(began + Duration::from_secs(3)))
    );
}

#[test]
fn the_role_of_a_call_is_kept() {
    let spans = recorded(|| {
        let call = begin().role(semconv::ROLE_JUDGE);
        call.finish(&json!({})).unwrap();
        begin().finish(&json!({})).unwrap();
    });
    assert_eq!(spans[0].attributes[semconv::CALL_ROLE], "judge");
    assert_eq!(spans[1].attributes.get(semconv::CALL_ROLE), None);
}

#[test]
fn a_call_that_does_not_succeed_says_why() {
    let spans = recorded(|| {
        begin().fail(Exception::new("Timeout", "after 3 s")).unwrap();
        let refused = json!({"error": {"message": "no such model", "type": "invalid_request_error"}});
        begin().finish(&refused).unwrap();
        drop(begin());
    });
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            (
                span.status.status_code,
                span.status.description.as_deref().unwrap(),
            )
        })
        .collect();
    let error = SpanStatusCode::Error;
    assert_eq!(
        told,
        [
            (error, "Timeout: after 3 s"),
            (error, "no such model"),
            (error, "ended without an answer")
        ]
    );
    assert_eq!(spans[0].events[0].attributes[semconv::EXCEPTION_TYPE], "Timeout");
    for span in &spans {
        assert_eq!(span.attributes[semconv::GEN_AI_REQUEST_MODEL], "small");
    }
}

#[test]
fn calls_that_overlap_are_siblings() {
    let spans = recorded(|| {
        let outer = operation("outer").unwrap();
        let (one, two) = (begin(), begin());
        emit_message("meanwhile").unwrap();
        two.finish(&json!({})).unwrap();
        one.finish(&json!({})).unwrap();
        drop(outer);
    });
    let outer = &spans.last().unwrap().span_id;
    for span in &spans[..3] {
        assert_eq!(span.parent_id.as_ref(), Some(outer), "{span:?}");
    }
}

#[test]
fn a_reward_can_be_linked_to_a_call() {
    let spans = recorded(|| {
        let call = begin().finish(&json!({"id": "answer-1"})).unwrap();
        emit_reward_with(1.0, Attributes::new().link(call.link())).unwrap();
    });
    assert_eq!(query_linked_spans(&spans, &links_of(&spans[1])), [&spans[0]]);
}

#[test]
fn a_call_can_be_neither_begun_nor_finished_outside_of_its_rollout() {
    let error = model_call(&request()).unwrap_err();
    assert!(matches!(error, EmitError::OutsideRollout { what: "model call" }));
    let recording = recording_with(RecordingOptions {
        max_spans: 1,
        ..RecordingOptions::default()
    });
    recording.in_scope(|| {
        let call = begin();
        assert!(matches!(model_call(&request()), Err(EmitError::Full { .. })));
        let asks = json!({"choices": [{"message": {"tool_calls": [{"function": {"name": "f"}}]}}]});
        assert!(matches!(call.finish(&asks), Err(EmitError::Full { .. })));
    });
    let spans = recording.drain();
    assert_eq!(spans.len(), 1, "the call itself is kept");
}

proptest! {
    #[test]
    fn no_request_and_no_answer_is_too_odd(request in any_json(), answer in any_json()) {
        let spans = recorded(|| {
            model_call(&request).unwrap().finish(&answer).unwrap();
        });
        for value in spans.iter().flat_map(|span| span.attributes.values()) {
            let scalars = |list: &Vec<Value>| list.iter().all(|value| !value.is_object() && !value.is_array());
            prop_assert!(!value.is_object() && !value.is_null());
            prop_assert!(value.as_array().is_none_or(scalars));
        }
    }
}

/// JSON that has the fields of a chat, and anything in them.
fn any_json() -> impl Strategy<Value = Value> {
    let fields = [
        "model",
        "messages",
        "role",
        "content",
        "tool_calls",
        "function",
        "choices",
        "message",
        "index",
        "usage",
        "error",
        "id",
        "token_ids",
        "prompt_token_ids",
    ];
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,4}".prop_map(Value::from),
    ];
    scalar.prop_recursive(6, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(prop::sample::select(fields.to_vec()), inner, 0..6).prop_map(
                |object| {
                    object
                        .into_iter()
                        .map(|(key, value)| (key.to_owned(), value))
                        .collect()
                }
            ),
        ]
    })
}
