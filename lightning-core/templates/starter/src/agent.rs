//! The agent: what is trained. It takes a task, asks a model, and says how good the answer was.

use lightning_core::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// A task: a line of `data/train.jsonl`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Question {
    pub question: String,
    pub answer: i64,
}

/// Answers a question. The reward is 1 if the answer is the right number and nothing else.
#[rollout]
pub async fn answer(task: &Question, prompt_template: &PromptTemplate) -> anyhow::Result<f64> {
    let prompt = prompt_template.render(&json!({ "question": task.question }))?;
    // With a real model, take `llm: Llm` as a parameter, ask `llm.chat()?.ask(..)`, and give its address in `run.yaml`
    // under `resources`. The page "Call a model" of the book has it.
    let answer = simulated_model(&prompt);
    let is_right = answer.trim() == task.answer.to_string();
    Ok(if is_right { 1.0 } else { 0.0 })
}

/// Stands in for a language model, so that this runs without a key: it adds in a hurry, and talks too much, unless it is
/// told not to.
fn simulated_model(prompt: &str) -> String {
    let told = |what: &str| prompt.to_lowercase().contains(what);
    let numbers: Vec<i64> = prompt
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    let exact: i64 = numbers.iter().sum();
    let units: i64 = numbers.iter().map(|number| number % 10).sum();
    // In a hurry, it forgets what to carry.
    let sum = if told("step by step") {
        exact
    } else {
        exact - units / 10 * 10
    };
    if told("number only") {
        sum.to_string()
    } else {
        format!("Let me see. I would say that it is {sum}!")
    }
}
