//! Queries as SQL: which records match, in which order, and which part of them is read.

use rusqlite::{Connection, Row, params_from_iter, types::Value};

use super::{
    failure::Failure,
    records::{self, ATTEMPT, RESOURCES, Stored, WORKER},
    totals::Totals,
};
use crate::{
    store::{EndOfAttempt, NotFound, lifecycle, paging},
    types::{
        Attempt, AttemptId, AttemptQuery, AttemptSortField, FilterLogic, Page, PageRequest, ResourcesId,
        ResourcesQuery, ResourcesSortField, ResourcesUpdate, Rollout, RolloutId, RolloutQuery,
        RolloutSnapshot, RolloutSortField, RolloutStatus, SortOrder, Span, SpanAttemptFilter, SpanQuery,
        SpanSortField, TextFilter, Worker, WorkerQuery, WorkerSortField,
    },
};

/// A condition and what fills its question marks.
#[derive(Clone, Debug, Default)]
struct Condition {
    /// Each holds, whatever the filters say.
    always: Vec<String>,
    filters: Vec<String>,
    always_values: Vec<Value>,
    filter_values: Vec<Value>,
    logic: FilterLogic,
}

impl Condition {
    fn new(logic: FilterLogic) -> Self {
        Self {
            logic,
            ..Self::default()
        }
    }

    fn always(&mut self, sql: &str, value: impl Into<Value>) {
        self.always.push(sql.to_owned());
        self.always_values.push(value.into());
    }

    fn filter(&mut self, sql: impl Into<String>, value: impl Into<Value>) {
        self.filters.push(sql.into());
        self.filter_values.push(value.into());
    }

    /// One of a list of texts; an empty list matches nothing.
    fn one_of<T: AsRef<str>>(&mut self, column: &str, list: Option<impl IntoIterator<Item = T>>) {
        if let Some(list) = list {
            let list: serde_json::Value = list.into_iter().map(|text| text.as_ref().to_owned()).collect();
            self.filter(
                format!("{column} IN (SELECT value FROM json_each(?))"),
                list.to_string(),
            );
        }
    }

    fn contains(&mut self, column: &str, part: Option<&String>) {
        if let Some(part) = part {
            self.filter(format!("instr({column}, ?) > 0"), part.clone());
        }
    }

    fn text(&mut self, column: &str, filter: &TextFilter) {
        if let Some(text) = &filter.equals {
            self.filter(format!("{column} = ?"), text.clone());
        }
        self.contains(column, filter.contains.as_ref());
    }

    fn sql(&self) -> String {
        let mut parts = self.always.clone();
        if !self.filters.is_empty() {
            let logic = match self.logic {
                FilterLogic::And => " AND ",
                FilterLogic::Or => " OR ",
            };
            parts.push(format!("({})", self.filters.join(logic)));
        }
        if parts.is_empty() {
            return String::new();
        }
        format!("WHERE {}", parts.join(" AND "))
    }

    fn values(&self) -> impl Iterator<Item = &Value> {
        self.always_values.iter().chain(&self.filter_values)
    }

    fn count(&self, connection: &Connection, table: &str) -> Result<usize, Failure> {
        let sql = format!("SELECT count(*) FROM {table} {}", self.sql());
        let mut statement = connection.prepare_cached(&sql)?;
        Ok(statement.query_row(params_from_iter(self.values()), |row| row.get(0))?)
    }
}

