//! Selects the best of several prompts for an agent that has a chat model read dates, amounts and parties off messy lines.
//!
//! The algorithm is one that ships, `SelectPrompt`. The model is an OpenAI-style endpoint that the environment names:
//! `OPENAI_BASE_URL` (such as `http://127.0.0.1:8000/v1`), `OPENAI_MODEL`, and `OPENAI_API_KEY` where it wants one. Without
//! `OPENAI_BASE_URL` a scripted server on this machine stands in for a model, so that nothing is needed and nothing is
//! spent: `cargo run --release -p lightning-examples --features model --example select_prompt`.
//!
//! That is one `fit` with everything in it. The same program also runs in pieces, which meet at a store: beside
//! `lightning store`, start `select_prompt runner` as often and on as many machines as you like, and `select_prompt algo`
//! once, with `LIGHTNING_STORE_URL` where the store is not on this machine. When the algorithm has ended, the runners end.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::path::Path;

use lightning_core::{
    algorithm::{SelectPrompt, SelectedPrompt},
    chat::{ChatModel, ChatRequest, HttpChat, Message},
    execution::{ClientServer, Role, Strategy},
    prelude::*,
    trainer::FitReport,
    types::{AttemptStatus, RolloutConfig},
};
use lightning_examples::{
    invoices::{Found, Invoice},
    model, simulated,
};
use serde_json::json;

/// How many lines each prompt is tried on: every one is a call of the model.
const TRAIN_LINES: usize = 60;
const VAL_LINES: usize = 40;

const PROMPTS: [&str; 6] = [
    "Extract the date, the amount and the party from this line.\n\
     Line: {line}",
    "You are an expert accountant with 30 years of experience. Think step by step: go through the line word by word. Of two \
     numbers in a date, the one above 12 is the day. Of comma and dot in an amount, the one that comes last parts the \
     decimals. The party is a company, or the name after from or to. End with JSON: \
     {{\"date\": \"YYYY-MM-DD\", \"amount\": 1234.5, \"party\": \"name\"}}.\n\
     Line: {line}",
    "Answer with JSON only: {{\"date\": \"YYYY-MM-DD\", \"amount\": 1234.5, \"party\": \"name\"}}.\n\
     Line: {line}",
    "The line was written in Europe: in a date the day stands before the month, amounts have a decimal comma. The party is a \
     company, or the name after from or to. \
     Answer with JSON only: {{\"date\": \"YYYY-MM-DD\", \"amount\": 1234.5, \"party\": \"name\"}}.\n\
     Line: {line}",
    "Of two numbers in a date, the one above 12 is the day; else the day stands before the month. Of comma and dot in an \
     amount, the one that comes last parts the decimals. The party is a company, or the name after from or to. \
     Answer with JSON only: {{\"date\": \"YYYY-MM-DD\", \"amount\": 1234.5, \"party\": \"name\"}}.\n\
     Line: {line}",
    "Amounts may have a decimal comma. Be careful with dates, and keep every letter of a name. \
     Answer with JSON only: {{\"date\": \"YYYY-MM-DD\", \"amount\": 1234.5, \"party\": \"name\"}}.\n\
     Line: {line}",
];

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

/// What this process is to do: everything, or one part with the store elsewhere.
fn strategy(part: Option<&str>) -> anyhow::Result<Strategy> {
    let elsewhere = |role| ClientServer::new().role(role).managed_store(false).into();
    Ok(match part {
        None => Strategy::default(),
        Some("algo") => elsewhere(Role::Algorithm),
        Some("runner") => elsewhere(Role::Runner),
        Some(other) => anyhow::bail!("`{other}` is no part of this; write `algo` or `runner`, or nothing"),
    })
}

/// Has the prompts compete with this model.
async fn select(llm: Llm, strategy: Strategy) -> anyhow::Result<FitReport<SelectedPrompt>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let lines = |name: &str, count| -> anyhow::Result<Dataset<Invoice>> {
        let all: Dataset<Invoice> = Dataset::from_file(data.join(name))?;
        Ok(all.iter().take(count).cloned().collect())
    };
    let train = lines("invoices_train.jsonl", TRAIN_LINES)?;
    let val = lines("invoices_val.jsonl", VAL_LINES)?;
    let trainer = Trainer::builder()
        .algorithm(SelectPrompt::algorithm(PROMPTS.map(PromptTemplate::new).to_vec()))
        .extension(HttpChat::new(llm)?.shared())
        .rollout_config(RolloutConfig {
            timeout_seconds: Some(120.0),
            max_attempts: 3,
            retry_condition: [AttemptStatus::Failed, AttemptStatus::Timeout].into(),
            ..RolloutConfig::default()
        })
        .strategy(strategy)
        .n_runners(8)
        .build()?;
    Ok(trainer.fit(read_invoice::agent(), train, val).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let strategy = strategy(std::env::args().nth(1).as_deref())?;
    let (llm, server) = model::from_environment(simulated::answer)?;
    match &server {
        Some(_) => println!(
            "simulated: OPENAI_BASE_URL is not set, so a scripted server on this machine stands in for a model"
        ),
        None => println!("model {} at {}", llm.model, llm.endpoint),
    }
    let report = select(llm, strategy).await?;

    println!("\n  train     val  prompt");
    for candidate in &report.output.candidates {
        let score = |score: Option<f64>| score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3}"));
        let begin: String = candidate.prompt.template.chars().take(80).collect();
        println!(
            "{:>7} {:>7}  {}…",
            score(candidate.train),
            score(candidate.val),
            begin.replace('\n', " ")
        );
    }
    println!("\nthe best:\n\n{}", report.output.best.template);
    Ok(())
}

#[cfg(test)]
mod tests {
    use lightning_core::testing::llm::ScriptedLlm;

    use super::*;

    #[tokio::test]
    async fn the_best_prompt_is_neither_the_first_nor_the_longest() -> anyhow::Result<()> {
        let server = ScriptedLlm::start(simulated::answer)?;
        let report = select(server.llm("simulated"), Strategy::default()).await?;
        let best = PROMPTS
            .iter()
            .position(|prompt| *prompt == report.output.best.template);
        assert_eq!(best, Some(4));
        assert_eq!(
            PROMPTS.iter().max_by_key(|prompt| prompt.len()),
            Some(&PROMPTS[1])
        );
        assert_eq!(report.model_usage[0].calls, server.calls().len() as u64);
        assert_eq!(report.rollouts.failed, 0);
        Ok(())
    }

    #[test]
    fn what_is_around_the_json_of_an_answer_does_not_matter() {
        let found = Found::in_answer(
            "Well…\n```json\n{\"date\": \"2024-01-02\", \"amount\": 3, \"party\": null}\n```",
        );
        assert_eq!(found.date.as_deref(), Some("2024-01-02"));
        assert_eq!((found.amount, found.party), (Some(3.0), None));
        assert_eq!(Found::in_answer("It is {unclear}."), Found::default());
        assert_eq!(Found::in_answer("} and {"), Found::default());
    }
}
