//! What the emitters record, compared with what the emitters of `agentlightning==0.3.0` record, and how they refuse.

#[path = "emitting/model_calls.rs"]
mod model_calls;

use std::{collections::HashMap, fmt, sync::Arc};

use lightning_core::{
    emitter::{
        Attributes, EmitError, Exception, emit_annotation, emit_exception, emit_message, emit_message_with,
        emit_object, emit_reward, emit_reward_with, operation,
    },
    testing::{ManualClock, SequentialIds},
    tracer::{Recording, RecordingOptions},
    types::{
        Link, MAX_ATTRIBUTE_DEPTH, Reward, Span, final_reward, flatten, links_of, query_linked_spans,
        tags_of, unflatten,
    },
};
use proptest::prelude::*;
use serde::Serialize;
use serde_json::{Value, json};

fn recording_with(options: RecordingOptions) -> Recording {
    Recording::start(
        "ro-1".into(),
        "at-1".into(),
        Arc::new(ManualClock::default()),
        Arc::new(SequentialIds::default()),
        options,
    )
}

/// The spans that `act` records.
fn recorded(act: impl FnOnce()) -> Vec<Span> {
    let recording = recording_with(RecordingOptions::default());
    recording.in_scope(act);
    recording.drain()
}

// ---- the same as the reference

#[derive(Debug)]
struct OutOfPaper;

impl fmt::Display for OutOfPaper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the printer is empty")
    }
}

impl std::error::Error for OutOfPaper {}

fn out_of_paper() -> Exception {
    Exception::new("OutOfPaper", OutOfPaper.to_string()).stacktrace("somewhere")
}

/// The cases of `tests/scripts/emitter_golden.py`, by name.
fn cases() -> Vec<(&'static str, fn())> {
    fn ok<T>(result: Result<T, EmitError>) {
        result.map(drop).unwrap();
    }
    vec![
        ("reward_scalar", || ok(emit_reward(0.5))),
        ("reward_integer", || ok(emit_reward(1))),
        ("reward_bool", || ok(emit_reward(true))),
        ("reward_dimensions", || {
            let reward = Reward::new("accuracy", 1.0)
                .with("brevity", 0.25)
                .with("style", -2.0);
            ok(emit_reward(reward));
        }),
        ("reward_tagged", || {
            let attributes = Attributes::new()
                .tags(["fast", "reliable"])
                .link(Link::new("gen_ai.response.id", "response-123"))
                .link(Link::to_span("abc"));
            ok(emit_reward_with(0.5, attributes));
        }),
        ("annotation_nested", || {
            let judge = json!({
                "model": "m", "votes": [1, 2], "mixed": [1, "a"], "runs": [{"ok": true}, {"ok": false}],
            });
            let attributes = Attributes::new()
                .set("judge", judge)
                .set("empty", json!({}))
                .set("none", [0; 0]);
            ok(emit_annotation(attributes));
        }),
        ("message_plain", || ok(emit_message("Grüße, 世界 🎉"))),
        ("message_empty", || ok(emit_message(""))),
        ("message_with_attributes", || {
            let attributes = Attributes::new()
                .set("a", json!({"b": 1.5}))
                .set("nothing", None::<u8>);
            ok(emit_message_with("hello", attributes));
        }),
        ("object_text", || ok(emit_object("text"))),
        ("object_int", || ok(emit_object(&-3))),
        ("object_float", || ok(emit_object(&1.5))),
        ("object_bool", || ok(emit_object(&true))),
        ("object_none", || ok(emit_object(&None::<u8>))),
        ("object_dict", || {
            ok(emit_object(&json!({"a": [1, 2, {"b": null}], "ü": "x"})));
        }),
        ("object_list", || ok(emit_object(&[0; 0]))),
        ("exception_plain", || ok(emit_exception(out_of_paper()))),
        ("operation_nested", || {
            let options = json!({"k": 3, "tags": ["a", "b"], "filter": null});
            let outer = operation!("outer", query = "rust", options = options).unwrap();
            let inner = operation("inner").unwrap();
            ok(emit_message("inside"));
            inner
                .output(&json!({"pages": [{"title": "a"}, {"title": "b"}]}))
                .unwrap();
            drop(inner);
            outer.output(&true).unwrap();
        }),
        ("operation_failed", || {
            operation("print").unwrap().fail(out_of_paper()).unwrap();
        }),
    ]
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../golden/emitters.json")).unwrap()
}

