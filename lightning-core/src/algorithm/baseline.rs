//! Runs the datasets through the queue and tunes nothing: to see whether the plumbing holds.

use std::{collections::HashSet, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream::FuturesUnordered};
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, MissedTickBehavior};

use crate::{
    algo,
    run::{Outcome, OutcomeResult, RunContext},
    store::{Store, StoreError},
    types::{
        Attempt, AttemptQuery, Dataset, NewRollout, PageRequest, Rollout, RolloutId, RolloutMode,
        RolloutPatch, RolloutQuery, RolloutStatus, Span, SpanQuery, Task,
    },
};

/// The target of the log lines.
const TARGET: &str = "lightning::baseline";

/// How much of each span [`baseline`] logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanVerbosity {
    /// Nothing.
    None,
    /// Its name, its times and the keys of its attributes.
    #[default]
    Keys,
    /// The attributes' values as well, which may be long and hold what users wrote.
    KeyValues,
}

/// What [`baseline`] saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BaselineReport {
    /// What became of the rollouts in training.
    pub train: SplitCounts,
    /// What became of the rollouts in validation.
    pub val: SplitCounts,
}

/// What became of the rollouts of one mode, over all epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct SplitCounts {
    /// Those that succeeded with a reward.
    pub rewarded: u64,
    /// Those that succeeded without one.
    pub without_reward: u64,
    /// Those that failed or were cancelled.
    pub failed: u64,
    /// The mean of the primary rewards; `None` if there are none.
    pub mean_reward: Option<f64>,
}

/// Runs both datasets through the queue and logs every rollout, attempt, span and reward. It tunes nothing.
///
/// Use it to see whether agent, resources, traces and rewards fit together before an algorithm depends on them. It logs
/// under the target `lightning::baseline`, at level `info`.
///
/// A rollout is enqueued as soon as fewer than `max_queue_length` wait for a runner. If only one dataset is given, its
/// first part is used in training and the rest in validation, so that both ways of an agent are seen.
///
/// ```
/// use lightning_core::{agent::agent_fn, algorithm::Baseline, prelude::*};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let trainer = Trainer::builder().algorithm(Baseline::algorithm().n_epochs(2)).n_runners(2).build()?;
/// let agent = agent_fn(|task: String, _| async move { task.len() as f64 });
/// let report = trainer.fit(agent, vec!["a".to_owned(), "abc".to_owned()], None).await?;
/// assert_eq!(report.output.train.mean_reward, Some(1.0), "the first half, twice");
/// assert_eq!(report.output.val.mean_reward, Some(3.0), "the second half, twice");
/// # Ok(())
/// # }
/// ```
///
/// # Parameters
///
/// - `n_epochs` (1): how often the datasets are run through;
/// - `train_split` (0.5): where only one dataset is given, the share of it that is for training, between 0 and 1;
/// - `polling_interval` (5.0): seconds between two log lines on how far it has got. Nothing else depends on it;
/// - `max_queue_length` (4): how many rollouts may wait for a runner;
/// - `span_verbosity` (`keys`): how much of each span is logged: `none`, `keys`, `key_values`.
///
/// # Errors
///
/// If a parameter makes no sense, if there are no tasks, and if the store fails.
#[algo(handle = Baseline)]
#[expect(clippy::too_many_arguments, reason = "each is a parameter of the algorithm")]
pub async fn baseline<T: Task>(
    run: RunContext,
    store: Arc<dyn Store>,
    train_dataset: Option<Dataset<T>>,
    val_dataset: Option<Dataset<T>>,
    #[param(default = 1)] n_epochs: usize,
    #[param(default = 0.5)] train_split: f64,
    #[param(default = 5.0)] polling_interval: f64,
    #[param(default = 4)] max_queue_length: usize,
    #[param(default)] span_verbosity: SpanVerbosity,
) -> anyhow::Result<BaselineReport> {
    anyhow::ensure!(
        train_split > 0.0 && train_split < 1.0,
        "`train_split` is {train_split}; it must lie between 0 and 1"
    );
    anyhow::ensure!(
        max_queue_length > 0,
        "`max_queue_length` is 0, so that nothing could be enqueued; give at least 1"
    );
    let pace = Duration::try_from_secs_f64(polling_interval)
        .ok()
        .filter(|pace| !pace.is_zero());
    let Some(pace) = pace else {
        anyhow::bail!("`polling_interval` is {polling_interval}; it must be a number of seconds above 0");
    };
    let tasks = split(train_dataset.as_ref(), val_dataset.as_ref(), train_split)?;
    anyhow::ensure!(
        !tasks.is_empty(),
        "there are no tasks; give `fit` a train or a val dataset that is not empty"
    );

    let mut plumbing = Plumbing {
        store: &*store,
        span_verbosity,
        open: HashSet::new(),
        train: Tally::default(),
        val: Tally::default(),
    };
    let total = tasks.len() * n_epochs;
    let progress = run.progress("baseline", Some(total as u64));
    let mut waiting = (0..n_epochs).flat_map(|_| &tasks);
    let mut ends = FuturesUnordered::new();
    let mut ticks = tokio::time::interval_at(Instant::now() + pace, pace);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if run.should_stop().is_none() {
            for (mode, input) in waiting.by_ref().take(plumbing.room(max_queue_length).await?) {
                let id = plumbing.enqueue(*mode, input.clone()).await?;
                let store = &store;
                ends.push(async move { store.wait_for_rollouts(&[id], None).await });
            }
        }
        tokio::select! {
            biased;
            end = ends.next() => match end {
                Some(ended) => {
                    for rollout in ended? {
                        plumbing.finish(rollout).await?;
                        progress.advance(1);
                    }
                }
                None => break,
            },
            () = run.cancelled() => {
                plumbing.cancel_open().await;
                break;
            }
            _ = ticks.tick() => {
                let done = plumbing.train.count() + plumbing.val.count();
                tracing::info!(target: TARGET, done, total, open = plumbing.open.len(), "under way");
            }
        }
    }
    Ok(BaselineReport {
        train: plumbing.train.counts(),
        val: plumbing.val.counts(),
    })
}

