//! What can be wrong with a run file.

use std::fmt;

use super::Origin;
use crate::{data::DataError, trainer::TrainerError};

/// One mistake, and where it is. Shown as `FILE:LINE:COLUMN, KEY: what is wrong`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Where it was written, if it was written at all.
    pub origin: Option<Origin>,
    /// The key, such as `algorithm.parameters.beam_width`; empty for the file as a whole.
    pub key: String,
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl Problem {
    pub(super) fn new(origin: Option<&Origin>, key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            origin: origin.cloned(),
            key: key.into(),
            message: message.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, key, message } = self;
        match (origin, key.as_str()) {
            (Some(origin), "") => write!(f, "{origin}: {message}"),
            (Some(origin), key) => write!(f, "{origin}, `{key}`: {message}"),
            (None, "") => f.write_str(message),
            (None, key) => write!(f, "`{key}`: {message}"),
        }
    }
}

/// Why a run file cannot be used, or its run has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] DataError),

    /// What it says cannot be understood. All mistakes that could be found at once, in the order of the file.
    #[error("{}", list(.0))]
    Invalid(Vec<Problem>),

    /// The logs cannot be set up as it says.
    #[error("the logs cannot be set up: {0}")]
    Logging(String),

    /// The file cannot be watched.
    #[error("the run file cannot be watched for changes: {0}")]
    Watch(String),

    /// The programs that are its agents cannot be started, or do not stay.
    #[error("{0}")]
    Program(String),

    /// The run failed.
    #[error(transparent)]
    Run(#[from] TrainerError),
}

fn list(problems: &[Problem]) -> String {
    match problems {
        [only] => only.to_string(),
        _ => {
            let lines: Vec<String> = problems.iter().map(|problem| format!("  {problem}")).collect();
            format!(
                "the run file has {} mistakes:\n{}",
                problems.len(),
                lines.join("\n")
            )
        }
    }
}

impl From<Problem> for ConfigError {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

/// `, did you mean ..?` if one of these is close to the name.
pub(super) fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let close = known
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(&name.to_lowercase(), known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4 && *distance < known.len())
        .min();
    close.map_or_else(String::new, |(_, known)| format!(", did you mean `{known}`?"))
}