/// Spans in the form of the golden file.
fn told(spans: &[Span]) -> Value {
    let places: HashMap<_, _> = spans
        .iter()
        .enumerate()
        .map(|(place, span)| (&span.span_id, place))
        .collect();
    let short = |attributes: &serde_json::Map<String, Value>| -> Value {
        let attributes = attributes.iter().map(|(key, value)| {
            let value = match key.as_str() {
                "exception.stacktrace" => json!("…"),
                _ => value.clone(),
            };
            (key.clone(), value)
        });
        Value::Object(attributes.collect())
    };
    spans
        .iter()
        .map(|span| {
            json!({
                "name": span.name,
                "status": span.status.status_code,
                "description": span.status.description,
                "attributes": short(&span.attributes),
                "events": span.events.iter().map(|event| json!({
                    "name": event.name, "attributes": short(&event.attributes),
                })).collect::<Vec<_>>(),
                "parent": span.parent_id.as_ref().map(|parent| places[parent]),
            })
        })
        .collect()
}

/// The same, with JSON text read: how it is spaced and escaped does not matter.
fn read(mut spans: Value) -> Value {
    for span in spans.as_array_mut().unwrap() {
        if let Some(object) = span["attributes"].get_mut("agentlightning.object.json") {
            *object = serde_json::from_str(object.as_str().unwrap()).unwrap();
        }
    }
    spans
}

/// Where the reference records otherwise than it means to: it records an exception that leaves an operation twice, with
/// the name of the module in its type and a truth value written as text.
fn mended(case: &str, mut spans: Value) -> Value {
    if case == "operation_failed" {
        let events = spans[0]["events"].as_array_mut().unwrap();
        assert_eq!(events.pop().as_ref(), events.first(), "the reference was mended");
        let attributes = &mut events[0]["attributes"];
        assert_eq!(attributes["exception.escaped"], "False");
        attributes["exception.escaped"] = json!(true);
        attributes["exception.type"] = json!("OutOfPaper");
    }
    spans
}

#[test]
fn names_attributes_status_and_parents_are_those_of_the_reference() {
    let golden = golden();
    let emitted = golden["emitted"].as_object().unwrap();
    let cases = cases();
    for (name, case) in &cases {
        let ours = read(told(&recorded(case)));
        let theirs = mended(name, read(emitted[*name].clone()));
        assert_eq!(ours, theirs, "{name}");
    }
    assert_eq!(
        cases.len(),
        emitted.len(),
        "a case of the golden file is not compared"
    );
}

#[test]
fn nested_values_are_flattened_as_the_reference_does() {
    let golden = golden();
    for case in golden["flattened"].as_array().unwrap() {
        assert_eq!(
            Value::Object(flatten(case["from"].clone()).unwrap()),
            case["to"],
            "{case}"
        );
    }
    for case in golden["unflattened"].as_array().unwrap() {
        assert_eq!(
            unflatten(case["from"].as_object().unwrap().clone()),
            case["to"],
            "{case}"
        );
    }
}

// ---- refusals

#[test]
fn outside_of_a_rollout_every_emitter_says_so() {
    fn outside<T: fmt::Debug>(result: Result<T, EmitError>, expected: &str) {
        match result {
            Err(EmitError::OutsideRollout { what }) => assert_eq!(what, expected),
            other => panic!("{other:?}"),
        }
    }
    outside(emit_reward(1.0), "reward");
    outside(emit_annotation(Attributes::new()), "annotation");
    outside(emit_message("m"), "message");
    outside(emit_object("o"), "object");
    outside(emit_exception(&fmt::Error), "exception");
    outside(operation("o"), "operation");
    outside(operation!("o", input = 1), "operation");
    let message = emit_reward(1.0).unwrap_err().to_string();
    assert!(message.contains("no rollout is recorded here"), "{message}");
    assert!(message.contains("tracer::spawn"), "{message}");
}

#[test]
fn a_reward_that_is_no_finite_number_is_refused() {
    let spans = recorded(|| {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = emit_reward(Reward::new("fine", 1.0).with("broken", value)).unwrap_err();
            assert!(matches!(error, EmitError::NotFinite { ref dimension, .. } if dimension == "broken"));
            assert_eq!(
                error.to_string(),
                format!("the reward `broken` is {value}, but must be a finite number")
            );
        }
        emit_reward(f64::MIN_POSITIVE).unwrap();
    });
    assert_eq!(spans.len(), 1);
    assert_eq!(final_reward(&spans), Some(Reward::from(f64::MIN_POSITIVE)));
}

/// A value of any depth that is made as it is serialized.
struct Nested(usize);

impl Serialize for Nested {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            0 => serializer.serialize_u8(1),
            depth => serializer.collect_seq([Nested(depth - 1)]),
        }
    }
}

