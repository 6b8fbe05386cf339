//! `lightning rollouts`, `spans`, `workers` and `resources`: what is in a store.

use anyhow::{anyhow, bail};
use serde::Serialize;
use serde_json::json;

use super::{
    args::{ListOptions, ResourcesTask, RolloutsTask, SpansTask, StoreAddress, WorkersTask},
    print,
    table::{Table, ago, duration, shortened},
    token,
};
use crate::{
    client::StoreClient,
    clock::{Clock as _, SystemClock},
    server::without_secrets,
    store::Store as _,
    types::{
        AttemptQuery, Page, PageRequest, ResourcesQuery, ResourcesSortField, Reward, RolloutQuery,
        RolloutSortField, SortOrder, SpanQuery, TextFilter, WorkerQuery,
    },
};

fn page(options: &ListOptions) -> PageRequest {
    PageRequest {
        limit: usize::try_from(options.limit).ok(),
        offset: options.offset,
    }
}

/// Writes what was found: as lines of JSON, or as a table with a word on what it leaves out.
fn list<T: Serialize>(
    found: &Page<T>,
    options: &ListOptions,
    table: impl FnOnce(&[T]) -> Table,
) -> anyhow::Result<()> {
    if options.json {
        let mut lines = String::new();
        for item in &found.items {
            lines += &without_secrets(serde_json::to_value(item)?).to_string();
            lines.push('\n');
        }
        return print(&lines);
    }
    let mut text = table(&found.items).text();
    if found.items.len() < found.total {
        text += &format!(
            "({} of {}; --limit and --offset show others)\n",
            found.items.len(),
            found.total
        );
    }
    print(&text)
}

async fn connect(store: &StoreAddress) -> anyhow::Result<StoreClient> {
    token::connect(&store.url, &store.token).await
}

/// Writes a record without its secrets: what is on a screen is seen by others.
fn show(record: impl Serialize) -> anyhow::Result<()> {
    let record = without_secrets(serde_json::to_value(record)?);
    print(&format!("{record:#}\n"))
}

/// A text that may be missing.
fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

pub(super) async fn rollouts(task: RolloutsTask) -> anyhow::Result<()> {
    let now = SystemClock::new().now();
    match task {
        RolloutsTask::List { status, options } => {
            let store = connect(&options.store).await?;
            let query = RolloutQuery {
                status_in: (!status.is_empty()).then_some(status),
                sort_by: Some(RolloutSortField::StartTime),
                sort_order: SortOrder::Desc,
                page: page(&options),
                ..RolloutQuery::default()
            };
            list(&store.query_rollouts(query).await?, &options, |rollouts| {
                let mut table =
                    Table::new(["ROLLOUT", "STATUS", "MODE", "ATTEMPTS", "WORKER", "AGE", "INPUT"]);
                for rollout in rollouts {
                    let attempt = rollout.attempt.as_ref();
                    table.row([
                        rollout.rollout_id.to_string(),
                        rollout.status.as_str().to_owned(),
                        or_dash(rollout.mode.map(|mode| mode.as_str())),
                        attempt.map_or(0, |attempt| attempt.sequence_id).to_string(),
                        or_dash(attempt.and_then(|attempt| attempt.worker_id.as_ref())),
                        ago(Some(rollout.start_time), now),
                        shortened(&rollout.input.to_string(), 60),
                    ]);
                }
                table
            })
        }
        RolloutsTask::Show { rollout_id, store } => {
            let store = connect(&store).await?;
            let id = rollout_id.as_str().into();
            let found = store.get_rollout_by_id(&id).await?;
            let found = found.ok_or_else(|| anyhow!("there is no rollout {rollout_id}"))?;
            let attempts = store.query_attempts(&id, AttemptQuery::default()).await?.items;
            show(json!({"rollout": found.rollout, "attempts": attempts}))
        }
    }
}

