//! How many rollouts a second go through the whole loop in one process.
//!
//! `cargo bench -p lightning-tests --bench fit_loop`. Each rollout is enqueued by the algorithm, claimed by one of eight
//! runners, fetches its resources, stores an agent span and a reward span through the layer of `tracing` and the
//! emitters, runs a hook, is awaited, and its reward is read back. Beside it, the store alone: the same calls at the
//! store, made in a row by one task, without runner, recording or agent. Rounds of both alternate; medians are printed.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lightning_core::{
    agent::{Hook, RolloutContext, agent_fn},
    prelude::*,
    semconv,
    store::{MemoryStore, StoreError},
    tracer,
    types::{AttemptPatch, AttemptStatus, NewRollout, RolloutId, Span, SpanQuery, final_reward},
};
use serde_json::json;
use tracing::Instrument as _;

const ROLLOUTS: usize = 20_000;
const ROUNDS: usize = 5;

struct Nothing;
impl Hook for Nothing {}

fn resources() -> NamedResources {
    NamedResources::new().with("factor", json!(2.0))
}

async fn enqueue(store: &dyn Store) -> Result<Vec<RolloutId>, StoreError> {
    let new = (0..ROLLOUTS)
        .map(|task| NewRollout::new(json!(task as f64)))
        .collect();
    let made = store.enqueue_many_rollouts(new).await?;
    Ok(made.into_iter().map(|rollout| rollout.rollout_id).collect())
}

async fn rewards(store: &dyn Store, ids: &[RolloutId]) -> Result<f64, StoreError> {
    let mut sum = 0.0;
    for id in ids {
        store.wait_for_rollouts(std::slice::from_ref(id), None).await?;
        let spans = store.query_spans(SpanQuery::of(id.clone())).await?.items;
        sum += final_reward(&spans).map_or(f64::NAN, |reward| reward.primary());
    }
    Ok(sum)
}

#[algo]
async fn whole_loop(store: Arc<dyn Store>) -> anyhow::Result<f64> {
    let ids = enqueue(&*store).await?;
    Ok(rewards(&*store, &ids).await?)
}

async fn fit() -> Duration {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(whole_loop::algorithm())
        .initial_resources(resources())
        .hook(Arc::new(Nothing))
        .n_runners(8)
        .build()
        .unwrap();
    let agent = agent_fn(|task: f64, cx: RolloutContext| {
        async move {
            let factor: f64 = cx.resources().json("factor")?;
            anyhow::Ok(task * factor)
        }
        .instrument(tracing::info_span!("agent", task))
    });
    let began = Instant::now();
    let report = trainer.fit(agent, None, None).await.unwrap();
    let took = began.elapsed();
    assert_eq!(
        report.output,
        (0..ROLLOUTS).map(|task| 2.0 * task as f64).sum::<f64>()
    );
    assert_eq!(report.rollouts.succeeded, ROLLOUTS as u64);
    took
}

async fn store_alone() -> Duration {
    let store = MemoryStore::new();
    store.add_resources(resources()).await.unwrap();
    let began = Instant::now();
    let ids = enqueue(&store).await.unwrap();
    while let Some(claimed) = store.dequeue_rollout(Some("w".into())).await.unwrap() {
        let id = claimed.resources_id.clone().unwrap();
        store.get_resources_by_id(&id, None).await.unwrap();
        let span = |number: u64| {
            let (rollout, attempt) = (claimed.rollout_id.clone(), claimed.attempt.attempt_id.clone());
            Span::new(
                rollout,
                attempt,
                number,
                "0".repeat(32),
                format!("{number:016x}"),
                "agent",
            )
        };
        let mut reward = span(2);
        reward
            .attributes
            .insert(semconv::PRIMARY_REWARD_NAME.to_owned(), json!("primary"));
        reward
            .attributes
            .insert(semconv::PRIMARY_REWARD_VALUE.to_owned(), json!(1.0));
        store.add_many_spans(vec![span(1), reward]).await.unwrap();
        let done = AttemptPatch::status(AttemptStatus::Succeeded);
        let attempt = claimed.attempt.attempt_id.clone().into();
        store
            .update_attempt(claimed.rollout_id.clone(), attempt, done)
            .await
            .unwrap();
    }
    assert_eq!(rewards(&store, &ids).await.unwrap(), ROLLOUTS as f64);
    began.elapsed()
}

fn per_second(mut rounds: Vec<Duration>) -> f64 {
    rounds.sort();
    ROLLOUTS as f64 / rounds[rounds.len() / 2].as_secs_f64()
}

fn main() {
    tracer::install().expect("this program has no other subscriber");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // On the runtime's own threads: `block_on` would add a third.
        whole.push(runtime.block_on(async { tokio::spawn(fit()).await.unwrap() }));
        alone.push(runtime.block_on(async { tokio::spawn(store_alone()).await.unwrap() }));
    }
    let (whole, alone) = (per_second(whole), per_second(alone));
    println!("{ROLLOUTS} rollouts, 8 runners, 2 threads, median of {ROUNDS} rounds");
    println!("whole loop (Trainer::fit)   {whole:>10.0} rollouts/s   (aim: 20 000)");
    println!("store calls alone           {alone:>10.0} rollouts/s");
    println!("whole loop / store alone    {:>10.2}", whole / alone);
}
