//! Errors and panics as OpenTelemetry writes exceptions.

use std::{
    any::Any,
    error::Error,
    fmt::{self, Write as _},
};

use crate::{
    semconv,
    types::{JsonObject, SpanEvent, Timestamp},
};

/// How many causes of an error are kept.
const MAX_CAUSES: usize = 32;

/// Something that went wrong.
///
/// From an error: `Exception::from(&error)`, for an `anyhow::Error` `Exception::from(&*error)`; its causes stand where
/// other languages have a stack trace. From what a panicking task left: [`Exception::from_panic`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    kind: String,
    message: String,
    stacktrace: Option<String>,
    escaped: bool,
}

impl Exception {
    /// An exception of this kind (`TimeoutError`), with a message. It counts as escaped: the operation it was met in
    /// did not deal with it.
    pub fn new(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            stacktrace: None,
            escaped: true,
        }
    }

    /// A panic, by the payload that `catch_unwind` or a `JoinError` gives.
    pub fn from_panic(payload: &(dyn Any + Send)) -> Self {
        Self::new("panic", panic_message(payload))
    }

    /// Says where it arose, or what caused it, in any form.
    #[must_use]
    pub fn stacktrace(mut self, stacktrace: impl Into<String>) -> Self {
        self.stacktrace = Some(stacktrace.into());
        self
    }

    /// Says that it was dealt with.
    #[must_use]
    pub fn handled(mut self) -> Self {
        self.escaped = false;
        self
    }

    /// What a span says of an exception that was met within it.
    pub(super) fn into_event(self, now: Timestamp) -> SpanEvent {
        SpanEvent {
            name: semconv::EXCEPTION_EVENT.to_owned(),
            attributes: self.into_attributes(),
            timestamp: Some(now),
            extra: JsonObject::new(),
        }
    }

    pub(super) fn into_attributes(self) -> JsonObject {
        let mut attributes = JsonObject::new();
        attributes.insert(semconv::EXCEPTION_TYPE.to_owned(), self.kind.into());
        attributes.insert(semconv::EXCEPTION_MESSAGE.to_owned(), self.message.into());
        attributes.insert(semconv::EXCEPTION_ESCAPED.to_owned(), self.escaped.into());
        if let Some(stacktrace) = self.stacktrace {
            attributes.insert(semconv::EXCEPTION_STACKTRACE.to_owned(), stacktrace.into());
        }
        attributes
    }
}

/// What a panic said.
pub(crate) fn panic_message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it did not say why")
}

/// What an error and its causes say, each once: many errors repeat their cause, or the first of all causes, in their own
/// message.
pub(crate) fn error_message(error: &anyhow::Error) -> String {
    let first_of_all = error.root_cause().to_string();
    let mut message = String::new();
    for cause in error.chain() {
        let text = cause.to_string();
        if message.is_empty() {
            message = text;
        } else if message.ends_with(&first_of_all) {
            break;
        } else if !message.ends_with(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
    }
    message
}

/// Kind and message.
impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl<E: Error + ?Sized> From<&E> for Exception {
    fn from(error: &E) -> Self {
        let mut causes = String::new();
        let mut next = error.source();
        for _ in 0..MAX_CAUSES {
            let Some(cause) = next else { break };
            // Writing to a string does not fail.
            let _ = writeln!(causes, "caused by: {cause}");
            next = cause.source();
        }
        // Of an error behind a `dyn`, as of one in an `anyhow::Error`, the type is not known.
        let kind = std::any::type_name::<E>();
        let kind = if kind.starts_with("dyn ") { "Error" } else { kind };
        let exception = Self::new(kind, error.to_string());
        if causes.is_empty() {
            exception
        } else {
            exception.stacktrace(causes)
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write a.json: {0}")]
    struct Repeats(#[source] std::io::Error);

    #[test]
    fn each_cause_is_told_once() {
        let full = || std::io::Error::other("no space left");
        let error = anyhow!(Repeats(full())).context("the round cannot be saved");
        assert_eq!(
            error_message(&error),
            "the round cannot be saved: cannot write a.json: no space left"
        );
        let error = anyhow::Error::from(full())
            .context("sending failed")
            .context("cannot save: no space left");
        assert_eq!(error_message(&error), "cannot save: no space left");
        let error = Err::<(), _>(full()).context("no result").unwrap_err();
        assert_eq!(error_message(&error), "no result: no space left");
    }
}
