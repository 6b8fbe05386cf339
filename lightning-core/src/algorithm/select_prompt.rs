//! Prompt selection over a list: the smallest complete algorithm.

use serde::Serialize;

use crate::{
    algo,
    run::{EvaluateError, RunContext},
    types::{Dataset, NamedResources, PromptTemplate, RolloutMode, Task},
};

/// What [`select_prompt`] found.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SelectedPrompt {
    /// The best of the candidates.
    pub best: PromptTemplate,
    /// Every candidate, in the order given.
    pub candidates: Vec<PromptScore>,
}

/// How good a candidate is.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct PromptScore {
    /// The candidate.
    pub prompt: PromptTemplate,
    /// Its mean reward on the training tasks; `None` if the run was stopped before, or for the reason in `problem`.
    pub train: Option<f64>,
    /// Its mean reward on the validation tasks; `None` if it was not among the finalists.
    pub val: Option<f64>,
    /// Why it has no score: too many of its rollouts failed, or none of them was rewarded.
    pub problem: Option<String>,
}

/// Tries each prompt of a list on the training tasks and keeps the best.
///
/// Each candidate takes the place of the prompt among the resources, all else stays as the trainer's initial resources
/// have it. The candidates are compared by their mean reward. With a validation dataset, the best `finalists` of them
/// meet again on it, and the mean reward there decides. Of equals, the first wins. At the end the best is the store's
/// latest version of the resources.
///
/// A candidate whose rollouts fail, or are not rewarded, gets no score, least of all 0. When the run should stop, the best
/// so far is returned.
///
/// ```
/// use lightning_core::{algorithm::SelectPrompt, prelude::*};
///
/// /// A simulated model that is best when told to be brief.
/// #[rollout]
/// async fn answer(task: &String, prompt_template: PromptTemplate) -> f64 {
///     let told = prompt_template.template.contains("brief");
///     if told { 1.0 } else { 1.0 / task.len() as f64 }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let candidates = ["Explain {question}", "Be brief: {question}"].map(PromptTemplate::new);
/// let trainer = Trainer::builder().algorithm(SelectPrompt::algorithm(candidates.to_vec())).n_runners(2).build()?;
/// let questions = vec!["2 + 2?".to_owned(), "3 + 3?".to_owned()];
/// let report = trainer.fit(answer::agent(), questions, None).await?;
/// assert_eq!(report.output.best.template, "Be brief: {question}");
/// # Ok(())
/// # }
/// ```
///
/// # Parameters
///
/// - `candidates`: the prompts to choose from, at least one;
/// - `resource` (`"prompt"`): what the agent calls the prompt;
/// - `finalists` (3): how many of the best on the training tasks are tried on the validation tasks;
/// - `repetitions` (1): how often each task is run for each candidate.
///
/// # Errors
///
/// If there is no candidate, if none of them got a score, and if the store fails.
#[algo(handle = SelectPrompt)]
#[expect(clippy::too_many_arguments, reason = "each is a parameter of the algorithm")]
pub async fn select_prompt<T: Task>(
    run: RunContext,
    initial_resources: Option<NamedResources>,
    train_dataset: Dataset<T>,
    val_dataset: Option<Dataset<T>>,
    #[param] candidates: Vec<PromptTemplate>,
    #[param(default = "prompt")] resource: String,
    #[param(default = 3)] finalists: usize,
    #[param(default = 1)] repetitions: usize,
) -> anyhow::Result<SelectedPrompt> {
    anyhow::ensure!(
        !candidates.is_empty(),
        "`candidates` is empty; give at least one prompt"
    );
    let others = initial_resources.unwrap_or_default();
    let score = async |prompt: &PromptTemplate, tasks: &Dataset<T>, mode, label| {
        let evaluation = run
            .evaluator()
            .resources(others.clone().with(&resource, prompt.clone()))
            .tasks(tasks)
            .mode(mode)
            .repetitions(repetitions)
            .label(label)
            .evaluate();
        evaluation.await?.mean()
    };
    let mut candidates: Vec<PromptScore> = candidates.into_iter().map(PromptScore::new).collect();
    let total = candidates.len();
    for (index, candidate) in candidates.iter_mut().enumerate() {
        if run.should_stop().is_some() {
            break;
        }
        let label = format!("prompt {} of {total}", index + 1);
        match score(&candidate.prompt, &train_dataset, RolloutMode::Train, label).await {
            Ok(mean) => {
                candidate.train = Some(mean);
                run.report_score(mean);
            }
            Err(EvaluateError::Cancelled) => break,
            Err(error) => candidate.problem = Some(problem(error)?),
        }
    }

    let mut ranking: Vec<usize> = (0..total)
        .filter(|index| candidates[*index].train.is_some())
        .collect();
    ranking.sort_by(|a, b| descending(candidates[*a].train, candidates[*b].train));
    if let Some(tasks) = &val_dataset {
        ranking.truncate(finalists.max(1));
        for (place, index) in ranking.iter().enumerate() {
            if run.should_stop().is_some() {
                break;
            }
            let candidate = &mut candidates[*index];
            let label = format!("finalist {} of {}", place + 1, ranking.len());
            match score(&candidate.prompt, tasks, RolloutMode::Val, label).await {
                Ok(mean) => {
                    candidate.val = Some(mean);
                    run.log_metric("val_score", *index as u64, mean);
                }
                Err(EvaluateError::Cancelled) => break,
                Err(error) => candidate.problem = Some(problem(error)?),
            }
        }
        // Where all finalists were validated, validation decides; those that could not be come last.
        ranking.sort_by(|a, b| descending(candidates[*a].val, candidates[*b].val));
    }
    let Some(best) = ranking.first().map(|index| candidates[*index].prompt.clone()) else {
        let problem = candidates
            .iter()
            .find_map(|candidate| candidate.problem.as_deref());
        anyhow::bail!(
            "none of the {total} candidates got a score: {}",
            problem.unwrap_or("the run was stopped before the first was evaluated")
        );
    };
    run.store()
        .add_resources(others.with(&resource, best.clone()))
        .await?;
    Ok(SelectedPrompt { best, candidates })
}

impl PromptScore {
    fn new(prompt: PromptTemplate) -> Self {
        Self {
            prompt,
            train: None,
            val: None,
            problem: None,
        }
    }
}

/// What keeps a candidate from having a score; any other error ends the algorithm.
fn problem(error: EvaluateError) -> anyhow::Result<String> {
    match error {
        EvaluateError::TooManyFailed { .. } | EvaluateError::NoReward { .. } => Ok(error.to_string()),
        other => Err(other.into()),
    }
}

/// Greater means first, none comes last.
fn descending(a: Option<f64>, b: Option<f64>) -> std::cmp::Ordering {
    let rank = |score: Option<f64>| score.unwrap_or(f64::NEG_INFINITY);
    rank(b).total_cmp(&rank(a))
}
