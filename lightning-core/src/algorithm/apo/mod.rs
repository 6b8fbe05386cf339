//! Automatic prompt optimisation: textual gradients and beam search.

mod round;
mod wording;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::round::Rounds;
pub(super) use self::wording::check as check_prompts;
use super::prompt_search::{
    BegunWith, Candidate, Halt, OptimizedPrompt, Origin, Rejection, Search, Settings,
};
use crate::{
    algo,
    chat::ChatModel,
    run::{Checkpoint, RunContext, RunError},
    types::{Dataset, NamedResources, PromptTemplate, Task},
};

/// The role of the calls that criticise a prompt.
pub(super) const ROLE_GRADIENT: &str = "gradient";
/// The role of the calls that rewrite a prompt.
pub(super) const ROLE_EDIT: &str = "apply_edit";

/// Improves a prompt by what a model says about its failures: textual gradients and beam search.
///
/// The search begins with the prompt among the initial resources. In each round, every prompt of the beam is run on a few
/// training tasks, `branch_factor` times; a model reads what came of them and criticises the prompt (the *textual gradient*);
/// a model rewrites the prompt by the critique (the *edit*). Parents and children then meet on one batch of validation tasks,
/// and the best `beam_width` of them make up the next beam. The leader of each round is measured on all validation tasks,
/// and the best leader over all rounds is the result. At the end it is the store's latest version of the resources.
///
/// The method is that of ProTeGi (Pryzant et al. 2023, [arXiv:2305.03495](https://arxiv.org/abs/2305.03495)); the word textual
/// gradient is used as in TextGrad (Yuksekgonul et al. 2024, [arXiv:2406.07496](https://arxiv.org/abs/2406.07496)). Unlike
/// ProTeGi it has no bandit that distributes the evaluations: all candidates of a round see the same tasks.
///
/// What it needs: the prompt in the initial resources; a model, given as an extension
/// ([`ChatModel::shared`](crate::chat::ChatModel::shared)); a training dataset. Without a validation dataset the training tasks
/// take its place, and the scores are too good.
///
/// - A proposed prompt that is empty, cut off, unchanged, known already or malformed, that has lost a placeholder of the first
///   prompt or made one up, is rejected, and the reason kept.
/// - A rollout that fails or is not rewarded counts in no mean. A prompt of whose rollouts more than half fail has no score.
/// - All rollouts of a phase are under way at once, within the run's limit on what is in flight.
/// - What is chosen at random depends on the run's seed alone, neither on the number of runners nor on what ends first.
/// - When the run should stop, the best so far is returned. The state is saved after each round, and within a round what rollouts
///   and models came to: a run that begins in the folder of one that ended at any moment goes on where that one was.
///
/// # Parameters
///
/// - `resource`: what the agent calls the prompt; the only prompt if not set;
/// - `gradient_model`, `apply_edit_model`: the names of the models that criticise and rewrite, where the endpoint serves
///   several; the one that it is set up with if not set;
/// - `diversity_temperature` (1.0): the temperature of both;
/// - `gradient_batch_size` (4): how many training tasks a critique is based on;
/// - `val_batch_size` (16): on how many validation tasks the candidates of a round are compared;
/// - `beam_width` (4): how many prompts survive a round;
/// - `branch_factor` (4): how many children each of them has in a round;
/// - `beam_rounds` (3): how many rounds there are;
/// - `rollout_batch_timeout` (3600.0): how long the rollouts of one prompt on one batch may take, in seconds;
/// - `run_initial_validation` (true): whether the first prompt is measured on all validation tasks before the first round. An
///   agent that does not work is found out here;
/// - `gradient_prompts`, `edit_prompts`: what the models are asked; three and two prompts of our own if not set, chosen at
///   random. The first are filled with `prompt`, `placeholders` and `examples`, the second with `prompt`, `placeholders` and
///   `critique`. The new prompt is what stands between `<prompt>` and `</prompt>` in the answer, or all of the answer.
///
/// # Errors
///
/// If a parameter makes no sense, there are no tasks, or the prompt is none that can be rendered here; if the first prompt, or
/// all prompts of a round, get no score; if the model fails for all candidates of a round; if the state was saved by a run
/// with other settings; and if the store fails.
#[algo(handle = Apo)]
#[expect(clippy::too_many_arguments, reason = "each is a parameter of the algorithm")]
pub async fn apo<T: Task>(
    run: RunContext,
    initial_resources: NamedResources,
    train_dataset: Dataset<T>,
    val_dataset: Option<Dataset<T>>,
    #[inject] model: Arc<dyn ChatModel>,
    #[param(default)] resource: Option<String>,
    #[param(default)] gradient_model: Option<String>,
    #[param(default)] apply_edit_model: Option<String>,
    #[param(default = 1.0)] diversity_temperature: f64,
    #[param(default = 4)] gradient_batch_size: usize,
    #[param(default = 16)] val_batch_size: usize,
    #[param(default = 4)] beam_width: usize,
    #[param(default = 4)] branch_factor: usize,
    #[param(default = 3)] beam_rounds: usize,
    #[param(default = 3600.0)] rollout_batch_timeout: f64,
    #[param(default = true)] run_initial_validation: bool,
    #[param(default = wording::gradient_prompts())] gradient_prompts: Vec<PromptTemplate>,
    #[param(default = wording::edit_prompts())] edit_prompts: Vec<PromptTemplate>,
) -> anyhow::Result<OptimizedPrompt> {
    for (name, value) in [
        ("gradient_batch_size", gradient_batch_size),
        ("val_batch_size", val_batch_size),
        ("beam_width", beam_width),
        ("branch_factor", branch_factor),
    ] {
        anyhow::ensure!(value > 0, "`{name}` is 0; give at least 1");
    }
    check_prompts(
        "gradient_prompts",
        &gradient_prompts,
        &["prompt", "placeholders", "examples"],
    )?;
    check_prompts(
        "edit_prompts",
        &edit_prompts,
        &["prompt", "placeholders", "critique"],
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
    let begun_with = BegunWith::new(&search, &train_dataset, &val);
    let checkpoint = run.checkpoint::<State>();
    let mut state = match checkpoint.load().await? {
        Some(saved) => {
            begun_with.check(&saved.begun_with)?;
            for score in &saved.reported {
                run.report_score(*score);
            }
            saved
        }
        None => State::new(begun_with, search.seed_prompt.clone()),
    };
    if run_initial_validation && !state.begun {
        match state.validate_seed(&search, &val).await {
            Ok(()) => state.keep(&run, &checkpoint).await?,
            Err(Halt::Stopped) => {}
            Err(Halt::Failed(error)) => return Err(error),
        }
    }
    let rounds = Rounds {
        search: &search,
        model: &model,
        train: &train_dataset,
        val: &val,
        gradient_model: gradient_model.as_deref(),
        apply_edit_model: apply_edit_model.as_deref(),
        gradient_batch_size,
        val_batch_size,
        beam_width,
        branch_factor,
        gradient_prompts: &gradient_prompts,
        edit_prompts: &edit_prompts,
    };
    let progress = run.progress("rounds", Some(beam_rounds as u64));
    progress.advance(state.rounds as u64);
    while state.rounds < beam_rounds && run.should_stop().is_none() {
        match rounds.next(&state).await {
            Ok(next) => state = next,
            Err(Halt::Stopped) => break,
            Err(Halt::Failed(error)) => return Err(error),
        }
        state.keep(&run, &checkpoint).await?;
        progress.advance(1);
    }
    let found = state.into_found();
    search.publish(&found.best).await?;
    Ok(found)
}

/// What is saved after each round.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct State {
    begun_with: BegunWith,
    /// Whether the first prompt has been measured.
    begun: bool,
    /// How many rounds are complete.
    rounds: usize,
    /// The prompts that survived the last round, the best first, by their places among the candidates.
    beam: Vec<usize>,
    /// The best leader so far.
    best: Option<usize>,
    /// The scores of the first prompt and of the leaders, as they were reported.
    reported: Vec<f64>,
    candidates: Vec<Candidate>,
    rejections: Vec<Rejection>,
}

