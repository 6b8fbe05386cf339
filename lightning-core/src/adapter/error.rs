//! Why there is no data for training.

use std::{collections::BTreeSet, fmt};

use super::LeftOut;
use crate::types::Span;

/// Why spans could not be turned into data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdaptError {
    /// There is nothing to train on.
    #[error("the spans hold nothing to train on: {0}")]
    Empty(EmptyReason),

    /// Spans are each other's parents, so that nothing can be said of their places.
    #[error(
        "the spans make no tree: {} {} within itself; the tracer that recorded them gives wrong parents",
        cycle.join(", "), if cycle.len() == 1 { "lies" } else { "lie each" }
    )]
    BrokenTree {
        /// The ids of the spans that come round to themselves, each the child of the next.
        cycle: Vec<String>,
    },

    /// The spans are of more than one attempt, which would mix what has nothing to do with each other.
    #[error(
        "the spans are of more than one attempt ({first} and {other}): adapt those of one attempt at a time, such as \
         `SpanQuery::of(rollout).latest_attempt()`"
    )]
    SeveralAttempts {
        /// An attempt.
        first: String,
        /// Another one.
        other: String,
    },

    /// A span does not read as its name promises.
    #[error("span `{span_id}` cannot be read: {problem}")]
    Malformed {
        /// The span.
        span_id: String,
        /// What is wrong with it.
        problem: String,
    },

    /// An adapter of one's own failed.
    #[error("{0:#}")]
    Other(anyhow::Error),
}

impl AdaptError {
    /// There is nothing to train on, for a reason in words: for adapters of one's own.
    pub fn empty(reason: impl Into<String>) -> Self {
        Self::Empty(EmptyReason::Other(reason.into()))
    }

    /// Why there is nothing to train on, if that is the matter.
    pub fn empty_reason(&self) -> Option<&EmptyReason> {
        match self {
            Self::Empty(reason) => Some(reason),
            _ => None,
        }
    }

    pub(super) fn malformed(span: &Span, problem: impl Into<String>) -> Self {
        Self::Malformed {
            span_id: span.span_id.clone(),
            problem: problem.into(),
        }
    }
}

impl From<EmptyReason> for AdaptError {
    fn from(reason: EmptyReason) -> Self {
        Self::Empty(reason)
    }
}

/// What is missing in spans that hold nothing to train on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EmptyReason {
    /// There are no spans.
    NoSpans,

    /// No span is a call of a model.
    NoModelCall {
        /// What calls are known by.
        wanted: String,
        /// The names of the spans that there are.
        span_names: BTreeSet<String>,
        /// The names of those that look like calls all the same, by their attributes.
        look_alike: BTreeSet<String>,
    },

    /// There are calls of models, but each is left out for a reason.
    AllLeftOut(LeftOut),

    /// The agents that there are do not match.
    NoAgent {
        /// What the names of agents have to match.
        wanted: String,
        /// The names of the agents that there are.
        agent_names: BTreeSet<String>,
    },

    /// There are calls of models, but none says which tokens went in and came out.
    NoTokenIds {
        /// How many calls there are.
        calls: usize,
    },

    /// None of the spans carries a reward.
    NoReward {
        /// The names of the spans that there are.
        span_names: BTreeSet<String>,
    },

    /// There are rewards, but none belongs to a call by the policy.
    NoRewardMatched {
        /// How many rewards there are.
        rewards: usize,
        /// The policy.
        policy: String,
    },

    /// Anything else, in words.
    Other(String),
}

impl EmptyReason {
    /// [`NoSpans`](Self::NoSpans) or [`NoReward`](Self::NoReward), for spans that carry no reward.
    pub fn of_unrewarded(spans: &[Span]) -> Self {
        if spans.is_empty() {
            return Self::NoSpans;
        }
        Self::NoReward {
            span_names: names(spans.iter()),
        }
    }
}

pub(super) fn names<'a>(spans: impl IntoIterator<Item = &'a Span>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for span in spans {
        if !names.contains(&span.name) {
            names.insert(span.name.clone());
        }
    }
    names
}

/// How many names a message lists.
const LISTED: usize = 20;

struct Listed<'a>(&'a BTreeSet<String>);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, name) in self.0.iter().take(LISTED).enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}")?;
        }
        match self.0.len().saturating_sub(LISTED) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

impl fmt::Display for EmptyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpans => f.write_str(
                "the trace is empty; let the agent return a reward, emit something, or record its calls of models",
            ),
            Self::NoModelCall {
                wanted,
                span_names,
                look_alike,
            } => {
                write!(
                    f,
                    "no span is a call of a model, which is {wanted} (there are: {})",
                    Listed(span_names)
                )?;
                if look_alike.is_empty() {
                    f.write_str("; trace the model's client or let the agent call through the proxy")
                } else {
                    write!(
                        f,
                        "; by their attributes these are calls: {}; tell the adapter with `model_calls`",
                        Listed(look_alike)
                    )
                }
            }
            Self::AllLeftOut(left_out) => write!(f, "every call of a model is left out: {left_out}"),
            Self::NoAgent { wanted, agent_names } if agent_names.is_empty() => {
                write!(
                    f,
                    "the calls of no agent are wanted but those that match `{wanted}`, and no span names an agent"
                )
            }
            Self::NoAgent { wanted, agent_names } => write!(
                f,
                "no call was made by an agent whose name matches `{wanted}` (there are: {})",
                Listed(agent_names)
            ),
            Self::NoTokenIds { calls } => write!(
                f,
                "none of {calls} calls of a model says which tokens went in and came out; let the server return token ids \
                 (for vLLM `return_token_ids`) and have them recorded"
            ),
            Self::NoReward { span_names } => write!(
                f,
                "none of the spans carries a reward (there are: {}); let the agent return or emit one",
                Listed(span_names)
            ),
            Self::NoRewardMatched { rewards, policy } => write!(
                f,
                "none of {rewards} rewards belongs to a call by the policy {policy}; link rewards to answers, or take \
                 another policy"
            ),
            Self::Other(reason) => f.write_str(reason),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_what_there_is_and_what_to_do() {
        let span_names: BTreeSet<String> = (0..25).map(|n| format!("step{n:02}")).collect();
        let wanted = "a span whose name matches `x`".to_owned();
        let none = EmptyReason::NoModelCall {
            wanted: wanted.clone(),
            span_names: span_names.clone(),
            look_alike: BTreeSet::new(),
        };
        let message = AdaptError::from(none).to_string();
        assert!(message.contains("`x` (there are: step00, step01"), "{message}");
        assert!(
            message.contains("step19 and 5 more); trace the model's client"),
            "{message}"
        );
        let other = EmptyReason::NoModelCall {
            wanted,
            span_names,
            look_alike: ["chat".to_owned()].into(),
        };
        assert!(
            other
                .to_string()
                .contains("these are calls: chat; tell the adapter"),
            "{other}"
        );
        let broken = |cycle: &[&str]| AdaptError::BrokenTree {
            cycle: cycle.iter().map(|id| (*id).to_owned()).collect(),
        };
        assert!(broken(&["a"]).to_string().contains("a lies within itself"));
        assert!(
            broken(&["a", "b"])
                .to_string()
                .contains("a, b lie each within itself")
        );
    }
}
