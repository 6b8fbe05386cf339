//! Tests an algorithm in three ways: called like any function, one rollout at a time, and by the trainer as a whole.
//!
//! `cargo run -p lightning-examples --features testing --example unit_test_an_algorithm` runs the three and tells what each
//! showed; `cargo test -p lightning-examples --features testing` runs them as tests.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

use std::sync::Arc;

use anyhow::{Context as _, ensure};
use lightning_core::{
    prelude::*,
    run::RunContext,
    store::MemoryStore,
    testing::{StepRunner, assert_all_ended},
};

/// Finds the best prompt by halving: all prompts meet on a few tasks, the better half on twice as many, and so on.
#[algo]
async fn halving(
    run: RunContext,
    train_dataset: Dataset<String>,
    #[param] prompts: Vec<String>,
    #[param(default = 1)] first_tasks: usize,
) -> anyhow::Result<String> {
    ensure!(!prompts.is_empty(), "there is no prompt to choose from");
    let (mut left, mut tasks) = (prompts, first_tasks);
    while left.len() > 1 {
        let mut scored = Vec::new();
        for prompt in left {
            let evaluator = run
                .evaluator()
                .resource("prompt", PromptTemplate::new(&*prompt))
                .tasks(train_dataset.iter().take(tasks));
            scored.push((evaluator.evaluate().await?.mean()?, prompt));
        }
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        scored.truncate(scored.len().div_ceil(2));
        left = scored.into_iter().map(|(_, prompt)| prompt).collect();
        tasks *= 2;
    }
    left.pop().context("one prompt is left")
}

/// An agent for tests: it asks no model, and the wording decides how well it does.
#[rollout]
async fn graded_by_wording(prompt_template: &PromptTemplate) -> f64 {
    ["brief", "number"]
        .iter()
        .map(|word| f64::from(u8::from(prompt_template.template.contains(word))) / 2.0)
        .sum()
}

fn prompts() -> Vec<String> {
    [
        "Answer: {question}",
        "Be brief: {question}",
        "Be brief, give a number: {question}",
        "Please: {question}",
    ]
    .map(str::to_owned)
    .to_vec()
}

fn questions() -> Vec<String> {
    ["2 + 2?", "3 + 3?", "4 + 4?"].map(str::to_owned).to_vec()
}

/// The function is called like any other. What needs no rollouts is tested this way.
async fn called_like_any_function() -> anyhow::Result<()> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let run = RunContext::builder("test", Arc::clone(&store)).build();

    let nothing = halving(run.clone(), questions().into(), Vec::new(), 1).await;
    let said = nothing.err().context("it should refuse")?.to_string();
    assert_eq!(said, "there is no prompt to choose from");

    let only = vec!["the only one".to_owned()];
    assert_eq!(halving(run, questions().into(), only, 1).await?, "the only one");
    assert!(
        assert_all_ended(&*store).await.is_empty(),
        "nothing had to be tried"
    );
    Ok(())
}

/// The test executes each rollout that the algorithm enqueues, and looks at what the algorithm does about it.
async fn one_rollout_at_a_time() -> anyhow::Result<()> {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let run = RunContext::builder("test", Arc::clone(&store)).build();
    let steps = StepRunner::<String>::new(graded_by_wording::agent(), Arc::clone(&store));

    let test = async {
        for reward in [0.0, 0.5, 1.0, 0.0] {
            steps.next().await?.input(&"2 + 2?").succeeded().reward(reward);
        }
        // The better half goes on with two tasks. The first of them was tried already, and is not tried again.
        steps.next().await?.input(&"3 + 3?").reward(1.0);
        steps.next().await?.input(&"3 + 3?").reward(0.5);
        anyhow::Ok(())
    };
    let (best, tested) = tokio::join!(halving(run, questions().into(), prompts(), 1), test);
    tested?;
    assert_eq!(best?, "Be brief, give a number: {question}");
    assert_eq!(assert_all_ended(&*store).await.len(), 6);
    Ok(())
}

/// The trainer injects what the signature asks for, and starts the runners: this is how the algorithm will be used.
async fn by_the_trainer() -> anyhow::Result<()> {
    let trainer = Trainer::builder()
        .algorithm(halving::algorithm(prompts()).first_tasks(2))
        .n_runners(4)
        .quiet()
        .build()?;
    let report = trainer.fit(graded_by_wording::agent(), questions(), None).await?;
    assert_eq!(report.output, "Be brief, give a number: {question}");
    assert_eq!((report.rollouts.succeeded, report.rollouts.failed), (10, 0));

    let refused = trainer.fit(graded_by_wording::agent(), None, None).await;
    let said = refused.err().context("it should refuse")?.to_string();
    assert!(said.contains("no `train_dataset` was given"), "{said}");
    Ok(())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    called_like_any_function().await?;
    println!(
        "called like any function: it refuses an empty list, and returns a single prompt without a rollout"
    );
    one_rollout_at_a_time().await?;
    println!(
        "one rollout at a time:    four prompts on one task, then the better half on the next; nothing twice"
    );
    by_the_trainer().await?;
    println!(
        "by the trainer:           four runners find the same prompt in 10 rollouts; no tasks, no start"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_is_called_like_any_function() -> anyhow::Result<()> {
        called_like_any_function().await
    }

    #[tokio::test]
    async fn it_is_watched_one_rollout_at_a_time() -> anyhow::Result<()> {
        one_rollout_at_a_time().await
    }

    #[tokio::test]
    async fn it_is_run_by_the_trainer() -> anyhow::Result<()> {
        by_the_trainer().await
    }
}
