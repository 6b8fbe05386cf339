//! Running tasks and collecting their rewards.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::future::try_join_all;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::{
    EvaluateError, Outcome, OutcomeResult, Progress, RunContext,
    evaluations::{Asked, EvaluationRecord},
    identity::{self, digest, digest_of_resources},
    recovery,
};
use crate::{
    ids::{IdSource as _, RandomIds},
    store::{Answer, Command, Request, Store, StoreError},
    types::{
        NamedResources, NewRollout, Resource, ResourcesId, Rollout, RolloutConfig, RolloutId, RolloutMode,
        SpanQuery,
    },
};

/// Runs tasks on whatever runners work on the run's store, and collects their rewards.
///
/// Publishes the resources, enqueues a rollout for each task and repetition, waits, reads the spans, and gives the
/// outcomes in the order of the tasks, whatever the number of runners.
///
/// What a run has evaluated once it does not evaluate again: the same task with the same resources in the same
/// repetition is the same rollout. This also holds for a run that is resumed, if its store is durable: rollouts that had
/// ended are found again, the others are taken up. [`named`](Self::named) tells evaluations apart that are otherwise the
/// same, and [`fresh`](Self::fresh) asks for new rollouts always.
///
/// Resources are the same if they hold the same; keys of models and the address of the LLM proxy do not count.
///
/// ```no_run
/// # use lightning_core::{run::{EvaluateError, RunContext}, types::{Dataset, PromptTemplate, RolloutMode}};
/// # async fn example(run: RunContext, questions: Dataset<String>) -> Result<(), EvaluateError> {
/// let evaluation = run
///     .evaluator()
///     .resource("prompt", PromptTemplate::new("Answer {question}"))
///     .tasks(&questions)
///     .mode(RolloutMode::Val)
///     .evaluate()
///     .await?;
/// println!("mean reward: {}", evaluation.mean()?);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "nothing runs until `evaluate` is awaited"]
pub struct Evaluator {
    run: RunContext,
    resources: Option<NamedResources>,
    tasks: Result<Vec<serde_json::Value>, EvaluateError>,
    mode: Option<RolloutMode>,
    repetitions: usize,
    config: Option<RolloutConfig>,
    policy: FailurePolicy,
    within: Option<Duration>,
    label: String,
    progress: Option<Arc<Progress>>,
    name: Option<String>,
}

/// What to do about rollouts that fail. What failed never counts as a reward of 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FailurePolicy {
    /// How often a task is run again after a rollout of it failed. This comes on top of the attempts that the rollout's
    /// own configuration allows.
    pub retries: u32,
    /// Which share of the rollouts may fail for good, from 0 to 1. With more, the evaluation is given up.
    pub abort_above: f64,
}

impl Default for FailurePolicy {
    /// No retries, and no result if more than half of the rollouts fail.
    fn default() -> Self {
        Self {
            retries: 0,
            abort_above: 0.5,
        }
    }
}

impl Evaluator {
    pub(super) fn new(run: RunContext) -> Self {
        Self {
            run,
            resources: None,
            tasks: Ok(Vec::new()),
            mode: None,
            repetitions: 1,
            config: None,
            policy: FailurePolicy::default(),
            within: None,
            label: "evaluate".to_owned(),
            progress: None,
            name: None,
        }
    }

    /// The resources that the agent uses; the store's latest if not set.
    pub fn resources(mut self, resources: NamedResources) -> Self {
        self.resources = Some(resources);
        self
    }

    /// Adds one resource to those that the agent uses.
    pub fn resource(mut self, name: impl Into<String>, resource: impl Into<Resource>) -> Self {
        self.resources.get_or_insert_default().insert(name, resource);
        self
    }

    /// Adds tasks.
    pub fn tasks<'a, T: Serialize + 'a>(mut self, tasks: impl IntoIterator<Item = &'a T>) -> Self {
        if let Ok(known) = &mut self.tasks {
            for task in tasks {
                match serde_json::to_value(task) {
                    Ok(input) => known.push(input),
                    Err(source) => {
                        let what = format!("task {}", known.len());
                        self.tasks = Err(EvaluateError::Unwritable { what, source });
                        break;
                    }
                }
            }
        }
        self
    }

    /// What the rollouts are for.
    pub fn mode(mut self, mode: RolloutMode) -> Self {
        self.mode = Some(mode);
        self
    }