/// What a record is sorted by.
#[derive(Clone, Copy)]
enum Key {
    /// Never missing, or the missing ones come where the column's own order puts them.
    Plain(&'static str),
    /// A missing text counts as empty.
    Text(&'static str),
    /// A missing time is later than all others.
    Time(&'static str),
}

/// The order, with ties in the order of `creation`.
fn order(key: Option<Key>, direction: SortOrder, creation: &str) -> String {
    let direction = match direction {
        SortOrder::Asc => "ASC",
        SortOrder::Desc => "DESC",
    };
    match key {
        None => format!("ORDER BY {creation}"),
        Some(Key::Plain(column)) => format!("ORDER BY {column} {direction}, {creation}"),
        Some(Key::Text(column)) => format!("ORDER BY ifnull({column}, '') {direction}, {creation}"),
        Some(Key::Time(column)) => {
            format!("ORDER BY {column} IS NULL {direction}, {column} {direction}, {creation}")
        }
    }
}

/// The part as SQL has it; −1 stands for no limit there as well.
fn part(request: PageRequest) -> String {
    let limit = request
        .limit
        .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    let offset = i64::try_from(request.offset).unwrap_or(i64::MAX);
    format!("LIMIT {limit} OFFSET {offset}")
}

/// Reads the rows of `sql` as records.
fn rows<T>(
    connection: &Connection,
    sql: &str,
    condition: &Condition,
    read: impl Fn(&Row<'_>) -> Result<T, Failure>,
) -> Result<Vec<T>, Failure> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params_from_iter(condition.values()))?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        records.push(read(row)?);
    }
    Ok(records)
}

// ---- rollouts

pub(super) fn rollouts(
    connection: &Connection,
    query: &RolloutQuery,
) -> Result<Page<RolloutSnapshot>, Failure> {
    paging::check(query.page)?;
    let mut condition = Condition::new(query.filter_logic);
    let statuses = query.status_in.as_deref().map(distinct);
    condition.one_of(
        "status",
        statuses
            .as_ref()
            .map(|list| list.iter().map(|status| status.as_str())),
    );
    condition.one_of("rollout_id", query.rollout_id_in.as_ref());
    condition.contains("rollout_id", query.rollout_id_contains.as_ref());
    let filters = condition.filters.len();
    let page = part(query.page);
    let by_status = statuses.as_deref().filter(|_| filters == 1);

    let total = match (filters, by_status) {
        (0, _) => Totals::read(connection)?.rollouts(),
        (_, Some(statuses)) => {
            let totals = Totals::read(connection)?;
            let counts = statuses.iter().map(|&status| totals.rollouts_in(status));
            counts.sum()
        }
        _ => condition.count(connection, "rollouts")? as u64,
    };
    let sql = match by_status {
        // Each status comes in the order of creation from its index, and they are merged as far as the page goes.
        Some(statuses) if query.sort_by.is_none() && !statuses.is_empty() => {
            let each = "SELECT place FROM rollouts WHERE status = ?";
            let merged = vec![each; statuses.len()].join(" UNION ALL ");
            condition.filter_values = statuses
                .iter()
                .map(|status| Value::from(status.as_str().to_owned()))
                .collect();
            format!("{merged} ORDER BY place {page}")
        }
        _ => {
            let key = query.sort_by.map(|field| match field {
                RolloutSortField::RolloutId => Key::Plain("rollout_id"),
                RolloutSortField::StartTime => Key::Plain("start_time"),
                RolloutSortField::EndTime => Key::Time("end_time"),
                RolloutSortField::Mode => Key::Text("mode"),
                RolloutSortField::ResourcesId => Key::Text("resources_id"),
                RolloutSortField::Status => Key::Plain("status"),
            });
            let order = order(key, query.sort_order, "place");
            format!("SELECT place FROM rollouts {} {order} {page}", condition.sql())
        }
    };
    let places = rows(connection, &sql, &condition, |row| Ok(row.get::<_, i64>(0)?))?;
    let mut items = Vec::with_capacity(places.len());
    for place in places {
        if let Some(stored) = Stored::at(connection, place)? {
            items.push(stored.snapshot(connection)?);
        }
    }
    let total = usize::try_from(total).unwrap_or(usize::MAX);
    Ok(paging::answer(items, query.page, total))
}

fn distinct(statuses: &[RolloutStatus]) -> Vec<RolloutStatus> {
    RolloutStatus::ALL
        .into_iter()
        .filter(|status| statuses.contains(status))
        .collect()
}

pub(super) fn rollout(connection: &Connection, id: &RolloutId) -> Result<Option<RolloutSnapshot>, Failure> {
    let stored = Stored::by_id(connection, id)?;
    stored.map(|stored| stored.snapshot(connection)).transpose()
}

/// Those of the rollouts that exist and have not ended.
pub(super) fn pending(connection: &Connection, ids: &[RolloutId]) -> Result<Vec<RolloutId>, Failure> {
    let mut statement = connection.prepare_cached(
        "SELECT rollout_id FROM rollouts WHERE rollout_id = ?1
         AND status NOT IN ('succeeded', 'failed', 'cancelled')",
    )?;
    let mut pending = Vec::new();
    for id in ids {
        if statement.exists([id.as_str()])? {
            pending.push(id.clone());
        }
    }
    Ok(pending)
}

/// Those of the rollouts that are terminal, in the order of the ids.
pub(super) fn ended(connection: &Connection, ids: &[RolloutId]) -> Result<Vec<Rollout>, Failure> {
    let mut ended = Vec::new();
    for id in ids {
        if let Some(stored) = Stored::by_id(connection, id)?
            && stored.rollout.status.is_terminal()
        {
            ended.push(stored.with_input(connection)?.rollout);
        }
    }
    Ok(ended)
}

// ---- attempts

/// Why work on the attempt has become pointless, if it has.
pub(super) fn end_of_attempt(
    connection: &Connection,
    rollout_id: &RolloutId,
    attempt_id: &AttemptId,
) -> Result<Option<EndOfAttempt>, Failure> {
    let stored = Stored::by_id(connection, rollout_id)?;
    let stored = stored.ok_or_else(|| NotFound::Rollout(rollout_id.clone()))?;
    let attempt = stored.attempt(connection, attempt_id.as_str())?;
    let attempt = attempt.ok_or_else(|| NotFound::Attempt {
        rollout_id: rollout_id.clone(),
        attempt_id: attempt_id.clone(),
    })?;
    let latest = stored.latest(connection)?;
    let latest = latest.as_ref().unwrap_or(&attempt);
    Ok(lifecycle::end_of_attempt(&stored.rollout, &attempt, latest))
}

pub(super) fn latest_attempt(connection: &Connection, id: &RolloutId) -> Result<Option<Attempt>, Failure> {
    match Stored::by_id(connection, id)? {
        Some(stored) => stored.latest(connection),
        None => Ok(None),
    }
}

pub(super) fn attempts(
    connection: &Connection,
    id: &RolloutId,
    query: &AttemptQuery,
) -> Result<Page<Attempt>, Failure> {
    paging::check(query.page)?;
    let Some(stored) = Stored::by_id(connection, id)? else {
        return Ok(paging::answer(Vec::new(), query.page, 0));
    };
    let mut condition = Condition::default();
    condition.always("a.place = ?", stored.place);
    let key = query.sort_by.and_then(|field| {
        Some(match field {
            AttemptSortField::SequenceId => Key::Plain("a.sequence_id"),
            AttemptSortField::AttemptId => Key::Plain("a.attempt_id"),
            AttemptSortField::StartTime => Key::Plain("a.start_time"),
            AttemptSortField::EndTime => Key::Time("a.end_time"),
            AttemptSortField::Status => Key::Plain("a.status"),
            AttemptSortField::WorkerId => Key::Text("a.worker_id"),
            AttemptSortField::LastHeartbeatTime => Key::Time("a.last_heartbeat_time"),
            AttemptSortField::RolloutId => return None,
        })
    });
    let order = order(key, query.sort_order, "a.sequence_id");
    let sql = format!("{ATTEMPT} {} {order} {}", condition.sql(), part(query.page));
    let items = rows(connection, &sql, &condition, records::attempt_from_row)?;
    Ok(paging::answer(items, query.page, stored.attempts as usize))
}

// ---- spans

pub(super) fn spans(connection: &Connection, query: &SpanQuery) -> Result<Page<Span>, Failure> {
    paging::check(query.page)?;
    let none = || Ok(paging::answer(Vec::new(), query.page, 0));
    let Some(stored) = Stored::by_id(connection, &query.rollout_id)? else {
        return none();
    };
    let mut condition = Condition::new(query.filter_logic);
    condition.always("place = ?", stored.place);
    match &query.attempt {
        SpanAttemptFilter::Any => {}
        SpanAttemptFilter::Latest => condition.always("attempt = ?", i64::from(stored.attempts)),
        SpanAttemptFilter::Id(id) => match stored.attempt(connection, id.as_str())? {
            Some(attempt) => condition.always("attempt = ?", i64::from(attempt.sequence_id)),
            None => return none(),
        },
    }
    condition.text("trace_id", &query.trace_id);
    condition.text("span_id", &query.span_id);
    condition.text("parent_id", &query.parent_id);
    condition.text("name", &query.name);
    let total = condition.count(connection, "spans")?;
    let key = query.sort_by.and_then(|field| {
        Some(match field {
            SpanSortField::SequenceId => Key::Plain("sequence_id"),
            SpanSortField::TraceId => Key::Plain("trace_id"),
            SpanSortField::SpanId => Key::Plain("span_id"),
            SpanSortField::ParentId => Key::Text("parent_id"),
            SpanSortField::Name => Key::Plain("name"),
            SpanSortField::StartTime => Key::Time("start_time"),
            SpanSortField::EndTime => Key::Time("end_time"),
            SpanSortField::AttemptId => Key::Plain(
                "(SELECT attempt_id FROM attempts
                  WHERE attempts.place = spans.place AND attempts.sequence_id = spans.attempt)",
            ),
            SpanSortField::RolloutId => return None,
        })
    });
    let order = order(key, query.sort_order, "arrival");
    let sql = format!(
        "SELECT body FROM spans {} {order} {}",
        condition.sql(),
        part(query.page)
    );
    let items = rows(connection, &sql, &condition, records::span_from_row)?;
    Ok(paging::answer(items, query.page, total))
}

