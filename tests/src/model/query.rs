//! The queries of the model: filter, sort, cut.

use std::cmp::Ordering;

use lightning_core::{
    store::StoreError,
    types::{
        Attempt, AttemptQuery, AttemptSortField, FilterLogic, Page, PageRequest, ResourcesQuery,
        ResourcesSortField, ResourcesUpdate, RolloutId, RolloutQuery, RolloutSnapshot, RolloutSortField,
        SortOrder, Span, SpanAttemptFilter, SpanQuery, SpanSortField, TextFilter, Timestamp, Worker,
        WorkerQuery, WorkerSortField,
    },
};

use super::Model;

/// What one record is sorted by.
#[derive(PartialEq, PartialOrd)]
enum Key {
    Number(f64),
    Text(String),
}

fn number(number: impl Into<f64>) -> Key {
    Key::Number(number.into())
}

fn time(time: Option<Timestamp>) -> Key {
    Key::Number(time.map_or(f64::INFINITY, Timestamp::as_secs_f64))
}

fn text<T: AsRef<str>>(text: &Option<T>) -> Key {
    Key::Text(
        text.as_ref()
            .map_or(String::new(), |text| text.as_ref().to_owned()),
    )
}

/// Sorts, unless `key` gives nothing to sort by, and cuts out the page.
fn answer<T>(
    mut matching: Vec<T>,
    key: impl Fn(&T) -> Option<Key>,
    order: SortOrder,
    page: PageRequest,
) -> Result<Page<T>, StoreError> {
    if page.limit == Some(0) {
        return Err(StoreError::invalid("limit", "at least 1"));
    }
    matching.sort_by(|a, b| {
        let ordering = key(a).partial_cmp(&key(b)).unwrap_or(Ordering::Equal);
        if order == SortOrder::Desc {
            ordering.reverse()
        } else {
            ordering
        }
    });
    Ok(Page {
        limit: page.limit.map_or(-1, |limit| limit as i64),
        offset: page.offset,
        total: matching.len(),
        items: matching
            .into_iter()
            .skip(page.offset)
            .take(page.limit.unwrap_or(usize::MAX))
            .collect(),
    })
}

/// Combines the filters that were given; without any, everything matches.
fn combine(logic: FilterLogic, filters: &[Option<bool>]) -> bool {
    let mut given = filters.iter().flatten().copied().peekable();
    match logic {
        FilterLogic::And => given.all(|matches| matches),
        FilterLogic::Or => given.peek().is_none() || given.any(|matches| matches),
    }
}

fn one_of<T: PartialEq>(list: &Option<Vec<T>>, value: &T) -> Option<bool> {
    list.as_ref().map(|list| list.contains(value))
}

fn contains(part: &Option<String>, text: &str) -> Option<bool> {
    part.as_ref().map(|part| text.contains(part))
}

fn matches(filter: &TextFilter, text: Option<&str>) -> [Option<bool>; 2] {
    [
        filter.equals.as_ref().map(|wanted| text == Some(wanted)),
        filter
            .contains
            .as_ref()
            .map(|part| text.is_some_and(|text| text.contains(part))),
    ]
}

impl Model {
    /// A part of the rollouts that match.
    pub fn query_rollouts(&self, query: &RolloutQuery) -> Result<Page<RolloutSnapshot>, StoreError> {
        let matching = self
            .rollouts
            .iter()
            .filter(|rollout| {
                combine(
                    query.filter_logic,
                    &[
                        one_of(&query.status_in, &rollout.status),
                        one_of(&query.rollout_id_in, &rollout.rollout_id),
                        contains(&query.rollout_id_contains, rollout.rollout_id.as_str()),
                    ],
                )
            })
            .filter_map(|rollout| self.snapshot(&rollout.rollout_id))
            .collect();
        let key = |rollout: &RolloutSnapshot| {
            Some(match query.sort_by? {
                RolloutSortField::RolloutId => text(&Some(&rollout.rollout_id)),
                RolloutSortField::StartTime => time(Some(rollout.start_time)),
                RolloutSortField::EndTime => time(rollout.end_time),
                RolloutSortField::Mode => text(&rollout.mode.map(|mode| mode.as_str())),
                RolloutSortField::ResourcesId => text(&rollout.resources_id),
                RolloutSortField::Status => text(&Some(rollout.status.as_str())),
            })
        };
        answer(matching, key, query.sort_order, query.page)
    }

