//! What the server answers, and how it fails to.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The reply to one chat completion. What it does not say is left out of the answer, or filled in as the methods tell.
///
/// In JSON it is an object with the fields `text`, `tool_calls`, `prompt_token_ids`, `token_ids`, `logprobs`, `usage`,
/// `finish_reason`, `delay_ms` and `fault`, all of them optional:
///
/// ```
/// use lightning_core::testing::llm::{Fault, Reply};
///
/// # fn main() -> Result<(), serde_json::Error> {
/// let reply: Reply = serde_json::from_str(r#"{"text": "4", "token_ids": [19], "delay_ms": 5}"#)?;
/// assert_eq!(reply, Reply::text("4").token_ids([19]).delay(std::time::Duration::from_millis(5)));
/// let reply: Reply = serde_json::from_str(r#"{"fault": {"status": 503}}"#)?;
/// assert_eq!(reply, Reply::fault(Fault::Status(503)));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Reply {
    pub(super) text: Option<String>,
    pub(super) tool_calls: Vec<ToolCall>,
    pub(super) prompt_token_ids: Option<Vec<u32>>,
    pub(super) token_ids: Option<Vec<u32>>,
    pub(super) logprobs: Option<Vec<Logprob>>,
    pub(super) usage: Option<Usage>,
    pub(super) finish_reason: Option<String>,
    delay_ms: u64,
    fault: Option<Fault>,
    #[serde(skip)]
    pub(super) refusal: Option<Refusal>,
}

/// What the server itself has to say against a request.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) message: String,
}

/// A tool that the model asks for.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// What it is called with; text is sent as it is, anything else as JSON text.
    #[serde(default)]
    pub arguments: Value,
}

/// The log-probability of one token of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logprob {
    /// The token's text.
    pub token: String,
    /// Its log-probability.
    pub logprob: f64,
}

/// How many tokens an answer took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Usage {
    /// Those that went in.
    pub prompt_tokens: u64,
    /// Those that came out.
    pub completion_tokens: u64,
}

/// How the server fails to answer. In JSON: the name in `snake_case` (`"hang"`), or an object with what belongs to it
/// (`{"status": 503}`, `{"rate_limit": {"retry_after_seconds": 2}}`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Fault {
    /// This status, with an error in OpenAI's shape. What is no status of HTTP becomes 500.
    Status(u16),
    /// The status 429 with the header `Retry-After`.
    RateLimit {
        /// What the header says.
        retry_after_seconds: u64,
    },
    /// No answer at all; the connection stays open until the client or the server goes.
    Hang,
    /// The headers and half of the answer, then no more; the connection stays open.
    HangMidBody,
    /// The connection ends before an answer.
    CutBeforeHeaders,
    /// The connection ends after the headers, which promise a body.
    CutAfterHeaders,
    /// The connection ends after half of the answer: half of the text, or half of the events of a stream.
    CutMidBody,
    /// JSON that breaks off, in an answer that is complete as far as HTTP can tell.
    MalformedJson,
    /// The whole answer, a few bytes at a time.
    SlowBytes {
        /// How many bytes are sent at once; at least 1.
        bytes: usize,
        /// How long to wait before the next ones.
        pause_ms: u64,
    },
}

impl Reply {
    /// An answer with this text.
    pub fn text(text: impl Into<String>) -> Self {
        Self {
            text: Some(text.into()),
            ..Self::default()
        }
    }

    /// An answer without text that asks for a tool.
    pub fn tool_call(name: impl Into<String>, arguments: impl Into<Value>) -> Self {
        Self::default().and_tool_call(name, arguments)
    }

    /// No answer, but a fault.
    pub fn fault(fault: Fault) -> Self {
        Self::default().with_fault(fault)
    }

    /// Asks for one more tool.
    pub fn and_tool_call(mut self, name: impl Into<String>, arguments: impl Into<Value>) -> Self {
        self.tool_calls.push(ToolCall {
            name: name.into(),
            arguments: arguments.into(),
        });
        self
    }

    /// The ids of the prompt's tokens. They are sent as vLLM sends them, in `prompt_token_ids`, whether or not the request
    /// asks for them.
    pub fn prompt_token_ids(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.prompt_token_ids = Some(ids.into_iter().collect());
        self
    }

    /// The ids of the answer's tokens. They are sent as vLLM sends them, in `token_ids` of the choice; a stream spreads them
    /// over its events.
    pub fn token_ids(mut self, ids: impl IntoIterator<Item = u32>) -> Self {
        self.token_ids = Some(ids.into_iter().collect());
        self
    }

    /// The tokens of the answer with their log-probabilities.
    pub fn logprobs<S: Into<String>>(mut self, logprobs: impl IntoIterator<Item = (S, f64)>) -> Self {
        let logprobs = logprobs.into_iter().map(|(token, logprob)| Logprob {
            token: token.into(),
            logprob,
        });
        self.logprobs = Some(logprobs.collect());
        self
    }

    /// The usage. If not set: as many tokens as there are ids, and as there are words where there are no ids.
    pub fn usage(mut self, prompt_tokens: u64, completion_tokens: u64) -> Self {
        self.usage = Some(Usage {
            prompt_tokens,
            completion_tokens,
        });
        self
    }

    /// Why the answer ends; `tool_calls` if it asks for tools and `stop` otherwise, if not set.
    pub fn finish_reason(mut self, reason: impl Into<String>) -> Self {
        self.finish_reason = Some(reason.into());
        self
    }

    /// Waits before the answer.
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// Fails in this way to give the answer.
    pub fn with_fault(mut self, fault: Fault) -> Self {
        self.fault = Some(fault);
        self
    }

    pub(super) fn refusal(status: u16, message: impl Into<String>) -> Self {
        Self {
            refusal: Some(Refusal {
                status,
                message: message.into(),
            }),
            ..Self::default()
        }
    }

    pub(super) fn waits(&self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }

    pub(super) fn fails_by(&self) -> Option<Fault> {
        self.fault
    }
}
