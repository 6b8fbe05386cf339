//! What a stored span takes of the machine's memory.

use lightning_core::{
    store::{MemoryStore, SqliteStore, Store},
    types::{NewRollout, Span},
};
use serde_json::json;

use super::folder;

const SPANS: usize = 200_000;
const BATCH: usize = 500;

pub fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let folder = folder();
        // The durable one first: what the memory store gives back stays with the process.
        let cache = 32 << 20;
        let store = SqliteStore::builder(folder.path("store.db")).cache_bytes(cache).open().unwrap();
        let (grown, wire) = fill(&store).await;
        println!(
            "durable store, {SPANS} spans of {} bytes: {:.1} MiB of memory with a cache of {} MiB, {:.3} of the wire bytes",
            wire / SPANS,
            grown as f64 / f64::from(1 << 20),
            cache >> 20,
            grown as f64 / wire as f64
        );
        drop(store);
        let store = MemoryStore::new();
        let (grown, wire) = fill(&store).await;
        println!(
            "memory store, {SPANS} spans of {} bytes: {:.1} MiB of memory, {:.3} of the wire bytes (target ≤ 1.25)",
            wire / SPANS,
            grown as f64 / f64::from(1 << 20),
            grown as f64 / wire as f64
        );
    });
}

/// By how much the resident memory grew, and how long the spans are as JSON.
async fn fill(store: &dyn Store) -> (usize, usize) {
    let started = store
        .start_rollout(NewRollout::new(json!("task")), None)
        .await
        .unwrap();
    let before = resident();
    let mut wire = 0;
    for batch in 0..SPANS / BATCH {
        let spans: Vec<Span> = (0..BATCH)
            .map(|n| {
                let number = batch * BATCH + n;
                let mut span = Span::new(
                    started.rollout_id.clone(),
                    started.attempt.attempt_id.clone(),
                    number as u64,
                    format!("{number:032x}"),
                    format!("{number:016x}"),
                    "openai.chat.completion",
                );
                let text = format!("{number} ").repeat(100);
                span.attributes
                    .insert("gen_ai.prompt.0.content".to_owned(), json!(text));
                span.attributes
                    .insert("gen_ai.usage.total_tokens".to_owned(), json!(number));
                wire += serde_json::to_vec(&span).unwrap().len();
                span
            })
            .collect();
        store.add_many_spans(spans).await.unwrap();
    }
    (resident().saturating_sub(before), wire)
}

/// Resident memory of this process in bytes; 0 where the system does not tell.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<usize>().ok());
    kibibytes.unwrap_or(0) << 10
}
