//! Random search over instructions: what a search with feedback has to beat.

use std::sync::Arc;

use futures::future::try_join_all;
use rand::{RngExt as _, seq::SliceRandom as _};
use serde_json::json;

use super::{
    apo::check_prompts,
    prompt_search::{
        Candidate, Contest, Halt, OptimizedPrompt, Origin, Rejection, RejectionReason, Search, Settings,
        Stage, proposed_text, shown_task, stream,
    },
};
use crate::{
    algo,
    chat::ChatModel,
    run::RunContext,
    types::{Dataset, NamedResources, PromptTemplate, Task},
};

/// The role of the calls that propose a prompt.
const ROLE_PROPOSAL: &str = "proposal";

/// What is asked for a prompt: filled with `prompt`, `placeholders` and `tasks`.
fn instruction_prompts() -> Vec<PromptTemplate> {
    [
        "Write another prompt template for the task of this one, in your own words:\n<template>\n{prompt}\n</template>\n\n\
         Tasks that it will be used for, to give you an idea:\n{tasks}\n\
         A program fills in the placeholders: {placeholders}. Write each of them just as the template does, and no others; \
         leave doubled braces doubled. Put your template between <prompt> and </prompt>.",
        "The template below instructs a language model.\n<template>\n{prompt}\n</template>\n\n\
         Some of the tasks it is used for:\n{tasks}\n\
         Think of a different way to instruct a model for such tasks, more thorough or more concise, and write it down as a \
         complete template between <prompt> and </prompt>. It has to contain these placeholders, written as above, and no \
         others: {placeholders}. Leave doubled braces doubled.",
    ]
    .map(PromptTemplate::new)
    .to_vec()
}

