//! Selects the best of several prompts for an agent that has a chat model read dates, amounts and parties off messy lines.
//!
//! The algorithm is one that ships, `SelectPrompt`. The model is an OpenAI-style endpoint that the environment names:
//! `OPENAI_BASE_URL` (such as `http://127.0.0.1:8000/v1`), `OPENAI_MODEL`, and `OPENAI_API_KEY` where it wants one. Without
//! `OPENAI_BASE_URL` a scripted server on this machine stands in for a model, so that nothing is needed and nothing is
//! spent: `cargo run --release -p lightning-examples --features model --example select_prompt`.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

mod simulated;

use std::{env, path::Path};

use anyhow::{Context as _, bail};
use lightning_core::{
    algorithm::{SelectPrompt, SelectedPrompt},
    emitter::model_call,
    prelude::*,
    testing::llm::ScriptedLlm,
    trainer::FitReport,
    types::{AttemptStatus, RolloutConfig},
};
use lightning_examples::invoices::{Found, Invoice};
use serde_json::{Value, json};

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
    llm: Llm,
    prompt_template: &PromptTemplate,
    #[inject] client: ChatClient,
) -> anyhow::Result<Reward> {
    let prompt = prompt_template.render(&json!({ "line": task.line }))?;
    let answer = client.ask(&llm, &prompt).await?;
    Ok(found_in(&answer).compared_with(task))
}

/// What an answer says. One without readable JSON says nothing, which is the prompt's fault and no failure of the agent.
fn found_in(answer: &str) -> Found {
    let json = answer
        .find('{')
        .and_then(|begin| answer[begin..].rfind('}').map(|end| &answer[begin..=begin + end]));
    let fields: Value = json
        .and_then(|json| serde_json::from_str(json).ok())
        .unwrap_or_default();
    let text = |field: &str| fields[field].as_str().map(str::to_owned);
    Found {
        date: text("date"),
        amount: fields["amount"].as_f64(),
        party: text("party"),
    }
}

/// Calls chat models, and records the calls.
#[derive(Clone, Inject)]
struct ChatClient(reqwest::Client);

impl ChatClient {
    fn new(llm: &Llm) -> anyhow::Result<Self> {
        // An error means that there is a provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder();
        // What runs on this machine is not to be reached through a proxy of the environment.
        let is_here =
            llm.endpoint.starts_with("http://127.0.0.1:") || llm.endpoint.starts_with("http://localhost:");
        let client = if is_here { client.no_proxy() } else { client };
        Ok(Self(client.build()?))
    }

    async fn ask(&self, llm: &Llm, prompt: &str) -> anyhow::Result<String> {
        let request = json!({
            "model": llm.model,
            "messages": [{"role": "user", "content": prompt}],
        });
        let mut post = self.0.post(format!("{}/chat/completions", llm.endpoint));
        if let Some(key) = &llm.api_key {
            post = post.bearer_auth(key.expose());
        }
        let call = model_call(&request)?;
        let response = post.json(&request).send().await?;
        let status = response.status();
        let text = response.text().await?;
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        call.finish(&answer)?;
        if !status.is_success() {
            bail!(
                "the model answered {status}: {}",
                text.chars().take(300).collect::<String>()
            );
        }
        let text = answer["choices"][0]["message"]["content"].as_str();
        text.map(str::to_owned).context("the answer has no text")
    }
}

/// The model of the environment, or that of a scripted server, which lives as long as it is held.
fn model() -> anyhow::Result<(Llm, Option<ScriptedLlm>)> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(endpoint) = set("OPENAI_BASE_URL") else {
        let server = ScriptedLlm::start(simulated::answer)?;
        return Ok((server.llm("simulated"), Some(server)));
    };
    let model =
        set("OPENAI_MODEL").context("OPENAI_BASE_URL is set and OPENAI_MODEL is not: name the model")?;
    let llm = Llm::new(endpoint.trim_end_matches('/'), model);
    Ok(match set("OPENAI_API_KEY") {
        Some(key) => (llm.with_api_key(key), None),
        None => (llm, None),
    })
}

/// Has the prompts compete with this model.
async fn select(llm: Llm) -> anyhow::Result<FitReport<SelectedPrompt>> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("data");
    let lines = |name: &str, count| -> anyhow::Result<Dataset<Invoice>> {
        let all: Dataset<Invoice> = Dataset::from_file(data.join(name))?;
        Ok(all.iter().take(count).cloned().collect())
    };
    let train = lines("invoices_train.jsonl", TRAIN_LINES)?;
    let val = lines("invoices_val.jsonl", VAL_LINES)?;
    let trainer = Trainer::builder()
        .algorithm(SelectPrompt::algorithm(PROMPTS.map(PromptTemplate::new).to_vec()))
        .extension(ChatClient::new(&llm)?)
        .initial_resources(NamedResources::new().with("model", llm))
        .rollout_config(RolloutConfig {
            timeout_seconds: Some(120.0),
            max_attempts: 3,
            retry_condition: [AttemptStatus::Failed, AttemptStatus::Timeout].into(),
            ..RolloutConfig::default()
        })
        .n_runners(8)
        .build()?;
    Ok(trainer.fit(read_invoice::agent(), train, val).await?)
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let (llm, server) = model()?;
    match &server {
        Some(_) => println!(
            "simulated: OPENAI_BASE_URL is not set, so a scripted server on this machine stands in for a model"
        ),
        None => println!("model {} at {}", llm.model, llm.endpoint),
    }
    let report = select(llm).await?;

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
    use super::*;

    #[tokio::test]
    async fn the_best_prompt_is_neither_the_first_nor_the_longest() -> anyhow::Result<()> {
        let server = ScriptedLlm::start(simulated::answer)?;
        let report = select(server.llm("simulated")).await?;
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
        let found =
            found_in("Well…\n```json\n{\"date\": \"2024-01-02\", \"amount\": 3, \"party\": null}\n```");
        assert_eq!(found.date.as_deref(), Some("2024-01-02"));
        assert_eq!((found.amount, found.party), (Some(3.0), None));
        assert_eq!(found_in("It is {unclear}."), Found::default());
        assert_eq!(found_in("} and {"), Found::default());
    }
}