pub(super) async fn spans(task: SpansTask) -> anyhow::Result<()> {
    match task {
        SpansTask::List {
            rollout_id,
            attempt,
            options,
        } => {
            let store = connect(&options.store).await?;
            let query = SpanQuery::of(rollout_id.as_str());
            let query = match attempt.as_deref() {
                None => query,
                Some("latest") => query.latest_attempt(),
                Some(attempt) => query.attempt(attempt),
            };
            let query = SpanQuery {
                page: page(&options),
                ..query
            };
            list(&store.query_spans(query).await?, &options, |spans| {
                let mut table = Table::new(["SEQ", "SPAN", "ATTEMPT", "NAME", "STATUS", "TOOK", "REWARD"]);
                for span in spans {
                    let took = span
                        .start_time
                        .zip(span.end_time)
                        .map(|(start, end)| duration(end - start));
                    table.row([
                        span.sequence_id.to_string(),
                        span.span_id.clone(),
                        span.attempt_id.to_string(),
                        shortened(&span.name, 50),
                        format!("{:?}", span.status.status_code).to_uppercase(),
                        or_dash(took),
                        or_dash(Reward::from_span(span).map(|reward| reward.primary())),
                    ]);
                }
                table
            })
        }
        SpansTask::Show {
            rollout_id,
            span_id,
            store,
        } => {
            let store = connect(&store).await?;
            let query = SpanQuery {
                span_id: TextFilter::equals(&span_id),
                ..SpanQuery::of(rollout_id.as_str())
            };
            let found = store.query_spans(query).await?.items;
            match &found[..] {
                [] => bail!("the rollout {rollout_id} has no span {span_id}"),
                [span] => show(span),
                // Two attempts may have used the same id.
                several => show(several),
            }
        }
    }
}

pub(super) async fn workers(task: WorkersTask) -> anyhow::Result<()> {
    let now = SystemClock::new().now();
    match task {
        WorkersTask::List { status, options } => {
            let store = connect(&options.store).await?;
            let query = WorkerQuery {
                status_in: (!status.is_empty()).then_some(status),
                page: page(&options),
                ..WorkerQuery::default()
            };
            list(&store.query_workers(query).await?, &options, |workers| {
                let mut table = Table::new([
                    "WORKER",
                    "STATUS",
                    "HEARTBEAT",
                    "LAST CLAIM",
                    "ROLLOUT",
                    "ATTEMPT",
                ]);
                for worker in workers {
                    table.row([
                        worker.worker_id.to_string(),
                        worker.status.as_str().to_owned(),
                        ago(worker.last_heartbeat_time, now),
                        ago(worker.last_dequeue_time, now),
                        or_dash(worker.current_rollout_id.as_ref()),
                        or_dash(worker.current_attempt_id.as_ref()),
                    ]);
                }
                table
            })
        }
        WorkersTask::Show { worker_id, store } => {
            let store = connect(&store).await?;
            let found = store.get_worker_by_id(&worker_id.as_str().into()).await?;
            show(found.ok_or_else(|| anyhow!("there is no worker {worker_id}"))?)
        }
    }
}

pub(super) async fn resources(task: ResourcesTask) -> anyhow::Result<()> {
    let now = SystemClock::new().now();
    match task {
        ResourcesTask::List { options } => {
            let store = connect(&options.store).await?;
            let query = ResourcesQuery {
                sort_by: Some(ResourcesSortField::UpdateTime),
                sort_order: SortOrder::Desc,
                page: page(&options),
                ..ResourcesQuery::default()
            };
            list(&store.query_resources(query).await?, &options, |sets| {
                let mut table = Table::new(["RESOURCES", "VERSION", "AGE", "WHAT"]);
                for set in sets {
                    let named = set
                        .resources
                        .iter()
                        .map(|(name, resource)| format!("{name} ({})", resource.kind()));
                    table.row([
                        set.resources_id.to_string(),
                        set.version.to_string(),
                        ago(Some(set.update_time), now),
                        shortened(&named.collect::<Vec<_>>().join(", "), 80),
                    ]);
                }
                table
            })
        }
        ResourcesTask::Show {
            resources_id,
            version,
            store,
        } => {
            let store = connect(&store).await?;
            let found = if resources_id == "latest" && version.is_none() {
                store.get_latest_resources().await?
            } else {
                store
                    .get_resources_by_id(&resources_id.as_str().into(), version)
                    .await?
            };
            let version = version.map_or_else(String::new, |version| format!(" in version {version}"));
            show(found.ok_or_else(|| anyhow!("there are no resources {resources_id}{version}"))?)
        }
    }
}
