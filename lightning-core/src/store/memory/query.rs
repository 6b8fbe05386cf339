//! Queries: which records match, in which order, and which of them are copied out.
//!
//! Matching and sorting work on borrowed records; only those of the page that is returned are cloned.

use std::{
    cmp::Ordering,
    collections::{BTreeSet, HashSet},
    sync::Arc,
};

use super::state::{Entry, State};
use crate::{
    store::{
        StoreError,
        paging::{answer, check},
    },
    types::{
        Attempt, AttemptQuery, AttemptSortField, FilterLogic, Page, PageRequest, ResourcesQuery,
        ResourcesSortField, ResourcesUpdate, RolloutId, RolloutQuery, RolloutSnapshot, RolloutSortField,
        RolloutStatus, SortOrder, Span, SpanAttemptFilter, SpanQuery, SpanSortField, TextFilter, Timestamp,
        Worker, WorkerQuery, WorkerSortField,
    },
};

/// What a record is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key<'a> {
    Text(&'a str),
    Number(u64),
    /// Missing times are later than all others.
    Time(bool, Option<Timestamp>),
}

impl<'a> Key<'a> {
    fn text(text: &'a str) -> Self {
        Self::Text(text)
    }

    /// A missing text counts as empty.
    fn optional<T: AsRef<str>>(text: Option<&'a T>) -> Self {
        Self::text(text.map_or("", AsRef::as_ref))
    }

    fn time(time: Option<Timestamp>) -> Self {
        Self::Time(time.is_none(), time)
    }
}

