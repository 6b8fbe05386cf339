//! Commands as requests.

use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use super::{
    build::Inner,
    call::{About, Call},
};
use crate::{
    store::{Answer, Command, ImportOutcome, Request, SpanOutcome, StoreError, lifecycle},
    types::{AttemptId, NewRollout, RolloutConfig, RolloutId, Span, Update, WorkerId},
    wire::{
        AttemptUpdateBody, DequeueBody, DrainAnswer, DrainBody, EnqueueBody, IdTargetsBody, LeaveBody,
        NextIdAnswer, NextIdBody, NextIdsAnswer, Object, OutcomesAnswer, PurgeBody, RecordsBody, RolloutBody,
        StartAttemptBody, StartBody, WorkerUpdateBody,
    },
};

/// About how many bytes of spans go into one request.
const BATCH_BYTES: usize = 8 << 20;

/// What JSON cannot say would become something else on the way, so it is refused here.
fn check_config(config: Option<&RolloutConfig>) -> Result<(), StoreError> {
    config.map_or(Ok(()), lifecycle::check_config)
}

fn checked(rollout: NewRollout) -> Result<Object<RolloutBody>, StoreError> {
    check_config(rollout.config.as_ref())?;
    Ok(Object(rollout.into()))
}

/// Something that may be left out but not be null.
fn set<T>(value: Option<T>) -> Update<T> {
    value.map_or(Update::Keep, Update::Set)
}

impl Inner {
    /// Has the server carry out a command, under a fresh key if it has none.
    pub(super) async fn execute(&self, request: Request) -> Result<Answer, StoreError> {
        self.features().await?;
        let key = request
            .key
            .map_or_else(|| self.fresh_key(), |key| key.as_str().to_owned());
        let key = key.as_str();
        Ok(match request.command {
            Command::EnqueueRollouts { rollouts } => {
                let rollouts = rollouts.into_iter().map(checked).collect::<Result<_, _>>()?;
                let body = EnqueueBody { rollouts };
                let call = Call::post(self, &["queues", "rollouts", "enqueue"], &body)?;
                Answer::Enqueued(self.call(call.key(key)).await?)
            }
            Command::StartRollout { rollout, worker_id } => {
                check_config(rollout.config.as_ref())?;
                let body = StartBody::new(rollout, worker_id);
                let call = Call::post(self, &["rollouts"], &body)?;
                Answer::Started(Box::new(self.call(call.key(key)).await?))
            }
            Command::DequeueRollouts { limit, worker_id } => {
                let call = self.dequeue(limit, worker_id, None)?;
                Answer::Dequeued(self.call(call.key(key)).await?)
            }
            Command::StartAttempt {
                rollout_id,
                worker_id,
            } => {
                let path = ["rollouts", rollout_id.as_str(), "attempts"];
                let call = Call::post(self, &path, &StartAttemptBody { worker_id })?.about(About {
                    rollout_id: Some(&rollout_id),
                    attempt_id: None,
                });
                Answer::Started(Box::new(self.call(call.key(key)).await?))
            }
            Command::AddSpans { spans } => Answer::Spans(self.add_spans(&spans, key).await?),
            Command::UpdateRollout { rollout_id, patch } => {
                check_config(patch.config.as_ref())?;
                let path = ["rollouts", rollout_id.as_str()];
                let call = Call::post(self, &path, &patch)?.harmless().about(About {
                    rollout_id: Some(&rollout_id),
                    attempt_id: None,
                });
                Answer::Rollout(Box::new(self.call(call.key(key)).await?))
            }
            Command::UpdateAttempt {
                rollout_id,
                attempt,
                patch,
            } => {
                let attempt_id = AttemptId::from(attempt);
                let path = ["rollouts", rollout_id.as_str(), "attempts", attempt_id.as_str()];
                let body = AttemptUpdateBody {
                    status: set(patch.status),
                    worker_id: set(patch.worker_id),
                    last_heartbeat_time: set(patch.last_heartbeat_time),
                    metadata: set(patch.metadata),
                };
                let call = Call::post(self, &path, &body)?.harmless().about(About {
                    rollout_id: Some(&rollout_id),
                    attempt_id: Some(&attempt_id),
                });
                Answer::Attempt(Box::new(self.call(call.key(key)).await?))
            }
            Command::AddResources { resources } => {
                let call = Call::post(self, &["resources"], &resources)?;
                Answer::Resources(self.call(call.key(key)).await?)
            }
            Command::UpdateResources {
                resources_id,
                resources,
            } => {
                let call = Call::post(self, &["resources", resources_id.as_str()], &resources)?;
                Answer::Resources(self.call(call.key(key)).await?)
            }
            Command::NextSequenceIds { targets } => {
                Answer::SequenceIds(self.next_sequence_ids(targets, key).await?)
            }
            Command::UpdateWorker {
                worker_id,
                heartbeat_stats,
            } => {
                let body = WorkerUpdateBody {
                    heartbeat_stats: set(heartbeat_stats),
                };
                let call = Call::post(self, &["workers", worker_id.as_str()], &body)?;
                Answer::Worker(Box::new(self.call(call.harmless().key(key)).await?))
            }
            Command::Import { records } => {
                self.needs_records().await?;
                // Taken in once more, a record is known.
                let call = Call::post(self, &["records", "import"], &RecordsBody { records })?;
                let answer: OutcomesAnswer = self.call(call.harmless().key(key)).await?;
                Answer::Imported(answer.outcomes.into_iter().map(ImportOutcome::from).collect())
            }
            Command::Purge { rollouts, resources } => {
                self.needs_records().await?;
                let body = PurgeBody {
                    rollouts: rollouts.into_iter().map(Object).collect(),
                    resources,
                };
                let call = Call::post(self, &["records", "purge"], &body)?;
                Answer::Purged(self.call(call.key(key)).await?)
            }
        })
    }

