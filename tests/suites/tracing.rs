//! What becomes of the spans of `tracing` and of the emitters: whose they are, whose children, and that they arrive.

#[path = "tracing/arriving.rs"]
mod arriving;
#[path = "tracing/layer.rs"]
mod layer;
#[path = "tracing/mixing.rs"]
mod mixing;
#[path = "tracing/parents.rs"]
mod parents;
#[path = "tracing/store.rs"]
mod store;

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use lightning_core::{
    clock::Clock,
    ids::RandomIds,
    store::{MemoryStore, Store},
    tracer::{self, Recording, RecordingOptions},
    types::{AttemptedRollout, NewRollout, Span, SpanQuery, Timestamp},
};
use serde_json::json;

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("should not have to wait this long")
}

/// Makes the layer part of this program's subscriber.
fn installed() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| tracer::install().unwrap());
}

/// Time that jumps to whatever is waited for, so that waiting takes none.
#[derive(Clone, Debug)]
struct JumpingClock(Arc<Mutex<Timestamp>>);

impl JumpingClock {
    fn new() -> Self {
        Self(Arc::new(Mutex::new(Timestamp::from_secs_f64(1e6))))
    }
}

impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    fn sleep_past(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            let mut now = self.0.lock().unwrap();
            *now = (*now).max(deadline + 1e-3);
        })
    }
}

async fn started(store: &dyn Store) -> AttemptedRollout {
    store
        .start_rollout(NewRollout::new(json!("task")), None)
        .await
        .unwrap()
}

fn recording_of(rollout: &AttemptedRollout, options: RecordingOptions) -> Recording {
    Recording::start(
        rollout.rollout.rollout_id.clone(),
        rollout.attempt.attempt_id.clone(),
        Arc::new(JumpingClock::new()),
        Arc::new(RandomIds),
        options,
    )
}

/// A recording without a store, for what is drained.
fn recording() -> Recording {
    Recording::start(
        "ro-1".into(),
        "at-1".into(),
        Arc::new(JumpingClock::new()),
        Arc::new(RandomIds),
        RecordingOptions::default(),
    )
}

async fn stored(store: &MemoryStore, rollout: &AttemptedRollout) -> Vec<Span> {
    let query = SpanQuery::of(rollout.rollout.rollout_id.clone());
    store.query_spans(query).await.unwrap().items
}

/// What a span is called in these tests: the name of an operation, the text of a message, or its own.
fn title(span: &Span) -> &str {
    ["agentlightning.operation.name", "agentlightning.message.body"]
        .into_iter()
        .find_map(|key| span.attributes.get(key)?.as_str())
        .unwrap_or(&span.name)
}

/// Each span as `path/of/its/ancestors`, in the order in which they ended.
fn paths(spans: &[Span]) -> Vec<String> {
    let by_id: HashMap<&str, &Span> = spans.iter().map(|span| (span.span_id.as_str(), span)).collect();
    let path = |span: &Span| {
        let mut path = title(span).to_owned();
        let mut parent = span.parent_id.as_deref();
        while let Some(id) = parent {
            let span = by_id[id];
            path = format!("{}/{path}", title(span));
            parent = span.parent_id.as_deref();
        }
        path
    };
    spans.iter().map(path).collect()
}