/// The tasks in order, with what each is for.
fn split<T: Task>(
    train: Option<&Dataset<T>>,
    val: Option<&Dataset<T>>,
    train_split: f64,
) -> anyhow::Result<Vec<(RolloutMode, serde_json::Value)>> {
    let all = train.into_iter().chain(val).flat_map(Dataset::iter);
    let first_val = match (train, val) {
        (Some(train), Some(_)) => train.len(),
        (Some(only), None) | (None, Some(only)) => (only.len() as f64 * train_split).round() as usize,
        (None, None) => 0,
    };
    all.enumerate()
        .map(|(index, task)| {
            let mode = if index < first_val {
                RolloutMode::Train
            } else {
                RolloutMode::Val
            };
            Ok((mode, serde_json::to_value(task)?))
        })
        .collect()
}

/// What is under way, and what has come of the rest.
struct Plumbing<'a> {
    store: &'a dyn Store,
    span_verbosity: SpanVerbosity,
    open: HashSet<RolloutId>,
    train: Tally,
    val: Tally,
}

impl Plumbing<'_> {
    /// How many rollouts may be enqueued now. Whenever it is 0, one that is open will end and be a reason to ask again.
    async fn room(&self, max_queue_length: usize) -> Result<usize, StoreError> {
        let queued = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Queuing, RolloutStatus::Requeuing]),
            rollout_id_in: Some(self.open.iter().cloned().collect()),
            page: PageRequest {
                limit: Some(1),
                ..PageRequest::default()
            },
            ..RolloutQuery::default()
        };
        let queued = self.store.query_rollouts(queued).await?.total;
        Ok(max_queue_length.saturating_sub(queued))
    }

    async fn enqueue(
        &mut self,
        mode: RolloutMode,
        input: serde_json::Value,
    ) -> Result<RolloutId, StoreError> {
        let rollout = self
            .store
            .enqueue_rollout(NewRollout::new(input).mode(mode))
            .await?;
        tracing::info!(target: TARGET, rollout_id = %rollout.rollout_id, mode = mode.as_str(), "enqueued");
        self.open.insert(rollout.rollout_id.clone());
        Ok(rollout.rollout_id)
    }

    async fn finish(&mut self, rollout: Rollout) -> Result<(), StoreError> {
        let id = rollout.rollout_id.clone();
        self.open.remove(&id);
        let attempts = self
            .store
            .query_attempts(&id, AttemptQuery::default())
            .await?
            .items;
        for attempt in &attempts {
            self.log_attempt(attempt).await?;
        }
        let spans = self.store.query_spans(SpanQuery::of(id).latest_attempt()).await?;
        let outcome = Outcome::new(rollout, attempts.last(), spans.items);
        tracing::info!(
            target: TARGET,
            rollout_id = %outcome.rollout.rollout_id,
            status = outcome.rollout.status.as_str(),
            attempts = attempts.len(),
            result = %outcome.result,
            "ended"
        );
        let tally = match outcome.rollout.mode {
            Some(RolloutMode::Val) => &mut self.val,
            _ => &mut self.train,
        };
        tally.add(&outcome.result);
        Ok(())
    }

    async fn log_attempt(&self, attempt: &Attempt) -> Result<(), StoreError> {
        tracing::info!(
            target: TARGET,
            rollout_id = %attempt.rollout_id,
            attempt_id = %attempt.attempt_id,
            status = attempt.status.as_str(),
            worker_id = attempt.worker_id.as_ref().map(|id| id.as_str()),
            reason = attempt.reason(),
            "attempt"
        );
        if self.span_verbosity == SpanVerbosity::None {
            return Ok(());
        }
        let query = SpanQuery::of(attempt.rollout_id.clone()).attempt(attempt.attempt_id.clone());
        for span in self.store.query_spans(query).await?.items {
            self.log_span(&span);
        }
        Ok(())
    }

    fn log_span(&self, span: &Span) {
        let attributes = match self.span_verbosity {
            SpanVerbosity::KeyValues => serde_json::to_string(&span.attributes).unwrap_or_default(),
            SpanVerbosity::Keys | SpanVerbosity::None => {
                let keys: Vec<&str> = span.attributes.keys().map(String::as_str).collect();
                keys.join(", ")
            }
        };
        let seconds = span.end_time.zip(span.start_time).map(|(end, start)| end - start);
        tracing::info!(
            target: TARGET,
            rollout_id = %span.rollout_id,
            attempt_id = %span.attempt_id,
            sequence_id = span.sequence_id,
            name = %span.name,
            seconds,
            attributes,
            "span"
        );
    }

    async fn cancel_open(&mut self) {
        for id in self.open.drain() {
            let cancelled = RolloutPatch::status(RolloutStatus::Cancelled);
            if let Err(error) = self.store.update_rollout(id.clone(), cancelled).await {
                tracing::warn!(target: TARGET, rollout_id = %id, error = %error, "could not be cancelled");
            }
        }
    }
}

#[derive(Clone, Copy, Default)]
struct Tally {
    rewarded: u64,
    without_reward: u64,
    failed: u64,
    sum: f64,
}

impl Tally {
    fn add(&mut self, result: &OutcomeResult) {
        match result {
            OutcomeResult::Rewarded(reward) => {
                self.rewarded += 1;
                self.sum += reward.primary();
            }
            OutcomeResult::NoSignal(_) => self.without_reward += 1,
            OutcomeResult::Failed { .. } => self.failed += 1,
        }
    }

    fn count(&self) -> u64 {
        self.rewarded + self.without_reward + self.failed
    }

    fn counts(&self) -> SplitCounts {
        SplitCounts {
            rewarded: self.rewarded,
            without_reward: self.without_reward,
            failed: self.failed,
            mean_reward: (self.rewarded > 0).then(|| self.sum / self.rewarded as f64),
        }
    }
}
