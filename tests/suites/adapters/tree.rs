use std::sync::Arc;

use lightning_core::{
    adapter::TraceTree,
    types::{Span, SpanResource},
};
use serde_json::json;

use crate::{numbered, reward, span, under_root};

fn names(spans: &[Span], repair: bool) -> Vec<String> {
    let mut tree = TraceTree::new(spans).unwrap();
    if repair {
        tree.repair();
    }
    let depth = |mut node: lightning_core::adapter::TreeNode<'_, '_>| {
        let mut depth = 0;
        while let Some(parent) = node.parent() {
            (node, depth) = (parent, depth + 1);
        }
        depth
    };
    let nodes = tree.depth_first();
    nodes
        .map(|node| format!("{}{}", ".".repeat(depth(node)), node.span_id()))
        .collect()
}

#[test]
fn what_is_missing_is_made_up() {
    let plain = |id: &str, parent: &str| span(id, parent, id, (1.0, 2.0), json!({}));
    assert_eq!(
        names(&numbered([plain("a", "gone"), plain("b", "gone")]), false),
        ["gone", ".a", ".b"]
    );
    let spans = numbered([
        plain("a", "gone"),
        plain("b", "-"),
        plain("c", "lost"),
        plain("d", "b"),
        plain("e", "gone"),
    ]);
    assert_eq!(
        names(&spans, false),
        ["virtual-root", ".b", "..d", ".gone", "..a", "..e", ".lost", "..c"]
    );
    let tree = TraceTree::new(&spans).unwrap();
    assert_eq!(tree.len(), 8);
    assert!(tree.root().span().is_none());
    assert_eq!(tree.root().name(), "agentlightning.virtual");
    let made_up = tree.find("gone").unwrap();
    assert_eq!(
        (made_up.start(), made_up.end()),
        (spans[0].start_time, spans[0].end_time)
    );
    assert_eq!(tree.node(tree.find("e").unwrap().id()).unwrap().span_id(), "e");
    assert!(tree.find("nowhere").is_none());
}

#[test]
fn spans_move_to_the_shortest_that_encloses_them() {
    let plain = |id: &str, parent: &str, times: (f64, f64)| span(id, parent, id, times, json!({}));
    let spans = under_root([
        plain("agent", "root", (1.0, 50.0)),
        plain("step", "agent", (2.0, 20.0)),
        plain("call", "root", (3.0, 4.0)),
        plain("later", "root", (60.0, 70.0)),
    ]);
    assert_eq!(
        names(&spans, false),
        ["root", ".agent", "..step", ".call", ".later"]
    );
    assert_eq!(
        names(&spans, true),
        ["root", ".agent", "..step", "...call", ".later"]
    );
    // Only directly under the root, and the last one stays.
    let spans = under_root([
        plain("a", "root", (1.0, 50.0)),
        plain("b", "root", (2.0, 40.0)),
        plain("c", "b", (0.5, 60.0)),
    ]);
    assert_eq!(names(&spans, true), ["root", ".b", "..c", "...a"]);
    // A root with one child is a wrapping.
    let mut wrapped = under_root([
        plain("agent", "session", (1.0, 50.0)),
        plain("call", "session", (3.0, 4.0)),
    ]);
    wrapped.push(plain("session", "root", (0.0, 90.0)));
    assert_eq!(
        names(&numbered(wrapped), true),
        ["root", ".session", "..agent", "...call"]
    );
}

#[test]
fn what_lightning_recorded_stays_where_it_is() {
    let mut resource = SpanResource::default();
    resource
        .attributes
        .insert("agentlightning.tracer.name".to_owned(), json!("lightning"));
    let resource = Arc::new(resource);
    let own = |mut span: Span| {
        span.resource = Arc::clone(&resource);
        span
    };
    let plain = |id: &str, times: (f64, f64)| span(id, "root", id, times, json!({}));
    // Two calls at the same time, and one that another tracer recorded.
    let calls = [
        own(plain("long", (1.0, 50.0))),
        own(plain("short", (2.0, 3.0))),
        plain("foreign", (2.0, 3.0)),
    ];
    assert_eq!(
        names(&under_root(calls), true),
        ["root", ".long", "..foreign", ".short"]
    );
}

