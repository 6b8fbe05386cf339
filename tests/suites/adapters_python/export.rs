//! What is exported is read by Hugging Face's `datasets`.

use std::{env, fs, path::PathBuf, process};

use lightning_core::adapter::{ToMessages, ToTrajectories, TraceAdapter, TracerToTriplets};
use lightning_tests::{
    tier,
    traces::{Shape, trace},
};
use serde_json::Value;

/// A file that is gone with its name.
struct Temporary(PathBuf);

impl Temporary {
    fn new(name: &str, contents: &[u8]) -> Self {
        let path = env::temp_dir().join(format!("lightning-{}-{name}.jsonl", process::id()));
        fs::write(&path, contents).unwrap();
        Self(path)
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn files_are_read_row_by_row() {
    let Some(python) = tier::python() else {
        return;
    };
    let (mut triplets, mut trajectories, mut messages) = (Vec::new(), Vec::new(), Vec::new());
    // Traces with all that calls can have, and lack.
    for seed in 0..40 {
        let spans = trace(seed, 40, Shape::default());
        let adapter = TracerToTriplets::new();
        if let Ok(result) = adapter.adapt(&spans) {
            result.write_json_lines(&mut triplets).unwrap();
        }
        if let Ok(result) = ToTrajectories::of(adapter).adapt(&spans) {
            result.write_json_lines(&mut trajectories).unwrap();
        }
        if let Ok(mut result) = ToMessages::new().adapt(&spans) {
            // One column cannot hold both text and parts; whoever has images keeps their conversations apart.
            result.conversations.retain(|conversation| {
                conversation
                    .messages
                    .iter()
                    .all(|message| !matches!(message.content, Some(Value::Array(_))))
            });
            result.write_json_lines(&mut messages).unwrap();
        }
    }
    let files = [
        ("triplets", triplets),
        ("trajectories", trajectories),
        ("messages", messages),
    ];
    let kept: Vec<_> = files
        .iter()
        .map(|(name, lines)| Temporary::new(name, lines))
        .collect();
    let mut command = python.script("read_datasets.py");
    let output = command.args(kept.iter().map(|file| &file.0)).output().unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    let read: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    for ((name, lines), read) in files.iter().zip(read) {
        let rows = read["rows"].as_array().unwrap();
        let lines: Vec<Value> = serde_json::Deserializer::from_slice(lines)
            .into_iter()
            .map(Result::unwrap)
            .collect();
        assert!(lines.len() > 20, "{name}: {}", lines.len());
        assert_eq!(rows.len(), lines.len(), "{name}");
        for (row, line) in rows.iter().zip(&lines) {
            let columns: Vec<&String> = line.as_object().unwrap().keys().collect();
            for column in columns {
                assert_eq!(
                    without_nulls(&row[column]),
                    without_nulls(&line[column]),
                    "{name}: {column}"
                );
            }
        }
    }
}

/// Tables fill up what a row lacks with nulls.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            let fields = object.iter().filter(|(_, value)| !value.is_null());
            Value::Object(
                fields
                    .map(|(key, value)| (key.clone(), without_nulls(value)))
                    .collect(),
            )
        }
        Value::Array(items) => items.iter().map(without_nulls).collect(),
        other => other.clone(),
    }
}
