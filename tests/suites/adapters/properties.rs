//! What holds of any spans whatever.

use std::{collections::HashSet, fmt::Debug};

use lightning_core::{
    adapter::{
        AdaptError, ProxyToTriplets, RewardPolicy, ToMessages, ToTrajectories, TraceAdapter, TraceTree,
        TracerToTriplets, Triplets,
    },
    types::{Reward, Span, Timestamp},
};
use lightning_tests::traces::{Shape, trace};
use proptest::{
    collection::vec, option, prelude::*, sample::select, strategy::ValueTree as _, test_runner::Config,
};
use serde_json::{Value, json};

/// Names that mean something, and one that does not.
const NAMES: [&str; 8] = [
    "openai.chat.completion",
    "litellm_request",
    "raw_gen_ai_request",
    "agentlightning.annotation",
    "agentlightning.operation",
    "langchain.Chain.x",
    "",
    "x",
];

/// Keys that mean something.
const KEYS: [&str; 32] = [
    "gen_ai.prompt",
    "gen_ai.prompt.0",
    "gen_ai.prompt.0.role",
    "gen_ai.prompt.0.content",
    "gen_ai.prompt.7.role",
    "gen_ai.prompt.0.tool_calls.0.id",
    "gen_ai.completion.0.role",
    "gen_ai.completion.0.tool_calls.0",
    "gen_ai.request.functions.0.name",
    "gen_ai.request.functions.0.parameters",
    "gen_ai.response.id",
    "prompt_token_ids",
    "response_token_ids",
    "logprobs.content",
    "llm.hosted_vllm.prompt_token_ids",
    "llm.hosted_vllm.response_token_ids",
    "llm.hosted_vllm.choices",
    "llm.hosted_vllm.id",
    "agentlightning.reward.0.name",
    "agentlightning.reward.0.value",
    "agentlightning.reward.1.value",
    "agentlightning.link.0.key_match",
    "agentlightning.link.0.value_match",
    "agentlightning.call.role",
    "agentlightning.operation.name",
    "agentops.task.output",
    "agent.name",
    "agentops.span.kind",
    "tool.name",
    "tool.call.id",
    "reward",
    "....",
];

fn value() -> impl Strategy<Value = Value> {
    let known = [
        json!(null),
        json!(true),
        json!(-1),
        json!(1),
        json!(0.5),
        json!(1e308),
        json!(u64::MAX),
        json!(""),
        json!("assistant"),
        json!("user"),
        json!("judge"),
        json!("span_id"),
        json!("gen_ai.response.id"),
        json!("agentlightning.reward"),
        json!("agent"),
        json!("s1"),
        json!("r1"),
        json!("[1, 2]"),
        json!("[[1], [2]]"),
        json!("[{'token_ids': [1, 2], 'a': None}]"),
        json!("{\"type\": \"reward\", \"value\": 1}"),
        json!("[{\"token\": \"a\", \"logprob\": -0.5}]"),
        json!("[["),
        json!("\u{0}é\u{202e}"),
        json!([]),
        json!([1, 2, 3]),
        json!(["a", 1, null]),
        json!({"type": "reward", "value": 0.5}),
        json!({"0": {"role": "user"}}),
        json!([[[[]]]]),
    ];
    prop_oneof![9 => select(known.to_vec()), 1 => ".*".prop_map(Value::from)]
}

fn time() -> impl Strategy<Value = Option<Timestamp>> {
    let odd = [
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
        1e308,
        -1e308,
        -0.0,
        0.0,
    ];
    let time = prop_oneof![4 => (0_u32..12).prop_map(f64::from), 1 => select(odd.to_vec())];
    option::weighted(0.9, time.prop_map(Timestamp::from_secs_f64))
}

/// Any span at all: ids that are taken, parents that are not there or come round, absurd times and attributes.
fn any_span() -> impl Strategy<Value = Span> {
    let attributes = vec((select(KEYS.to_vec()), value()), 0..8);
    let ids = (0_u32..16, option::weighted(0.85, 0_u32..18));
    (ids, select(NAMES.to_vec()), time(), time(), attributes).prop_map(
        |((id, parent), name, start, end, attributes)| {
            let mut span = Span::new("ro-1", "at-1", 0, "trace", format!("s{id}"), name);
            span.parent_id = parent.map(|parent| {
                if parent == 17 {
                    String::new()
                } else {
                    format!("s{parent}")
                }
            });
            (span.start_time, span.end_time) = (start, end);
            span.attributes = attributes
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect();
            span
        },
    )
}

/// Spans with sequence ids of their own, in any order.
fn any_spans() -> impl Strategy<Value = Vec<Span>> {
    vec(any_span(), 0..24).prop_map(|mut spans| {
        for (number, span) in spans.iter_mut().enumerate() {
            span.sequence_id = number as u64 * 7 % 31;
        }
        spans
    })
}

/// Sound traces, in which something happens, with a few spans that are not sound.
fn mostly_sound() -> impl Strategy<Value = Vec<Span>> {
    let odd = vec((any_span(), 0_usize..1_000), 0..4);
    (any::<u64>(), 3_usize..40, 0_u64..64, odd).prop_map(|(seed, size, shape, odd)| {
        let mut spans = trace(seed, size, Shape::numbered(shape));
        for (odd, place) in odd {
            let place = place % spans.len().max(1);
            if let Some(span) = spans.get_mut(place) {
                (span.start_time, span.end_time) = (odd.start_time, odd.end_time);
                span.attributes.extend(odd.attributes);
            }
        }
        spans
    })
}

fn spans() -> impl Strategy<Value = Vec<Span>> {
    prop_oneof![any_spans(), mostly_sound()]
}

