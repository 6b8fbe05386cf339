//! One `fit` whose runners are processes of their own.
//!
//! The program is started once. It serves the store, starts itself again for each of four runners, and ends them when the
//! algorithm has ended. What only the first process should do looks at `role` first.
//!
//! `cargo run --release -p lightning-examples --features spread --example many_processes` needs no key and no network.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::path::Path;

use lightning_core::{
    execution::{ClientServer, Role, role},
    logging,
    prelude::*,
    types::{AttemptStatus, RolloutConfig},
};
use lightning_examples::invoices::{Invoice, Rules, extract};
use serde_json::json;

/// Reads one line by the rules that are being tried. The reward is the share of the three fields that are right.
#[rollout]
async fn read_invoice(task: &Invoice, resources: NamedResources) -> anyhow::Result<Reward> {
    let rules: Rules = resources.json("rules")?;
    Ok(extract(&task.line, &rules).compared_with(task))
}

/// How good each set of rules is, the best first.
#[algo]
async fn rank(
    run: RunContext,
    initial_resources: NamedResources,
    train_dataset: Dataset<Invoice>,
) -> anyhow::Result<Vec<(String, f64)>> {
    let mut ranking = Vec::new();
    for rules in initial_resources.json::<Vec<Rules>>("candidates")? {
        let evaluator = run
            .evaluator()
            .resource("rules", json!(rules))
            .tasks(&train_dataset);
        ranking.push((rules.name, evaluator.evaluate().await?.mean()?));
    }
    ranking.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    Ok(ranking)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    logging::init()?;
    if role() != Role::Runner {
        println!("process {} runs the algorithm", std::process::id());
    }
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let lines: Dataset<Invoice> = Dataset::from_file(data.join("invoices_train.jsonl"))?;
    let trainer = Trainer::builder()
        .algorithm(rank::algorithm())
        .initial_resources(NamedResources::from_file(data.join("rules.json"))?)
        .strategy(ClientServer::new())
        .n_runners(4)
        // A runner that was killed says nothing; its rollouts are tried once more.
        .rollout_config(RolloutConfig {
            unresponsive_seconds: Some(30.0),
            max_attempts: 3,
            retry_condition: [AttemptStatus::Unresponsive].into(),
            ..RolloutConfig::default()
        })
        .build()?;
    // In the processes of the runners, this does not return.
    let report = trainer.fit(read_invoice::agent(), lines, None).await?;

    for (name, reward) in &report.output {
        println!("{name:<28} {reward:.3}");
    }
    println!(
        "{} rollouts, by runners in other processes",
        report.rollouts.succeeded
    );
    Ok(())
}