#[test]
fn a_tree_is_shown_as_text() {
    let agent = span(
        "agent",
        "root",
        "plan",
        (1.0, 3.5),
        json!({"agent.name": "planner\n2"}),
    );
    let call = span("call", "agent", "openai.chat.completion", (1.0, 2.0), json!({}));
    let spans = under_root([agent, call, reward("r", 0.5, 4.0)]);
    let tree = TraceTree::new(&spans).unwrap();
    let expected = "\
root  100.000 s
├─ plan [planner\\n2]  2.500 s
│  └─ openai.chat.completion  1.000 s
└─ agentlightning.annotation  0.000 s  reward 0.5
";
    assert_eq!(tree.to_string(), expected);
}

#[test]
fn deep_trees_are_no_trouble() {
    let chain = (0..50_000_u32).map(|n| {
        let parent = if n == 0 {
            "-".to_owned()
        } else {
            (n - 1).to_string()
        };
        span(&n.to_string(), &parent, "x", (1.0, 2.0), json!({}))
    });
    let spans = numbered(chain);
    let mut tree = TraceTree::new(&spans).unwrap();
    tree.repair();
    assert_eq!(tree.depth_first().count(), 50_000);
    let text = tree.to_string();
    assert_eq!(text.lines().count(), 50_000);
    assert!(
        text.lines().last().unwrap().starts_with("49999… "),
        "{:?}",
        text.lines().last()
    );
    assert!(text.len() < 50_000 * 200);
    assert!(tree.to_html("deep").len() < 50_000 * 400);
}

#[test]
fn a_page_holds_what_spans_say_as_text() {
    let evil = "<script>alert('x')</script>\"&";
    let mut spans = under_root([
        span(
            "a",
            "root",
            evil,
            (25.0, 75.0),
            json!({"agent.name": evil, evil: evil, "n": [1, evil]}),
        ),
        reward("r", 0.5, 80.0),
    ]);
    spans[1].span_id = evil.to_owned();
    let page = TraceTree::new(&spans).unwrap().to_html(evil);
    assert!(!page.contains("<script") && !page.contains("alert('"), "{page}");
    assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;"));
    assert!(page.contains("left:25.000%;width:50.000%"), "{page}");
    assert!(page.contains("<b>0.5</b>"));
    assert_eq!(page.matches("<details").count(), 3);
    assert_eq!(page.matches("</details>").count(), 3);
}

#[test]
fn each_framework_names_its_agents_its_way() {
    for (name, attributes, expected) in [
        ("x", json!({"agent.name": "a"}), Some("a")),
        (
            "x",
            json!({"agentops.span.kind": "agent", "operation.name": "a"}),
            Some("a"),
        ),
        (
            "x",
            json!({"agentops.span.kind": "task", "operation.name": "a"}),
            None,
        ),
        ("x", json!({"recipient_agent_type": "a"}), Some("a")),
        ("x", json!({"langchain.chain.type": "a"}), Some("a")),
        ("x", json!({"executor.id": "a"}), Some("a")),
        (
            "x",
            json!({"type": "agent", "agentlightning.operation.input.name": "a"}),
            Some("a"),
        ),
        (
            "x",
            json!({"type": "tool", "agentlightning.operation.input.name": "a"}),
            None,
        ),
        ("langchain.Chain.x", json!({"lc_name": "a"}), Some("a")),
        ("x", json!({"lc_name": "a"}), None),
        ("x", json!({"agent.name": 3, "executor.id": "a"}), Some("a")),
        (
            "x",
            json!({"agent.name": "first", "executor.id": "a"}),
            Some("first"),
        ),
    ] {
        let spans = [span("a", "-", name, (0.0, 1.0), attributes.clone())];
        let tree = TraceTree::new(&spans).unwrap();
        assert_eq!(tree.root().agent_name(), expected, "{name} {attributes}");
    }
}
