//! Queries as bodies and as query strings.

use serde::{Deserialize, Serialize};

use crate::{
    store::StoreError,
    types::{
        AttemptId, AttemptQuery, AttemptSortField, FilterLogic, PageRequest, ResourcesId, ResourcesQuery,
        ResourcesSortField, RolloutId, RolloutQuery, RolloutSortField, RolloutStatus, SortOrder,
        SpanAttemptFilter, SpanQuery, SpanSortField, TextFilter, WorkerQuery, WorkerSortField, WorkerStatus,
    },
};

/// What `latest` stands for in place of an attempt's id.
const LATEST: &str = "latest";

/// Everything: what a limit of −1 means.
fn no_limit() -> i64 {
    -1
}

fn sequence_id() -> Option<String> {
    Some("sequence_id".to_owned())
}

/// The part of a result that is wanted.
fn page(limit: i64, offset: i64) -> Result<PageRequest, StoreError> {
    let limit = match limit {
        -1 => None,
        ..=0 => {
            let problem = format!("is {limit}; it must be greater than 0, or -1 for no limit");
            return Err(StoreError::invalid("limit", problem));
        }
        // What does not fit is more than there can be.
        limit => usize::try_from(limit).ok(),
    };
    let offset = match offset {
        ..=-1 => {
            let problem = format!("is {offset}; it must be 0 or more");
            return Err(StoreError::invalid("offset", problem));
        }
        offset => usize::try_from(offset).unwrap_or(usize::MAX),
    };
    Ok(PageRequest { limit, offset })
}

/// The field of that name.
fn sort_field<F>(
    name: Option<&str>,
    from_name: impl Fn(&str) -> Option<F>,
    names: &[&str],
) -> Result<Option<F>, StoreError> {
    let Some(name) = name else {
        return Ok(None);
    };
    from_name(name).map(Some).ok_or_else(|| {
        let problem = format!("is {name:?}; allowed fields are: {}", names.join(", "));
        StoreError::invalid("sort_by", problem)
    })
}

fn on_wire(number: Option<usize>) -> i64 {
    number.map_or(-1, |number| i64::try_from(number).unwrap_or(i64::MAX))
}

/// A query's fields on the wire, and what they stand for.
macro_rules! searches {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attr:meta])* $field:ident: $ty:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Serialize, Deserialize)]
        pub(crate) struct $name {
            $(
                $(#[$attr])*
                $field: $ty,
            )*
            #[serde(default = "no_limit")]
            limit: i64,
            #[serde(default)]
            offset: i64,
            #[serde(default)]
            sort_order: SortOrder,
        }
    )*};
}

searches! {
    /// Which rollouts.
    RolloutSearch {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status_in: Option<Vec<RolloutStatus>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout_id_in: Option<Vec<RolloutId>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rollout_id_contains: Option<String>,
        #[serde(default)]
        filter_logic: FilterLogic,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sort_by: Option<String>,
    }
    /// Which of a rollout's attempts.
    AttemptSearch {
        #[serde(default = "sequence_id")]
        sort_by: Option<String>,
    }
    /// Which sets of resources.
    ResourcesSearch {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resources_id: Option<ResourcesId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        resources_id_contains: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sort_by: Option<String>,
    }
    /// Which workers.
    WorkerSearch {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        status_in: Option<Vec<WorkerStatus>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        worker_id_contains: Option<String>,
        #[serde(default)]
        filter_logic: FilterLogic,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sort_by: Option<String>,
    }
    /// Which of a rollout's spans.
    SpanSearch {
        rollout_id: RolloutId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        attempt_id: Option<AttemptId>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        trace_id_contains: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        span_id_contains: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent_id: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        parent_id_contains: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name_contains: Option<String>,
        #[serde(default)]
        filter_logic: FilterLogic,
        #[serde(default = "sequence_id")]
        sort_by: Option<String>,
    }
}

impl TryFrom<RolloutSearch> for RolloutQuery {
    type Error = StoreError;

    fn try_from(search: RolloutSearch) -> Result<Self, StoreError> {
        Ok(Self {
            page: page(search.limit, search.offset)?,
            sort_by: sort_field(
                search.sort_by.as_deref(),
                RolloutSortField::from_name,
                RolloutSortField::NAMES,
            )?,
            status_in: search.status_in,
            rollout_id_in: search.rollout_id_in,
            rollout_id_contains: search.rollout_id_contains,
            filter_logic: search.filter_logic,
            sort_order: search.sort_order,
        })
    }
}

impl From<RolloutQuery> for RolloutSearch {
    fn from(query: RolloutQuery) -> Self {
        Self {
            status_in: query.status_in,
            rollout_id_in: query.rollout_id_in,
            rollout_id_contains: query.rollout_id_contains,
            filter_logic: query.filter_logic,
            sort_by: query.sort_by.map(|field| field.as_str().to_owned()),
            limit: on_wire(query.page.limit),
            offset: on_wire(Some(query.page.offset)),
            sort_order: query.sort_order,
        }
    }
}

