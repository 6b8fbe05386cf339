//! The durable store against what the disk and the memory store can do, in one run.
//!
//! `cargo bench -p lightning-tests --features full --bench durable_store [-- writes | rest | memory]`.
//! `LIGHTNING_BENCH_FOLDER` says on which disk; where temporary files go unless told.
//!
//! - `writes`: acknowledged writes a second with 256 writers, against appending the same number of bytes to a file with one
//!   `fdatasync` a batch, the batches formed in the same way (target ≥ 0.70); and the median time of one write with one
//!   writer, against that of one append with `fdatasync` (target ≤ 1.25).
//! - `rest`: writes over HTTP on 256 connections to the durable store and to the one in memory (target ≥ 0.75), by
//!   operations a second and by the processor time of the server's threads.
//! - `memory`: resident memory for each span of 1 KiB and more, against its bytes on the wire, in the memory store (target
//!   ≤ 1.25) and in the durable one, which should need what its cache may take.
//!
//! The sides take turns; medians of the rounds are printed. The growth with what is stored is in `store_verbs`.

#[path = "durable_store/memory.rs"]
mod memory;
#[path = "durable_store/rest.rs"]
mod rest;
#[path = "durable_store/writes.rs"]
mod writes;

use std::path::PathBuf;

use lightning_core::types::NewRollout;
use lightning_tests::scratch::Scratch;
use serde_json::json;

const ROUNDS: usize = 7;

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let is_wanted = |name: &str| wanted.is_empty() || wanted.iter().any(|wanted| wanted == name);
    if is_wanted("writes") {
        writes::run();
    }
    if is_wanted("rest") {
        rest::run();
    }
    if is_wanted("memory") {
        memory::run();
    }
}

fn folder() -> Scratch {
    match std::env::var_os("LIGHTNING_BENCH_FOLDER") {
        Some(folder) => Scratch::within(&PathBuf::from(folder)),
        None => Scratch::on_disk(),
    }
}

/// A task such as data sets have.
fn task() -> NewRollout {
    NewRollout::new(json!({
        "question": "A train leaves at 10:40 and takes two hours and fifty-five minutes. When does it arrive?",
        "answer": "13:35",
        "level": 3,
    }))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// One line for two sides that were measured in turns: the medians, and the median of the rounds' ratios.
fn compare(what: &str, unit: &str, ours: &[f64], theirs: &[f64], target: &str) {
    let ratios: Vec<f64> = ours
        .iter()
        .zip(theirs)
        .map(|(ours, theirs)| ours / theirs)
        .collect();
    println!(
        "{what}: {:.0} {unit} against {:.0} {unit}, ratio {:.3} (target {target})",
        median(ours.to_vec()),
        median(theirs.to_vec()),
        median(ratios)
    );
}
