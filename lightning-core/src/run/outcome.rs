//! What became of one rollout of an evaluation.

use std::fmt;

use crate::{
    adapter::EmptyReason,
    semconv,
    types::{Attempt, Reward, Rollout, RolloutStatus, Span, final_reward},
};

/// What became of one rollout.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The rollout, which has ended.
    pub rollout: Rollout,
    /// Its reward, or why there is none.
    pub result: OutcomeResult,
    /// The spans of its latest attempt.
    pub spans: Vec<Span>,
}

/// The reward of a rollout, or why there is none. None of the three stands for a reward of 0.
#[derive(Clone, Debug, PartialEq)]
pub enum OutcomeResult {
    /// It succeeded and its last reward is this.
    Rewarded(Reward),
    /// It succeeded, but nothing says how well, for this reason.
    NoSignal(EmptyReason),
    /// It did not succeed: the agent failed, a time limit passed, somebody cancelled it.
    Failed {
        /// How it ended.
        status: RolloutStatus,
        /// What its last attempt ended with.
        message: String,
    },
}

impl Outcome {
    /// Reads the outcome off a rollout that has ended and the spans of its latest attempt.
    pub fn new(rollout: Rollout, latest: Option<&Attempt>, spans: Vec<Span>) -> Self {
        let result = if rollout.status == RolloutStatus::Succeeded {
            match final_reward(&spans) {
                Some(reward) => OutcomeResult::Rewarded(reward),
                None => OutcomeResult::NoSignal(EmptyReason::of_unrewarded(&spans)),
            }
        } else {
            OutcomeResult::Failed {
                status: rollout.status,
                message: failure(&rollout, latest),
            }
        };
        Self {
            rollout,
            result,
            spans,
        }
    }

    /// The reward, if there is one.
    pub fn reward(&self) -> Option<&Reward> {
        match &self.result {
            OutcomeResult::Rewarded(reward) => Some(reward),
            OutcomeResult::NoSignal(_) | OutcomeResult::Failed { .. } => None,
        }
    }
}

fn failure(rollout: &Rollout, latest: Option<&Attempt>) -> String {
    let notes = rollout.metadata.as_ref();
    if let Some(reason) = notes.and_then(|notes| notes.get(semconv::ATTEMPT_REASON)?.as_str())
        && rollout.status == RolloutStatus::Cancelled
    {
        return reason.to_owned();
    }
    let Some(attempt) = latest else {
        return format!("{} before any attempt", rollout.status.as_str());
    };
    match attempt.reason() {
        Some(reason) => reason.to_owned(),
        None => format!("its last attempt ended as {}", attempt.status.as_str()),
    }
}

impl fmt::Display for OutcomeResult {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rewarded(reward) => write!(f, "reward {}", reward.primary()),
            Self::NoSignal(reason) => write!(f, "no reward: {reason}"),
            Self::Failed { status, message } => write!(f, "{}: {message}", status.as_str()),
        }
    }
}
