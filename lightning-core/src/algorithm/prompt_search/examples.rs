//! What rollouts show, as text for a model.

use serde::Serialize;
use serde_json::Value;

use crate::{
    adapter::{ChatMessage, Conversation, ToMessages, TraceAdapter as _},
    run::{Outcome, OutcomeResult},
};

/// How much of a message is shown: its beginning and its end.
const MESSAGE_CHARS: usize = 2000;
/// How many calls of an agent are shown: the last ones.
const CALLS: usize = 3;

/// One rollout, as much of it as a model is shown.
#[derive(Clone, Debug, Serialize)]
pub(in crate::algorithm) struct Sample {
    task: String,
    result: String,
    calls: Vec<Vec<(String, String)>>,
}

impl Sample {
    pub(in crate::algorithm) fn of(outcome: &Outcome) -> Self {
        let result = match &outcome.result {
            OutcomeResult::Rewarded(reward) => {
                let mut dimensions = reward.iter();
                let primary = dimensions
                    .next()
                    .map_or_else(String::new, |(_, value)| format!("reward {value}"));
                let others: Vec<String> = dimensions
                    .map(|(name, value)| format!("{name} {value}"))
                    .collect();
                if others.is_empty() {
                    primary
                } else {
                    format!("{primary} ({})", others.join(", "))
                }
            }
            OutcomeResult::NoSignal(_) => "not scored".to_owned(),
            OutcomeResult::Failed { message, .. } => format!("failed: {}", clipped(message)),
        };
        let mut calls: Vec<Vec<(String, String)>> = conversations(outcome).iter().map(spoken).collect();
        calls.drain(..calls.len().saturating_sub(CALLS));
        Self {
            task: clipped(&shown_task(&outcome.rollout.input)),
            result,
            calls,
        }
    }
}

/// The samples, one after the other.
pub(in crate::algorithm) fn as_text(samples: &[Sample]) -> String {
    let mut text = String::new();
    for (number, sample) in samples.iter().enumerate() {
        text.push_str(&format!(
            "--- example {} ---\ntask: {}\noutcome: {}\n",
            number + 1,
            sample.task,
            sample.result
        ));
        for call in &sample.calls {
            for (role, said) in call {
                text.push_str(&format!("[{role}] {said}\n"));
            }
        }
    }
    text
}

/// A task as a model is shown it: text as it is, anything else as JSON.
pub(in crate::algorithm) fn shown_task(task: &Value) -> String {
    match task {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The last call that a rollout made of its model: the last thing that was asked, and the answer.
pub(in crate::algorithm) fn conversation(outcome: &Outcome) -> Option<(String, String)> {
    let conversations = conversations(outcome);
    let (answer, before) = conversations.last()?.messages.split_last()?;
    let asked = before.iter().rev().find(|message| message.role == "user")?;
    let (asked, answer) = (text(asked), text(answer));
    (!answer.trim().is_empty()).then_some((asked, answer))
}

fn conversations(outcome: &Outcome) -> Vec<Conversation> {
    ToMessages::new()
        .adapt(&outcome.spans)
        .map(|found| found.conversations)
        .unwrap_or_default()
}

fn spoken(conversation: &Conversation) -> Vec<(String, String)> {
    conversation
        .messages
        .iter()
        .map(|message| (message.role.clone(), clipped(&text(message))))
        .collect()
}

fn text(message: &ChatMessage) -> String {
    let content = match &message.content {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(parts)) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => String::new(),
    };
    let calls = message
        .tool_calls
        .iter()
        .map(|call| format!("(calls {} with {})", call.function.name, call.function.arguments));
    std::iter::once(content)
        .filter(|text| !text.is_empty())
        .chain(calls)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Beginning and end of a long text.
fn clipped(text: &str) -> String {
    let count = text.chars().count();
    if count <= MESSAGE_CHARS {
        return text.to_owned();
    }
    let half = MESSAGE_CHARS / 2;
    let begin: String = text.chars().take(half).collect();
    let end: String = text.chars().skip(count - half).collect();
    format!("{begin} […{} characters…] {end}", count - 2 * half)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_keep_beginning_and_end() {
        assert_eq!(clipped("short"), "short");
        let long = format!("a{}z", "ü".repeat(5000));
        let shown = clipped(&long);
        assert!(shown.starts_with("aü") && shown.ends_with("üz") && shown.contains("[…3002 characters…]"));
    }

    #[test]
    fn samples_tell_task_outcome_and_what_was_said() {
        let sample = Sample {
            task: "2 + 2?".to_owned(),
            result: "reward 0 (brevity 1)".to_owned(),
            calls: vec![vec![
                ("user".to_owned(), "2 + 2?".to_owned()),
                ("assistant".to_owned(), "5".to_owned()),
            ]],
        };
        assert_eq!(
            as_text(&[sample]),
            "--- example 1 ---\ntask: 2 + 2?\noutcome: reward 0 (brevity 1)\n[user] 2 + 2?\n[assistant] 5\n"
        );
    }
}
