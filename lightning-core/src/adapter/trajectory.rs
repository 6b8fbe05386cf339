//! Calls merged into trajectories, where the tokens of one continue those of another.

use std::collections::HashMap;

use serde::Serialize;

use super::{AdaptError, EmptyReason, LeftOut, TraceAdapter, Triplet, Triplets, UnmatchedReward};
use crate::types::Span;

/// One conversation of an agent as a single run of tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Trajectory {
    /// The agent, if the calls name one.
    pub agent_name: Option<String>,
    /// Prompts and answers, one after the other.
    pub token_ids: Vec<u32>,
    /// For each token 1 if the model wrote it, 0 if it was given to the model: what to train on.
    pub loss_mask: Vec<u8>,
    /// For each token the natural logarithm of the probability with which the model wrote it, 0 for what it was given; only
    /// if it was recorded for each answer.
    pub logprobs: Option<Vec<f64>>,
    /// The calls, in order.
    pub turns: Vec<Turn>,
}

/// A call within a [`Trajectory`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Turn {
    /// The span of the call.
    pub span_id: String,
    /// The id of the answer.
    pub response_id: Option<String>,
    /// Where the answer begins among the tokens of the trajectory.
    pub response_start: usize,
    /// Where it ends.
    pub response_end: usize,
    /// How good it was.
    pub reward: Option<f64>,
}

impl Trajectory {
    /// The reward of the last turn that has one.
    pub fn last_reward(&self) -> Option<f64> {
        self.turns.iter().rev().find_map(|turn| turn.reward)
    }

    /// The sum of the rewards of the turns that have one; `None` if none has.
    pub fn total_reward(&self) -> Option<f64> {
        let mut rewards = self.turns.iter().filter_map(|turn| turn.reward);
        let first = rewards.next()?;
        Some(rewards.fold(first, |sum, reward| sum + reward))
    }
}

/// Where a call does not continue the one before it, token by token.
///
/// This is how a chat template that drops earlier reasoning shows, or an answer that was turned into text and tokenized
/// again. It need not be a fault: agents begin new conversations.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Parting {
    /// The agent.
    pub agent_name: Option<String>,
    /// The last call of the trajectory before.
    pub before: String,
    /// The call that begins a new trajectory.
    pub after: String,
    /// How many tokens they have in common.
    pub common: usize,
    /// How many tokens the trajectory before has: all of them would have to be in common.
    pub of: usize,
}

/// The trajectories of an attempt, at least one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trajectories {
    /// In the order in which they begin.
    pub trajectories: Vec<Trajectory>,
    /// Where trajectories begin though the agent had one already.
    pub partings: Vec<Parting>,
    /// The rewards that no call got.
    pub unmatched: Vec<UnmatchedReward>,
    /// The calls that are in no trajectory.
    pub left_out: LeftOut,
}

impl Trajectories {
    /// Merges triplets: one whose prompt begins with all tokens of a trajectory of its agent continues the longest such one;
    /// any other begins a trajectory. Never is a token changed to make something fit.
    ///
    /// Takes time linear in the number of tokens.
    ///
    /// # Errors
    ///
    /// [`EmptyReason::NoTokenIds`], if no triplet has token ids. Those without are left out and counted.
    pub fn merge(triplets: Triplets) -> Result<Self, AdaptError> {
        let mut merged = Self {
            unmatched: triplets.unmatched,
            left_out: triplets.left_out,
            ..Self::default()
        };
        let calls = triplets.triplets.len();
        let mut ends = Ends::default();
        let mut latest: HashMap<Option<String>, usize> = HashMap::new();
        for triplet in triplets.triplets {
            if triplet.prompt.token_ids.is_empty() || triplet.response.token_ids.is_empty() {
                merged.left_out.without_token_ids += 1;
                continue;
            }
            let agent = triplet.metadata.agent_name.clone();
            let continued = ends.take(&agent, &triplet.prompt.token_ids, &merged.trajectories);
            let number = continued.unwrap_or_else(|| {
                if let Some(before) = latest.get(&agent) {
                    let before = &merged.trajectories[*before];
                    merged.partings.extend(parting(before, &triplet));
                }
                merged.trajectories.push(Trajectory {
                    agent_name: agent.clone(),
                    logprobs: Some(Vec::new()),
                    ..Trajectory::default()
                });
                merged.trajectories.len() - 1
            });
            merged.trajectories[number].push(triplet);
            ends.insert(&agent, &merged.trajectories[number].token_ids, number);
            latest.insert(agent, number);
        }
        if merged.trajectories.is_empty() {
            return Err(EmptyReason::NoTokenIds { calls }.into());
        }
        Ok(merged)
    }
}

