//! Tunes an agent that reads dates, amounts and parties off messy lines.
//!
//! The agent is a small rule engine; what is tuned are its rules. The algorithm is the function `best_rules`: it tries
//! every set of rules on the training lines and lets the best of them meet again on the validation lines.
//!
//! `cargo run --release -p lightning-examples --example quickstart` needs no key and no network.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::path::Path;

use lightning_core::{logging, prelude::*, types::RolloutMode};
use lightning_examples::invoices::{Invoice, Rules, extract};
use serde::Serialize;
use serde_json::json;

/// Reads one line by the rules that are being tried. The reward is the share of the three fields that are right.
#[rollout]
async fn read_invoice(task: &Invoice, resources: NamedResources) -> anyhow::Result<Reward> {
    let rules: Rules = resources.json("rules")?;
    Ok(extract(&task.line, &rules).compared_with(task))
}

/// How good a set of rules is.
#[derive(Debug, Serialize)]
struct Candidate {
    rules: Rules,
    train: f64,
    val: Option<f64>,
}

/// Tries every set of rules on the training lines, and the best `finalists` of them on the validation lines.
#[algo]
async fn best_rules(
    run: RunContext,
    initial_resources: NamedResources,
    train_dataset: Dataset<Invoice>,
    val_dataset: Dataset<Invoice>,
    #[param(default = 3)] finalists: usize,
) -> anyhow::Result<Vec<Candidate>> {
    let score = async |rules: &Rules, lines: &Dataset<Invoice>, mode| {
        let evaluator = run
            .evaluator()
            .resource("rules", json!(rules))
            .tasks(lines)
            .mode(mode)
            .label(&rules.name);
        evaluator.evaluate().await?.mean()
    };
    let mut candidates = Vec::new();
    for rules in initial_resources.json::<Vec<Rules>>("candidates")? {
        let train = score(&rules, &train_dataset, RolloutMode::Train).await?;
        run.report_score(train);
        candidates.push(Candidate {
            rules,
            train,
            val: None,
        });
    }
    candidates.sort_by(|a, b| b.train.total_cmp(&a.train));
    for finalist in candidates.iter_mut().take(finalists) {
        finalist.val = Some(score(&finalist.rules, &val_dataset, RolloutMode::Val).await?);
    }
    candidates.sort_by(|a, b| b.val.unwrap_or(-1.0).total_cmp(&a.val.unwrap_or(-1.0)));
    Ok(candidates)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    logging::init()?;
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let train = Dataset::from_file(data.join("invoices_train.jsonl"))?;
    let val = Dataset::from_file(data.join("invoices_val.jsonl"))?;
    let trainer = Trainer::builder()
        .algorithm(best_rules::algorithm())
        .initial_resources(NamedResources::from_file(data.join("rules.json"))?)
        .n_runners(8)
        .build()?;
    let report = trainer.fit(read_invoice::agent(), train, val).await?;

    println!("\n{:<28} {:>7} {:>7}", "rules", "train", "val");
    for Candidate { rules, train, val } in &report.output {
        let val = val.map_or_else(|| "-".to_owned(), |val| format!("{val:.3}"));
        println!("{:<28} {train:>7.3} {val:>7}", rules.name);
    }
    if let Some(best) = report.output.first() {
        println!("\nbest: {}", best.rules.name);
    }
    Ok(())
}
