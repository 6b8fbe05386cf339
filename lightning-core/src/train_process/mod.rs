//! A training in a process of its own.
//!
//! So it can be given a time limit, it can crash without taking the run along, and its memory is given back when it ends. The
//! process is this program, started again, unless [`TrainProgram::command`] names another one. Because a program is started
//! from its beginning, it has to look first whether it was started for that:
//!
//! ```no_run
//! use std::process::ExitCode;
//!
//! use lightning_core::train_process::train_process;
//!
//! fn main() -> ExitCode {
//!     if let Some(code) = train_process() {
//!         return code;
//!     }
//!     // What the program is for: Trainer::builder()…
//!     ExitCode::SUCCESS
//! }
//! ```
//!
//! What such a process does is a [`TrainJob`]: a model and samples go in, a model comes out. While it works it tells each step
//! on its standard output. It ends when whoever started it is gone, however that ended. This module knows neither rollouts
//! nor runs.

mod child;
mod parent;

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

pub use self::{
    child::{carry_out, train_process},
    parent::TrainProgram,
};
use crate::lm::{Step, TrainOptions};

/// The variable that tells a process what to train.
const VARIABLE: &str = "LIGHTNING_TRAIN_PROCESS";

/// What is to be trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainJob {
    /// The folder of the model to begin with.
    pub model: PathBuf,
    /// The file with the samples, one [`Sample`](crate::lm::Sample) as JSON a line.
    pub samples: PathBuf,
    /// The folder that the trained model is written to. It appears at once and whole.
    pub into: PathBuf,
    /// How it is trained.
    #[serde(default)]
    pub options: TrainOptions,
}

/// What came of a training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trained {
    /// How many steps there were.
    pub steps: u64,
    /// How many tokens the samples had, in all epochs together.
    pub tokens: u64,
    /// The mean loss of the last epoch; of all steps, if there are fewer steps than epochs.
    pub loss: f64,
    /// How long it took, in seconds, from reading the model to writing it.
    pub seconds: f64,
    /// The digest of the trained weights, as [`digest_of_weights`] gives it.
    pub sha256: String,
}

/// What a process says on its standard output, one JSON object a line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Step(Step),
    Trained(Trained),
    Failed(String),
}

/// Why there is no trained model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// This program would be started again, and does not look whether it is there to train.
    #[error(
        "this program cannot be started again to train: call `lightning_core::train_process::train_process()` first thing \
         in `main`, and return if it gives a code; or name another program by `TrainProgram::command`"
    )]
    NotPrepared,

    /// The process could not be started.
    #[error("cannot start {program} to train: {source}")]
    Start {
        /// Which program.
        program: String,
        /// What the system says.
        source: io::Error,
    },

    /// It took too long, and was killed.
    #[error("the training did not end within {seconds} s{}; train on less, or raise the limit", at(*step))]
    TimeLimit {
        /// How long it was given.
        seconds: f64,
        /// The last step that it told of.
        step: Option<u64>,
    },

    /// The training itself failed.
    #[error("the training failed: {problem}")]
    Failed {
        /// What the process said.
        problem: String,
    },

    /// The process ended without a result.
    #[error("the process that trained ended without a result{}: {how}{}", at(*step), and_said(said))]
    Ended {
        /// How it ended.
        how: String,
        /// The last step that it told of.
        step: Option<u64>,
        /// The end of what it wrote to its standard error.
        said: String,
    },

    /// A file that goes with the training could not be read or written.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn at(step: Option<u64>) -> String {
    step.map_or_else(String::new, |step| format!(" (its last step was {step})"))
}

fn and_said(said: &str) -> String {
    if said.is_empty() {
        String::new()
    } else {
        format!("; it said: {said}")
    }
}

/// The SHA-256 of the weights in a model's folder, `model.safetensors`, in hexadecimal. Blocks on the disk.
///
/// # Errors
///
/// [`TrainError::File`].
pub fn digest_of_weights(folder: impl AsRef<Path>) -> Result<String, TrainError> {
    let path = folder.as_ref().join("model.safetensors");
    let digest = || {
        let mut hash = Sha256::new();
        io::copy(&mut File::open(&path)?, &mut hash)?;
        let digest = hash.finalize();
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    digest().map_err(|source| TrainError::File {
        path: path.clone(),
        source,
    })
}
