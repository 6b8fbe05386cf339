//! Measuring prompts and asking the model, as all searches do it.

use std::{sync::Arc, time::Duration};

use super::{Candidate, Rules};
use crate::{
    chat::{ChatAnswer, ChatError, ChatModel, ChatRequest, Message},
    run::{
        EvaluateError, Evaluation, FailurePolicy, ModelUsage, Outcome, OutcomeResult, Progress, RunContext,
        RunError, digest,
    },
    store::StoreError,
    types::{Dataset, NamedResources, PromptTemplate, Resource, ResourceError, RolloutMode, Task},
};

/// Above this share of failed rollouts a prompt gets no score: a mean over the rest would say nothing.
const FAILED_SHARE: f64 = 0.5;

/// What all searches are set up with.
pub(in crate::algorithm) struct Settings {
    pub(in crate::algorithm) resources: NamedResources,
    /// What the agent calls the prompt; the only prompt if `None`.
    pub(in crate::algorithm) resource: Option<String>,
    /// How long a batch of rollouts may take, in seconds.
    pub(in crate::algorithm) batch_timeout: f64,
    pub(in crate::algorithm) temperature: f64,
}

/// Why a search does not go on.
pub(in crate::algorithm) enum Halt {
    /// The run was asked to stop: the best so far is what there is.
    Stopped,
    Failed(anyhow::Error),
}

impl From<anyhow::Error> for Halt {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<RunError> for Halt {
    fn from(error: RunError) -> Self {
        Self::Failed(error.into())
    }
}

impl From<EvaluateError> for Halt {
    fn from(error: EvaluateError) -> Self {
        match error {
            EvaluateError::Cancelled => Self::Stopped,
            other => Self::Failed(other.into()),
        }
    }
}

/// Why there is no answer to keep.
enum Unanswered {
    Model(ChatError),
    Halt(Halt),
}

impl From<RunError> for Unanswered {
    fn from(error: RunError) -> Self {
        Self::Halt(error.into())
    }
}

/// A search that is going on.
pub(in crate::algorithm) struct Search {
    pub(in crate::algorithm) run: RunContext,
    pub(in crate::algorithm) seed_prompt: PromptTemplate,
    pub(in crate::algorithm) rules: Rules,
    resources: NamedResources,
    resource: String,
    batch_timeout: Duration,
    temperature: f64,
}

impl Search {
    /// Checks what can be wrong beforehand.
    pub(in crate::algorithm) fn new(run: &RunContext, settings: Settings) -> anyhow::Result<Self> {
        let Settings {
            resources,
            resource,
            batch_timeout,
            temperature,
        } = settings;
        let batch_timeout = Duration::try_from_secs_f64(batch_timeout)
            .ok()
            .filter(|time| !time.is_zero())
            .ok_or_else(|| {
                anyhow::anyhow!(
                    "`rollout_batch_timeout` is {batch_timeout}; it must be a number of seconds above 0"
                )
            })?;
        anyhow::ensure!(
            temperature.is_finite() && temperature >= 0.0,
            "`diversity_temperature` is {temperature}; it must be a number from 0"
        );
        let resource = match resource {
            Some(name) => name,
            None => only_prompt(&resources)?,
        };
        let seed_prompt = resources.get::<PromptTemplate>(&resource)?.clone();
        let rules = Rules::of(&seed_prompt)
            .map_err(|error| anyhow::anyhow!("the prompt `{resource}` cannot be the beginning: {error}"))?;
        Ok(Self {
            run: run.clone(),
            seed_prompt,
            rules,
            resources,
            resource,
            batch_timeout,
            temperature,
        })
    }

    /// Counts the rollouts of one phase, for those who watch.
    pub(in crate::algorithm) fn progress(&self, label: String, rollouts: usize) -> Arc<Progress> {
        Arc::new(self.run.progress(label, Some(rollouts as u64)))
    }

    /// Runs tasks with a prompt. What fails is not run again, and never gives the evaluation up: that would make it depend on
    /// which rollout ends first.
    pub(in crate::algorithm) async fn evaluate<T: Task>(
        &self,
        prompt: &PromptTemplate,
        tasks: &Dataset<T>,
        mode: RolloutMode,
        progress: Arc<Progress>,
    ) -> Result<Evaluation, Halt> {
        let evaluation = self
            .run
            .evaluator()
            .resources(self.resources.clone().with(&self.resource, prompt.clone()))
            .tasks(tasks)
            .mode(mode)
            .on_failure(FailurePolicy {
                retries: 0,
                abort_above: 1.0,
            })
            .within(self.batch_timeout)
            .progress(progress)
            .evaluate();
        Ok(evaluation.await?)
    }

