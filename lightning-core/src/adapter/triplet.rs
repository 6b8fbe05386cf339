//! Triplets: prompt, answer and reward of one call of a model.

use std::{fmt, ops::AddAssign};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One call of a model as training data. Its JSON form is that of `agentlightning==0.3.0`, with more in the metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Triplet {
    /// What the model was given.
    pub prompt: Prompt,
    /// What it answered.
    pub response: Response,
    /// How good that was; `None` if nobody said, which is not 0.
    #[serde(default)]
    pub reward: Option<f64>,
    /// Where it comes from.
    #[serde(default)]
    pub metadata: CallMetadata,
}

/// What a model was given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Prompt {
    /// The tokens; empty if they were not recorded.
    #[serde(default)]
    pub token_ids: Vec<u32>,
    /// The messages as they were recorded, usually a list of objects with `role` and `content`.
    #[serde(default)]
    pub raw_content: Option<Value>,
    /// The addresses of the images in the messages, in order.
    #[serde(default)]
    pub image_urls: Vec<String>,
}

/// What a model answered.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Response {
    /// The tokens; empty if they were not recorded.
    #[serde(default)]
    pub token_ids: Vec<u32>,
    /// The choices as they were recorded.
    #[serde(default)]
    pub raw_content: Option<Value>,
    /// What was recorded of the probability of each token: a list of objects with `token` and `logprob`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logprobs: Option<Value>,
}

impl Response {
    /// The natural logarithm of the probability of each token, if it was recorded for every one.
    pub fn token_logprobs(&self) -> Option<Vec<f64>> {
        let tokens = self.logprobs.as_ref()?.as_array()?;
        let logprobs = tokens.iter().map(|token| token.get("logprob")?.as_f64());
        let logprobs: Option<Vec<f64>> = logprobs.collect();
        logprobs.filter(|logprobs| self.token_ids.is_empty() || logprobs.len() == self.token_ids.len())
    }
}

/// Where a triplet comes from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CallMetadata {
    /// The request as it was recorded: model, temperature, tools, …
    #[serde(default)]
    pub request: Option<Value>,
    /// The answer as it was recorded, but for its choices: id, model, …
    #[serde(default)]
    pub response: Option<Value>,
    /// The id of the answer.
    #[serde(default)]
    pub response_id: Option<String>,
    /// The agent that called, if a span around the call names one.
    #[serde(default)]
    pub agent_name: Option<String>,
    /// The span of the call.
    #[serde(default)]
    pub span_id: String,
}

/// The triplets of an attempt, at least one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Triplets {
    /// The calls, in order.
    pub triplets: Vec<Triplet>,
    /// The rewards that no call got, in order. With a policy that spreads the final reward, those that came before it.
    pub unmatched: Vec<UnmatchedReward>,
    /// The calls that are not among the triplets.
    pub left_out: LeftOut,
}

/// A reward that no call got.
#[derive(Clone, Debug, PartialEq)]
pub struct UnmatchedReward {
    /// The span that carries it.
    pub span_id: String,
    /// Its value.
    pub value: f64,
    /// Whether it has a link to a span. Then that span is no call, is left out, or has a reward by another link.
    pub linked: bool,
}

impl Triplets {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.triplets.len()
    }

    /// Whether there are none. An adapter gives no such thing.
    pub fn is_empty(&self) -> bool {
        self.triplets.is_empty()
    }

    /// The triplets, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, Triplet> {
        self.triplets.iter()
    }

    /// Gives the last call this reward, whatever it had, such as one that was computed after the attempt.
    #[must_use]
    pub fn with_final_reward(mut self, reward: f64) -> Self {
        if let Some(last) = self.triplets.last_mut() {
            last.reward = Some(reward);
        }
        self
    }
}

impl IntoIterator for Triplets {
    type Item = Triplet;
    type IntoIter = std::vec::IntoIter<Triplet>;

    fn into_iter(self) -> Self::IntoIter {
        self.triplets.into_iter()
    }
}

impl<'a> IntoIterator for &'a Triplets {
    type Item = &'a Triplet;
    type IntoIter = std::slice::Iter<'a, Triplet>;

    fn into_iter(self) -> Self::IntoIter {
        self.triplets.iter()
    }
}

/// How many calls of models are no triplets, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LeftOut {
    /// Made by an agent that is not wanted, or by none.
    pub other_agent: usize,
    /// Made to work out a reward.
    pub in_reward: usize,
    /// Of a role that is left out, such as `judge`.
    pub by_role: usize,
    /// Told by another span already: inside a call without an id of its own, or with the id of an earlier answer.
    pub repeated: usize,
    /// Without token ids, where these are required.
    pub without_token_ids: usize,
    /// Failed: without an answer.
    pub without_answer: usize,
}

impl LeftOut {
    /// How many in all.
    pub fn total(&self) -> usize {
        self.counts().iter().map(|(count, _)| count).sum()
    }

    fn counts(&self) -> [(usize, &'static str); 6] {
        [
            (self.other_agent, "of other agents"),
            (self.in_reward, "made for a reward"),
            (self.by_role, "of a role that is left out"),
            (self.repeated, "told twice"),
            (self.without_token_ids, "without token ids"),
            (self.without_answer, "without an answer"),
        ]
    }
}

impl AddAssign for LeftOut {
    fn add_assign(&mut self, other: Self) {
        self.other_agent += other.other_agent;
        self.in_reward += other.in_reward;
        self.by_role += other.by_role;
        self.repeated += other.repeated;
        self.without_token_ids += other.without_token_ids;
        self.without_answer += other.without_answer;
    }
}

/// Such as `2 made for a reward, 1 told twice`.
impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts();
        let mut some = counts.iter().filter(|(count, _)| *count > 0).peekable();
        if some.peek().is_none() {
            return f.write_str("none");
        }
        for (index, (count, why)) in some.enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{count} {why}")?;
        }
        Ok(())
    }
}
