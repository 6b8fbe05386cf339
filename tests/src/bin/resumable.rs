//! A prompt search that may be killed at any moment, for the suite `resuming`.
//!
//! `resumable RUN_DIR SEED N_RUNNERS`: optimises a prompt with simulated models, and leaves what it found in the run folder.
//! Every answer of a model has an id of its own, so that the suite can tell whether something was asked twice.

use std::{process::ExitCode, time::Duration};

use lightning_core::{
    algorithm::Apo,
    chat::{ChatAnswer, ChatError, ChatFuture, ChatModel, ChatRequest},
    prelude::*,
};
use rand::RngExt as _;

const SKILLS: [&str; 5] = ["dates", "units", "names", "sums", "dots"];

/// Does a task if the prompt has a rule for it.
#[rollout]
async fn work(task: &String, prompt_template: &PromptTemplate) -> f64 {
    let millis = 1 + (task.len() as u64) % 3;
    tokio::time::sleep(Duration::from_millis(millis)).await;
    let told = prompt_template.template.contains(&format!("rule {task}."));
    f64::from(u8::from(told))
}

/// Criticises and edits, both in a way that only the request decides.
struct Simulated;

impl ChatModel for Simulated {
    fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
        Box::pin(async move {
            tokio::time::sleep(Duration::from_millis(3)).await;
            let text = request.last_text();
            let said = match request.role.as_deref() {
                Some("gradient") => criticise(&text),
                Some("apply_edit") => edit(&text),
                other => {
                    return Err(ChatError::Malformed {
                        problem: format!("{other:?}"),
                    });
                }
            };
            let mut answer = ChatAnswer::text(said);
            let id: u64 = rand::rng().random();
            answer.raw["id"] = id.to_string().into();
            (answer.input_tokens, answer.output_tokens) = (Some(text.len() as u64), Some(7));
            Ok(answer)
        })
    }
}

/// Names the first task that went wrong.
fn criticise(text: &str) -> String {
    let wrong = text.split("--- example ").skip(1).find_map(|example| {
        let task = example.lines().find_map(|line| line.strip_prefix("task: "))?;
        example.contains("outcome: reward 0").then_some(task)
    });
    wrong.map_or_else(
        || "All is well.".to_owned(),
        |task| format!("It lacks a rule on <{task}>."),
    )
}

/// Adds the rule that is missed.
fn edit(text: &str) -> String {
    let template = text
        .split_once("<template>\n")
        .and_then(|(_, rest)| rest.split_once("\n</template>"))
        .map_or("", |(template, _)| template);
    let missed = text
        .split_once("a rule on <")
        .and_then(|(_, rest)| rest.split_once('>'));
    match missed {
        Some((skill, _)) => format!("<prompt>{template} rule {skill}.</prompt>"),
        None => format!("<prompt>{template}</prompt>"),
    }
}

fn tasks(count: usize) -> Dataset<String> {
    (0..count)
        .map(|index| SKILLS[index % SKILLS.len()].to_owned())
        .collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, seed, n_runners] = &arguments[..] else {
        eprintln!("usage: resumable RUN_DIR SEED N_RUNNERS");
        return ExitCode::FAILURE;
    };
    let algorithm = Apo::algorithm()
        .beam_rounds(3)
        .beam_width(2)
        .branch_factor(3)
        .gradient_batch_size(2)
        .val_batch_size(5);
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(algorithm)
        .extension(Simulated.shared())
        .initial_resources(NamedResources::new().with("prompt", PromptTemplate::new("Do {task}.")))
        .run_dir(folder)
        .seed(seed.parse().expect("a seed"))
        .n_runners(n_runners.parse().expect("a number of runners"))
        .build()
        .expect("the trainer is complete");
    match trainer.fit_blocking(work::agent(), tasks(20), tasks(10)) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
