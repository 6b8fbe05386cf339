//! Many records: what they take of memory, and that they are all found again. The benchmark `store_verbs` does the same with a
//! million rollouts, and measures the time.

use lightning_core::{
    store::{SqliteStore, Store},
    types::{AttemptPatch, AttemptStatus, NewRollout, PageRequest, RolloutQuery, RolloutStatus, Span},
};
use lightning_tests::scratch::Scratch;
use serde_json::json;

use super::sound;

const BATCH: usize = 100;
const CACHE: u64 = 2 << 20;

/// The memory of a process is that of all its tests, so this one runs alone, in a process of its own.
#[cfg(target_os = "linux")]
#[test]
fn memory_is_bounded_by_a_setting_and_not_by_what_is_stored() {
    const CHILD: &str = "LIGHTNING_TEST_LOADS_ALONE";
    if std::env::var_os(CHILD).is_some() {
        return tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
            .block_on(memory_stays());
    }
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "scale::memory_is_bounded_by_a_setting_and_not_by_what_is_stored",
        ])
        .args(["--nocapture", "--test-threads", "1"])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}{complaint}"
    );
}

#[cfg(target_os = "linux")]
async fn memory_stays() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::builder(&path).cache_bytes(CACHE).open().unwrap();
    // What threads, statements, caches and the allocator need is there after the first batches.
    let warm = 8;
    for batch in 0..warm {
        load(&store, batch).await;
    }
    let before = resident();
    for batch in warm..warm + 24 {
        load(&store, batch).await;
    }
    read_in_pages(&store, BATCH * (warm + 24)).await;
    let grown = resident().saturating_sub(before);
    let stored = std::fs::metadata(&path).unwrap().len();
    assert!(
        stored > 48 << 20,
        "too little was stored to prove anything: {stored} bytes"
    );
    assert!(
        grown < 16 << 20,
        "{grown} bytes more in memory with a cache of {CACHE}, and {stored} in the file"
    );
}

#[tokio::test]
async fn every_rollout_of_many_is_claimed_once_in_order_and_found_on_one_page() {
    let folder = Scratch::fast();
    let path = folder.path("store.db");
    let store = SqliteStore::builder(&path).cache_bytes(CACHE).open().unwrap();
    let batches = 8;
    for batch in 0..batches {
        load(&store, batch).await;
    }
    let queued = enqueue(&store, 3 * BATCH).await;
    read_in_pages(&store, BATCH * (batches + 3)).await;
    drop(store);
    let store = SqliteStore::builder(&path).cache_bytes(CACHE).open().unwrap();
    let mut claimed = Vec::new();
    loop {
        let some = store
            .dequeue_many_rollouts(7, Some("worker".into()))
            .await
            .unwrap();
        if some.is_empty() {
            break;
        }
        claimed.extend(some.into_iter().map(|claimed| claimed.rollout.rollout_id));
    }
    assert_eq!(claimed, queued);
    drop(store);
    sound(&path);
}

async fn enqueue(store: &SqliteStore, count: usize) -> Vec<lightning_core::types::RolloutId> {
    let new = (0..count).map(|n| NewRollout::new(json!({ "question": n })));
    let made = store.enqueue_many_rollouts(new.collect()).await.unwrap();
    made.into_iter().map(|rollout| rollout.rollout_id).collect()
}

/// Rollouts that come, are claimed, leave two spans of 16 KiB each, and end.
async fn load(store: &SqliteStore, batch: usize) {
    enqueue(store, BATCH).await;
    let claimed = store.dequeue_many_rollouts(BATCH, None).await.unwrap();
    let mut spans = Vec::new();
    for (n, claimed) in claimed.iter().enumerate() {
        for number in 1..=2 {
            let span_id = format!("{:016x}", (batch * BATCH + n) * 2 + number);
            let id = claimed.rollout_id.clone();
            let attempt_id = claimed.attempt.attempt_id.clone();
            let mut span = Span::new(id, attempt_id, number as u64, "0".repeat(32), span_id, "call");
            span.attributes
                .insert("text".to_owned(), json!("x".repeat(16 << 10)));
            spans.push(span);
        }
    }
    store.add_many_spans(spans).await.unwrap();
    let done = claimed.into_iter().map(|claimed| {
        let done = AttemptPatch::status(AttemptStatus::Succeeded);
        store.update_attempt(claimed.rollout.rollout_id, "latest".into(), done)
    });
    for done in futures::future::join_all(done).await {
        done.unwrap();
    }
}

/// Reads every rollout, in pages, once.
async fn read_in_pages(store: &SqliteStore, total: usize) {
    let mut ids = std::collections::HashSet::new();
    let page = 200;
    for offset in (0..total).step_by(page) {
        let query = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Queuing, RolloutStatus::Succeeded]),
            page: PageRequest {
                limit: Some(page),
                offset,
            },
            ..RolloutQuery::default()
        };
        let found = store.query_rollouts(query).await.unwrap();
        assert_eq!(found.total, total);
        ids.extend(found.items.into_iter().map(|found| found.rollout.rollout_id));
    }
    assert_eq!(ids.len(), total);
}

/// Resident memory of this process in bytes.
#[cfg(target_os = "linux")]
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .unwrap();
    line.trim().split(' ').next().unwrap().parse::<u64>().unwrap() << 10
}
