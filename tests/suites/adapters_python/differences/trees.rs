//! Differences in what tree the spans make.

use std::sync::Arc;

use lightning_core::{adapter::TracerToTriplets, types::Span};
use serde_json::{Value, json};

use super::{CALL, Case, Error, Is, call, case, in_order, root, span, tracer, under_root};
use crate::compare::Run;

pub(super) fn trees() -> Vec<Case> {
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
    let mut own = span("b", "root", "b", (2.0, 3.0), json!({}));
    Arc::make_mut(&mut own.resource)
        .attributes
        .insert("agentlightning.tracer.name".to_owned(), json!("lightning"));
    cases.push(case(
        "two things at once, recorded by Lightning",
        under_root([
            span("a", "root", "a", (1.0, 4.0), json!({})),
            own,
            span("c", "root", "c", (5.0, 6.0), json!({})),
        ]),
        Run::tree("tree", true),
        "/0",
        Is(json!(["root", null, 2])),
        Is(json!(["root", null, 3])),
    ));
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
