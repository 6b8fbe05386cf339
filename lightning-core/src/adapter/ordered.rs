//! The spans of one attempt in an order that does not depend on how they were handed over.

use std::collections::HashSet;

use super::{AdaptError, EmptyReason};
use crate::types::Span;

/// The spans by sequence id, then by start, then by id; of several with one id, the first.
///
/// Errors if there are none, or if they are of more than one attempt.
pub(super) fn ordered(spans: &[Span]) -> Result<Vec<&Span>, AdaptError> {
    let Some(first) = spans.first() else {
        return Err(EmptyReason::NoSpans.into());
    };
    let attempt = |span: &Span| (span.rollout_id.clone(), span.attempt_id.clone());
    let same = |span: &&Span| span.rollout_id == first.rollout_id && span.attempt_id == first.attempt_id;
    if let Some(other) = spans.iter().find(|span| !same(span)) {
        let name = |span| {
            let (rollout, attempt) = attempt(span);
            format!("{attempt} of {rollout}")
        };
        return Err(AdaptError::SeveralAttempts {
            first: name(first),
            other: name(other),
        });
    }
    let mut ordered: Vec<&Span> = spans.iter().collect();
    ordered.sort_by(|a, b| {
        let key = |span: &Span| (span.sequence_id, span.start_time);
        key(a).cmp(&key(b)).then_with(|| a.span_id.cmp(&b.span_id))
    });
    let mut known = HashSet::with_capacity(ordered.len());
    ordered.retain(|span| known.insert(span.span_id.as_str()));
    Ok(ordered)
}

/// What OpenTelemetry's formats hold where there is no parent.
const NO_SPAN: &str = "0000000000000000";

/// The id of the parent, if there is one: exporters also write empty text, or zeros, for none.
pub(super) fn parent_id(span: &Span) -> Option<&str> {
    span.parent_id
        .as_deref()
        .filter(|id| !id.is_empty() && *id != NO_SPAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_and_the_first_of_doubles_do_not_depend_on_the_input() {
        let span = |sequence_id, id: &str, name: &str| Span::new("ro-1", "at-1", sequence_id, "t", id, name);
        let mut spans = [
            span(2, "b", "1"),
            span(1, "c", "2"),
            span(3, "c", "3"),
            span(2, "a", "4"),
        ];
        let names = |spans: &[Span]| -> Vec<String> {
            let ordered = ordered(spans).unwrap();
            ordered.into_iter().map(|span| span.name.clone()).collect()
        };
        assert_eq!(names(&spans), ["2", "4", "1"]);
        spans.reverse();
        assert_eq!(names(&spans), ["2", "4", "1"]);
    }

    #[test]
    fn spans_of_two_attempts_are_refused() {
        let span = |attempt: &str| Span::new("ro-1", attempt, 1, "t", attempt, "a");
        let error = ordered(&[span("at-1"), span("at-2")]).unwrap_err();
        assert!(
            error.to_string().contains("at-1 of ro-1 and at-2 of ro-1"),
            "{error}"
        );
        assert!(matches!(
            ordered(&[]),
            Err(AdaptError::Empty(EmptyReason::NoSpans))
        ));
    }

    #[test]
    fn an_empty_parent_is_none() {
        let mut span = Span::new("ro-1", "at-1", 1, "t", "a", "a");
        for (parent, expected) in [("", None), ("0000000000000000", None), ("00", Some("00"))] {
            span.parent_id = Some(parent.to_owned());
            assert_eq!(parent_id(&span), expected);
        }
    }
}