/// Sorts records (ties keep their order) and copies out a page of them.
fn page<'a, R: 'a, T>(
    records: impl Iterator<Item = &'a R>,
    sort: Option<impl Fn(&'a R) -> Key<'a>>,
    order: SortOrder,
    request: PageRequest,
    copy: impl Fn(&'a R) -> T,
) -> Result<Page<T>, StoreError> {
    check(request)?;
    let Some(sort) = sort else {
        let mut total = 0;
        let mut items = Vec::new();
        let end = request
            .limit
            .map_or(usize::MAX, |limit| request.offset.saturating_add(limit));
        for record in records {
            if (request.offset..end).contains(&total) {
                items.push(copy(record));
            }
            total += 1;
        }
        return Ok(answer(items, request, total));
    };
    let mut keyed: Vec<_> = records
        .enumerate()
        .map(|(place, record)| (sort(record), place, record))
        .collect();
    let total = keyed.len();
    let compare = |a: &(Key<'_>, usize, &R), b: &(Key<'_>, usize, &R)| {
        let by_key = match order {
            SortOrder::Asc => a.0.cmp(&b.0),
            SortOrder::Desc => b.0.cmp(&a.0),
        };
        by_key.then(a.1.cmp(&b.1))
    };
    let start = request.offset.min(total);
    let end = request
        .limit
        .map_or(total, |limit| start.saturating_add(limit).min(total));
    Ok(answer(
        sorted_range(&mut keyed, start, end, compare)
            .iter()
            .map(|r| copy(r.2))
            .collect(),
        request,
        total,
    ))
}

/// The part of `records` that would stand at `start..end` if all were sorted; only that part gets sorted.
fn sorted_range<T>(
    records: &mut [T],
    start: usize,
    end: usize,
    compare: impl Fn(&T, &T) -> Ordering,
) -> &mut [T] {
    if start >= end {
        return &mut [];
    }
    if end < records.len() {
        records.select_nth_unstable_by(end, &compare);
    }
    let records = &mut records[..end];
    if start > 0 {
        records.select_nth_unstable_by(start, &compare);
    }
    let range = &mut records[start..];
    range.sort_unstable_by(compare);
    range
}

/// Combines those filters that were given; without any, everything matches.
fn combine(logic: FilterLogic, filters: impl IntoIterator<Item = Option<bool>>) -> bool {
    let mut given = filters.into_iter().flatten().peekable();
    if given.peek().is_none() {
        return true;
    }
    match logic {
        FilterLogic::And => given.all(|matches| matches),
        FilterLogic::Or => given.any(|matches| matches),
    }
}

/// Rollouts among which all that match a query are.
struct Candidates<'a> {
    /// In the order of creation.
    places: Box<dyn Iterator<Item = usize> + 'a>,
    count: usize,
    /// Whether all of them match.
    all_match: bool,
}

impl State {
    pub(super) fn query_rollouts(&self, query: &RolloutQuery) -> Result<Page<RolloutSnapshot>, StoreError> {
        check(query.page)?;
        let candidates = self.candidates(query);
        if candidates.all_match && query.sort_by.is_none() {
            let places = candidates.places.skip(query.page.offset);
            let items = places
                .take(query.page.limit.unwrap_or(usize::MAX))
                .map(|place| self.entries[place].snapshot())
                .collect();
            return Ok(answer(items, query.page, candidates.count));
        }
        let ids: Option<HashSet<&RolloutId>> = query.rollout_id_in.as_ref().map(|ids| ids.iter().collect());
        let matches = |entry: &&Entry| {
            let rollout = &entry.rollout;
            let filters = [
                query
                    .status_in
                    .as_ref()
                    .map(|statuses| statuses.contains(&rollout.status)),
                ids.as_ref().map(|ids| ids.contains(&rollout.rollout_id)),
                query
                    .rollout_id_contains
                    .as_ref()
                    .map(|part| rollout.rollout_id.as_str().contains(&**part)),
            ];
            combine(query.filter_logic, filters)
        };
        page(
            candidates
                .places
                .map(|place| &self.entries[place])
                .filter(matches),
            query.sort_by.map(|field| move |entry| rollout_key(entry, field)),
            query.sort_order,
            query.page,
            Entry::snapshot,
        )
    }

    fn candidates<'a>(&'a self, query: &'a RolloutQuery) -> Candidates<'a> {
        let filters = usize::from(query.status_in.is_some())
            + usize::from(query.rollout_id_in.is_some())
            + usize::from(query.rollout_id_contains.is_some());
        let all_match = filters == 1;
        let index_holds = all_match || query.filter_logic == FilterLogic::And;
        if let Some(ids) = query.rollout_id_in.as_ref().filter(|_| index_holds) {
            let places: BTreeSet<usize> = ids.iter().filter_map(|id| self.places.get(id).copied()).collect();
            let count = places.len();
            return Candidates {
                places: Box::new(places.into_iter()),
                count,
                all_match,
            };
        }
        if let Some(statuses) = query.status_in.as_ref().filter(|_| index_holds) {
            let statuses: BTreeSet<RolloutStatus> = statuses.iter().copied().collect();
            let sets: Vec<_> = statuses
                .into_iter()
                .map(|status| &self.by_status[status as usize])
                .collect();
            let count = sets.iter().map(|set| set.len()).sum();
            return Candidates {
                places: Box::new(merged(sets)),
                count,
                all_match,
            };
        }
        let places = 0..self.entries.len();
        let count = places.len() - self.purged;
        Candidates {
            // Passing over those that are gone means looking at each.
            places: if self.purged == 0 {
                Box::new(places)
            } else {
                Box::new(places.filter(|&place| !self.entries[place].purged))
            },
            count,
            all_match: filters == 0,
        }
    }

    pub(super) fn query_attempts(
        &self,
        rollout_id: &RolloutId,
        query: &AttemptQuery,
    ) -> Result<Page<Attempt>, StoreError> {
        page(
            self.entry(rollout_id)
                .into_iter()
                .flat_map(|entry| &entry.attempts),
            query
                .sort_by
                .map(|field| move |attempt| attempt_key(attempt, field)),
            query.sort_order,
            query.page,
            Attempt::clone,
        )
    }

    /// The spans are shared, so that their contents are copied after the state is let go.
    pub(super) fn query_spans(&self, query: &SpanQuery) -> Result<Page<Arc<Span>>, StoreError> {
        let entry = self.entry(&query.rollout_id);
        let latest = entry
            .and_then(|entry| entry.attempts.last())
            .map(|attempt| &attempt.attempt_id);
        let of_attempt = |span: &&Arc<Span>| match &query.attempt {
            SpanAttemptFilter::Any => true,
            SpanAttemptFilter::Latest => latest == Some(&span.attempt_id),
            SpanAttemptFilter::Id(id) => span.attempt_id == *id,
        };
        let matches = |span: &&Arc<Span>| {
            let fields = [
                text_filters(&query.trace_id, Some(&span.trace_id)),
                text_filters(&query.span_id, Some(&span.span_id)),
                text_filters(&query.parent_id, span.parent_id.as_deref()),
                text_filters(&query.name, Some(&span.name)),
            ];
            combine(query.filter_logic, fields.into_iter().flatten())
        };
        page(
            entry
                .into_iter()
                .flat_map(|entry| &entry.spans)
                .filter(of_attempt)
                .filter(matches),
            query.sort_by.map(|field| move |span| span_key(span, field)),
            query.sort_order,
            query.page,
            Arc::clone,
        )
    }

    pub(super) fn query_resources(
        &self,
        query: &ResourcesQuery,
    ) -> Result<Page<ResourcesUpdate>, StoreError> {
        let matches = |update: &&ResourcesUpdate| {
            let id = &update.resources_id;
            query.resources_id.as_ref().is_none_or(|wanted| wanted == id)
                && query
                    .resources_id_contains
                    .as_ref()
                    .is_none_or(|part| id.as_str().contains(&**part))
        };
        page(
            self.resources.current().filter(matches),
            query
                .sort_by
                .map(|field| move |update| resources_key(update, field)),
            query.sort_order,
            query.page,
            ResourcesUpdate::clone,
        )
    }

    pub(super) fn query_workers(&self, query: &WorkerQuery) -> Result<Page<Worker>, StoreError> {
        let matches = |worker: &&Worker| {
            let filters = [
                query
                    .status_in
                    .as_ref()
                    .map(|statuses| statuses.contains(&worker.status)),
                query
                    .worker_id_contains
                    .as_ref()
                    .map(|part| worker.worker_id.as_str().contains(&**part)),
            ];
            combine(query.filter_logic, filters)
        };
        page(
            self.workers.iter().filter(matches),
            query.sort_by.map(|field| move |worker| worker_key(worker, field)),
            query.sort_order,
            query.page,
            Worker::clone,
        )
    }
}

/// The places of several sets, in their order.
fn merged<'a>(sets: Vec<&'a BTreeSet<usize>>) -> impl Iterator<Item = usize> + 'a {
    let mut sets: Vec<_> = sets
        .into_iter()
        .map(|set| set.iter().copied().peekable())
        .collect();
    std::iter::from_fn(move || {
        let next = sets
            .iter_mut()
            .filter_map(|set| set.peek().copied().map(|place| (place, set)));
        next.min_by_key(|(place, _)| *place)
            .and_then(|(_, set)| set.next())
    })
}