/// Has a model make up prompts, and keeps the best: a baseline.
///
/// The model sees the prompt to begin with and a few training tasks, but nothing of what came of them. All proposals and the
/// first prompt are compared on one batch of validation tasks; the first prompt and the best `finalists` of the others are
/// measured on all validation tasks, and the best there is the result. If [`apo`](super::apo()) with as many candidates does
/// not find a better prompt than this, its critiques were worth nothing.
///
/// What is rejected, what counts in a mean, what is random, and how a run is resumed (after the proposals, after the
/// comparison, and after each finalist) is as it is with [`apo`](super::apo()). The share of the validation tasks that a
/// score is measured on is the same, too.
///
/// # Parameters
///
/// - `resource`: what the agent calls the prompt; the only prompt if not set;
/// - `proposal_model`: the name of the model that makes up prompts; the one that the endpoint is set up with if not set;
/// - `diversity_temperature` (1.0): its temperature;
/// - `n_candidates` (16): how many prompts are asked for;
/// - `n_examples` (3): how many training tasks the model is shown each time;
/// - `val_batch_size` (16): on how many validation tasks all candidates are compared;
/// - `finalists` (3): how many of them are measured on all validation tasks, besides the first prompt;
/// - `rollout_batch_timeout` (3600.0): how long the rollouts of one prompt on one batch may take, in seconds;
/// - `instruction_prompts`: what the model is asked; two prompts of our own if not set, chosen at random. They are filled with
///   `prompt`, `placeholders` and `tasks`.
///
/// # Errors
///
/// As those of [`apo`](super::apo()).
#[algo(handle = RandomSearch)]
#[expect(clippy::too_many_arguments, reason = "each is a parameter of the algorithm")]
pub async fn random_search<T: Task>(
    run: RunContext,
    initial_resources: NamedResources,
    train_dataset: Dataset<T>,
    val_dataset: Option<Dataset<T>>,
    #[inject] model: Arc<dyn ChatModel>,
    #[param(default)] resource: Option<String>,
    #[param(default)] proposal_model: Option<String>,
    #[param(default = 1.0)] diversity_temperature: f64,
    #[param(default = 16)] n_candidates: usize,
    #[param(default = 3)] n_examples: usize,
    #[param(default = 16)] val_batch_size: usize,
    #[param(default = 3)] finalists: usize,
    #[param(default = 3600.0)] rollout_batch_timeout: f64,
    #[param(default = instruction_prompts())] instruction_prompts: Vec<PromptTemplate>,
) -> anyhow::Result<OptimizedPrompt> {
    anyhow::ensure!(val_batch_size > 0, "`val_batch_size` is 0; give at least 1");
    check_prompts(
        "instruction_prompts",
        &instruction_prompts,
        &["prompt", "placeholders", "tasks"],
    )?;
    let val = val_dataset.unwrap_or_else(|| train_dataset.clone());
    anyhow::ensure!(
        !train_dataset.is_empty() && !val.is_empty(),
        "there are no tasks; give `fit` datasets that are not empty"
    );
    let search = Search::new(
        &run,
        Settings {
            resources: initial_resources,
            resource,
            batch_timeout: rollout_batch_timeout,
            temperature: diversity_temperature,
        },
    )?;
    let (checkpoint, mut contest) = Contest::load(&search, &train_dataset, &val).await?;
    let steps = async {
        if contest.stage < Stage::Made {
            search.go_on()?;
            let proposals = (0..n_candidates).map(|index| {
                let mut choice = stream(run.seed(), "proposal", &[index]);
                let which = choice.random_range(0..instruction_prompts.len());
                let mut order: Vec<usize> = (0..train_dataset.len()).collect();
                order.shuffle(&mut choice);
                order.truncate(n_examples);
                let tasks = order.into_iter().map(|task| &train_dataset[task]);
                propose(
                    &search,
                    &model,
                    proposal_model.as_deref(),
                    which,
                    &instruction_prompts[which],
                    format!("candidate {index}, {ROLE_PROPOSAL}"),
                    tasks.collect(),
                )
            });
            take_in(&search, &mut contest, try_join_all(proposals).await?)?;
            contest.stage = Stage::Made;
            checkpoint.save(&contest).await?;
        }
        contest
            .compete(&search, &checkpoint, &val, (val_batch_size, finalists))
            .await
    };
    match steps.await {
        Ok(()) | Err(Halt::Stopped) => contest.finish(&search).await,
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// What the model proposed, with the number of the prompt by which it was asked.
type Proposed = (usize, Result<String, (Option<String>, RejectionReason)>);

async fn propose<T: Task>(
    search: &Search,
    model: &Arc<dyn ChatModel>,
    name: Option<&str>,
    which: usize,
    prompt: &PromptTemplate,
    place: String,
    tasks: Vec<&T>,
) -> Result<Proposed, Halt> {
    let mut shown = String::new();
    for task in tasks {
        let task = serde_json::to_value(task).map_err(anyhow::Error::from)?;
        shown.push_str(&format!("- {}\n", shown_task(&task)));
    }
    let text = prompt
        .render(&json!({
            "prompt": search.seed_prompt.template,
            "placeholders": search.rules.listed(),
            "tasks": shown,
        }))
        .map_err(anyhow::Error::from)?;
    let proposed = match search.ask(model, name, ROLE_PROPOSAL, &place, text).await? {
        Ok(answer) => proposed_text(&answer)
            .map(str::to_owned)
            .map_err(|reason| (Some(answer.text.clone()), reason)),
        Err(error) => {
            let reason = RejectionReason::NoAnswer {
                wanted: "prompt".to_owned(),
                problem: error.to_string(),
            };
            Err((None, reason))
        }
    };
    Ok((which, proposed))
}

/// Makes candidates of what was proposed.
fn take_in(search: &Search, contest: &mut Contest, proposals: Vec<Proposed>) -> Result<(), Halt> {
    let asked = proposals.len();
    for (instruction_prompt, proposed) in proposals {
        let examined = proposed.and_then(|text| {
            search
                .rules
                .examine(&text, &search.seed_prompt, &contest.candidates)
                .map_err(|reason| (Some(text), reason))
        });
        match examined {
            Ok(prompt) => {
                let origin = Origin::Proposal { instruction_prompt };
                contest.candidates.push(Candidate::new(prompt, 1, origin));
            }
            Err((text, reason)) => contest.rejections.push(Rejection {
                round: 1,
                parent: 0,
                text,
                critique: None,
                reason,
            }),
        }
    }
    let failed = |rejection: &&Rejection| matches!(rejection.reason, RejectionReason::NoAnswer { .. });
    let failures = contest.rejections.iter().filter(failed);
    if asked > 0
        && failures.count() == asked
        && let Some(first) = contest.rejections.first()
    {
        return Err(Halt::Failed(anyhow::anyhow!(
            "{}, and so for all {asked} candidates",
            first.reason
        )));
    }
    Ok(())
}
