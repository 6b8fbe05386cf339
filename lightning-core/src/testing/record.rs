//! All that a store knows of one rollout.

use std::{collections::HashMap, fmt};

use crate::{
    run::Outcome,
    runner::Step,
    store::{Store, StoreError},
    types::{
        Attempt, AttemptQuery, Reward, Rollout, RolloutId, RolloutQuery, RolloutStatus, Span, SpanQuery,
        SpanStatusCode, final_reward,
    },
};

/// A rollout with its attempts and spans. `Display` tells it to a person, spans below their parents.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RolloutRecord {
    /// The rollout.
    pub rollout: Rollout,
    /// Its attempts, in order.
    pub attempts: Vec<Attempt>,
    /// The spans of its latest attempt, in order.
    pub spans: Vec<Span>,
}

impl RolloutRecord {
    /// Reads a rollout; `None` if the store does not have it.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn of(store: &dyn Store, id: &RolloutId) -> Result<Option<Self>, StoreError> {
        let Some(snapshot) = store.get_rollout_by_id(id).await? else {
            return Ok(None);
        };
        let attempts = store.query_attempts(id, AttemptQuery::default()).await?.items;
        let spans = store
            .query_spans(SpanQuery::of(id.clone()).latest_attempt())
            .await?
            .items;
        Ok(Some(Self {
            rollout: snapshot.rollout,
            attempts,
            spans,
        }))
    }

    /// Reads all rollouts of a store, in the order of their creation.
    ///
    /// # Errors
    ///
    /// Those of the store.
    pub async fn all(store: &dyn Store) -> Result<Vec<Self>, StoreError> {
        let mut records = Vec::new();
        for snapshot in store.query_rollouts(RolloutQuery::default()).await?.items {
            records.extend(Self::of(store, &snapshot.rollout.rollout_id).await?);
        }
        Ok(records)
    }

    /// Its reward: that of the last span of its latest attempt that carries one.
    pub fn reward(&self) -> Option<Reward> {
        final_reward(&self.spans)
    }

    /// The spans of this name.
    pub fn spans_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Span> {
        self.spans.iter().filter(move |span| span.name == name)
    }
}

impl From<Step> for RolloutRecord {
    /// The single attempt that a step made.
    fn from(step: Step) -> Self {
        Self {
            rollout: step.rollout.rollout,
            attempts: vec![step.end.attempt],
            spans: step.end.spans,
        }
    }
}

impl fmt::Display for RolloutRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rollout,
            attempts,
            spans,
        } = self;
        write!(f, "rollout {}: {}", rollout.rollout_id, rollout.status.as_str())?;
        if let Some(mode) = rollout.mode {
            write!(f, ", {}", mode.as_str())?;
        }
        if let Some(resources_id) = &rollout.resources_id {
            write!(f, ", resources {resources_id}")?;
        }
        if rollout.status == RolloutStatus::Succeeded {
            let outcome = Outcome::new(rollout.clone(), attempts.last(), spans.clone());
            write!(f, "\n  {}", outcome.result)?;
        }
        for attempt in attempts {
            let (number, status) = (attempt.sequence_id, attempt.status.as_str());
            write!(f, "\n  attempt {number}: {status}")?;
            if let Some(reason) = attempt.reason() {
                write!(f, ": {reason}")?;
            }
        }
        if spans.is_empty() {
            return f.write_str("\n  no spans");
        }
        let parents: HashMap<&str, Option<&str>> = spans
            .iter()
            .map(|span| (span.span_id.as_str(), span.parent_id.as_deref()))
            .collect();
        let mut ordered: Vec<&Span> = spans.iter().collect();
        ordered.sort_by(|a, b| {
            a.start_time
                .cmp(&b.start_time)
                .then(a.sequence_id.cmp(&b.sequence_id))
        });
        for span in ordered {
            let depth = depth(&parents, span);
            write!(f, "\n  {:indent$}- {}", "", span.name, indent = 2 * depth)?;
            if let Some(reward) = Reward::from_span(span) {
                let separator = [" = ", ", "].into_iter().chain(std::iter::repeat(", "));
                for (separator, (name, value)) in separator.zip(reward.iter()) {
                    write!(f, "{separator}{name} {value}")?;
                }
            }
            if span.status.status_code == SpanStatusCode::Error {
                let why = span.status.description.as_deref().unwrap_or("without a word");
                write!(f, " (error: {why})")?;
            }
        }
        Ok(())
    }
}

/// How many ancestors of the span are there. Spans that claim each other as parents are none's descendants.
fn depth(parents: &HashMap<&str, Option<&str>>, span: &Span) -> usize {
    let mut depth = 0;
    let mut next = span.parent_id.as_deref();
    while let Some(parent) = next
        && let Some(grandparent) = parents.get(parent)
        && depth <= parents.len()
    {
        depth += 1;
        next = *grandparent;
    }
    if depth > parents.len() { 0 } else { depth }
}
