//! The algorithm: what trains. This one tries every prompt of a list and keeps the best; replace it by your idea.

use lightning_core::prelude::*;
use serde::Serialize;

use crate::agent::Question;

/// What the algorithm returns. It is printed at the end, and is in the report.
#[derive(Debug, Serialize)]
pub struct Found {
    pub best: PromptTemplate,
    pub score: f64,
    pub candidates: Vec<Candidate>,
}

/// A prompt that was tried.
#[derive(Debug, Serialize)]
pub struct Candidate {
    pub prompt: PromptTemplate,
    pub score: f64,
}

/// Tries every prompt on all tasks and keeps the best.
///
/// The parameters say what the function needs; `#[param]` marks those that a run file sets.
#[algo]
pub async fn best_prompt(
    run: RunContext,
    train_dataset: Dataset<Question>,
    val_dataset: Option<Dataset<Question>>,
    #[param] prompts: Vec<PromptTemplate>,
) -> anyhow::Result<Found> {
    let mut candidates: Vec<Candidate> = Vec::new();
    for prompt in prompts {
        // Ctrl-C, a limit of `stop_when`: whatever asks the run to stop, it ends with the best so far.
        if run.should_stop().is_some() {
            break;
        }
        let label = format!("prompt {}", candidates.len() + 1);
        let evaluator = run
            .evaluator()
            .resource("prompt", prompt.clone())
            .tasks(&train_dataset);
        let score = evaluator.label(label).evaluate().await?.mean()?;
        run.report_score(score);
        candidates.push(Candidate { prompt, score });
    }
    let best = candidates.iter().max_by(|a, b| a.score.total_cmp(&b.score));
    let best = best.map(|best| (best.prompt.clone(), best.score));
    let (best, mut score) = best.ok_or_else(|| anyhow::anyhow!("give at least one prompt in `prompts`"))?;
    if let Some(tasks) = &val_dataset {
        let evaluator = run.evaluator().resource("prompt", best.clone()).tasks(tasks);
        score = evaluator
            .label("the best, on tasks it has not seen")
            .evaluate()
            .await?
            .mean()?;
    }
    Ok(Found {
        best,
        score,
        candidates,
    })
}