#[test]
fn a_value_that_is_nested_too_deeply_is_refused_before_the_stack_ends() {
    let spans = recorded(|| {
        let deep = Nested(100_000_000);
        assert!(matches!(emit_object(&deep), Err(EmitError::TooDeep(_))));
        let annotated = emit_annotation(Attributes::new().set("deep", &deep).tag("t"));
        assert!(matches!(annotated, Err(EmitError::TooDeep(_))));
        let step = operation("step").unwrap();
        assert!(matches!(step.input("deep", &deep), Err(EmitError::TooDeep(_))));
        assert!(matches!(step.output(&deep), Err(EmitError::TooDeep(_))));
        drop(step);
        emit_object(&Nested(MAX_ATTRIBUTE_DEPTH)).unwrap();
        assert!(emit_object(&Nested(MAX_ATTRIBUTE_DEPTH + 1)).is_err());
        emit_annotation(Attributes::new().set("deep", Nested(MAX_ATTRIBUTE_DEPTH))).unwrap();
    });
    let names: Vec<_> = spans
        .iter()
        .map(|span| span.name.trim_start_matches("agentlightning."))
        .collect();
    assert_eq!(names, ["operation", "object", "annotation"]);
    let object = spans[1].attributes["agentlightning.object.json"]
        .as_str()
        .unwrap();
    assert!(
        serde_json::from_str::<Value>(object).is_ok(),
        "it can be read back"
    );
}

#[test]
fn a_value_without_a_json_form_is_refused_by_name() {
    let odd: HashMap<Vec<u8>, u8> = HashMap::from([(vec![1], 1)]);
    let spans = recorded(|| {
        let error = emit_annotation(Attributes::new().set("odd", &odd).set("fine", 1)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "odd cannot be stored, because it has no JSON form"
        );
        let error = emit_object(&odd).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the object cannot be stored, because it has no JSON form"
        );
    });
    assert_eq!(spans, []);
}

#[test]
fn what_the_recording_has_no_room_for_is_refused_and_counted() {
    let recording = recording_with(RecordingOptions {
        max_spans: 3,
        ..RecordingOptions::default()
    });
    recording.in_scope(|| {
        let step = operation("step").unwrap();
        emit_message("1").unwrap();
        emit_message("2").unwrap();
        assert!(matches!(emit_message("3"), Err(EmitError::Full { limit: 3, .. })));
        assert!(matches!(operation("another"), Err(EmitError::Full { .. })));
        // What has begun can end.
        step.output(&1).unwrap();
    });
    assert_eq!(recording.recorded(), 3);
    assert_eq!(recording.drain().len(), 3);
    recording.in_scope(|| emit_message("there is room again").unwrap());
}

// ---- operations

#[test]
fn operations_nest_as_deep_as_one_likes() {
    let spans = recorded(|| {
        let mut steps = Vec::new();
        for depth in 0..20_000 {
            steps.push(operation!("step", depth = depth).unwrap());
        }
        emit_message("at the bottom").unwrap();
        while let Some(step) = steps.pop() {
            drop(step);
        }
    });
    assert_eq!(spans.len(), 20_001);
    for pair in spans.windows(2) {
        assert_eq!(pair[0].parent_id.as_ref(), Some(&pair[1].span_id));
    }
    assert_eq!(spans[20_000].parent_id, None);
}

#[test]
fn guards_may_be_dropped_in_any_order() {
    let spans = recorded(|| {
        let outer = operation("outer").unwrap();
        let inner = operation("inner").unwrap();
        drop(outer);
        emit_message("in inner").unwrap();
        drop(inner);
        emit_message("in none").unwrap();
    });
    let parents: Vec<_> = spans.iter().map(|span| span.parent_id.as_deref()).collect();
    let [outer, _, inner, _] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(
        parents,
        [
            None,
            Some(inner.span_id.as_str()),
            Some(outer.span_id.as_str()),
            None
        ]
    );
}

#[test]
fn an_input_may_be_computed_with_a_question_mark() {
    fn step(limit: &str) -> Result<(), Box<dyn std::error::Error>> {
        let step = operation!("step", limit = limit.parse::<u32>()?, empty = "",)?;
        step.output(&())?;
        Ok(())
    }
    let spans = recorded(|| {
        step("12").unwrap();
        step("many").unwrap_err();
    });
    // The second operation had begun when its input turned out to be none.
    assert_eq!(spans.len(), 2);
    assert_eq!(
        json!(spans[0].attributes),
        json!({
            "agentlightning.operation.name": "step",
            "agentlightning.operation.input.limit": 12,
            "agentlightning.operation.input.empty": "",
            "agentlightning.operation.output": "null",
        })
    );
}