    async fn needs_records(&self) -> Result<(), StoreError> {
        if self.features().await?.takes_records() {
            return Ok(());
        }
        Err(StoreError::invalid(
            "command",
            "needs a store of ours: this server neither takes in records of other stores nor purges",
        ))
    }

    /// Claims rollouts; `wait` is how long the server may look for some, in seconds.
    pub(super) fn dequeue(
        &self,
        limit: usize,
        worker_id: Option<WorkerId>,
        wait: Option<f64>,
    ) -> Result<Call<'static>, StoreError> {
        let body = DequeueBody {
            limit: i64::try_from(limit).unwrap_or(i64::MAX),
            worker_id,
            wait,
            worker_ids: None,
        };
        Call::post(self, &["queues", "rollouts", "dequeue"], &body)
    }

    /// Claims a rollout for each of these workers.
    pub(super) fn dequeue_for_workers(
        &self,
        workers: &[WorkerId],
        wait: Option<f64>,
    ) -> Result<Call<'static>, StoreError> {
        let body = DequeueBody {
            wait,
            worker_ids: Some(workers.to_vec()),
            ..DequeueBody::default()
        };
        Call::post(self, &["queues", "rollouts", "dequeue"], &body)
    }

    pub(super) async fn drain_workers(&self, worker_ids: Option<Vec<WorkerId>>) -> Result<usize, StoreError> {
        if !self.features().await?.knows_fleets() {
            let problem = "cannot be carried out: the server does not tell workers to stop";
            return Err(StoreError::invalid("drain_workers", problem));
        }
        let call = match worker_ids {
            None => Call::post(self, &["queues", "rollouts", "drain"], &DrainBody::default())?,
            Some(worker_ids) => {
                let path = ["queues", "rollouts", "leave"];
                Call::post(self, &path, &LeaveBody { worker_ids })?
            }
        };
        let call = call.harmless();
        Ok(self.call::<DrainAnswer>(call).await?.told)
    }

    async fn add_spans(&self, spans: &[Span], key: &str) -> Result<Vec<SpanOutcome>, StoreError> {
        if !self.features().await?.batches() {
            return self.add_spans_one_by_one(spans, key).await;
        }
        let batches = batches(spans)?;
        let mut outcomes = Vec::with_capacity(spans.len());
        for (index, batch) in batches.iter().enumerate() {
            let own_key = part_of(key, index, batches.len());
            let call = Call::post(self, &["spans", "batch"], &Spans { spans: batch })?;
            // A span that is there already is dropped, but then the answer says so.
            let answer: OutcomesAnswer = self.call(call.key(&own_key)).await?;
            outcomes.extend(answer.outcomes.into_iter().map(SpanOutcome::from));
        }
        Ok(outcomes)
    }

    /// As the reference's client does. What a span is refused for is its own affair.
    async fn add_spans_one_by_one(&self, spans: &[Span], key: &str) -> Result<Vec<SpanOutcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(spans.len());
        for (index, span) in spans.iter().enumerate() {
            let own_key = part_of(key, index, spans.len());
            let call = Call::post(self, &["spans"], span)?
                .harmless()
                .key(&own_key)
                .about(About {
                    rollout_id: Some(&span.rollout_id),
                    attempt_id: Some(&span.attempt_id),
                });
            outcomes.push(match self.call::<Option<serde::de::IgnoredAny>>(call).await {
                Ok(Some(_)) => SpanOutcome::Stored,
                Ok(None) => SpanOutcome::Duplicate,
                Err(error @ (StoreError::NotFound(_) | StoreError::Invalid { .. })) => {
                    SpanOutcome::Rejected(error)
                }
                Err(error) => return Err(error),
            });
        }
        Ok(outcomes)
    }

    async fn next_sequence_ids(
        &self,
        targets: Vec<(RolloutId, AttemptId)>,
        key: &str,
    ) -> Result<Vec<u64>, StoreError> {
        let body = |(rollout_id, attempt_id)| {
            Object(NextIdBody {
                rollout_id,
                attempt_id,
            })
        };
        let targets: Vec<_> = targets.into_iter().map(body).collect();
        if self.features().await?.batches() && targets.len() != 1 {
            let call = Call::post(self, &["spans", "next", "batch"], &IdTargetsBody { targets })?;
            let answer: NextIdsAnswer = self.call(call.key(key)).await?;
            return Ok(answer.sequence_ids);
        }
        let mut ids = Vec::with_capacity(targets.len());
        for (index, target) in targets.iter().enumerate() {
            let own_key = part_of(key, index, targets.len());
            let call = Call::post(self, &["spans", "next"], target)?;
            let answer: NextIdAnswer = self.call(call.key(&own_key)).await?;
            ids.push(answer.sequence_id);
        }
        Ok(ids)
    }

    /// Reads what a body describes.
    pub(super) async fn search<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, StoreError> {
        self.call(Call::search(self, path, body)?).await
    }
}

/// The key of one of several requests that one command takes.
fn part_of(key: &str, index: usize, parts: usize) -> String {
    if parts == 1 {
        key.to_owned()
    } else {
        format!("{key}/{index}")
    }
}

/// The body of many spans, each of them written already.
#[derive(Serialize)]
struct Spans<'a> {
    spans: &'a [Box<RawValue>],
}

/// The spans as JSON, in portions of a size that servers take. How they are portioned depends on nothing else, so that a
/// repetition under the same key is the same.
fn batches(spans: &[Span]) -> Result<Vec<Vec<Box<RawValue>>>, StoreError> {
    let mut batches = vec![Vec::new()];
    let mut bytes = 0;
    for span in spans {
        let raw = serde_json::value::to_raw_value(span)
            .map_err(|error| StoreError::invalid("command", format!("cannot be written as JSON: {error}")))?;
        bytes += raw.get().len();
        if bytes > BATCH_BYTES && batches.last().is_some_and(|batch| !batch.is_empty()) {
            bytes = raw.get().len();
            batches.push(Vec::new());
        }
        if let Some(batch) = batches.last_mut() {
            batch.push(raw);
        }
    }
    Ok(batches)
}