fn policies() -> [RewardPolicy; 6] {
    [
        RewardPolicy::FirstOccurrence,
        RewardPolicy::FirstSibling,
        RewardPolicy::Final,
        RewardPolicy::Broadcast,
        RewardPolicy::Discounted(0.5),
        RewardPolicy::custom(|episode, call| episode.rewards.get(call).map(|(_, value)| *value)),
    ]
}

fn shown<V: Debug>(result: Result<V, AdaptError>) -> String {
    match result {
        Ok(value) => format!("{value:?}"),
        Err(error) => format!("{error}"),
    }
}

/// What every adapter makes of the spans.
fn everything(spans: &[Span]) -> Vec<String> {
    let mut made = Vec::new();
    for policy in policies() {
        let tracer = || TracerToTriplets::new().rewards(policy.clone());
        made.push(shown(tracer().adapt(spans)));
        made.push(shown(
            tracer()
                .without_repair()
                .with_nested_calls()
                .with_calls_in_rewards()
                .adapt(spans),
        ));
        made.push(shown(
            tracer()
                .agents("a")
                .unwrap()
                .require_token_ids()
                .require_reward()
                .adapt(spans),
        ));
        made.push(shown(ToTrajectories::of(tracer()).adapt(spans)));
        made.push(shown(ProxyToTriplets::new().rewards(policy).adapt(spans)));
    }
    made.push(shown(ToMessages::new().adapt(spans)));
    made.push(match TraceTree::new(spans) {
        Ok(mut tree) => {
            tree.repair();
            format!("{tree}{}", tree.to_html("trace"))
        }
        Err(error) => error.to_string(),
    });
    made
}

/// Every reward has a value of its own, so that it can be told where it went.
fn with_own_rewards(mut spans: Vec<Span>) -> Vec<Span> {
    for (number, span) in spans.iter_mut().enumerate() {
        if Reward::from_span(span).is_some() {
            span.attributes
                .retain(|key, _| !key.contains("reward") && !key.starts_with("agentops"));
            span.attributes
                .insert("agentlightning.reward.0.value".to_owned(), json!(number));
        }
    }
    spans
}

/// The values of all rewards of an attempt: of spans with one id, one counts.
fn rewards_in(spans: &[Span]) -> Vec<f64> {
    let mut ordered: Vec<&Span> = spans.iter().collect();
    ordered.sort_by_key(|span| span.sequence_id);
    let mut known = HashSet::new();
    ordered.retain(|span| known.insert(&span.span_id));
    let mut rewards: Vec<f64> = ordered
        .into_iter()
        .filter_map(Reward::from_span)
        .map(|reward| reward.primary())
        .collect();
    rewards.sort_by(f64::total_cmp);
    rewards
}

fn rewards_out(triplets: &Triplets) -> Vec<f64> {
    let given = triplets.iter().filter_map(|triplet| triplet.reward);
    let mut rewards: Vec<f64> = given
        .chain(triplets.unmatched.iter().map(|reward| reward.value))
        .collect();
    rewards.sort_by(f64::total_cmp);
    rewards
}

proptest! {
    #![proptest_config(Config { cases: 256, failure_persistence: None, ..Config::default() })]

    #[test]
    fn nothing_panics_and_the_order_of_spans_does_not_matter(
        (spans, shuffled) in spans().prop_flat_map(|spans| (Just(spans.clone()), Just(spans).prop_shuffle()))
    ) {
        prop_assert_eq!(everything(&spans), everything(&shuffled));
    }

    #[test]
    fn no_reward_is_lost_and_none_is_used_twice(spans in spans()) {
        let spans = with_own_rewards(spans);
        let expected = rewards_in(&spans);
        for policy in [RewardPolicy::FirstOccurrence, RewardPolicy::FirstSibling] {
            let tracer = TracerToTriplets::new().rewards(policy.clone()).with_calls_in_rewards();
            let proxy = ProxyToTriplets::new().rewards(policy.clone());
            for triplets in [tracer.adapt(&spans), proxy.adapt(&spans)].into_iter().flatten() {
                prop_assert_eq!(rewards_out(&triplets), expected.clone(), "{}", policy);
            }
        }
    }

    #[test]
    fn what_is_given_is_never_empty(spans in spans()) {
        for policy in policies() {
            if let Ok(triplets) = TracerToTriplets::new().rewards(policy).adapt(&spans) {
                prop_assert!(!triplets.is_empty());
            }
        }
        if let Ok(conversations) = ToMessages::new().adapt(&spans) {
            prop_assert!(!conversations.is_empty());
        }
    }
}

#[test]
fn the_strategies_have_something_to_say() {
    // Guards the properties against strategies that only make what is refused at once.
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut trees, mut triplets, mut proxied, mut messages, mut broken) = (0, 0, 0, 0, 0);
    for _ in 0..400 {
        let spans = spans().new_tree(&mut runner).unwrap().current();
        match TracerToTriplets::new().adapt(&spans) {
            Ok(_) => triplets += 1,
            Err(AdaptError::BrokenTree { .. }) => broken += 1,
            Err(_) => {}
        }
        trees += u32::from(TraceTree::new(&spans).is_ok());
        proxied += u32::from(ProxyToTriplets::new().adapt(&spans).is_ok());
        messages += u32::from(ToMessages::new().adapt(&spans).is_ok());
    }
    for (what, count) in [
        ("trees", trees),
        ("triplets", triplets),
        ("proxied", proxied),
        ("messages", messages),
        ("broken", broken),
    ] {
        assert!(count > 20, "{what}: {count} of 400");
    }
}