impl TryFrom<AttemptSearch> for AttemptQuery {
    type Error = StoreError;

    fn try_from(search: AttemptSearch) -> Result<Self, StoreError> {
        Ok(Self {
            page: page(search.limit, search.offset)?,
            sort_by: sort_field(
                search.sort_by.as_deref(),
                AttemptSortField::from_name,
                AttemptSortField::NAMES,
            )?,
            sort_order: search.sort_order,
        })
    }
}

impl From<AttemptQuery> for AttemptSearch {
    fn from(query: AttemptQuery) -> Self {
        Self {
            sort_by: query.sort_by.map(|field| field.as_str().to_owned()),
            limit: on_wire(query.page.limit),
            offset: on_wire(Some(query.page.offset)),
            sort_order: query.sort_order,
        }
    }
}

impl TryFrom<ResourcesSearch> for ResourcesQuery {
    type Error = StoreError;

    fn try_from(search: ResourcesSearch) -> Result<Self, StoreError> {
        Ok(Self {
            page: page(search.limit, search.offset)?,
            sort_by: sort_field(
                search.sort_by.as_deref(),
                ResourcesSortField::from_name,
                ResourcesSortField::NAMES,
            )?,
            resources_id: search.resources_id,
            resources_id_contains: search.resources_id_contains,
            sort_order: search.sort_order,
        })
    }
}

impl From<ResourcesQuery> for ResourcesSearch {
    fn from(query: ResourcesQuery) -> Self {
        Self {
            resources_id: query.resources_id,
            resources_id_contains: query.resources_id_contains,
            sort_by: query.sort_by.map(|field| field.as_str().to_owned()),
            limit: on_wire(query.page.limit),
            offset: on_wire(Some(query.page.offset)),
            sort_order: query.sort_order,
        }
    }
}

impl TryFrom<WorkerSearch> for WorkerQuery {
    type Error = StoreError;

    fn try_from(search: WorkerSearch) -> Result<Self, StoreError> {
        Ok(Self {
            page: page(search.limit, search.offset)?,
            sort_by: sort_field(
                search.sort_by.as_deref(),
                WorkerSortField::from_name,
                WorkerSortField::NAMES,
            )?,
            status_in: search.status_in,
            worker_id_contains: search.worker_id_contains,
            filter_logic: search.filter_logic,
            sort_order: search.sort_order,
        })
    }
}

impl From<WorkerQuery> for WorkerSearch {
    fn from(query: WorkerQuery) -> Self {
        Self {
            status_in: query.status_in,
            worker_id_contains: query.worker_id_contains,
            filter_logic: query.filter_logic,
            sort_by: query.sort_by.map(|field| field.as_str().to_owned()),
            limit: on_wire(query.page.limit),
            offset: on_wire(Some(query.page.offset)),
            sort_order: query.sort_order,
        }
    }
}

impl TryFrom<SpanSearch> for SpanQuery {
    type Error = StoreError;

    fn try_from(search: SpanSearch) -> Result<Self, StoreError> {
        let text = |equals, contains| TextFilter { equals, contains };
        Ok(Self {
            page: page(search.limit, search.offset)?,
            sort_by: sort_field(
                search.sort_by.as_deref(),
                SpanSortField::from_name,
                SpanSortField::NAMES,
            )?,
            rollout_id: search.rollout_id,
            attempt: match search.attempt_id {
                None => SpanAttemptFilter::Any,
                Some(id) if id == LATEST => SpanAttemptFilter::Latest,
                Some(id) => SpanAttemptFilter::Id(id),
            },
            trace_id: text(search.trace_id, search.trace_id_contains),
            span_id: text(search.span_id, search.span_id_contains),
            parent_id: text(search.parent_id, search.parent_id_contains),
            name: text(search.name, search.name_contains),
            filter_logic: search.filter_logic,
            sort_order: search.sort_order,
        })
    }
}

impl From<SpanQuery> for SpanSearch {
    fn from(query: SpanQuery) -> Self {
        Self {
            rollout_id: query.rollout_id,
            attempt_id: match query.attempt {
                SpanAttemptFilter::Any => None,
                SpanAttemptFilter::Latest => Some(LATEST.into()),
                SpanAttemptFilter::Id(id) => Some(id),
            },
            trace_id: query.trace_id.equals,
            trace_id_contains: query.trace_id.contains,
            span_id: query.span_id.equals,
            span_id_contains: query.span_id.contains,
            parent_id: query.parent_id.equals,
            parent_id_contains: query.parent_id.contains,
            name: query.name.equals,
            name_contains: query.name.contains,
            filter_logic: query.filter_logic,
            sort_by: query.sort_by.map(|field| field.as_str().to_owned()),
            limit: on_wire(query.page.limit),
            offset: on_wire(Some(query.page.offset)),
            sort_order: query.sort_order,
        }
    }
}