impl State {
    fn new(begun_with: BegunWith, prompt: PromptTemplate) -> Self {
        Self {
            begun_with,
            begun: false,
            rounds: 0,
            beam: vec![0],
            best: None,
            reported: Vec::new(),
            candidates: vec![Candidate::new(prompt, 0, Origin::Seed)],
            rejections: Vec::new(),
        }
    }

    async fn validate_seed<T: Task>(&mut self, search: &Search, val: &Dataset<T>) -> Result<(), Halt> {
        search.go_on()?;
        let seed = &mut self.candidates[0];
        if search
            .validate(seed, val, "first prompt".to_owned())
            .await?
            .is_none()
        {
            let problem = seed.problem.as_deref().unwrap_or_default();
            return Err(Halt::Failed(anyhow::anyhow!(
                "the prompt to begin with gets no score: {problem}; mend the agent, or set `run_initial_validation` to false \
                 if only this prompt is to blame"
            )));
        }
        self.begun = true;
        self.best = Some(0);
        Ok(())
    }

    /// Saves the state, then reports the score of the leader, if it has one. In this order, a crash in between loses nothing:
    /// who resumes reports what is saved.
    async fn keep(&mut self, run: &RunContext, checkpoint: &Checkpoint<Self>) -> Result<(), RunError> {
        let leader = self.beam.first().map(|leader| &self.candidates[*leader]);
        let score = leader.and_then(|leader| leader.score);
        self.reported.extend(score);
        checkpoint.save(self).await?;
        if let Some(score) = score {
            run.report_score(score);
        }
        Ok(())
    }

    fn into_found(self) -> OptimizedPrompt {
        let best = self.best.unwrap_or(0);
        OptimizedPrompt {
            best: self.candidates[best].prompt.clone(),
            best_candidate: best,
            score: self.candidates[best].score,
            seed_score: self.candidates[0].score,
            rounds: self.rounds,
            candidates: self.candidates,
            rejections: self.rejections,
        }
    }
}
