//! What the query verbs of a store take and give.

use serde::{Deserialize, Serialize};

use super::{AttemptId, ResourcesId, RolloutId, RolloutStatus, WorkerStatus};

/// How the filters of a query combine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FilterLogic {
    /// Every filter must match.
    #[default]
    And,
    /// One filter must match.
    Or,
}

/// The direction of a sort.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SortOrder {
    /// Smallest first.
    #[default]
    Asc,
    /// Greatest first.
    Desc,
}

/// Which part of a result is wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageRequest {
    /// How many items at most; all of them if `None` (−1 on the wire). Zero is refused.
    pub limit: Option<usize>,
    /// How many items to pass over.
    pub offset: usize,
}

impl PageRequest {
    /// The first `limit` items.
    pub const fn first(limit: usize) -> Self {
        Self {
            limit: Some(limit),
            offset: 0,
        }
    }
}

/// A part of a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Page<T> {
    /// The items of this part.
    pub items: Vec<T>,
    /// The limit that was asked for; −1 for none.
    pub limit: i64,
    /// How many items were passed over.
    pub offset: usize,
    /// How many items match in all.
    pub total: usize,
}

/// Matches a text field: exactly, by a substring, or both, combined as the query's other filters are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextFilter {
    /// The field equals this text.
    pub equals: Option<String>,
    /// The field contains this text.
    pub contains: Option<String>,
}

impl TextFilter {
    /// Matches exactly `text`.
    pub fn equals(text: impl Into<String>) -> Self {
        Self {
            equals: Some(text.into()),
            contains: None,
        }
    }

    /// Matches what contains `text`.
    pub fn contains(text: impl Into<String>) -> Self {
        Self {
            equals: None,
            contains: Some(text.into()),
        }
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        self.equals.is_none() && self.contains.is_none()
    }
}

macro_rules! sort_fields {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$vdoc])* #[serde(rename = $text)] $variant,)*
        }

        impl $name {
            /// Every field that can be sorted by, as written on the wire.
            pub const NAMES: &'static [&'static str] = &[$($text),*];

            /// The field as it is written on the wire.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The field of that name, if rollouts, attempts, … can be sorted by it.
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)* _ => None }
            }
        }
    )*};
}

sort_fields! {
    /// What rollouts can be sorted by.
    RolloutSortField {
        /// The id.
        RolloutId = "rollout_id",
        /// When it was created.
        StartTime = "start_time",
        /// When it ended; those still going count as later than all others.
        EndTime = "end_time",
        /// What it is for; none counts as the empty text.
        Mode = "mode",
        /// Its resources; none counts as the empty text.
        ResourcesId = "resources_id",
        /// The status, by its name.
        Status = "status",
    }
    /// What attempts can be sorted by.
    AttemptSortField {
        /// The count within the rollout.
        SequenceId = "sequence_id",
        /// The id.
        AttemptId = "attempt_id",
        /// When it was created.
        StartTime = "start_time",
        /// When it ended; those still going count as later than all others.
        EndTime = "end_time",
        /// The status, by its name.
        Status = "status",
        /// The worker; none counts as the empty text.
        WorkerId = "worker_id",
        /// When it was last heard of; never counts as later than all others.
        LastHeartbeatTime = "last_heartbeat_time",
        /// The rollout, which all attempts of one query share.
        RolloutId = "rollout_id",
    }
    /// What spans can be sorted by.
    SpanSortField {
        /// The order of events within the rollout.
        SequenceId = "sequence_id",
        /// The trace.
        TraceId = "trace_id",
        /// The span's own id.
        SpanId = "span_id",
        /// The parent; none counts as the empty text.
        ParentId = "parent_id",
        /// The name.
        Name = "name",
        /// When it began; unknown counts as later than all others.
        StartTime = "start_time",
        /// When it ended; unknown counts as later than all others.
        EndTime = "end_time",
        /// The attempt.
        AttemptId = "attempt_id",
        /// The rollout, which all spans of one query share.
        RolloutId = "rollout_id",
    }
    /// What workers can be sorted by. A time that is not set counts as later than all others.
    WorkerSortField {
        /// The id.
        WorkerId = "worker_id",
        /// The status, by its name.
        Status = "status",
        /// The last heartbeat.
        LastHeartbeatTime = "last_heartbeat_time",
        /// The last time it asked for work.
        LastDequeueTime = "last_dequeue_time",
        /// The last time it became busy.
        LastBusyTime = "last_busy_time",
        /// The last time it became idle.
        LastIdleTime = "last_idle_time",
        /// Its rollout; none counts as the empty text.
        CurrentRolloutId = "current_rollout_id",
        /// Its attempt; none counts as the empty text.
        CurrentAttemptId = "current_attempt_id",
    }
    /// What sets of resources can be sorted by.
    ResourcesSortField {
        /// The id.
        ResourcesId = "resources_id",
        /// When the first version was stored.
        CreateTime = "create_time",
        /// When the latest version was stored.
        UpdateTime = "update_time",
        /// The number of the latest version.
        Version = "version",
    }
}