    /// How often each task is run, at least 1. The outcomes of a task stand together.
    pub fn repetitions(mut self, repetitions: usize) -> Self {
        self.repetitions = repetitions.max(1);
        self
    }

    /// Time limits and attempts of each rollout; the trainer's if not set.
    pub fn config(mut self, config: RolloutConfig) -> Self {
        self.config = Some(config);
        self
    }

    /// What to do about rollouts that fail.
    pub fn on_failure(mut self, policy: FailurePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// How long the evaluation may take. Rollouts that have not ended by then are cancelled and count as failed; they are
    /// not run again.
    pub fn within(mut self, time: Duration) -> Self {
        self.within = Some(time);
        self
    }

    /// What the progress is labelled with; `evaluate` if not set.
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What counts the rollouts in place of a progress of the evaluation's own: one for several that go on at the same time.
    pub fn progress(mut self, progress: Arc<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Makes new rollouts, also for what this run has evaluated before, and again when the run is resumed.
    pub fn fresh(self) -> Self {
        self.named(format!("fresh/{}", RandomIds.hex(16)))
    }

    /// Evaluates what was evaluated under another name once more, and finds again what was evaluated under this one: of the
    /// number of a round, for example.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Runs the tasks and collects the outcomes.
    ///
    /// When the run is asked to stop, or too many rollouts fail, the rollouts still under way are cancelled. Not cancel
    /// safe in one respect: dropped, it leaves the rollouts that it enqueued to the runners.
    ///
    /// # Errors
    ///
    /// See [`EvaluateError`].
    pub async fn evaluate(self) -> Result<Evaluation, EvaluateError> {
        let Self {
            run,
            resources,
            tasks,
            mode,
            repetitions,
            config,
            policy,
            within,
            label,
            progress,
            name,
        } = self;
        let deadline = within.and_then(|time| Some((Instant::now().checked_add(time)?, time)));
        let tasks = tasks?;
        let store = &**run.store();
        let (resources_id, resources) = publish(store, run.id(), resources).await?;

        let total = tasks.len() * repetitions;
        let progress = progress.unwrap_or_else(|| Arc::new(run.progress(label.clone(), Some(total as u64))));
        let under_way = UnderWay {
            run: &run,
            policy,
            deadline,
            total,
            failed: AtomicUsize::new(0),
            open: Mutex::default(),
            progress,
        };
        let mut seen: HashMap<String, usize> = HashMap::new();
        let mut jobs = Vec::with_capacity(total);
        let mut digests = Vec::with_capacity(tasks.len());
        for input in tasks {
            let new = NewRollout {
                input: input.into(),
                mode,
                resources_id: resources_id.clone(),
                config: config.clone(),
                metadata: None,
            };
            // By what the resources hold and not by their id, which is another one when a run is resumed after long.
            let what = (&name, &new.input, new.mode, &new.config, &resources);
            let digest = digest(&what).map_err(|source| EvaluateError::Unwritable {
                what: "a rollout".to_owned(),
                source,
            })?;
            for _ in 0..repetitions {
                let repetition = seen.entry(digest.clone()).or_default();
                jobs.push(under_way.run_task(new.clone(), format!("{digest}/{repetition}")));
                *repetition += 1;
            }
            digests.push(digest);
        }
        let key = digest(&(&digests, repetitions)).map_err(|source| EvaluateError::Unwritable {
            what: "an evaluation".to_owned(),
            source,
        })?;
        let asked = Asked {
            key,
            label,
            mode,
            resources_id,
            rollouts: total,
        };
        let outcomes = tokio::select! {
            // What is complete is not thrown away.
            biased;
            outcomes = try_join_all(jobs) => outcomes,
            () = run.cancelled() => Err(EvaluateError::Cancelled),
        };
        if outcomes.is_err() {
            under_way.cancel_open().await;
        }
        let evaluation = outcomes.map(|outcomes| Evaluation { outcomes });
        run.note_evaluation(asked, evaluation.as_ref());
        evaluation
    }
}

/// The resources to use, published under a key, so that the same ones have the same id over the whole run; and what stands
/// for what they hold.
async fn publish(
    store: &dyn Store,
    run_id: &str,
    resources: Option<NamedResources>,
) -> Result<(Option<ResourcesId>, Option<String>), EvaluateError> {
    let digest = |resources: &NamedResources| {
        digest_of_resources(resources).map_err(|source| EvaluateError::Unwritable {
            what: "a resource".to_owned(),
            source,
        })
    };
    let Some(resources) = resources else {
        let Some(latest) = store.get_latest_resources().await? else {
            return Ok((None, None));
        };
        let holds = digest(&latest.resources)?;
        return Ok((Some(latest.resources_id), Some(holds)));
    };
    let holds = digest(&resources)?;
    // With the keys and addresses that are left out of `holds`: rollouts are to use those of now.
    let exactly = identity::digest(&resources).map_err(|source| EvaluateError::Unwritable {
        what: "a resource".to_owned(),
        source,
    })?;
    let key = format!("evaluation/{run_id}/resources/{exactly}");
    let command = Command::AddResources { resources };
    match store.execute(Request::keyed(command, key)).await? {
        Answer::Resources(added) => Ok((Some(added.resources_id), Some(holds))),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(answer: &Answer) -> EvaluateError {
    EvaluateError::Store(StoreError::Internal {
        reason: format!("the store answered an evaluation with {answer:?}"),
        source: None,
    })
}

impl RunContext {
    /// Notes what an evaluation came to, in the run's folder.
    fn note_evaluation(&self, asked: Asked, outcome: Result<&Evaluation, &EvaluateError>) {
        if let Some(record) = EvaluationRecord::new(asked, outcome, self.shared.clock.now()) {
            self.shared.evaluations.push(&self.shared.folder, &record);
        }
    }
}

/// An evaluation that is going on.
struct UnderWay<'a> {
    run: &'a RunContext,
    policy: FailurePolicy,
    /// When it has to be over, and how long that is from its beginning.
    deadline: Option<(Instant, Duration)>,
    total: usize,
    failed: AtomicUsize,
    /// The rollouts that have been enqueued and not been seen to end.
    open: Mutex<HashSet<RolloutId>>,
    progress: Arc<Progress>,
}

impl UnderWay<'_> {
    async fn run_task(&self, new: NewRollout, key: String) -> Result<Outcome, EvaluateError> {
        // The semaphore is never closed.
        let _permit = self.run.shared.in_flight.acquire().await;
        let mut retry = 0;
        loop {
            let outcome = self.run_rollout(new.clone(), format!("{key}/{retry}")).await?;
            let OutcomeResult::Failed { message, .. } = &outcome.result else {
                self.progress.advance(1);
                return Ok(outcome);
            };
            if retry < self.policy.retries && !self.is_late() {
                retry += 1;
                continue;
            }
            let failed = self.failed.fetch_add(1, Ordering::Relaxed) + 1;
            if failed as f64 > self.policy.abort_above * self.total as f64 {
                return Err(EvaluateError::TooManyFailed {
                    failed,
                    total: self.total,
                    rollout_id: outcome.rollout.rollout_id.clone(),
                    message: message.clone(),
                });
            }
            self.progress.advance(1);
            return Ok(outcome);
        }
    }

    async fn run_rollout(&self, new: NewRollout, key: String) -> Result<Outcome, EvaluateError> {
        let store = &**self.run.store();
        let id = match self.run.take_up(&key, &new).await? {
            Some(id) => id,
            None => self.enqueue(new, &key).await?,
        };
        self.open().insert(id.clone());
        let ended = match self.deadline {
            None => wait_for(store, &id).await?,
            Some((deadline, time)) => match timeout_at(deadline, wait_for(store, &id)).await {
                Ok(ended) => ended?,
                Err(_) => self.cancel_late(&id, time).await?,
            },
        };
        self.open().remove(&id);
        let latest = store.get_latest_attempt(&id).await?;
        let spans = store.query_spans(SpanQuery::of(id).latest_attempt()).await?;
        Ok(Outcome::new(ended, latest.as_ref(), spans.items))
    }

    async fn enqueue(&self, mut new: NewRollout, key: &str) -> Result<RolloutId, EvaluateError> {
        new.metadata = Some(recovery::notes(self.run.id(), key));
        let resources_id = new.resources_id.as_ref().map_or("", ResourcesId::as_str);
        let request_key = format!("evaluation/{}/{resources_id}/{key}", self.run.id());
        let command = Command::EnqueueRollouts { rollouts: vec![new] };
        let request = Request::keyed(command, request_key);
        match self.run.store().execute(request).await? {
            Answer::Enqueued(made) if made.len() == 1 => {
                let id = made[0].rollout_id.clone();
                self.run.shared.evaluated.note(key, id.clone());
                Ok(id)
            }
            other => Err(unexpected(&other)),
        }
    }

    /// Cancels a rollout that has not ended in time.
    async fn cancel_late(&self, id: &RolloutId, time: Duration) -> Result<Rollout, EvaluateError> {
        let store = &**self.run.store();
        let rollout = store.get_rollout_by_id(id).await?;
        let notes = rollout.and_then(|rollout| rollout.rollout.metadata);
        let reason = format!(
            "it did not end within the {} s of the evaluation",
            time.as_secs_f64()
        );
        let patch = recovery::cancel(notes.as_ref(), &reason);
        Ok(store.update_rollout(id.clone(), patch).await?)
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|(deadline, _)| Instant::now() >= deadline)
    }

    async fn cancel_open(&self) {
        let open: Vec<RolloutId> = self.open().drain().collect();
        for id in open {
            if let Err(error) = self.set_aside(&id).await {
                tracing::warn!(
                    target: "lightning::run",
                    rollout_id = %id,
                    error = %error,
                    "a rollout of an evaluation that was given up could not be cancelled"
                );
            }
        }
    }

    /// Cancels a rollout that another evaluation may take up again, of this process or of the one that resumes the run.
    async fn set_aside(&self, id: &RolloutId) -> Result<(), StoreError> {
        let store = &**self.run.store();
        let Some(rollout) = store.get_rollout_by_id(id).await? else {
            return Ok(());
        };
        if rollout.status.is_terminal() {
            return Ok(());
        }
        let patch = recovery::set_aside(rollout.metadata.as_ref());
        store.update_rollout(id.clone(), patch).await.map(drop)
    }

    fn open(&self) -> MutexGuard<'_, HashSet<RolloutId>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn wait_for(store: &dyn Store, id: &RolloutId) -> Result<Rollout, EvaluateError> {
    let ended = store.wait_for_rollouts(std::slice::from_ref(id), None).await?;
    ended.into_iter().next().ok_or_else(|| {
        EvaluateError::Store(StoreError::Internal {
            reason: format!("a wait for rollout {id} ended without it"),
            source: None,
        })
    })
}

/// What became of the rollouts of an evaluation.
#[derive(Clone, Debug)]
pub struct Evaluation {
    outcomes: Vec<Outcome>,
}

impl Evaluation {
    /// The outcomes in the order of the tasks; those of the repetitions of a task stand together.
    pub fn outcomes(&self) -> &[Outcome] {
        &self.outcomes
    }

