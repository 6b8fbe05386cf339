//! Runners: whatever an agent does, its attempt ends, and the store has all that is to be known of it.

mod ends;
mod hooks;
mod results;
mod stores;

use std::{
    collections::BTreeMap,
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use lightning_core::{
    agent::{Agent, AgentFuture, AgentOutput, Hook, HookFuture, RolloutContext, RolloutEnd, agent_fn},
    emitter::{emit_message, emit_reward},
    runner::{Runner, RunnerBuilder, RunnerError, StatisticsSource, StopSignal},
    semconv,
    store::{AttemptRef, MemoryStore, Store},
    testing::{Faults, ManualClock, assert_rollout, assert_step},
    types::{
        AttemptPatch, AttemptQuery, AttemptStatus, JsonObject, NamedResources, NewRollout, ProxyLlm, Reward,
        RolloutConfig, RolloutId, RolloutMode, RolloutPatch, RolloutStatus, Span, SpanQuery, Timestamp,
        WorkerStatus,
    },
};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_util::task::TaskTracker;

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

fn runner(agent: impl Agent<Value>, store: &Arc<dyn Store>) -> RunnerBuilder<Value> {
    Runner::builder(agent, Arc::clone(store)).worker_id("w")
}

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("should not have to wait this long")
}

/// Raises a flag when it is dropped.
struct Dropped(Arc<AtomicBool>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// An agent that begins, says so, and never ends.
fn endless() -> (impl Agent<Value>, Arc<Notify>, Arc<AtomicBool>) {
    let (began, dropped) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (begins, drops) = (Arc::clone(&began), Arc::clone(&dropped));
    let agent = agent_fn(move |_: Value, _| {
        let (begins, guard) = (Arc::clone(&begins), Dropped(Arc::clone(&drops)));
        async move {
            let _guard = guard;
            emit_message("begun").unwrap();
            begins.notify_one();
            pending::<()>().await;
        }
    });
    (agent, began, dropped)
}

async fn failure_of(agent: impl Agent<Value>) -> String {
    let end = runner(agent, &store()).build().step(&json!(1)).await.unwrap().end;
    assert_eq!(end.attempt.status, AttemptStatus::Failed);
    end.attempt
        .reason()
        .expect("a failed attempt says why")
        .to_owned()
}

async fn spans(store: &Arc<dyn Store>, id: &RolloutId) -> Vec<Span> {
    store.query_spans(SpanQuery::of(id.clone())).await.unwrap().items
}
