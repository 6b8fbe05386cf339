//! Adapters: what they make of spans, and what they say when they make nothing.

mod messages;
mod properties;
mod proxy;
mod tracer;
mod trajectories;
mod tree;

use lightning_core::types::{Span, Timestamp};
use serde_json::{Value, json};

/// A span under a root called `root`, unless it has another parent.
fn span(id: &str, parent: &str, name: &str, times: (f64, f64), attributes: Value) -> Span {
    let mut span = Span::new("ro-1", "at-1", 1, "trace", id, name);
    span.parent_id = Some(parent.to_owned()).filter(|parent| parent != "-");
    span.attributes = attributes.as_object().unwrap().clone();
    span.start_time = Some(Timestamp::from_secs_f64(times.0));
    span.end_time = Some(Timestamp::from_secs_f64(times.1));
    span
}

/// The root and these, numbered.
fn under_root(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let root = span("root", "-", "root", (0.0, 100.0), json!({}));
    numbered([root].into_iter().chain(spans))
}

fn numbered(spans: impl IntoIterator<Item = Span>) -> Vec<Span> {
    let mut spans: Vec<Span> = spans.into_iter().collect();
    for (number, span) in spans.iter_mut().enumerate() {
        span.sequence_id = number as u64 + 1;
    }
    spans
}

fn call(id: &str, times: (f64, f64)) -> Span {
    let attributes = json!({
        "gen_ai.response.id": format!("answer-{id}"), "prompt_token_ids": [1, 2], "response_token_ids": [3],
    });
    span(id, "root", "openai.chat.completion", times, attributes)
}

fn reward(id: &str, value: f64, at: f64) -> Span {
    let attributes = json!({
        "agentlightning.reward.0.name": "primary", "agentlightning.reward.0.value": value,
        "agentlightning.reward.1.name": "style", "agentlightning.reward.1.value": value / 2.0,
    });
    span(id, "root", "agentlightning.annotation", (at, at), attributes)
}

fn linked(mut reward: Span, key: &str, value: &str) -> Span {
    for (part, text) in [("key_match", key), ("value_match", value)] {
        reward
            .attributes
            .insert(format!("agentlightning.link.0.{part}"), json!(text));
    }
    reward
}