    /// The outcomes themselves.
    pub fn into_outcomes(self) -> Vec<Outcome> {
        self.outcomes
    }

    /// The primary rewards of those that have one, in order.
    pub fn rewards(&self) -> impl Iterator<Item = f64> {
        self.outcomes
            .iter()
            .filter_map(|outcome| Some(outcome.reward()?.primary()))
    }

    /// How many failed.
    pub fn failed(&self) -> usize {
        let failed = |outcome: &&Outcome| matches!(outcome.result, OutcomeResult::Failed { .. });
        self.outcomes.iter().filter(failed).count()
    }

    /// How many succeeded without a reward.
    pub fn without_reward(&self) -> usize {
        let none = |outcome: &&Outcome| matches!(outcome.result, OutcomeResult::NoSignal(_));
        self.outcomes.iter().filter(none).count()
    }

    /// The mean of the primary rewards of those that have one. What failed or has none does not count, least of all as 0.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::NoReward`], if none has one.
    pub fn mean(&self) -> Result<f64, EvaluateError> {
        self.mean_of_values(self.rewards())
    }

    /// The mean of one dimension of the rewards, over those that have it.
    ///
    /// # Errors
    ///
    /// [`EvaluateError::NoReward`], if none has it.
    pub fn mean_of(&self, dimension: &str) -> Result<f64, EvaluateError> {
        self.mean_of_values(
            self.outcomes
                .iter()
                .filter_map(|outcome| outcome.reward()?.get(dimension)),
        )
    }

    fn mean_of_values(&self, values: impl Iterator<Item = f64>) -> Result<f64, EvaluateError> {
        let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
        if count > 0 {
            return Ok(sum / f64::from(count));
        }
        let first = self.outcomes.iter().find(|outcome| outcome.reward().is_none());
        let reason = match first {
            Some(outcome) => format!("{}: {}", outcome.rollout.rollout_id, outcome.result),
            None if self.outcomes.is_empty() => "there were no tasks".to_owned(),
            None => "the rewards do not have this dimension".to_owned(),
        };
        Err(EvaluateError::NoReward {
            total: self.outcomes.len(),
            reason,
        })
    }
}
