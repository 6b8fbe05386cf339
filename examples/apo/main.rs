//! Improves the prompt of an agent that has a chat model read dates, amounts and parties off messy lines.
//!
//! `cargo run --release -p lightning-examples --features model --example apo` searches by textual gradients (APO). With
//! `-- random` or `-- few-shot` at the end, it runs one of the baselines, to compare. With `-- apo FOLDER` the run is kept
//! in a folder: interrupt it, run it again, and it goes on after its last round.
//!
//! The model is an OpenAI-style endpoint that the environment names: `OPENAI_BASE_URL` (such as `http://127.0.0.1:8000/v1`),
//! `OPENAI_MODEL`, and `OPENAI_API_KEY` where it wants one; reading, criticising and editing are all its work. Without
//! `OPENAI_BASE_URL` a scripted server on this machine stands in for models, so that nothing is needed and nothing is spent;
//! its reader learns nothing from examples.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::{env, path::Path};

use anyhow::bail;
use lightning_core::{
    algorithm::{Algorithm, Apo, FewShot, OptimizedPrompt, RandomSearch},
    chat::{ChatModel, ChatRequest, HttpChat, Message},
    prelude::*,
    trainer::FitReport,
    types::{AttemptStatus, RolloutConfig},
};
use lightning_examples::{
    invoices::{Found, Invoice},
    model, simulated,
};
use serde_json::json;

/// The prompt to begin with.
const SEED: &str = "Extract the date (as YYYY-MM-DD), the amount (as a number) and the party from this line. Answer in JSON \
                    with the fields date, amount and party.\nLine: {line}";

/// Has the model read one line, as the prompt says. The reward is the share of the three fields that are right.
#[rollout]
async fn read_invoice(
    task: &Invoice,
    prompt_template: &PromptTemplate,
    #[inject] model: Arc<dyn ChatModel>,
) -> anyhow::Result<Reward> {
    let prompt = prompt_template.render(&json!({ "line": task.line }))?;
    let answer = model.ask(&ChatRequest::new([Message::user(prompt)])).await?;
    Ok(Found::in_answer(&answer.text).compared_with(task))
}

/// Searches with this algorithm and this model.
async fn search(
    algorithm: impl Algorithm<Invoice, Output = OptimizedPrompt>,
    model: Arc<dyn ChatModel>,
    folder: Option<&str>,
) -> anyhow::Result<FitReport<OptimizedPrompt>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let lines = |name: &str, count| -> anyhow::Result<Dataset<Invoice>> {
        let all: Dataset<Invoice> = Dataset::from_file(data.join(name))?;
        Ok(all.iter().take(count).cloned().collect())
    };
    let (train, val) = (
        lines("invoices_train.jsonl", 100)?,
        lines("invoices_val.jsonl", 60)?,
    );
    let mut trainer = Trainer::builder()
        .algorithm(algorithm)
        .extension(model)
        .initial_resources(NamedResources::new().with("prompt", PromptTemplate::new(SEED)))
        .rollout_config(RolloutConfig {
            timeout_seconds: Some(300.0),
            max_attempts: 2,
            retry_condition: [AttemptStatus::Failed, AttemptStatus::Timeout].into(),
            ..RolloutConfig::default()
        })
        .n_runners(8);
    if let Some(folder) = folder {
        trainer = trainer.run_dir(folder);
    }
    Ok(trainer.build()?.fit(read_invoice::agent(), train, val).await?)
}

/// Runs the algorithm that the command line asks for. A scripted server tells its models apart by their names.
async fn run(
    name: &str,
    model: Arc<dyn ChatModel>,
    folder: Option<&str>,
    simulated: bool,
) -> anyhow::Result<FitReport<OptimizedPrompt>> {
    let named = |name: &str| simulated.then(|| name.to_owned());
    match name {
        "apo" => {
            let apo = Apo::algorithm()
                .gradient_model(named("critic"))
                .apply_edit_model(named("editor"))
                .beam_width(3)
                .branch_factor(3)
                .beam_rounds(5);
            search(apo, model, folder).await
        }
        "random" => {
            let random = RandomSearch::algorithm()
                .proposal_model(named("author"))
                .n_candidates(45);
            search(random, model, folder).await
        }
        "few-shot" => search(FewShot::algorithm(), model, folder).await,
        other => bail!("there is no algorithm `{other}` here: `apo`, `random` or `few-shot`"),
    }
}

fn shown(score: Option<f64>) -> String {
    score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let (llm, server) = model::from_environment(simulated::any_model)?;
    match &server {
        Some(_) => println!(
            "simulated: OPENAI_BASE_URL is not set, so a scripted server on this machine stands in for models"
        ),
        None => println!("model {} at {}", llm.model, llm.endpoint),
    }
    let name = arguments.first().map_or("apo", String::as_str);
    let folder = arguments.get(1).map(String::as_str);
    let report = run(name, HttpChat::new(llm)?.shared(), folder, server.is_some()).await?;
    let found = report.output;

    println!("\nround parent   batch     all  prompt");
    for (index, candidate) in found.candidates.iter().enumerate() {
        if candidate.score.is_none() && candidate.round > 0 {
            continue;
        }
        let parent = candidate
            .origin
            .parent()
            .map_or_else(|| "-".to_owned(), |parent| parent.to_string());
        let batch = candidate.batch_scores.last().map(|score| score.mean);
        let begin: String = candidate.prompt.template.chars().take(60).collect();
        println!(
            "{:>5} {parent:>6} {:>7} {:>7}  #{index} {}…",
            candidate.round,
            shown(batch),
            shown(candidate.score),
            begin.replace('\n', " ")
        );
    }
    println!(
        "\n{} prompts were tried, {} were rejected{}",
        found.candidates.len(),
        found.rejections.len(),
        if found.rejections.is_empty() {
            ""
        } else {
            ", among them:"
        }
    );
    for rejection in found.rejections.iter().take(3) {
        println!("  {}", rejection.reason);
    }
    println!(
        "\nfrom {} to {} on the validation lines, with:\n\n{}",
        shown(found.seed_score),
        shown(found.score),
        found.best.template
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use lightning_core::testing::llm::ScriptedLlm;

    use super::*;

    #[tokio::test]
    async fn every_search_finds_a_better_prompt_that_still_has_its_placeholder() -> anyhow::Result<()> {
        for name in ["apo", "random"] {
            let server = ScriptedLlm::start(simulated::any_model)?;
            let model = HttpChat::new(server.llm("simulated"))?.shared();
            let report = run(name, model, None, true).await?;
            let found = report.output;
            assert!(found.score > found.seed_score, "{name}: {:?}", found.score);
            assert!(
                found.best.template.contains("Line: {line}"),
                "{}",
                found.best.template
            );
            assert_eq!(report.rollouts.failed, 0);
        }
        Ok(())
    }
}