    /// A part of a rollout's attempts.
    pub fn query_attempts(&self, id: &RolloutId, query: &AttemptQuery) -> Result<Page<Attempt>, StoreError> {
        let matching = self
            .attempts
            .iter()
            .filter(|attempt| attempt.rollout_id == *id)
            .cloned()
            .collect();
        let key = |attempt: &Attempt| {
            Some(match query.sort_by? {
                AttemptSortField::SequenceId => number(attempt.sequence_id),
                AttemptSortField::AttemptId => text(&Some(&attempt.attempt_id)),
                AttemptSortField::StartTime => time(Some(attempt.start_time)),
                AttemptSortField::EndTime => time(attempt.end_time),
                AttemptSortField::Status => text(&Some(attempt.status.as_str())),
                AttemptSortField::WorkerId => text(&attempt.worker_id),
                AttemptSortField::LastHeartbeatTime => time(attempt.last_heartbeat_time),
                AttemptSortField::RolloutId => text(&Some(&attempt.rollout_id)),
            })
        };
        answer(matching, key, query.sort_order, query.page)
    }

    /// A part of the spans that match.
    pub fn query_spans(&self, query: &SpanQuery) -> Result<Page<Span>, StoreError> {
        let latest = self.latest(&query.rollout_id).map(|latest| &latest.attempt_id);
        let matching = self
            .spans
            .iter()
            .filter(|span| span.rollout_id == query.rollout_id)
            .filter(|span| match &query.attempt {
                SpanAttemptFilter::Any => true,
                SpanAttemptFilter::Latest => latest == Some(&span.attempt_id),
                SpanAttemptFilter::Id(id) => *id == span.attempt_id,
            })
            .filter(|span| {
                let filters = [
                    matches(&query.trace_id, Some(&span.trace_id)),
                    matches(&query.span_id, Some(&span.span_id)),
                    matches(&query.parent_id, span.parent_id.as_deref()),
                    matches(&query.name, Some(&span.name)),
                ];
                combine(query.filter_logic, &filters.concat())
            })
            .cloned()
            .collect();
        let key = |span: &Span| {
            Some(match query.sort_by? {
                SpanSortField::SequenceId => number(span.sequence_id as f64),
                SpanSortField::TraceId => text(&Some(&span.trace_id)),
                SpanSortField::SpanId => text(&Some(&span.span_id)),
                SpanSortField::ParentId => text(&span.parent_id),
                SpanSortField::Name => text(&Some(&span.name)),
                SpanSortField::StartTime => time(span.start_time),
                SpanSortField::EndTime => time(span.end_time),
                SpanSortField::AttemptId => text(&Some(&span.attempt_id)),
                SpanSortField::RolloutId => text(&Some(&span.rollout_id)),
            })
        };
        answer(matching, key, query.sort_order, query.page)
    }

    /// A part of the workers that match.
    pub fn query_workers(&self, query: &WorkerQuery) -> Result<Page<Worker>, StoreError> {
        let matching = self
            .workers
            .iter()
            .filter(|worker| {
                combine(
                    query.filter_logic,
                    &[
                        one_of(&query.status_in, &worker.status),
                        contains(&query.worker_id_contains, worker.worker_id.as_str()),
                    ],
                )
            })
            .cloned()
            .collect();
        let key = |worker: &Worker| {
            Some(match query.sort_by? {
                WorkerSortField::WorkerId => text(&Some(&worker.worker_id)),
                WorkerSortField::Status => text(&Some(worker.status.as_str())),
                WorkerSortField::LastHeartbeatTime => time(worker.last_heartbeat_time),
                WorkerSortField::LastDequeueTime => time(worker.last_dequeue_time),
                WorkerSortField::LastBusyTime => time(worker.last_busy_time),
                WorkerSortField::LastIdleTime => time(worker.last_idle_time),
                WorkerSortField::CurrentRolloutId => text(&worker.current_rollout_id),
                WorkerSortField::CurrentAttemptId => text(&worker.current_attempt_id),
            })
        };
        answer(matching, key, query.sort_order, query.page)
    }

    /// A part of the sets of resources that match, each in its latest version, in the order of their creation.
    pub fn query_resources(&self, query: &ResourcesQuery) -> Result<Page<ResourcesUpdate>, StoreError> {
        let matching = self
            .resources
            .iter()
            .filter(|update| update.version == 1)
            .filter_map(|first| self.resources(&first.resources_id, None))
            .filter(|update| {
                let filters = [
                    query.resources_id.as_ref().map(|id| *id == update.resources_id),
                    contains(&query.resources_id_contains, update.resources_id.as_str()),
                ];
                combine(FilterLogic::And, &filters)
            })
            .cloned()
            .collect();
        let key = |update: &ResourcesUpdate| {
            Some(match query.sort_by? {
                ResourcesSortField::ResourcesId => text(&Some(&update.resources_id)),
                ResourcesSortField::CreateTime => time(Some(update.create_time)),
                ResourcesSortField::UpdateTime => time(Some(update.update_time)),
                ResourcesSortField::Version => number(update.version as f64),
            })
        };
        answer(matching, key, query.sort_order, query.page)
    }
}
