//! A prompt search that may be killed at any moment, for the suite `resuming`.
//!
//! `resumable RUN_DIR SEED N_RUNNERS [ALGORITHM]`: optimises a prompt with simulated models, and leaves what it found in the
//! run folder. The algorithm is `apo`, unless it is another of those that ship.
//! Every answer of a model has an id of its own, so that the suite can tell whether something was asked twice.

use std::{process::ExitCode, time::Duration};

use lightning_core::{
    algorithm::{AlgoOutput, Algorithm, Apo, FewShot, RandomSearch, SelectPrompt},
    chat::{ChatAnswer, ChatError, ChatFuture, ChatModel, ChatRequest, Message},
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

/// As [`work`], but it is a model that does the task.
#[rollout]
async fn ask(
    task: &String,
    prompt_template: &PromptTemplate,
    #[inject] model: Arc<dyn ChatModel>,
) -> anyhow::Result<f64> {
    let prompt = prompt_template.render(&serde_json::json!({ "task": task }))?;
    let answer = model.ask(&ChatRequest::new([Message::user(prompt)])).await?;
    Ok(f64::from(u8::from(answer.text == "right")))
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
                Some("proposal") => propose(&text),
                None | Some("agent") => solve(&text),
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

/// Makes up a rule, by what the tasks happen to be that it is shown.
fn propose(text: &str) -> String {
    let shown = SKILLS.iter().filter(|skill| text.contains(**skill));
    let rules: Vec<String> = shown.map(|skill| format!(" rule {skill}.")).collect();
    format!("<prompt>Do {{task}}.{}</prompt>", rules.concat())
}

/// Does the task at the end of the prompt, if there is a rule for it or an example of it.
fn solve(text: &str) -> String {
    let task = text.rsplit("Do ").next().unwrap_or_default();
    let task = task.split('.').next().unwrap_or_default();
    let told = text.contains(&format!("rule {task}.")) || text.matches(&format!("Do {task}.")).count() > 1;
    if told { "right" } else { "wrong" }.to_owned()
}

fn tasks(count: usize) -> Dataset<String> {
    (0..count)
        .map(|index| SKILLS[index % SKILLS.len()].to_owned())
        .collect()
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (settings, algorithm) = match &arguments[..] {
        [folder, seed, n_runners] => ([folder, seed, n_runners], "apo"),
        [folder, seed, n_runners, algorithm] => ([folder, seed, n_runners], algorithm.as_str()),
        _ => {
            eprintln!("usage: resumable RUN_DIR SEED N_RUNNERS [ALGORITHM]");
            return ExitCode::FAILURE;
        }
    };
    let result = match algorithm {
        "apo" => {
            let algorithm = Apo::algorithm()
                .beam_rounds(3)
                .beam_width(2)
                .branch_factor(3)
                .gradient_batch_size(2)
                .val_batch_size(5);
            fit(settings, algorithm, "Do {task}.", work::agent())
        }
        "few_shot" => {
            let algorithm = FewShot::algorithm().n_candidates(6).val_batch_size(5);
            fit(
                settings,
                algorithm,
                "rule dates. rule sums. Do {task}.",
                ask::agent(),
            )
        }
        "random_search" => {
            let algorithm = RandomSearch::algorithm()
                .n_candidates(8)
                .n_examples(2)
                .val_batch_size(5);
            fit(settings, algorithm, "Do {task}.", work::agent())
        }
        "select_prompt" => {
            let candidates = (0..=SKILLS.len()).map(|rules| {
                let rules: Vec<String> = SKILLS[..rules]
                    .iter()
                    .map(|skill| format!(" rule {skill}."))
                    .collect();
                PromptTemplate::new(format!("Do {{task}}.{}", rules.concat()))
            });
            let algorithm = SelectPrompt::algorithm(candidates.collect());
            fit(settings, algorithm, "Do {task}.", work::agent())
        }
        other => {
            eprintln!("there is no algorithm `{other}`");
            return ExitCode::FAILURE;
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn fit<O: AlgoOutput>(
    [folder, seed, n_runners]: [&String; 3],
    algorithm: impl Algorithm<String, Output = O>,
    prompt: &str,
    agent: impl Agent<String>,
) -> anyhow::Result<()> {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(algorithm)
        .extension(Simulated.shared())
        .initial_resources(NamedResources::new().with("prompt", PromptTemplate::new(prompt)))
        .run_dir(folder)
        .seed(seed.parse()?)
        .n_runners(n_runners.parse()?)
        .build()?;
    trainer.fit_blocking(agent, tasks(20), tasks(10))?;
    Ok(())
}
