//! The real store, and what can be seen of it from outside.

use std::{
    fmt::Debug,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use lightning_core::{
    ids::IdSource,
    store::{Answer, Command, NotFound, Request, SpanOutcome, Store, StoreError},
    testing::ManualClock,
    types::{
        Attempt, AttemptQuery, ResourcesUpdate, RolloutId, RolloutSnapshot, RolloutStatus, Span, SpanQuery,
        Worker,
    },
};
use lightning_tests::model::{Model, digits};

use super::step::{Action, Look, Outcome, Step};

/// Gives out the ids of the model, which do not depend on how many a backend draws in vain or in other steps.
#[derive(Clone, Debug, Default)]
pub struct StepIds(Arc<Drawn>);

#[derive(Debug, Default)]
struct Drawn {
    step: AtomicU64,
    long: AtomicU64,
    short: AtomicU64,
}

impl StepIds {
    fn begin(&self, step: u64) {
        self.0.step.store(step, Ordering::Relaxed);
        self.0.long.store(0, Ordering::Relaxed);
        self.0.short.store(0, Ordering::Relaxed);
    }
}

impl IdSource for StepIds {
    fn hex(&self, width: usize) -> String {
        let drawn = if width > 8 { &self.0.long } else { &self.0.short };
        digits(
            self.0.step.load(Ordering::Relaxed),
            drawn.fetch_add(1, Ordering::Relaxed),
            width,
        )
    }
}

/// The store that is compared with the model.
pub struct Subject {
    pub store: Arc<dyn Store>,
    pub clock: ManualClock,
    pub ids: StepIds,
}

/// All that a store shows of what it holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Visible {
    pub rollouts: Vec<RolloutSnapshot>,
    /// Rollout by rollout.
    pub attempts: Vec<Attempt>,
    /// Rollout by rollout.
    pub spans: Vec<Span>,
    pub workers: Vec<Worker>,
    /// Every version, set by set.
    pub resources: Vec<ResourcesUpdate>,
    pub latest_resources: Option<ResourcesUpdate>,
    /// How many rollouts, attempts, spans, sets of resources and workers the statistics count.
    pub totals: [usize; 5],
}

impl Subject {
    /// Lets the step happen to the store.
    pub async fn act(&self, step: &Step, expected: &Outcome) -> Outcome {
        self.ids.begin(step.number);
        match &step.action {
            Action::Do(request) => self.execute(request).await.map(Outcome::from).into(),
            Action::DequeueOrWait(limit, worker_id) => {
                let claimed = self
                    .store
                    .dequeue_or_wait(*limit, worker_id.clone(), Duration::ZERO);
                claimed
                    .await
                    .map(|claimed| Outcome::Answer(Answer::Dequeued(claimed)))
                    .into()
            }
            Action::Advance(seconds) => {
                self.clock.advance(Duration::from_secs_f64(*seconds));
                Outcome::Time
            }
            // An attempt that goes on would have to be waited for.
            Action::Look(Look::EndOfAttempt(..)) if *expected == Outcome::EndOfAttempt(None) => {
                expected.clone()
            }
            Action::Look(look) => self.look(look).await.into(),
        }
    }

    /// By the verb for it, unless there is a key, which verbs do not take.
    async fn execute(&self, request: &Request) -> Result<Answer, StoreError> {
        let store = &self.store;
        if request.key.is_some() {
            return store.execute(request.clone()).await;
        }
        Ok(match request.command.clone() {
            Command::EnqueueRollouts { rollouts } if rollouts.len() == 1 => {
                Answer::Enqueued(vec![store.enqueue_rollout(rollouts[0].clone()).await?])
            }
            Command::DequeueRollouts { limit: 1, worker_id } => {
                Answer::Dequeued(store.dequeue_rollout(worker_id).await?.into_iter().collect())
            }
            Command::AddSpans { spans } if spans.len() == 1 => {
                Answer::Spans(vec![match store.add_span(spans[0].clone()).await {
                    Ok(true) => SpanOutcome::Stored,
                    Ok(false) => SpanOutcome::Duplicate,
                    Err(error @ StoreError::NotFound(NotFound::Rollout(_) | NotFound::Attempt { .. })) => {
                        SpanOutcome::Rejected(error)
                    }
                    Err(error) => return Err(error),
                }])
            }
            Command::NextSequenceIds { targets } if targets.len() == 1 => {
                let (id, attempt_id) = targets[0].clone();
                Answer::SequenceIds(vec![store.get_next_span_sequence_id(id, attempt_id).await?])
            }
            Command::EnqueueRollouts { rollouts } => {
                Answer::Enqueued(store.enqueue_many_rollouts(rollouts).await?)
            }
            Command::DequeueRollouts { limit, worker_id } => {
                Answer::Dequeued(store.dequeue_many_rollouts(limit, worker_id).await?)
            }
            Command::StartRollout { rollout, worker_id } => {
                Answer::Started(Box::new(store.start_rollout(rollout, worker_id).await?))
            }
            Command::StartAttempt {
                rollout_id,
                worker_id,
            } => Answer::Started(Box::new(store.start_attempt(rollout_id, worker_id).await?)),
            Command::AddSpans { spans } => Answer::Spans(store.add_many_spans(spans).await?),
            Command::UpdateRollout { rollout_id, patch } => {
                Answer::Rollout(Box::new(store.update_rollout(rollout_id, patch).await?))
            }
            Command::UpdateAttempt {
                rollout_id,
                attempt,
                patch,
            } => Answer::Attempt(Box::new(store.update_attempt(rollout_id, attempt, patch).await?)),
            Command::AddResources { resources } => Answer::Resources(store.add_resources(resources).await?),
            Command::UpdateResources {
                resources_id,
                resources,
            } => Answer::Resources(store.update_resources(resources_id, resources).await?),
            Command::NextSequenceIds { targets } => {
                Answer::SequenceIds(store.get_many_span_sequence_ids(targets).await?)
            }
            Command::UpdateWorker {
                worker_id,
                heartbeat_stats,
            } => Answer::Worker(Box::new(store.update_worker(worker_id, heartbeat_stats).await?)),
            Command::Import { records } => Answer::Imported(store.import(records).await?),
            Command::Purge { rollouts, resources } => Answer::Purged(store.purge(rollouts, resources).await?),
        })
    }

