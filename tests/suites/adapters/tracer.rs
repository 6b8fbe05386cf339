use std::collections::BTreeSet;

use lightning_core::{
    adapter::{
        AdaptError, EmptyReason, LeftOut, RewardPolicy, TraceAdapter, TracerToTriplets, UnmatchedReward,
    },
    inject::Scope,
    run::{Outcome, OutcomeResult},
    types::{Rollout, Span, SpanStatusCode},
};
use serde_json::json;

use crate::{call, linked, numbered, reward, span, under_root};

fn reason(adapter: &TracerToTriplets, spans: &[Span]) -> EmptyReason {
    let error = adapter.adapt(spans).unwrap_err();
    error.empty_reason().unwrap_or_else(|| panic!("{error}")).clone()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn left_out(change: impl FnOnce(&mut LeftOut)) -> LeftOut {
    let mut left_out = LeftOut::default();
    change(&mut left_out);
    left_out
}

#[test]
fn what_is_empty_says_why() {
    let new = TracerToTriplets::new;
    assert_eq!(reason(&new(), &[]), EmptyReason::NoSpans);

    let chat = span(
        "a",
        "root",
        "chat small",
        (1.0, 2.0),
        json!({"gen_ai.request.model": "small"}),
    );
    let none = reason(&new(), &under_root([chat, reward("r", 1.0, 3.0)]));
    assert_eq!(
        none,
        EmptyReason::NoModelCall {
            wanted: "a span whose name contains `openai.chat.completion`".to_owned(),
            span_names: names(&["root", "chat small", "agentlightning.annotation"]),
            look_alike: names(&["chat small"]),
        }
    );
    assert!(
        none.to_string()
            .contains("these are calls: chat small; tell the adapter with `model_calls`"),
        "{none}"
    );

    let agent = span("p", "root", "agent", (0.0, 9.0), json!({"agent.name": "planner"}));
    let mut of_planner = call("a", (1.0, 2.0));
    of_planner.parent_id = Some("p".to_owned());
    let spans = under_root([agent, of_planner, call("b", (10.0, 11.0))]);
    assert_eq!(
        reason(&new().agents("^critic$").unwrap(), &spans),
        EmptyReason::NoAgent {
            wanted: "^critic$".to_owned(),
            agent_names: names(&["planner"]),
        }
    );

    let judged = span(
        "j",
        "root",
        "judge",
        (0.0, 9.0),
        json!({"agentlightning.call.role": "judge"}),
    );
    let mut by_judge = call("a", (1.0, 2.0));
    by_judge.parent_id = Some("j".to_owned());
    let mut failed = call("b", (3.0, 4.0));
    failed.attributes.clear();
    failed.status.status_code = SpanStatusCode::Error;
    assert_eq!(
        reason(&new(), &under_root([judged, by_judge, failed])),
        EmptyReason::AllLeftOut(left_out(
            |left_out| (left_out.by_role, left_out.without_answer) = (1, 1)
        ))
    );

    let mut without_ids = call("a", (1.0, 2.0));
    without_ids.attributes.remove("response_token_ids");
    let spans = under_root([without_ids]);
    assert_eq!(
        reason(&new().require_token_ids(), &spans),
        EmptyReason::NoTokenIds { calls: 1 }
    );
    assert_eq!(new().adapt(&spans).unwrap().len(), 1, "not required, not missed");

    let spans = under_root([call("a", (1.0, 2.0))]);
    let unrewarded = reason(&new().require_reward(), &spans);
    let span_names = names(&["root", "openai.chat.completion"]);
    assert_eq!(unrewarded, EmptyReason::NoReward { span_names });
    assert_eq!(
        new().adapt(&spans).unwrap().triplets[0].reward,
        None,
        "no reward is not 0"
    );

    let too_early = under_root([call("a", (1.0, 5.0)), reward("r", 1.0, 3.0)]);
    assert_eq!(
        reason(&new().require_reward(), &too_early),
        EmptyReason::NoRewardMatched {
            rewards: 1,
            policy: "first_occurrence".to_owned(),
        }
    );

    let cycle = numbered([
        span("a", "b", "x", (0.0, 1.0), json!({})),
        span("b", "c", "x", (0.0, 1.0), json!({})),
        span("c", "b", "x", (0.0, 1.0), json!({})),
    ]);
    match new().adapt(&cycle) {
        Err(AdaptError::BrokenTree { cycle }) => assert_eq!(cycle, ["b", "c"]),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_scope_knows_the_reason_of_an_adapter_whose_output_it_does_not_know() {
    let scope = Scope::new().with_adapter(TracerToTriplets::new());
    let erased: std::sync::Arc<dyn TraceAdapter<Output = _>> = std::sync::Arc::new(TracerToTriplets::new());
    let erased = Scope::new().with_dyn_adapter(erased);
    for scope in [scope, erased] {
        let reason = scope.explain_adapter(&[]).unwrap();
        assert_eq!(reason.empty_reason(), Some(&EmptyReason::NoSpans));
        assert!(
            scope
                .explain_adapter(&under_root([call("a", (1.0, 2.0))]))
                .is_none()
        );
    }
    assert!(Scope::new().explain_adapter(&[]).is_none());
}

#[test]
fn an_outcome_without_a_reward_has_the_reason() {
    let rollout: Rollout = serde_json::from_value(json!({
        "rollout_id": "ro-1", "input": 1, "start_time": 0.0, "status": "succeeded", "config": {},
    }))
    .unwrap();
    let result = |spans: Vec<Span>| Outcome::new(rollout.clone(), None, spans).result;
    assert_eq!(result(vec![]), OutcomeResult::NoSignal(EmptyReason::NoSpans));
    let without = result(under_root([call("a", (1.0, 2.0))]));
    let span_names = names(&["root", "openai.chat.completion"]);
    assert_eq!(
        without,
        OutcomeResult::NoSignal(EmptyReason::NoReward { span_names })
    );
    let message = without.to_string();
    assert!(
        message.starts_with("no reward: none of the spans carries a reward (there are: openai"),
        "{message}"
    );
    assert_eq!(
        result(under_root([reward("r", 0.0, 1.0)])).to_string(),
        "reward 0"
    );
}

#[test]
fn patterns_that_are_none_are_refused() {
    let error = TracerToTriplets::new().model_calls("(").unwrap_err();
    assert!(
        error.to_string().contains("`(` is no regular expression"),
        "{error}"
    );
    assert!(TracerToTriplets::new().agents("(?=a)").is_err());
}

/// Three calls, and rewards: one while the second goes on, one after it, one after the third.
fn episode() -> Vec<Span> {
    under_root([
        call("a", (1.0, 2.0)),
        call("b", (3.0, 5.0)),
        reward("r1", 0.25, 4.0),
        reward("r2", 0.5, 6.0),
        call("c", (7.0, 8.0)),
        reward("r3", 1.0, 9.0),
    ])
}

fn rewards_of(adapter: &TracerToTriplets, spans: &[Span]) -> (Vec<Option<f64>>, Vec<String>) {
    let result = adapter.adapt(spans).unwrap();
    let rewards = result.iter().map(|triplet| triplet.reward).collect();
    (
        rewards,
        result
            .unmatched
            .into_iter()
            .map(|reward| reward.span_id)
            .collect(),
    )
}

#[test]
fn each_policy_gives_rewards_its_way() {
    let unmatched = |ids: &[&str]| -> Vec<String> { ids.iter().map(|id| (*id).to_owned()).collect() };
    let by = |policy: RewardPolicy| rewards_of(&TracerToTriplets::new().rewards(policy), &episode());
    let first = (vec![Some(0.25), Some(0.5), Some(1.0)], unmatched(&[]));
    assert_eq!(by(RewardPolicy::FirstOccurrence), first);
    // The first reward came while the second call went on, and so is taken for a part of it.
    let within = (vec![None, Some(0.5), Some(1.0)], unmatched(&["r1"]));
    assert_eq!(by(RewardPolicy::FirstSibling), within);
    let earlier = unmatched(&["r1", "r2"]);
    assert_eq!(
        by(RewardPolicy::Final),
        (vec![None, None, Some(1.0)], earlier.clone())
    );
    assert_eq!(by(RewardPolicy::Broadcast), (vec![Some(1.0); 3], earlier.clone()));
    assert_eq!(
        by(RewardPolicy::Discounted(0.5)),
        (vec![Some(0.25), Some(0.5), Some(1.0)], earlier)
    );
    let sum = RewardPolicy::custom(|episode, call| {
        let after = |(reward, _): &&(&Span, f64)| reward.start_time >= episode.calls[call].end_time;
        Some(episode.rewards.iter().filter(after).map(|(_, value)| value).sum())
    });
    assert_eq!(by(sum), (vec![Some(1.75), Some(1.5), Some(1.0)], unmatched(&[])));
}

#[test]
fn a_sibling_is_under_the_same_parent() {
    let mut spans = episode();
    spans.push(span("step", "root", "step", (5.5, 8.5), json!({})));
    for id in ["r2", "c"] {
        let moved = spans.iter_mut().find(|span| span.span_id == id).unwrap();
        moved.parent_id = Some("step".to_owned());
    }
    let siblings = TracerToTriplets::new()
        .rewards(RewardPolicy::FirstSibling)
        .without_repair();
    // In depth-first order: the step comes last.
    let (rewards, unmatched) = rewards_of(&siblings, &numbered(spans));
    assert_eq!(rewards, [Some(0.25), Some(1.0), None]);
    assert_eq!(unmatched, ["r2"]);
}

#[test]
fn links_come_before_any_policy() {
    let mut spans = episode();
    spans[6] = linked(reward("r3", 1.0, 9.0), "gen_ai.response.id", "answer-a");
    spans.push(linked(reward("r4", 2.0, 10.0), "span_id", "b"));
    spans.push(linked(reward("r5", 3.0, 11.0), "span_id", "b"));
    spans.push(linked(reward("r6", 4.0, 12.0), "span_id", "elsewhere"));
    let spans = numbered(spans);
    let result = TracerToTriplets::new().adapt(&spans).unwrap();
    let rewards: Vec<Option<f64>> = result.iter().map(|triplet| triplet.reward).collect();
    assert_eq!(
        rewards,
        [Some(1.0), Some(2.0), None],
        "`r1` and `r2` find nobody left who had ended"
    );
    let unmatched = |id: &str, value, linked| UnmatchedReward {
        span_id: id.to_owned(),
        value,
        linked,
    };
    assert_eq!(
        result.unmatched,
        [
            unmatched("r1", 0.25, false),
            unmatched("r2", 0.5, false),
            unmatched("r5", 3.0, true),
            unmatched("r6", 4.0, true),
        ]
    );
    // The last reward without a link is the final one, and what is linked keeps its own.
    let broadcast = TracerToTriplets::new().rewards(RewardPolicy::Broadcast);
    assert_eq!(
        rewards_of(&broadcast, &spans).0,
        [Some(1.0), Some(2.0), Some(0.5)]
    );
    // A link that names no call leaves the reward to the policy.
    let mut spans = episode();
    spans[6] = linked(reward("r3", 1.0, 9.0), "trace_id", "trace");
    assert_eq!(
        rewards_of(&TracerToTriplets::new(), &spans).0,
        [Some(0.25), Some(0.5), Some(1.0)]
    );
    // Every link has to hold.
    let mut spans = episode();
    let mut both = linked(reward("r3", 1.0, 9.0), "span_id", "a");
    both.attributes
        .insert("agentlightning.link.1.key_match".to_owned(), json!("trace_id"));
    both.attributes
        .insert("agentlightning.link.1.value_match".to_owned(), json!("another"));
    spans[6] = both;
    assert_eq!(rewards_of(&TracerToTriplets::new(), &spans).1, ["r3"]);
}

#[test]
fn another_dimension_is_another_reward() {
    let style = TracerToTriplets::new().reward_dimension("style");
    assert_eq!(
        rewards_of(&style, &episode()).0,
        [Some(0.125), Some(0.25), Some(0.5)]
    );
    let absent = TracerToTriplets::new()
        .reward_dimension("absent")
        .require_reward();
    assert!(matches!(
        reason(&absent, &episode()),
        EmptyReason::NoReward { .. }
    ));
}

#[test]
fn what_goes_on_while_a_judge_thinks_is_not_the_judges() {
    let mut judge = call("judge", (1.0, 9.0));
    judge
        .attributes
        .insert("agentlightning.call.role".to_owned(), json!("judge"));
    let result = TracerToTriplets::new().adapt(&under_root([
        judge,
        call("a", (2.0, 3.0)),
        call("b", (10.0, 11.0)),
    ]));
    let ids: Vec<String> = result
        .unwrap()
        .into_iter()
        .map(|triplet| triplet.metadata.span_id)
        .collect();
    assert_eq!(ids, ["a", "b"]);
}

#[test]
fn what_is_left_out_is_counted() {
    let inside = |parent: &str, mut span: Span| {
        span.parent_id = Some(parent.to_owned());
        span
    };
    let mut unnamed = call("nested", (1.2, 1.8));
    unnamed.attributes.remove("gen_ai.response.id");
    let mut again = call("again", (3.0, 4.0));
    again
        .attributes
        .insert("gen_ai.response.id".to_owned(), json!("answer-a"));
    let mut summary = call("summary", (5.0, 6.0));
    summary
        .attributes
        .insert("agentlightning.call.role".to_owned(), json!("summary"));
    let scoring = span(
        "scoring",
        "root",
        "agentlightning.operation",
        (7.0, 10.0),
        json!({"agentlightning.operation.name": "agentlightning.reward"}),
    );
    let spans = under_root([
        call("a", (1.0, 2.0)),
        inside("a", unnamed),
        again,
        summary,
        scoring,
        inside("scoring", call("judge", (8.0, 9.0))),
    ]);
    let ids = |adapter: &TracerToTriplets| -> Vec<String> {
        let result = adapter.adapt(&spans).unwrap();
        result
            .into_iter()
            .map(|triplet| triplet.metadata.span_id)
            .collect()
    };
    let new = TracerToTriplets::new;
    assert_eq!(ids(&new()), ["a", "summary"]);
    let counted = new().adapt(&spans).unwrap().left_out;
    assert_eq!(
        counted,
        left_out(|left_out| (left_out.repeated, left_out.in_reward) = (2, 1))
    );
    assert_eq!(counted.to_string(), "1 made for a reward, 2 told twice");
    assert_eq!(ids(&new().leave_out_roles(["summary"])), ["a"]);
    assert_eq!(ids(&new().with_calls_in_rewards()), ["a", "summary", "judge"]);
    assert_eq!(ids(&new().with_nested_calls()), ["a", "nested", "summary"]);
}