/// Which rollouts are wanted. The default is all of them, in the order of their creation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutQuery {
    /// Those in one of these statuses; an empty list matches nothing.
    pub status_in: Option<Vec<RolloutStatus>>,
    /// Those with one of these ids; an empty list matches nothing.
    pub rollout_id_in: Option<Vec<RolloutId>>,
    /// Those whose id contains this text.
    pub rollout_id_contains: Option<String>,
    /// How the filters combine.
    pub filter_logic: FilterLogic,
    /// What to sort by; the order of creation if `None`, and among equals.
    pub sort_by: Option<RolloutSortField>,
    /// The direction of the sort. Without `sort_by` it has no effect.
    pub sort_order: SortOrder,
    /// Which part is wanted.
    pub page: PageRequest,
}

/// In which order, and which part of, a rollout's attempts is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptQuery {
    /// What to sort by; the order of creation if `None`, and among equals.
    pub sort_by: Option<AttemptSortField>,
    /// The direction of the sort. Without `sort_by` it has no effect.
    pub sort_order: SortOrder,
    /// Which part is wanted.
    pub page: PageRequest,
}

impl Default for AttemptQuery {
    fn default() -> Self {
        Self {
            sort_by: Some(AttemptSortField::SequenceId),
            sort_order: SortOrder::Asc,
            page: PageRequest::default(),
        }
    }
}

/// The spans of which attempt are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SpanAttemptFilter {
    /// Those of every attempt.
    #[default]
    Any,
    /// Those of the attempt with the greatest sequence id; none if there is no attempt.
    Latest,
    /// Those of this attempt.
    Id(AttemptId),
}

/// Which spans of a rollout are wanted. [`SpanQuery::of`] asks for all of them, by sequence id.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanQuery {
    /// The rollout. Holds whatever `filter_logic` says.
    pub rollout_id: RolloutId,
    /// The attempt. Holds whatever `filter_logic` says.
    pub attempt: SpanAttemptFilter,
    /// By the trace.
    pub trace_id: TextFilter,
    /// By the span's own id.
    pub span_id: TextFilter,
    /// By the parent; a span without one matches nothing.
    pub parent_id: TextFilter,
    /// By the name.
    pub name: TextFilter,
    /// How the four text filters combine.
    pub filter_logic: FilterLogic,
    /// What to sort by; the order of arrival if `None`, and among equals.
    pub sort_by: Option<SpanSortField>,
    /// The direction of the sort. Without `sort_by` it has no effect.
    pub sort_order: SortOrder,
    /// Which part is wanted.
    pub page: PageRequest,
}

impl SpanQuery {
    /// Every span of `rollout_id`, by sequence id.
    pub fn of(rollout_id: impl Into<RolloutId>) -> Self {
        Self {
            rollout_id: rollout_id.into(),
            attempt: SpanAttemptFilter::Any,
            trace_id: TextFilter::default(),
            span_id: TextFilter::default(),
            parent_id: TextFilter::default(),
            name: TextFilter::default(),
            filter_logic: FilterLogic::And,
            sort_by: Some(SpanSortField::SequenceId),
            sort_order: SortOrder::Asc,
            page: PageRequest::default(),
        }
    }

    /// Only those of one attempt.
    #[must_use]
    pub fn attempt(mut self, attempt_id: impl Into<AttemptId>) -> Self {
        self.attempt = SpanAttemptFilter::Id(attempt_id.into());
        self
    }

    /// Only those of the latest attempt.
    #[must_use]
    pub fn latest_attempt(mut self) -> Self {
        self.attempt = SpanAttemptFilter::Latest;
        self
    }
}

/// Which workers are wanted. The default is all of them, in the order in which they were first seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerQuery {
    /// Those in one of these statuses; an empty list matches nothing.
    pub status_in: Option<Vec<WorkerStatus>>,
    /// Those whose id contains this text.
    pub worker_id_contains: Option<String>,
    /// How the filters combine.
    pub filter_logic: FilterLogic,
    /// What to sort by; the order in which they were first seen if `None`, and among equals.
    pub sort_by: Option<WorkerSortField>,
    /// The direction of the sort. Without `sort_by` it has no effect.
    pub sort_order: SortOrder,
    /// Which part is wanted.
    pub page: PageRequest,
}

/// Which sets of resources are wanted, each in its latest version. The default is all of them, in the order of their
/// creation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ResourcesQuery {
    /// The one with this id.
    pub resources_id: Option<ResourcesId>,
    /// Those whose id contains this text. Both filters must match.
    pub resources_id_contains: Option<String>,
    /// What to sort by; the order of creation if `None`, and among equals.
    pub sort_by: Option<ResourcesSortField>,
    /// The direction of the sort. Without `sort_by` it has no effect.
    pub sort_order: SortOrder,
    /// Which part is wanted.
    pub page: PageRequest,
}
