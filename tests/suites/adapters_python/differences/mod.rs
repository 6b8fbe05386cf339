//! The differences that are meant, each with what both give. “From traces to data” in the book has the reasons.

mod messages;
mod trees;
mod triplets;

use lightning_core::{
    adapter::TracerToTriplets,
    types::{Span, Timestamp},
};
use lightning_tests::tier;
use serde_json::{Value, json};

use crate::{Question, Set, Theirs, ask, compare::Run};

/// Spans, how they are adapted, and what both give at a place of the result.
struct Case {
    name: &'static str,
    spans: Vec<Span>,
    run: Run,
    at: &'static str,
    theirs: Gives,
    ours: Gives,
}

/// A value, or an error that says so.
enum Gives {
    Value(Value),
    Error(&'static str),
}

use Gives::{Error, Value as Is};

impl Gives {
    fn check(&self, result: Result<Value, String>, at: &str, who: &str) {
        match (self, result) {
            (Is(expected), Ok(value)) => {
                let value = value.pointer(at).cloned().unwrap_or(Value::Null);
                assert_eq!(&value, expected, "{who}");
            }
            (Error(expected), Err(error)) => assert!(error.contains(expected), "{who}: {error}"),
            (Is(expected), Err(error)) => panic!("{who} fails, but should give {expected}: {error}"),
            (Error(expected), Ok(value)) => panic!("{who} should fail with `{expected}`: {value}"),
        }
    }
}

#[test]
fn each_difference_is_as_it_is_listed() {
    let Some(python) = tier::python() else {
        return;
    };
    let cases: Vec<Case> = [
        trees::trees(),
        triplets::calls(),
        triplets::attributes(),
        triplets::rewards(),
        triplets::proxies(),
        messages::messages(),
    ]
    .into_iter()
    .flatten()
    .collect();
    let sets = cases.iter().map(|case| Set {
        spans: case.spans.clone(),
        runs: vec![case.run.question()],
    });
    let question = Question {
        sets: sets.collect(),
        ..Question::default()
    };
    let answer = ask(&python, &question);
    assert_eq!(answer.sets.len(), cases.len());
    for (case, theirs) in cases.iter().zip(answer.sets) {
        let theirs = match &theirs[..] {
            [Theirs::Ok(value)] => Ok(value.clone()),
            [Theirs::Error(error)] => Err(error.clone()),
            other => panic!("{other:?}"),
        };
        case.theirs
            .check(theirs, case.at, &format!("{}, theirs", case.name));
        let ours = case.run.ours(&case.spans).map_err(|error| error.to_string());
        case.ours.check(ours, case.at, &format!("{}, ours", case.name));
    }
}

const CALL: &str = "openai.chat.completion";

fn span(id: &str, parent: &str, name: &str, times: (f64, f64), attributes: Value) -> Span {
    let mut span = Span::new("ro-1", "at-1", 1, "trace", id, name);
    span.parent_id = Some(parent.to_owned()).filter(|parent| parent != "-");
    span.attributes = attributes.as_object().unwrap().clone();
    span.start_time = Some(Timestamp::from_secs_f64(times.0));
    span.end_time = Some(Timestamp::from_secs_f64(times.1));
    span
}

fn root() -> Span {
    span("root", "-", "root", (0.0, 100.0), json!({}))
}

/// The root, and under it these.
fn under_root(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    in_order([root()].into_iter().chain(spans))
}

fn in_order(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut spans: Vec<Span> = spans.into_iter().collect();
    for (number, span) in spans.iter_mut().enumerate() {
        span.sequence_id = number as u64 + 1;
    }
    spans
}

fn call(id: &str, times: (f64, f64)) -> Span {
    span(id, "root", CALL, times, json!({"gen_ai.response.id": id}))
}

fn reward(value: f64, at: f64, more: Value) -> Span {
    let mut span = span("reward", "root", "agentlightning.annotation", (at, at), more);
    span.attributes
        .insert("agentlightning.reward.0.name".to_owned(), json!("primary"));
    span.attributes
        .insert("agentlightning.reward.0.value".to_owned(), json!(value));
    span
}

fn tracer() -> Run {
    Run::tracer("tracer", json!({}), TracerToTriplets::new())
}

fn case(
    name: &'static str,
    spans: Vec<Span>,
    run: Run,
    at: &'static str,
    theirs: Gives,
    ours: Gives,
) -> Case {
    Case {
        name,
        spans,
        run,
        at,
        theirs,
        ours,
    }
}