#[test]
fn an_error_is_told_with_its_causes() {
    #[derive(Debug)]
    struct Printing(OutOfPaper);
    impl fmt::Display for Printing {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("cannot print")
        }
    }
    impl std::error::Error for Printing {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }
    let spans = recorded(|| {
        emit_exception(&Printing(OutOfPaper)).unwrap();
        let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(OutOfPaper);
        emit_exception(&*boxed).unwrap();
        emit_exception(Exception::new("Oops", "dealt with").handled()).unwrap();
    });
    let attributes = &spans[0].attributes;
    assert!(
        attributes["exception.type"]
            .as_str()
            .unwrap()
            .ends_with("Printing")
    );
    assert_eq!(attributes["exception.message"], "cannot print");
    assert_eq!(
        attributes["exception.stacktrace"],
        "caused by: the printer is empty\n"
    );
    assert_eq!(spans[1].attributes["exception.message"], "the printer is empty");
    assert_eq!(spans[1].attributes.get("exception.stacktrace"), None);
    assert_eq!(spans[2].attributes["exception.escaped"], false);
}

#[test]
fn a_reward_can_be_followed_to_what_it_rewards() {
    let spans = recorded(|| {
        let answer = emit_message("42").unwrap();
        let step = operation("step").unwrap();
        let attributes = Attributes::new().link(answer.link()).tag("exact").tag("");
        emit_reward_with(1.0, attributes).unwrap();
        emit_annotation(Attributes::new().link(step.span().link())).unwrap();
    });
    let [answer, reward, note, step] = &spans[..] else {
        panic!("{spans:?}")
    };
    assert_eq!(tags_of(reward), ["exact", ""]);
    assert_eq!(query_linked_spans(&spans, &links_of(reward)), [answer]);
    assert_eq!(query_linked_spans(&spans, &links_of(note)), [step]);
}

#[test]
fn tags_and_links_are_added_to_those_that_are_there() {
    let spans = recorded(|| {
        let step = operation("step").unwrap();
        step.annotate(Attributes::new().tag("a").link(Link::new("n", "1")).set("k", 1))
            .unwrap();
        step.annotate(
            Attributes::new()
                .tag("b")
                .tag("c")
                .link(Link::new("n", "2"))
                .set("k", 2),
        )
        .unwrap();
        drop(step);
        let given = json!({ "agentlightning.tag.0": "a" });
        let attributes = Attributes::from(given.as_object().unwrap().clone());
        emit_annotation(attributes.tag("b")).unwrap();
    });
    assert_eq!(tags_of(&spans[0]), ["a", "b", "c"]);
    assert_eq!(links_of(&spans[0]), [Link::new("n", "1"), Link::new("n", "2")]);
    assert_eq!(spans[0].attributes["k"], 2);
    assert_eq!(tags_of(&spans[1]), ["a", "b"]);
}

// ---- flattening

/// What comes back as it was: no empty container, no dot or empty text in a key, no keys like those of a list, and
/// not the lists of one scalar kind at the top that the rules number.
fn nested() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("finite", |number| number.is_finite())
            .prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        Just(Value::Null),
    ];
    let value = scalar.prop_recursive(6, 64, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..6).prop_map(Value::from),
            object_of(inner),
        ]
    });
    object_of(value)
}

fn object_of(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Value> {
    prop::collection::btree_map("[a-zü世_ -]{1,8}", value, 1..6)
        .prop_map(|object| Value::Object(object.into_iter().collect()))
}

proptest! {
    #[test]
    fn what_was_flattened_can_be_restored(value in nested()) {
        let flat = flatten(value.clone()).unwrap();
        for value in flat.values() {
            prop_assert!(!value.is_object());
        }
        prop_assert_eq!(unflatten(flat), value);
    }

    #[test]
    fn no_attributes_make_unflattening_fail(flat in prop::collection::btree_map("[.0-2a]{0,6}", any::<u8>(), 0..12)) {
        let object: serde_json::Map<String, Value> = flat.into_iter().map(|(key, value)| (key, value.into())).collect();
        let once = unflatten(object);
        prop_assert!(once.is_object() || once.is_array());
    }

    #[test]
    fn every_text_arrives(text in any::<String>()) {
        let spans = recorded(|| {
            emit_message(text.clone()).unwrap();
            emit_object(&text).unwrap();
            drop(operation!("step", text = text).unwrap());
        });
        prop_assert_eq!(&spans[0].attributes["agentlightning.message.body"], &text);
        prop_assert_eq!(&spans[1].attributes["agentlightning.object.literal"], &text);
        prop_assert_eq!(&spans[2].attributes["agentlightning.operation.input.text"], &text);
    }

    #[test]
    fn every_finite_reward_is_read_back(values in prop::collection::vec((any::<String>(), any::<f64>()), 1..5)) {
        let mut dimensions = values.iter().map(|(name, value)| (name.clone(), *value));
        let (name, value) = dimensions.next().unwrap();
        let reward = dimensions.fold(Reward::new(name, value), |reward, (name, value)| reward.with(name, value));
        let finite = values.iter().all(|(_, value)| value.is_finite());
        let spans = recorded(|| assert_eq!(emit_reward(reward.clone()).is_ok(), finite));
        prop_assert_eq!(final_reward(&spans), finite.then_some(reward));
    }
}