fn text_filters(filter: &TextFilter, text: Option<&str>) -> [Option<bool>; 2] {
    [
        filter.equals.as_ref().map(|wanted| text == Some(wanted)),
        filter
            .contains
            .as_ref()
            .map(|part| text.is_some_and(|text| text.contains(&**part))),
    ]
}

fn rollout_key(entry: &Entry, field: RolloutSortField) -> Key<'_> {
    let rollout = &entry.rollout;
    match field {
        RolloutSortField::RolloutId => Key::text(rollout.rollout_id.as_str()),
        RolloutSortField::StartTime => Key::time(Some(rollout.start_time)),
        RolloutSortField::EndTime => Key::time(rollout.end_time),
        RolloutSortField::Mode => Key::Text(rollout.mode.map_or("", |mode| mode.as_str())),
        RolloutSortField::ResourcesId => Key::optional(rollout.resources_id.as_ref()),
        RolloutSortField::Status => Key::Text(rollout.status.as_str()),
    }
}

fn attempt_key(attempt: &Attempt, field: AttemptSortField) -> Key<'_> {
    match field {
        AttemptSortField::SequenceId => Key::Number(attempt.sequence_id.into()),
        AttemptSortField::AttemptId => Key::text(attempt.attempt_id.as_str()),
        AttemptSortField::StartTime => Key::time(Some(attempt.start_time)),
        AttemptSortField::EndTime => Key::time(attempt.end_time),
        AttemptSortField::Status => Key::Text(attempt.status.as_str()),
        AttemptSortField::WorkerId => Key::optional(attempt.worker_id.as_ref()),
        AttemptSortField::LastHeartbeatTime => Key::time(attempt.last_heartbeat_time),
        AttemptSortField::RolloutId => Key::text(attempt.rollout_id.as_str()),
    }
}

fn span_key(span: &Arc<Span>, field: SpanSortField) -> Key<'_> {
    match field {
        SpanSortField::SequenceId => Key::Number(span.sequence_id),
        SpanSortField::TraceId => Key::text(&span.trace_id),
        SpanSortField::SpanId => Key::text(&span.span_id),
        SpanSortField::ParentId => Key::optional(span.parent_id.as_ref()),
        SpanSortField::Name => Key::text(&span.name),
        SpanSortField::StartTime => Key::time(span.start_time),
        SpanSortField::EndTime => Key::time(span.end_time),
        SpanSortField::AttemptId => Key::text(span.attempt_id.as_str()),
        SpanSortField::RolloutId => Key::text(span.rollout_id.as_str()),
    }
}

fn worker_key(worker: &Worker, field: WorkerSortField) -> Key<'_> {
    match field {
        WorkerSortField::WorkerId => Key::text(worker.worker_id.as_str()),
        WorkerSortField::Status => Key::Text(worker.status.as_str()),
        WorkerSortField::LastHeartbeatTime => Key::time(worker.last_heartbeat_time),
        WorkerSortField::LastDequeueTime => Key::time(worker.last_dequeue_time),
        WorkerSortField::LastBusyTime => Key::time(worker.last_busy_time),
        WorkerSortField::LastIdleTime => Key::time(worker.last_idle_time),
        WorkerSortField::CurrentRolloutId => Key::optional(worker.current_rollout_id.as_ref()),
        WorkerSortField::CurrentAttemptId => Key::optional(worker.current_attempt_id.as_ref()),
    }
}

fn resources_key(update: &ResourcesUpdate, field: ResourcesSortField) -> Key<'_> {
    match field {
        ResourcesSortField::ResourcesId => Key::text(update.resources_id.as_str()),
        ResourcesSortField::CreateTime => Key::time(Some(update.create_time)),
        ResourcesSortField::UpdateTime => Key::time(Some(update.update_time)),
        ResourcesSortField::Version => Key::Number(update.version),
    }
}