// ---- resources

pub(super) fn resources(
    connection: &Connection,
    query: &ResourcesQuery,
) -> Result<Page<ResourcesUpdate>, Failure> {
    paging::check(query.page)?;
    let mut condition = Condition::default();
    if let Some(id) = &query.resources_id {
        condition.filter("s.resources_id = ?", id.as_str().to_owned());
    }
    condition.contains("s.resources_id", query.resources_id_contains.as_ref());
    let total = condition.count(connection, "resource_sets s")?;
    let key = query.sort_by.map(|field| match field {
        ResourcesSortField::ResourcesId => Key::Plain("s.resources_id"),
        ResourcesSortField::CreateTime => Key::Plain("s.create_time"),
        ResourcesSortField::UpdateTime => Key::Plain("s.update_time"),
        ResourcesSortField::Version => Key::Plain("s.version"),
    });
    let order = order(key, query.sort_order, "s.place");
    let sql = format!(
        "{RESOURCES} AND v.version = s.version {} {order} {}",
        condition.sql(),
        part(query.page)
    );
    let items = rows(connection, &sql, &condition, records::resources_from_row)?;
    Ok(paging::answer(items, query.page, total))
}

pub(super) fn resources_by_id(
    connection: &Connection,
    id: &ResourcesId,
    version: Option<u64>,
) -> Result<Option<ResourcesUpdate>, Failure> {
    let mut condition = Condition::default();
    condition.always("s.resources_id = ?", id.as_str().to_owned());
    match version.map(i64::try_from) {
        None => condition.always.push("v.version = s.version".to_owned()),
        Some(Ok(version)) => condition.always("v.version = ?", version),
        Some(Err(_)) => return Ok(None),
    }
    let sql = format!("{RESOURCES} {}", condition.sql());
    Ok(rows(connection, &sql, &condition, records::resources_from_row)?.pop())
}