impl Trajectory {
    fn push(&mut self, triplet: Triplet) {
        let logprobs = triplet.response.token_logprobs();
        let logprobs = logprobs.filter(|logprobs| logprobs.len() == triplet.response.token_ids.len());
        let known = self.token_ids.len();
        self.token_ids.extend(&triplet.prompt.token_ids[known..]);
        let response_start = self.token_ids.len();
        self.token_ids.extend(&triplet.response.token_ids);
        let response_end = self.token_ids.len();
        self.loss_mask.resize(response_start, 0);
        self.loss_mask.resize(response_end, 1);
        self.logprobs = self.logprobs.take().zip(logprobs).map(|(mut all, more)| {
            all.resize(response_start, 0.0);
            all.extend(more);
            all
        });
        self.turns.push(Turn {
            span_id: triplet.metadata.span_id,
            response_id: triplet.metadata.response_id,
            response_start,
            response_end,
            reward: triplet.reward,
        });
    }
}

fn parting(before: &Trajectory, after: &Triplet) -> Option<Parting> {
    let pairs = before.token_ids.iter().zip(&after.prompt.token_ids);
    Some(Parting {
        agent_name: before.agent_name.clone(),
        before: before.turns.last()?.span_id.clone(),
        after: after.metadata.span_id.clone(),
        common: pairs.take_while(|(a, b)| a == b).count(),
        of: before.token_ids.len(),
    })
}

/// The trajectories by their agent and tokens, so that the one that a prompt continues is found in one pass over it.
#[derive(Default)]
struct Ends(HashMap<(Option<String>, usize, u64), Vec<usize>>);

impl Ends {
    fn insert(&mut self, agent: &Option<String>, tokens: &[u32], number: usize) {
        let hash = tokens.iter().fold(SEED, |hash, token| step(hash, *token));
        self.0
            .entry((agent.clone(), tokens.len(), hash))
            .or_default()
            .push(number);
    }

    /// Takes out the longest one whose tokens the prompt begins with.
    fn take(&mut self, agent: &Option<String>, prompt: &[u32], trajectories: &[Trajectory]) -> Option<usize> {
        let mut found = None;
        let (mut hash, mut key) = (SEED, (agent.clone(), 0, SEED));
        for (index, token) in prompt.iter().enumerate() {
            hash = step(hash, *token);
            (key.1, key.2) = (index + 1, hash);
            // Equal hashes are only a hint.
            let begins = |number: &&usize| trajectories[**number].token_ids == prompt[..=index];
            if let Some(number) = self.0.get(&key).and_then(|numbers| numbers.iter().find(begins)) {
                found = Some((*number, key.clone()));
            }
        }
        let (number, key) = found?;
        let numbers = self.0.get_mut(&key)?;
        numbers.retain(|other| *other != number);
        Some(number)
    }
}

const SEED: u64 = 0xcbf2_9ce4_8422_2325;

fn step(hash: u64, token: u32) -> u64 {
    (hash ^ u64::from(token))
        .wrapping_mul(0x0100_0000_01b3)
        .rotate_left(23)
}

/// An adapter that [merges](Trajectories::merge) the triplets of another one into trajectories.
///
/// ```
/// use lightning_core::adapter::{RewardPolicy, ToTrajectories, TracerToTriplets};
///
/// let adapter = ToTrajectories::of(TracerToTriplets::new().rewards(RewardPolicy::Final));
/// # drop(adapter);
/// ```
#[derive(Clone, Debug, Default)]
pub struct ToTrajectories<A> {
    triplets: A,
}

impl<A: TraceAdapter<Output = Triplets>> ToTrajectories<A> {
    /// Merges what this adapter gives.
    pub fn of(triplets: A) -> Self {
        Self { triplets }
    }
}

impl<A: TraceAdapter<Output = Triplets>> TraceAdapter for ToTrajectories<A> {
    type Output = Trajectories;

    fn describe(&self) -> String {
        format!("trajectories, merged from {}", self.triplets.describe())
    }

    fn adapt(&self, spans: &[Span]) -> Result<Trajectories, AdaptError> {
        Trajectories::merge(self.triplets.adapt(spans)?)
    }
}
