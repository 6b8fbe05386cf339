//! Trains an agent to answer questions.
//!
//! `cargo run -- run run.yaml` runs what `run.yaml` says, `cargo run -- report runs/first` shows what came of it, and
//! `cargo run -- --help` tells what else there is.

mod agent;
mod algorithm;

use std::process::ExitCode;

use lightning_core::registry::Registry;

fn main() -> ExitCode {
    // What run files may name, besides the algorithms that come with Lightning.
    let registry = Registry::shipped()
        .algorithm(algorithm::best_prompt::algorithm(Vec::new()))
        .agent(agent::answer::agent());
    lightning_core::cli::main_with(registry)
}

#[cfg(test)]
mod tests {
    use lightning_core::prelude::*;

    use crate::{
        agent::{Question, answer},
        algorithm::best_prompt,
    };

    fn question(text: &str, answer: i64) -> Question {
        Question {
            question: text.to_owned(),
            answer,
        }
    }

    #[tokio::test]
    async fn an_agent_is_a_function_that_can_be_called() -> anyhow::Result<()> {
        let task = question("What is 2 + 3?", 5);
        let chatty = answer(&task, &PromptTemplate::new("{question}")).await?;
        let brief = answer(
            &task,
            &PromptTemplate::new("{question} Answer with a number only."),
        )
        .await?;
        assert_eq!((chatty, brief), (0.0, 1.0));
        Ok(())
    }

    #[tokio::test]
    async fn the_algorithm_finds_the_better_prompt() -> anyhow::Result<()> {
        let prompts = ["{question}", "{question} Answer with a number only."].map(PromptTemplate::new);
        let trainer = Trainer::builder()
            .quiet()
            .algorithm(best_prompt::algorithm(prompts.to_vec()))
            .n_runners(2)
            .build()?;
        let tasks = vec![question("What is 2 + 3?", 5), question("What is 4 + 4?", 8)];
        let report = trainer.fit(answer::agent(), tasks, None).await?;
        assert_eq!((report.output.score, report.rollouts.succeeded), (1.0, 4));
        assert!(report.output.best.template.contains("number only"));
        Ok(())
    }
}
