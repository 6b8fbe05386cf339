//! What lies within what, for spans that need not make a tree.

use std::collections::HashMap;

use super::ordered::parent_id;
use crate::types::Span;

/// For each span whether it, or one around it, is such a one. What comes round to itself lies within nothing else.
pub(super) fn within(spans: &[&Span], is_such: impl Fn(&Span) -> bool) -> Vec<bool> {
    let such: Vec<bool> = spans.iter().map(|span| is_such(span)).collect();
    if !such.contains(&true) {
        return such;
    }
    let by_id = spans
        .iter()
        .enumerate()
        .map(|(index, span)| (span.span_id.as_str(), index));
    let by_id: HashMap<&str, usize> = by_id.collect();
    let mut known: Vec<Option<bool>> = such.iter().map(|such| such.then_some(true)).collect();
    for start in 0..spans.len() {
        let (mut way, mut at, mut answer) = (Vec::new(), start, false);
        loop {
            if let Some(known) = known[at] {
                answer = known;
                break;
            }
            // For whoever comes round to here.
            known[at] = Some(false);
            way.push(at);
            match parent_id(spans[at]).and_then(|parent| by_id.get(parent)) {
                Some(parent) => at = *parent,
                None => break,
            }
        }
        for passed in way {
            known[passed] = Some(answer);
        }
    }
    known.into_iter().map(|known| known == Some(true)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_within_is_found_also_where_spans_come_round() {
        let span = |id: &str, parent: &str| {
            let mut span = Span::new("ro-1", "at-1", 1, "t", id, id);
            span.parent_id = Some(parent.to_owned());
            span
        };
        let spans = [
            span("a", "b"),
            span("b", "judge"),
            span("judge", "root"),
            span("root", ""),
            span("c", "root"),
            span("d", "e"),
            span("e", "d"),
            span("f", "gone"),
        ];
        let spans: Vec<&Span> = spans.iter().collect();
        let within = within(&spans, |span| span.name == "judge");
        assert_eq!(within, [true, true, true, false, false, false, false, false]);
    }
}
