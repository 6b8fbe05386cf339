use lightning_core::{
    adapter::{EmptyReason, ProxyToTriplets, RewardPolicy, TraceAdapter},
    types::Span,
};
use serde_json::{Value, json};

use crate::{linked, numbered, reward, span};

fn request(id: &str, parent: &str, name: &str, attributes: Value) -> Span {
    span(id, parent, name, (9.0, 1.0), attributes)
}

fn raw(id: &str, parent: &str) -> Span {
    let attributes = json!({
        "llm.hosted_vllm.prompt_token_ids": "[1, 2]", "llm.hosted_vllm.response_token_ids": "[[3]]",
        "llm.hosted_vllm.id": format!("answer-{id}"),
    });
    request(id, parent, "raw_gen_ai_request", attributes)
}

fn rewards(adapter: &ProxyToTriplets, spans: &[Span]) -> Vec<(String, Option<f64>)> {
    let result = adapter.adapt(spans).unwrap();
    result
        .into_iter()
        .map(|triplet| (triplet.metadata.span_id, triplet.reward))
        .collect()
}

#[test]
fn only_the_sequence_counts() {
    // By the clocks, every reward comes before every call.
    let spans = numbered([
        raw("a", "-"),
        reward("r0", 0.25, 0.0),
        raw("b", "-"),
        raw("c", "-"),
        reward("r1", 0.5, 0.0),
        reward("r2", 1.0, 0.0),
        reward("r3", 2.0, 0.0),
    ]);
    let expected = |a, b, c| [("a".to_owned(), a), ("b".to_owned(), b), ("c".to_owned(), c)];
    let new = ProxyToTriplets::new;
    assert_eq!(
        rewards(&new(), &spans),
        expected(Some(0.25), Some(1.0), Some(0.5))
    );
    assert_eq!(new().adapt(&spans).unwrap().unmatched[0].span_id, "r3");
    let discounted = new().rewards(RewardPolicy::Discounted(0.5));
    assert_eq!(
        rewards(&discounted, &spans),
        expected(Some(0.5), Some(1.0), Some(2.0))
    );
    let mut spans = spans;
    spans[4] = linked(reward("r1", 0.5, 0.0), "gen_ai.response.id", "answer-b");
    assert_eq!(
        rewards(&new(), &numbered(spans)),
        expected(Some(0.25), Some(0.5), Some(1.0))
    );
}

#[test]
fn siblings_name_one_parent() {
    let mut early = reward("r1", 0.5, 0.0);
    early.parent_id = Some("p".to_owned());
    let mut late = reward("r2", 1.0, 0.0);
    late.parent_id = Some("q".to_owned());
    let spans = numbered([raw("a", "p"), raw("b", "q"), early, late]);
    let siblings = ProxyToTriplets::new().rewards(RewardPolicy::FirstSibling);
    assert_eq!(
        rewards(&siblings, &spans),
        [("a".to_owned(), Some(0.5)), ("b".to_owned(), Some(1.0))]
    );
}

#[test]
fn a_request_and_its_raw_request_are_one_call() {
    let ids =
        json!({"prompt_token_ids": [1, 2], "response_token_ids": [3], "gen_ai.response.id": "answer-b"});
    let spans = numbered([
        request(
            "outer",
            "-",
            "litellm_request",
            json!({"gen_ai.response.id": "answer-a"}),
        ),
        raw("a", "outer"),
        request("plain", "-", "litellm_request", ids),
        raw("b", "plain"),
        request(
            "mine",
            "-",
            "my_request",
            json!({"prompt_token_ids": [5], "response_token_ids": [6]}),
        ),
    ]);
    let result = ProxyToTriplets::new().adapt(&spans).unwrap();
    let of: Vec<_> = result
        .iter()
        .map(|triplet| triplet.metadata.span_id.as_str())
        .collect();
    assert_eq!(of, ["a", "plain"]);
    assert_eq!(
        (result.left_out.repeated, result.left_out.without_token_ids),
        (1, 0)
    );
    let named = ProxyToTriplets::new()
        .model_calls("^my_")
        .unwrap()
        .adapt(&spans)
        .unwrap();
    assert_eq!(named.triplets[2].prompt.token_ids, [5]);
}

#[test]
fn what_is_empty_says_why() {
    let reason = |spans: Vec<Span>| {
        let error = ProxyToTriplets::new().adapt(&numbered(spans)).unwrap_err();
        error.empty_reason().unwrap().clone()
    };
    assert_eq!(reason(vec![]), EmptyReason::NoSpans);
    let called = reason(vec![crate::call("a", (1.0, 2.0))]);
    assert!(
        called
            .to_string()
            .contains("these are calls: openai.chat.completion"),
        "{called}"
    );
    let without = request("outer", "-", "litellm_request", json!({}));
    let mut inner = raw("a", "outer");
    inner.attributes.remove("llm.hosted_vllm.response_token_ids");
    assert_eq!(reason(vec![without, inner]), EmptyReason::NoTokenIds { calls: 1 });
    let error = ProxyToTriplets::new()
        .require_reward()
        .adapt(&numbered([raw("a", "-")]))
        .unwrap_err();
    assert!(
        matches!(error.empty_reason(), Some(EmptyReason::NoReward { .. })),
        "{error}"
    );
}

#[test]
fn a_judge_is_left_out_with_what_lies_within() {
    let judge = request(
        "judge",
        "-",
        "litellm_request",
        json!({"agentlightning.call.role": "judge"}),
    );
    let spans = numbered([raw("a", "-"), judge, raw("b", "judge")]);
    let result = ProxyToTriplets::new().adapt(&spans).unwrap();
    assert_eq!((result.len(), result.left_out.by_role), (1, 2));
    let all = ProxyToTriplets::new()
        .leave_out_roles([""; 0])
        .adapt(&spans)
        .unwrap();
    assert_eq!(all.len(), 2);
}
