//! Why a model did not answer.

use std::{sync::Arc, time::Duration};

/// Why a model did not answer, by what can be done about it.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChatError {
    /// The model cannot be reached, does not answer in time, or is out of order; also after the retries.
    #[error(
        "the model is unavailable: {reason}; see whether its server runs and whether the address is right"
    )]
    Unavailable {
        /// What happened.
        reason: String,
        /// Where it came from.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },

    /// The endpoint wants fewer requests; also after the retries.
    #[error(
        "the model's endpoint limits the rate of requests: {message}; allow fewer at once, or raise the limit of the account"
    )]
    RateLimited {
        /// What the endpoint says.
        message: String,
        /// When it wants to be asked again, if it said so.
        retry_after: Option<Duration>,
    },

    /// The endpoint or the model refuses this request. The same request would be refused again.
    #[error("the model refuses the request{}: {message}{}", status_in_brackets(*status), refusal_remedy(*status))]
    Refused {
        /// The status of HTTP, if the endpoint refused.
        status: Option<u16>,
        /// What it says.
        message: String,
    },

    /// What came back is no answer of a chat model.
    #[error(
        "the answer is not one of a chat model: {problem}; see whether the address is that of an OpenAI-style endpoint"
    )]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },

    /// The request cannot be written as JSON.
    #[error("the request cannot be written as JSON: {problem}")]
    Unwritable {
        /// Why not.
        problem: String,
    },
}

fn status_in_brackets(status: Option<u16>) -> String {
    status.map_or_else(String::new, |status| format!(" ({status})"))
}

fn refusal_remedy(status: Option<u16>) -> &'static str {
    match status {
        Some(401 | 403) => "; see whether the key is right",
        Some(404) => "; see whether the address and the model's name are right",
        Some(413) => "; make the request shorter",
        _ => "",
    }
}

impl ChatError {
    /// Out of reach, for this reason.
    pub fn unavailable(reason: impl Into<String>) -> Self {
        Self::Unavailable {
            reason: reason.into(),
            source: None,
        }
    }

    /// Whether the same request may go better later.
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::RateLimited { .. })
    }
}
