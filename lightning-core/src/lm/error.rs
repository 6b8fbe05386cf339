//! What can go wrong with a model.

use std::{io, path::PathBuf};

/// Why a model could not be loaded, run or trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LmError {
    /// A file could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A file could not be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },

    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },

    /// The configuration describes a model that this module does not have.
    #[error("the model's configuration says `{field}`: {value}, but {remedy}")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// What it says.
        value: String,
        /// What would do.
        remedy: &'static str,
    },

    /// The weights are not those of the configuration.
    #[error("the weights do not fit the configuration: {problem}")]
    Weights {
        /// What is missing or differs.
        problem: String,
    },

    /// There are more tokens than the model or a batch can take.
    #[error("{tokens} tokens are more than the {limit} that fit")]
    TooLong {
        /// How many there are.
        tokens: usize,
        /// How many fit.
        limit: usize,
    },

    /// A token is not in the vocabulary.
    #[error("there is no token {token}: the vocabulary has {vocabulary}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// How many there are.
        vocabulary: usize,
    },

    /// A text could not be turned into tokens, or the other way round.
    #[error("the tokenizer failed: {problem}")]
    Tokenizer {
        /// What it says.
        problem: String,
    },

    /// The chat template could not be rendered.
    #[error("the chat template failed: {problem}")]
    ChatTemplate {
        /// What it says.
        problem: String,
    },

    /// There is nothing to train on.
    #[error("there is nothing to train on: {problem}")]
    NothingToLearn {
        /// Why not.
        problem: String,
    },

    /// The loss or a gradient is not a number any more.
    #[error("training went astray in step {step}: {what} is not a finite number; lower the learning rate")]
    Diverged {
        /// The step, from 0.
        step: u64,
        /// What is not finite.
        what: &'static str,
    },

    /// The arithmetic on tensors failed.
    #[error("arithmetic on tensors failed: {0}")]
    Tensors(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl From<candle_core::Error> for LmError {
    fn from(error: candle_core::Error) -> Self {
        Self::Tensors(Box::new(error))
    }
}