    /// The mean reward of a prompt on validation tasks, or why there is none.
    pub(in crate::algorithm) async fn measure<T: Task>(
        &self,
        prompt: &PromptTemplate,
        tasks: &Dataset<T>,
        progress: Arc<Progress>,
    ) -> Result<Result<f64, String>, Halt> {
        let evaluation = self.evaluate(prompt, tasks, RolloutMode::Val, progress).await?;
        Ok(mean(evaluation.outcomes()))
    }

    /// Measures a candidate on all validation tasks, unless that was done before.
    pub(in crate::algorithm) async fn validate<T: Task>(
        &self,
        candidate: &mut Candidate,
        tasks: &Dataset<T>,
        label: String,
    ) -> Result<Option<f64>, Halt> {
        if candidate.score.is_none() {
            let progress = self.progress(label, tasks.len());
            match self.measure(&candidate.prompt, tasks, progress).await? {
                Ok(mean) => candidate.score = Some(mean),
                Err(problem) => candidate.problem = Some(problem),
            }
        }
        Ok(candidate.score)
    }

    /// Asks the model, and counts the call. An answer is kept: a search that is resumed does not ask for it again at the same
    /// place.
    pub(in crate::algorithm) async fn ask(
        &self,
        model: &Arc<dyn ChatModel>,
        name: Option<&str>,
        role: &str,
        place: &str,
        text: String,
    ) -> Result<Result<ChatAnswer, ChatError>, Halt> {
        let request = ChatRequest::new([Message::user(text)])
            .model(name)
            .temperature(self.temperature)
            .role(role);
        let asked = digest(&request).map_err(RunError::Unwritable)?;
        let answer = async {
            let answer = tokio::select! {
                biased;
                answer = model.ask(&request) => answer.map_err(Unanswered::Model)?,
                () = self.run.cancelled() => return Err(Unanswered::Halt(Halt::Stopped)),
            };
            let model = answer.model.as_deref().or(name);
            let usage = ModelUsage::of_call(role, model, answer.input_tokens, answer.output_tokens);
            Ok((answer, vec![usage]))
        };
        match self.run.memo_counted(format!("{place}: {asked}"), answer).await {
            Ok(answer) => Ok(Ok(answer)),
            Err(Unanswered::Model(error)) => Ok(Err(error)),
            Err(Unanswered::Halt(halt)) => Err(halt),
        }
    }

    /// Stops if the run should.
    pub(in crate::algorithm) fn go_on(&self) -> Result<(), Halt> {
        match self.run.should_stop() {
            Some(_) => Err(Halt::Stopped),
            None => Ok(()),
        }
    }

    /// Makes a prompt the latest version of the resources.
    pub(in crate::algorithm) async fn publish(&self, prompt: &PromptTemplate) -> Result<(), StoreError> {
        let resources = self.resources.clone().with(&self.resource, prompt.clone());
        self.run.store().add_resources(resources).await.map(drop)
    }
}

/// The mean of the rewards, or why there is none. The words do not depend on which rollout ended first.
pub(in crate::algorithm) fn mean(outcomes: &[Outcome]) -> Result<f64, String> {
    let failures: Vec<&str> = outcomes
        .iter()
        .filter_map(|outcome| match &outcome.result {
            OutcomeResult::Failed { message, .. } => Some(message.as_str()),
            OutcomeResult::Rewarded(_) | OutcomeResult::NoSignal(_) => None,
        })
        .collect();
    let total = outcomes.len();
    if failures.len() as f64 > FAILED_SHARE * total as f64 {
        return Err(format!(
            "{} of {total} rollouts failed, the first with: {}",
            failures.len(),
            failures[0]
        ));
    }
    let rewards: Vec<f64> = outcomes
        .iter()
        .filter_map(|outcome| Some(outcome.reward()?.primary()))
        .collect();
    if rewards.is_empty() {
        let without = outcomes.iter().find_map(|outcome| match &outcome.result {
            OutcomeResult::NoSignal(reason) => Some(reason.to_string()),
            OutcomeResult::Rewarded(_) | OutcomeResult::Failed { .. } => None,
        });
        return Err(format!(
            "none of {total} rollouts has a reward{}",
            without.map_or_else(String::new, |reason| format!("; the first without one: {reason}"))
        ));
    }
    Ok(rewards.iter().sum::<f64>() / rewards.len() as f64)
}

/// What the only prompt is called; where there are several, the one that is called as its kind is.
fn only_prompt(resources: &NamedResources) -> Result<String, ResourceError> {
    let only = resources.prompt_template()?;
    let found = resources.iter().find(
        |(_, resource)| matches!(resource, Resource::PromptTemplate(prompt) if std::ptr::eq(prompt, only)),
    );
    Ok(found.map_or_else(String::new, |(name, _)| name.to_owned()))
}
