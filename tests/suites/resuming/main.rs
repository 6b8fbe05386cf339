//! Runs that are killed, stopped or broken off, and gone on with in the same run folder.

mod changed;
mod ending;
#[cfg(feature = "client")]
mod health;
mod killed;
mod steps;

use std::{fs, path::Path};

use lightning_core::run::Metric;
use serde_json::Value;

/// Turns a hang into a failure.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

/// A file of the run folder.
pub fn json_of(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// The lines of `metrics.jsonl`, without their times.
pub fn metrics_of(folder: &Path) -> String {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    text.lines()
        .map(|line| {
            let _: Metric = serde_json::from_str(line).unwrap();
            // The time is the last field of the line.
            format!("{}\n", line.split_once(",\"time\":").unwrap().0)
        })
        .collect()
}
