//! What a search has found, and how it came to it.

use serde::{Deserialize, Serialize};

use crate::types::PromptTemplate;

/// What a search for a better prompt has found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct OptimizedPrompt {
    /// The best prompt over the whole search.
    pub best: PromptTemplate,
    /// Its place among the candidates.
    pub best_candidate: usize,
    /// Its mean reward on all validation tasks; `None` if the search was stopped before any was measured there.
    pub score: Option<f64>,
    /// The same of the prompt that the search began with, where it was measured.
    pub seed_score: Option<f64>,
    /// How many rounds were completed.
    pub rounds: usize,
    /// Every prompt that was tried; the first is the one that the search began with.
    pub candidates: Vec<Candidate>,
    /// What was proposed and not tried.
    pub rejections: Vec<Rejection>,
}

/// A prompt that was tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// The prompt.
    pub prompt: PromptTemplate,
    /// The round it was made in, from 1; 0 for the prompt that the search began with.
    pub round: usize,
    /// How it was made.
    pub origin: Origin,
    /// Its mean rewards on batches of validation tasks, one for each round that it took part in.
    pub batch_scores: Vec<BatchScore>,
    /// Its mean reward on all validation tasks; `None` if it was not measured there.
    pub score: Option<f64>,
    /// Why a measurement of it gave no score: too many of its rollouts failed, or none of them was rewarded.
    pub problem: Option<String>,
}

/// How good a candidate was on the validation tasks of one round.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BatchScore {
    /// The round.
    pub round: usize,
    /// The mean reward.
    pub mean: f64,
}

/// How a candidate was made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Origin {
    /// The search began with it.
    Seed,
    /// A model criticised its parent and rewrote it accordingly.
    Edit {
        /// The place of the parent among the candidates.
        parent: usize,
        /// What the model criticised.
        critique: String,
        /// Which of the critique prompts was used.
        gradient_prompt: usize,
        /// Which of the edit prompts was used.
        edit_prompt: usize,
    },
    /// A model wrote it without knowing how good others are.
    Proposal {
        /// Which of the instruction prompts was used.
        instruction_prompt: usize,
    },
    /// It is the first prompt with solved tasks as examples.
    Demonstrations {
        /// The places of these tasks in the training dataset.
        tasks: Vec<usize>,
    },
}

impl Origin {
    /// The place of the parent among the candidates, if there is one.
    pub fn parent(&self) -> Option<usize> {
        match self {
            Self::Seed => None,
            Self::Edit { parent, .. } => Some(*parent),
            Self::Proposal { .. } | Self::Demonstrations { .. } => Some(0),
        }
    }
}

/// A prompt that was proposed and not tried, or could not even be proposed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rejection {
    /// The round.
    pub round: usize,
    /// The place of the parent among the candidates.
    pub parent: usize,
    /// What was proposed, if anything was.
    pub text: Option<String>,
    /// What the model criticised, if it came to that.
    pub critique: Option<String>,
    /// Why it was not tried.
    pub reason: RejectionReason,
}

/// Why a proposed prompt was not tried.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[non_exhaustive]
pub enum RejectionReason {
    /// The rollouts of the parent show nothing to learn from.
    #[error("there is nothing to learn from: {problem}")]
    NothingToLearnFrom {
        /// Why not.
        problem: String,
    },
    /// The model did not answer.
    #[error("the model gave no {wanted}: {problem}")]
    NoAnswer {
        /// What it was asked for.
        wanted: String,
        /// What happened.
        problem: String,
    },
    /// The answer holds nothing.
    #[error("the {wanted} is empty")]
    Empty {
        /// What it should have held.
        wanted: String,
    },
    /// The answer ends before the prompt does.
    #[error("the prompt is cut off")]
    CutOff,
    /// The prompt is that of the parent.
    #[error("the prompt is the same as its parent")]
    Unchanged,
    /// The prompt was tried before.
    #[error("the prompt is the same as candidate {of}")]
    Duplicate {
        /// The place of the first one among the candidates.
        of: usize,
    },
    /// The prompt lacks placeholders that the first one has.
    #[error("the prompt has lost {}", listed(names))]
    LostPlaceholders {
        /// The placeholders.
        names: Vec<String>,
    },
    /// The prompt has placeholders that the first one lacks, so that nobody would fill them.
    #[error("the prompt has {}, which nobody fills", listed(names))]
    UnknownPlaceholders {
        /// The placeholders.
        names: Vec<String>,
    },
    /// The prompt cannot be read as a template.
    #[error("the prompt is malformed: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
}

fn listed(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    let noun = if names.len() == 1 {
        "placeholder"
    } else {
        "placeholders"
    };
    format!("the {noun} {}", names.join(", "))
}

impl Candidate {
    pub(in crate::algorithm) fn new(prompt: PromptTemplate, round: usize, origin: Origin) -> Self {
        Self {
            prompt,
            round,
            origin,
            batch_scores: Vec::new(),
            score: None,
            problem: None,
        }
    }
}