// ---- workers

pub(super) fn workers(connection: &Connection, query: &WorkerQuery) -> Result<Page<Worker>, Failure> {
    paging::check(query.page)?;
    let mut condition = Condition::new(query.filter_logic);
    let statuses = query.status_in.as_ref();
    condition.one_of(
        "status",
        statuses.map(|list| list.iter().map(|status| status.as_str())),
    );
    condition.contains("worker_id", query.worker_id_contains.as_ref());
    let total = condition.count(connection, "workers")?;
    let key = query.sort_by.map(|field| match field {
        WorkerSortField::WorkerId => Key::Plain("worker_id"),
        WorkerSortField::Status => Key::Plain("status"),
        WorkerSortField::LastHeartbeatTime => Key::Time("last_heartbeat_time"),
        WorkerSortField::LastDequeueTime => Key::Time("last_dequeue_time"),
        WorkerSortField::LastBusyTime => Key::Time("last_busy_time"),
        WorkerSortField::LastIdleTime => Key::Time("last_idle_time"),
        WorkerSortField::CurrentRolloutId => Key::Text("current_rollout_id"),
        WorkerSortField::CurrentAttemptId => Key::Text("current_attempt_id"),
    });
    let order = order(key, query.sort_order, "place");
    let sql = format!("{WORKER} {} {order} {}", condition.sql(), part(query.page));
    let items = rows(connection, &sql, &condition, records::worker_from_row)?;
    Ok(paging::answer(items, query.page, total))
}
