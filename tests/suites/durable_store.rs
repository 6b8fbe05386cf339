//! What only a store in a file can do wrong: opening and closing, sharing, faults of the disk, damaged files.

#[path = "durable_store/damage.rs"]
mod damage;
#[path = "durable_store/disk.rs"]
mod disk;
#[path = "durable_store/opening.rs"]
mod opening;
#[path = "durable_store/scale.rs"]
mod scale;
#[path = "durable_store/working.rs"]
mod working;

use std::{path::Path, time::Duration};

use lightning_core::{
    store::{SqliteStore, Store, StoreError, sqlite},
    types::{NewRollout, RolloutId},
};
use lightning_tests::scratch::Scratch;
use serde_json::json;

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("should not have to wait this long")
}

async fn enqueue(store: &SqliteStore) -> Result<RolloutId, StoreError> {
    let made = store.enqueue_rollout(NewRollout::new(json!("task"))).await?;
    Ok(made.rollout_id)
}

async fn total(store: &SqliteStore) -> u64 {
    store.statistics().await.unwrap().total_rollouts
}

/// A closed store with so many rollouts, each with a text of 500 bytes.
async fn filled(folder: &Scratch, rollouts: usize) -> std::path::PathBuf {
    let path = folder.path("store.db");
    let store = SqliteStore::open(&path).unwrap();
    let new = (0..rollouts).map(|n| NewRollout::new(json!(format!("{n:0500}"))));
    store.enqueue_many_rollouts(new.collect()).await.unwrap();
    drop(store);
    path
}

fn sound(path: &Path) {
    assert_eq!(sqlite::check(path).unwrap(), Vec::<String>::new());
}

/// The error of opening, which has to come.
fn refused(path: &Path) -> StoreError {
    match SqliteStore::open(path) {
        Ok(_) => panic!("{} should not open", path.display()),
        Err(error) => error,
    }
}
