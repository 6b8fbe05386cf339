//! The differences that are meant, each with what both give. “From traces to data” in the book has the reasons.

use lightning_core::{
    adapter::{ProxyToTriplets, ToMessages, TracerToTriplets},
    types::{Span, SpanStatusCode, Timestamp},
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
    let cases = [trees(), calls(), attributes(), rewards(), proxies(), messages()].concat_all();
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

trait ConcatAll {
    fn concat_all(self) -> Vec<Case>;
}

impl<const N: usize> ConcatAll for [Vec<Case>; N] {
    fn concat_all(self) -> Vec<Case> {
        self.into_iter().flatten().collect()
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

fn trees() -> Vec<Case> {
    let with = |mut span: Span, change: &dyn Fn(&mut Span)| {
        change(&mut span);
        span
    };
    let names = |names: &[&str]| Is(names.iter().map(|name| json!([name, null, 0])).collect());
    let mut cases = vec![
        case(
            "no spans",
            vec![],
            tracer(),
            "",
            Error("No spans provided"),
            Error("the trace is empty"),
        ),
        case(
            "no call",
            under_root([]),
            tracer(),
            "",
            Is(json!([])),
            Error(
                "no span is a call of a model, which is a span whose name contains `openai.chat.completion` (there are: root)",
            ),
        ),
        case(
            "the order in which spans are handed over",
            {
                let mut spans = under_root([call("a", (1.0, 2.0)), call("b", (3.0, 4.0))]);
                spans.swap(1, 2);
                spans
            },
            tracer(),
            "/0/metadata/response_id",
            Is(json!("b")),
            Is(json!("a")),
        ),
        case(
            "two spans with one id",
            under_root([
                call("a", (1.0, 2.0)),
                with(call("a", (3.0, 4.0)), &|span| {
                    span.attributes
                        .insert("gen_ai.response.id".to_owned(), json!("b"));
                }),
            ]),
            tracer(),
            "/0/metadata/response_id",
            Is(json!("b")),
            Is(json!("a")),
        ),
        case(
            "spans that are each other's parents, beside others",
            in_order([
                root(),
                span("a", "b", CALL, (1.0, 2.0), json!({})),
                span("b", "a", "x", (1.0, 2.0), json!({})),
            ]),
            tracer(),
            "",
            Is(json!([])),
            Error("the spans make no tree: a, b lie each within itself"),
        ),
        case(
            "a span without times",
            under_root([
                with(call("a", (1.0, 2.0)), &|span| {
                    (span.start_time, span.end_time) = (None, None);
                }),
                call("b", (3.0, 4.0)),
            ]),
            tracer(),
            "/1/metadata/response_id",
            Error("TypeError"),
            Is(json!("b")),
        ),
        case(
            "a span whose closest enclosing one lies within it",
            under_root([
                call("a", (10.0, 20.0)),
                span("b", "a", "late", (5.0, 30.0), json!({})),
                call("c", (50.0, 60.0)),
            ]),
            tracer(),
            "/0/metadata/response_id",
            Is(json!("c")),
            Is(json!("a")),
        ),
        case(
            "a name that made-up nodes have",
            in_order([call("a", (1.0, 2.0)), call("b", (3.0, 4.0))]),
            Run::tracer(
                "all",
                json!({"llm_call_match": "virtual|openai"}),
                TracerToTriplets::new().model_calls("virtual|openai").unwrap(),
            ),
            "/1/metadata/response_id",
            // Their first is the root that both have made up.
            Is(json!("a")),
            Is(json!("b")),
        ),
        case(
            "spans of two attempts",
            under_root([with(call("a", (1.0, 2.0)), &|span| {
                span.attempt_id = "at-2".into();
            })]),
            tracer(),
            "/0/metadata/response_id",
            Is(json!("a")),
            Error("of more than one attempt"),
        ),
        case(
            "an empty parent",
            vec![with(root(), &|span| span.parent_id = Some(String::new()))],
            Run::tree("tree", false),
            "",
            Is(json!([["agentlightning.virtual", null, 1], ["root", null, 0]])),
            names(&["root"]),
        ),
    ];
    // Of equally long spans around `c`, theirs takes the one that comes first after `a` has moved to the end.
    let enclosing = in_order([
        root(),
        span("a", "root", "a", (10.0, 20.0), json!({})),
        span("c", "root", "c", (12.0, 14.0), json!({})),
        span("b", "root", "b", (5.0, 40.0), json!({})),
        span("d", "b", "d", (11.0, 21.0), json!({})),
    ]);
    let tree = |names: Value| Is(names);
    cases.push(case(
        "two enclosing spans of one length, one of which has moved",
        enclosing,
        Run::tree("tree", true),
        "",
        tree(json!([
            ["root", null, 1],
            ["b", null, 2],
            ["d", null, 1],
            ["c", null, 0],
            ["a", null, 0]
        ])),
        tree(json!([
            ["root", null, 1],
            ["b", null, 2],
            ["d", null, 0],
            ["a", null, 1],
            ["c", null, 0]
        ])),
    ));
    // A chain as deep as their recursion goes, and no deeper than ours does.
    let chain = (0..1_200_u32).map(|n| {
        let parent = if n == 0 {
            "root".to_owned()
        } else {
            format!("s{}", n - 1)
        };
        span(
            &format!("s{n}"),
            &parent,
            if n == 1_199 { CALL } else { "x" },
            (1.0, 2.0),
            json!({}),
        )
    });
    cases.push(case(
        "a deep trace",
        under_root(chain),
        tracer(),
        "/0/reward",
        Error("RecursionError"),
        Is(Value::Null),
    ));
    cases
}

fn calls() -> Vec<Case> {
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

fn attributes() -> Vec<Case> {
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

fn rewards() -> Vec<Case> {
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

fn proxies() -> Vec<Case> {
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

fn messages() -> Vec<Case> {
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
