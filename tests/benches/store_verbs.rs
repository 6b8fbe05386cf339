//! What each verb of a store costs with 10³ and with 10⁶ stored rollouts of two spans each.
//!
//! `cargo bench -p lightning-tests --bench store_verbs` measures the memory store; with `--features sqlite` and the
//! argument `sqlite` the durable one, in a folder in memory, so that the time of the disk does not hide the rest. Both
//! sizes are measured in turns within one run; the medians of
//! seven rounds are printed with the exponent of the growth (0: constant, 1: linear). The target is ≤ 0.05 for the
//! verbs and ≤ 0.10 for an indexed page. On a machine whose caches hold the small store and not the large one, part of
//! the growth is the memory's.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::join_all;
use lightning_core::{
    store::{MemoryStore, Store},
    types::{
        AttemptPatch, AttemptStatus, NamedResources, NewRollout, PageRequest, RolloutId, RolloutQuery,
        RolloutStatus, Span, SpanQuery,
    },
};
use serde_json::json;

const SIZES: [usize; 2] = [1_000, 1_000_000];
const ROUNDS: usize = 7;
const OPERATIONS: usize = 400;

/// A store with half of its rollouts ended, a quarter claimed and a quarter queued; those claimed once have two spans.
struct Loaded {
    store: Arc<dyn Store>,
    ended: Vec<RolloutId>,
    fresh_span: u64,
}

impl Loaded {
    async fn new(store: Arc<dyn Store>, size: usize) -> Self {
        store.add_resources(NamedResources::new()).await.unwrap();
        let mut loaded = Self {
            store,
            ended: Vec::new(),
            fresh_span: 0,
        };
        let batch = size.min(500);
        for first in (0..size).step_by(batch) {
            let new = (first..first + batch).map(|i| NewRollout::new(json!({"question": i})));
            loaded.store.enqueue_many_rollouts(new.collect()).await.unwrap();
        }
        while loaded.ended.len() < size / 2 {
            let claimed = loaded.claim_and_trace(batch).await;
            let done = |id: RolloutId| {
                let patch = AttemptPatch::status(AttemptStatus::Succeeded);
                loaded.store.update_attempt(id, "latest".into(), patch)
            };
            for done in join_all(claimed.iter().cloned().map(done)).await {
                done.unwrap();
            }
            loaded.ended.extend(claimed);
        }
        for _ in 0..size / 4 / batch.min(size / 4) {
            loaded.claim_and_trace(batch.min(size / 4)).await;
        }
        loaded
    }

    async fn claim_and_trace(&mut self, count: usize) -> Vec<RolloutId> {
        let claimed = self.store.dequeue_many_rollouts(count, None).await.unwrap();
        let mut spans = Vec::with_capacity(2 * claimed.len());
        for claim in &claimed {
            for number in 1..=2 {
                self.fresh_span += 1;
                spans.push(Span::new(
                    claim.rollout_id.clone(),
                    claim.attempt.attempt_id.clone(),
                    number,
                    "0".repeat(32),
                    format!("{:016x}", self.fresh_span),
                    "s",
                ));
            }
        }
        self.store.add_many_spans(spans).await.unwrap();
        claimed
            .into_iter()
            .map(|claim| claim.rollout.rollout_id)
            .collect()
    }

