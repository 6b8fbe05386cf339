//! Rewards: how good a rollout was, in one or several dimensions.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Span;
use crate::semconv;

/// A reward with one or more named dimensions, the first of which is the primary one.
///
/// ```
/// use lightning_core::types::Reward;
///
/// let reward = Reward::new("accuracy", 0.5).with("brevity", 0.9);
/// assert_eq!(reward.primary(), 0.5);
/// assert_eq!(reward.get("brevity"), Some(0.9));
/// assert_eq!(Reward::from(1.0).get("primary"), Some(1.0));
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reward {
    primary: Dimension,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Dimension>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Dimension {
    name: String,
    value: f64,
}

impl Reward {
    /// A reward with one dimension.
    pub fn new(name: impl Into<String>, value: f64) -> Self {
        Self {
            primary: Dimension {
                name: name.into(),
                value,
            },
            others: Vec::new(),
        }
    }

    /// Adds a dimension.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: f64) -> Self {
        self.others.push(Dimension {
            name: name.into(),
            value,
        });
        self
    }

    /// The value of the primary dimension.
    pub fn primary(&self) -> f64 {
        self.primary.value
    }

    /// The value of the first dimension of that name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.iter()
            .find_map(|(dimension, value)| (dimension == name).then_some(value))
    }

    /// The reward that a span carries, if it does.
    ///
    /// Looked for in this order: the attributes `agentlightning.reward.{i}.name` and `.value` on a span of any name; what
    /// AgentOps writes, `{"type": "reward", "value": …}` under `agentops.task.output` or `agentops.entity.output`; the
    /// attribute `reward` of an annotation, as v0.2 wrote it. A reward whose value is no number is none.
    pub fn from_span(span: &Span) -> Option<Self> {
        Self::from_dimensions(span)
            .or_else(|| Self::from_agentops(span))
            .or_else(|| {
                let value = span
                    .attributes
                    .get("reward")
                    .filter(|_| span.name == semconv::ANNOTATION)?;
                value.as_f64().map(Self::from)
            })
    }

    fn from_dimensions(span: &Span) -> Option<Self> {
        let dimension = |name: Option<&Value>, value: &Value, fallback: &str| {
            let name = name.and_then(Value::as_str).unwrap_or(fallback).to_owned();
            Some(Dimension {
                name,
                value: value.as_f64()?,
            })
        };
        let value = span.attributes.get(semconv::PRIMARY_REWARD_VALUE)?;
        let name = span.attributes.get(semconv::PRIMARY_REWARD_NAME);
        let mut reward = Self {
            primary: dimension(name, value, semconv::PRIMARY_REWARD)?,
            others: Vec::new(),
        };
        for index in 1.. {
            let prefix = format!("{}.{index}", semconv::REWARD_PREFIX);
            let Some(value) = span.attributes.get(&format!("{prefix}.value")) else {
                break;
            };
            let name = span.attributes.get(&format!("{prefix}.name"));
            reward.others.push(dimension(name, value, &index.to_string())?);
        }
        Some(reward)
    }

    fn from_agentops(span: &Span) -> Option<Self> {
        ["agentops.task.output", "agentops.entity.output"]
            .into_iter()
            .filter_map(|key| span.attributes.get(key))
            .find_map(|output| {
                let parsed: Value;
                let output = match output {
                    Value::String(text) => {
                        parsed = serde_json::from_str(text).ok()?;
                        &parsed
                    }
                    object => object,
                };
                let is_reward = output.get("type").and_then(Value::as_str) == Some("reward");
                output.get("value").filter(|_| is_reward)?.as_f64()
            })
            .map(Self::from)
    }

    /// Every dimension with its value, the primary one first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, f64)> {
        std::iter::once(&self.primary)
            .chain(&self.others)
            .map(|dimension| (dimension.name.as_str(), dimension.value))
    }
}

impl From<f64> for Reward {
    /// A scalar reward: its one dimension is called `primary`.
    fn from(value: f64) -> Self {
        Self::new(semconv::PRIMARY_REWARD, value)
    }
}

impl From<bool> for Reward {
    /// One for `true`, zero for `false`.
    fn from(value: bool) -> Self {
        Self::from(f64::from(u8::from(value)))
    }
}

impl From<i32> for Reward {
    fn from(value: i32) -> Self {
        Self::from(f64::from(value))
    }
}

/// The spans that carry a reward, with it, in their order.
pub fn reward_spans(spans: &[Span]) -> impl DoubleEndedIterator<Item = (&Span, Reward)> {
    spans
        .iter()
        .filter_map(|span| Reward::from_span(span).map(|reward| (span, reward)))
}

/// The reward of a trace: that of the last of `spans` that carries one. `None` is not zero: nobody said how good it was.
pub fn final_reward(spans: &[Span]) -> Option<Reward> {
    spans.iter().rev().find_map(Reward::from_span)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn span(name: &str, attributes: &Value) -> Span {
        let mut span = Span::new("ro-1", "at-1", 1, "trace-1", "a", name);
        span.attributes = attributes.as_object().unwrap().clone();
        span
    }

    #[test]
    fn a_reward_is_found_wherever_one_may_stand() {
        let agentops = r#"{"type": "reward", "value": 1}"#;
        for (name, attributes, expected) in [
            (
                "any",
                json!({"agentlightning.reward.0.name": "primary", "agentlightning.reward.0.value": 0.5}),
                Some(Reward::from(0.5)),
            ),
            (
                "any",
                json!({
                    "agentlightning.reward.0.name": "a", "agentlightning.reward.0.value": 1,
                    "agentlightning.reward.1.name": "b", "agentlightning.reward.1.value": -2.5,
                    "agentlightning.reward.3.name": "d", "agentlightning.reward.3.value": 3,
                }),
                Some(Reward::new("a", 1.0).with("b", -2.5)),
            ),
            (
                "any",
                json!({"agentlightning.reward.0.value": 0.5}),
                Some(Reward::from(0.5)),
            ),
            ("any", json!({"agentlightning.reward.0.value": "0.5"}), None),
            ("any", json!({"agentlightning.reward.1.value": 0.5}), None),
            (
                "any",
                json!({"agentops.task.output": agentops}),
                Some(Reward::from(1.0)),
            ),
            (
                "any",
                json!({"agentops.task.output": "text", "agentops.entity.output": {"type": "reward", "value": 0.25}}),
                Some(Reward::from(0.25)),
            ),
            (
                "any",
                json!({"agentops.task.output": {"type": "other", "value": 1}}),
                None,
            ),
            (
                "any",
                json!({"agentops.task.output": {"type": "reward", "value": null}}),
                None,
            ),
            (
                semconv::ANNOTATION,
                json!({"reward": 0.75}),
                Some(Reward::from(0.75)),
            ),
            ("any", json!({"reward": 0.75}), None),
            (semconv::ANNOTATION, json!({}), None),
        ] {
            assert_eq!(
                Reward::from_span(&span(name, &attributes)),
                expected,
                "{name} {attributes}"
            );
        }
    }

    #[test]
    fn the_final_reward_is_the_last_one() {
        let spans = [
            span("any", &json!({"agentlightning.reward.0.value": 0.5})),
            span("any", &json!({"agentlightning.reward.0.value": 0.0})),
            span("any", &json!({})),
        ];
        assert_eq!(final_reward(&spans), Some(Reward::from(0.0)));
        assert_eq!(reward_spans(&spans).count(), 2);
        assert_eq!(final_reward(&spans[2..]), None);
    }
}
