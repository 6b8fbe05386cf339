//! Plain data that every other module speaks: ids, rollouts, attempts, spans, resources, workers, queries.
//!
//! The JSON form of each type is the one of `agentlightning==0.3.0` (snake_case names, times as Unix seconds), so the
//! same types serve in process and on the wire. This module knows nothing of stores, runners or HTTP.

mod attempt;
mod attributes;
mod dataset;
mod id;
mod link;
mod model_call;
mod named_resources;
mod patch;
mod query;
mod resources;
mod reward;
mod rollout;
mod secret;
mod span;
mod time;
mod worker;

pub use attempt::{Attempt, AttemptPatch, AttemptStatus};
pub(crate) use attributes::flatten_into;
pub use attributes::{MAX_ATTRIBUTE_DEPTH, NestedTooDeep, flatten, unflatten, unflatten_under};
pub use dataset::{Dataset, IntoDataset, Task};
#[doc(hidden)]
pub use dataset::{TaskType, task_type};
pub use id::{AttemptId, ResourcesId, RolloutId, WorkerId};
pub use link::{Link, links_of, query_linked_spans, tags_of};
pub use model_call::{ModelCall, model_calls};
pub use named_resources::{NamedResources, ResourceError};
pub use patch::Update;
pub use query::{
    AttemptQuery, AttemptSortField, FilterLogic, Page, PageRequest, ResourcesQuery, ResourcesSortField,
    RolloutQuery, RolloutSortField, SortOrder, SpanAttemptFilter, SpanQuery, SpanSortField, TextFilter,
    WorkerQuery, WorkerSortField,
};
pub use resources::{
    JsonResource, Llm, OtherResource, PromptTemplate, ProxyLlm, Resource, ResourceKind, ResourcesUpdate,
    TemplateEngine,
};
pub use reward::{Reward, final_reward, reward_spans};
pub use rollout::{
    AttemptedRollout, NewRollout, Rollout, RolloutConfig, RolloutMode, RolloutPatch, RolloutSnapshot,
    RolloutStatus, TaskInput,
};
pub use secret::Secret;
pub use span::{Span, SpanContext, SpanEvent, SpanLink, SpanResource, SpanStatus, SpanStatusCode};
pub use time::Timestamp;
pub use worker::{Worker, WorkerStatus};

pub(crate) use resources::without_password;

/// A JSON object: attributes of a span, metadata of a rollout, statistics of a heartbeat.
pub type JsonObject = serde_json::Map<String, serde_json::Value>;