    async fn look(&self, look: &Look) -> Result<Outcome, StoreError> {
        let store = &self.store;
        Ok(match look {
            Look::Ended(ids) => Outcome::Ended(store.wait_for_rollouts(ids, Some(Duration::ZERO)).await?),
            Look::EndOfAttempt(id, attempt_id) => {
                Outcome::EndOfAttempt(Some(store.wait_for_attempt_end(id, attempt_id).await?))
            }
            Look::Rollout(id) => Outcome::Rollout(store.get_rollout_by_id(id).await?),
            Look::LatestAttempt(id) => Outcome::Attempt(store.get_latest_attempt(id).await?),
            Look::Worker(id) => Outcome::Worker(store.get_worker_by_id(id).await?),
            Look::Resources(id, version) => {
                Outcome::Resources(store.get_resources_by_id(id, *version).await?)
            }
            Look::LatestResources => Outcome::Resources(store.get_latest_resources().await?),
            Look::Rollouts(query) => Outcome::Rollouts(store.query_rollouts(query.clone()).await?),
            Look::Attempts(id, query) => Outcome::Attempts(store.query_attempts(id, query.clone()).await?),
            Look::Spans(query) => Outcome::Spans(store.query_spans(query.clone()).await?),
            Look::Workers(query) => Outcome::Workers(store.query_workers(query.clone()).await?),
            Look::ResourcesSets(query) => Outcome::ResourcesSets(store.query_resources(query.clone()).await?),
        })
    }

    /// Everything, by way of the queries.
    pub async fn visible(&self) -> Result<Visible, StoreError> {
        let store = &self.store;
        let mut visible = Visible {
            rollouts: store.query_rollouts(Default::default()).await?.items,
            workers: store.query_workers(Default::default()).await?.items,
            latest_resources: store.get_latest_resources().await?,
            ..Visible::default()
        };
        for rollout in &visible.rollouts {
            let id = &rollout.rollout_id;
            visible
                .attempts
                .extend(store.query_attempts(id, AttemptQuery::default()).await?.items);
            visible
                .spans
                .extend(store.query_spans(SpanQuery::of(id.clone())).await?.items);
        }
        for latest in store.query_resources(Default::default()).await?.items {
            for version in 1..=latest.version {
                visible.resources.extend(
                    store
                        .get_resources_by_id(&latest.resources_id, Some(version))
                        .await?,
                );
            }
        }
        let statistics = store.statistics().await?;
        visible.totals = [
            statistics.total_rollouts,
            statistics.total_attempts,
            statistics.total_spans,
            statistics.total_resources,
            statistics.total_workers,
        ]
        .map(|total| total as usize);
        Ok(visible)
    }
}

impl Visible {
    /// What the model holds.
    pub fn of(model: &Model) -> Self {
        let mut visible = Self {
            rollouts: model
                .rollouts
                .iter()
                .filter_map(|rollout| model.snapshot(&rollout.rollout_id))
                .collect(),
            workers: model.workers.clone(),
            latest_resources: model.latest_resources().cloned(),
            ..Self::default()
        };
        for rollout in &model.rollouts {
            let of = |id: &RolloutId| *id == rollout.rollout_id;
            visible.attempts.extend(
                model
                    .attempts
                    .iter()
                    .filter(|attempt| of(&attempt.rollout_id))
                    .cloned(),
            );
            let mut spans: Vec<_> = model
                .spans
                .iter()
                .filter(|span| of(&span.rollout_id))
                .cloned()
                .collect();
            spans.sort_by_key(|span| span.sequence_id);
            visible.spans.extend(spans);
        }
        let firsts = model.resources.iter().filter(|update| update.version == 1);
        for first in firsts.clone() {
            let versions = model
                .resources
                .iter()
                .filter(|update| update.resources_id == first.resources_id);
            visible.resources.extend(versions.cloned());
        }
        visible.totals = [
            model.rollouts.len(),
            model.attempts.len(),
            model.spans.len(),
            firsts.count(),
            model.workers.len(),
        ];
        visible
    }

    /// Shows the first record of `store` that is not as it is here, in the model.
    pub fn compare(&self, store: &Self, step: &Step) {
        fn same<T: Debug + PartialEq>(model: &[T], store: &[T], step: &Step) {
            for at in 0..model.len().max(store.len()) {
                let (model, store) = (model.get(at), store.get(at));
                assert_eq!(
                    store, model,
                    "the store (left) is not as the model (right) after step {step:?}"
                );
            }
        }
        same(&self.rollouts, &store.rollouts, step);
        same(&self.attempts, &store.attempts, step);
        same(&self.spans, &store.spans, step);
        same(&self.workers, &store.workers, step);
        same(&self.resources, &store.resources, step);
        same(
            self.latest_resources.as_slice(),
            store.latest_resources.as_slice(),
            step,
        );
        assert_eq!(
            store.totals, self.totals,
            "the statistics (left) do not count as the model (right) after step {step:?}"
        );
    }

    /// Where a rollout stands.
    pub fn status(&self, id: &RolloutId) -> Option<RolloutStatus> {
        self.rollouts
            .iter()
            .find(|rollout| rollout.rollout_id == *id)
            .map(|rollout| rollout.status)
    }
}