    /// The time of one pass over all verbs, per operation, in the order of [`VERBS`].
    async fn round(&mut self) -> [Duration; VERBS.len()] {
        let store = &self.store;
        let ended: Vec<&RolloutId> = self
            .ended
            .iter()
            .step_by(self.ended.len() / OPERATIONS)
            .take(OPERATIONS)
            .collect();
        let began = Instant::now();
        for id in &ended {
            store.get_rollout_by_id(id).await.unwrap().unwrap();
        }
        let get = began.elapsed();

        let began = Instant::now();
        for &id in &ended {
            assert_eq!(
                store
                    .wait_for_rollouts(std::slice::from_ref(id), None)
                    .await
                    .unwrap()
                    .len(),
                1
            );
        }
        let wait = began.elapsed();

        let query = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Queuing]),
            page: PageRequest::first(10),
            ..RolloutQuery::default()
        };
        let began = Instant::now();
        for _ in 0..OPERATIONS {
            assert_eq!(store.query_rollouts(query.clone()).await.unwrap().items.len(), 10);
        }
        let page = began.elapsed();

        let began = Instant::now();
        for i in 0..OPERATIONS {
            store
                .enqueue_rollout(NewRollout::new(json!({"question": i})))
                .await
                .unwrap();
        }
        let enqueue = began.elapsed();

        let began = Instant::now();
        let mut claimed = Vec::with_capacity(OPERATIONS);
        for _ in 0..OPERATIONS {
            claimed.push(
                store
                    .dequeue_rollout(Some("worker".into()))
                    .await
                    .unwrap()
                    .unwrap(),
            );
        }
        let dequeue = began.elapsed();

        let began = Instant::now();
        for claim in &claimed {
            let ids = (claim.rollout_id.clone(), claim.attempt.attempt_id.clone());
            store.get_next_span_sequence_id(ids.0, ids.1).await.unwrap();
        }
        let sequence_id = began.elapsed();

        let spans: Vec<Span> = claimed
            .iter()
            .map(|claim| {
                self.fresh_span += 1;
                let attempt = &claim.attempt;
                let span_id = format!("{:016x}", self.fresh_span);
                Span::new(
                    attempt.rollout_id.clone(),
                    attempt.attempt_id.clone(),
                    1,
                    "0".repeat(32),
                    span_id,
                    "s",
                )
            })
            .collect();
        let began = Instant::now();
        for span in spans {
            assert!(store.add_span(span).await.unwrap());
        }
        let add_span = began.elapsed();

        let began = Instant::now();
        for claim in &claimed {
            assert_eq!(
                store
                    .query_spans(SpanQuery::of(claim.rollout_id.clone()))
                    .await
                    .unwrap()
                    .items
                    .len(),
                1
            );
        }
        let query_spans = began.elapsed();

        let began = Instant::now();
        for claim in &claimed {
            let done = AttemptPatch::status(AttemptStatus::Succeeded);
            let id = (&claim.attempt.attempt_id).into();
            store
                .update_attempt(claim.rollout_id.clone(), id, done)
                .await
                .unwrap();
        }
        let update_attempt = began.elapsed();

        let began = Instant::now();
        for _ in 0..OPERATIONS {
            store.get_latest_resources().await.unwrap().unwrap();
        }
        let latest_resources = began.elapsed();

        [
            get,
            wait,
            page,
            enqueue,
            dequeue,
            sequence_id,
            add_span,
            query_spans,
            update_attempt,
            latest_resources,
        ]
        .map(|total| total / OPERATIONS as u32)
    }
}

const VERBS: [&str; 10] = [
    "get_rollout_by_id",
    "wait_for_rollouts (ended)",
    "query_rollouts (page by status)",
    "enqueue_rollout",
    "dequeue_rollout",
    "get_next_span_sequence_id",
    "add_span",
    "query_spans",
    "update_attempt",
    "get_latest_resources",
];

/// Where a durable store lies while it is measured.
#[derive(Default)]
struct Folders(#[cfg(feature = "sqlite")] std::cell::OnceCell<lightning_tests::scratch::Scratch>);

impl Folders {
    #[cfg(feature = "sqlite")]
    fn open(&self, name: &str, size: usize) -> Arc<dyn Store> {
        assert_eq!(name, "sqlite", "the backends are `memory` and `sqlite`");
        let folder = self.0.get_or_init(lightning_tests::scratch::Scratch::fast);
        Arc::new(lightning_core::store::SqliteStore::open(folder.path(&format!("{size}.db"))).unwrap())
    }

    #[cfg(not(feature = "sqlite"))]
    fn open(&self, name: &str, _: usize) -> Arc<dyn Store> {
        panic!("`{name}` needs the feature of its name");
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let backend = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let mut stores = Vec::new();
    let folders = Folders::default();
    for size in SIZES {
        let store = match backend.as_deref() {
            None | Some("memory") => Arc::new(MemoryStore::new()),
            Some(name) => folders.open(name, size),
        };
        stores.push(Loaded::new(store, size).await);
    }
    let mut times = vec![[const { Vec::new() }; SIZES.len()]; VERBS.len()];
    for _ in 0..ROUNDS {
        for (size, loaded) in stores.iter_mut().enumerate() {
            for (verb, time) in loaded.round().await.into_iter().enumerate() {
                times[verb][size].push(time);
            }
        }
    }
    println!("{:<34}{:>12}{:>12}{:>10}", "verb", "10^3", "10^6", "exponent");
    for (verb, rounds) in VERBS.iter().zip(&mut times) {
        let [small, large] = rounds.each_mut().map(|rounds| {
            rounds.sort_unstable();
            rounds[ROUNDS / 2]
        });
        let exponent = (large.as_secs_f64() / small.as_secs_f64()).log10() / 3.0;
        println!(
            "{verb:<34}{:>12}{:>12}{exponent:>10.3}",
            format!("{small:?}"),
            format!("{large:?}")
        );
    }
}
