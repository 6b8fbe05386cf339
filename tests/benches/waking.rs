//! How long a waiter waits after what it waits for has happened, among 10 000 that are parked.
//!
//! `cargo bench -p lightning-tests --bench waking`. Each of 10 000 tasks waits for a rollout of its own, and rollouts are
//! ended one by one; measured is the time from the call of `update_attempt(succeeded)` to the moment at which the waiter
//! has its answer. Beside it, the least that there can be: 10 000 tasks parked on Tokio's `Notify`, notified one by one;
//! and what ending a rollout costs that nobody waits for. Rounds of all three alternate; the medians over the rounds are
//! printed. The targets are a ratio of 1.3 to the notification at the median and of 2 at the 99th percentile.

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use lightning_core::{
    store::{MemoryStore, Store},
    types::{AttemptPatch, AttemptStatus, NewRollout, RolloutId},
};
use serde_json::json;
use tokio::sync::{Notify, mpsc};

const WAITERS: usize = 10_000;
const WOKEN: usize = 2_000;
const ROUNDS: usize = 7;

/// Wakes some of the waiters one by one; gives how long each took, sorted.
async fn wake<F: Future<Output = ()>>(
    mut woken: mpsc::UnboundedReceiver<Instant>,
    wake_one: impl Fn(usize) -> F,
) -> Vec<Duration> {
    let mut took = Vec::with_capacity(WOKEN);
    for index in 0..WOKEN {
        let began = Instant::now();
        wake_one(index * (WAITERS / WOKEN)).await;
        took.push(woken.recv().await.expect("the waiter answers") - began);
    }
    took.sort();
    took
}

async fn end(store: &dyn Store, id: RolloutId) {
    let done = AttemptPatch::status(AttemptStatus::Succeeded);
    store.update_attempt(id, "latest".into(), done).await.unwrap();
}

/// Ends rollouts that nobody waits for.
async fn unheard() -> Vec<Duration> {
    let store = MemoryStore::new();
    let mut took = Vec::with_capacity(WOKEN);
    for index in 0..WAITERS {
        store
            .enqueue_rollout(NewRollout::new(json!(index)))
            .await
            .unwrap();
        let claimed = store.dequeue_rollout(Some("w".into())).await.unwrap().unwrap();
        if index % (WAITERS / WOKEN) == 0 {
            let began = Instant::now();
            end(&store, claimed.rollout.rollout_id).await;
            took.push(began.elapsed());
        }
    }
    took.sort();
    took
}

async fn through_the_store() -> Vec<Duration> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let (answer, woken) = mpsc::unbounded_channel();
    let mut ids: Vec<RolloutId> = Vec::with_capacity(WAITERS);
    let mut waiters = tokio::task::JoinSet::new();
    for index in 0..WAITERS {
        let rollout = store
            .enqueue_rollout(NewRollout::new(json!(index)))
            .await
            .unwrap();
        store.dequeue_rollout(Some("w".into())).await.unwrap();
        let (store, answer, id) = (Arc::clone(&store), answer.clone(), rollout.rollout_id.clone());
        waiters.spawn(async move {
            let ended = store.wait_for_rollouts(&[id], None).await.unwrap();
            let now = Instant::now();
            assert_eq!(ended.len(), 1);
            answer.send(now).unwrap();
        });
        ids.push(rollout.rollout_id);
    }
    settle().await;
    wake(woken, |index| {
        let (store, id) = (Arc::clone(&store), ids[index].clone());
        async move { end(&*store, id).await }
    })
    .await
}

async fn bare() -> Vec<Duration> {
    let (answer, woken) = mpsc::unbounded_channel();
    let mut waiters = tokio::task::JoinSet::new();
    let notifies: Vec<Arc<Notify>> = (0..WAITERS).map(|_| Arc::new(Notify::new())).collect();
    for notify in &notifies {
        let (notify, answer) = (Arc::clone(notify), answer.clone());
        waiters.spawn(async move {
            notify.notified().await;
            answer.send(Instant::now()).unwrap();
        });
    }
    settle().await;
    wake(woken, |index| {
        notifies[index].notify_one();
        std::future::ready(())
    })
    .await
}

/// Lets every waiter park.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}

fn median(values: impl Iterator<Item = Duration>) -> f64 {
    let mut values: Vec<Duration> = values.collect();
    values.sort();
    values[values.len() / 2].as_secs_f64() * 1e6
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    let (mut store, mut notify, mut alone) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // On the runtime's own threads: `block_on` would add a third.
        store.push(runtime.block_on(async { tokio::spawn(through_the_store()).await.unwrap() }));
        notify.push(runtime.block_on(async { tokio::spawn(bare()).await.unwrap() }));
        alone.push(runtime.block_on(async { tokio::spawn(unheard()).await.unwrap() }));
    }
    println!("{WOKEN} of {WAITERS} parked waiters woken one by one, 2 threads, median of {ROUNDS} rounds");
    for (name, at) in [("p50", WOKEN / 2), ("p99", WOKEN * 99 / 100)] {
        let of = |rounds: &[Vec<Duration>]| median(rounds.iter().map(|round| round[at]));
        let (store, notify, alone) = (of(&store), of(&notify), of(&alone));
        println!(
            "{name}   store {store:>6.2} µs   bare notify {notify:>6.2} µs   ratio {:>5.2}   (the update alone {alone:>6.2} µs)",
            store / notify
        );
    }
}
