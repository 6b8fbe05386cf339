//! One attempt, from its claim to its terminal status.

use std::{
    any::Any,
    panic::{self, AssertUnwindSafe},
    sync::Arc,
};

use futures::FutureExt as _;
use tokio_util::sync::CancellationToken;

use super::{FIRST_PAUSE, LONGEST_PAUSE, Runner, RunnerError, StopSignal, guard::AttemptGuard};
use crate::{
    agent::{RolloutContext, RolloutEnd, RolloutResult},
    emitter, semconv,
    store::{AttemptRef, EndOfAttempt, SpanOutcome, Store, StoreError},
    tracer::Recording,
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptStatus, AttemptedRollout, JsonObject, NamedResources,
        RolloutId, RolloutMode, Span, Task,
    },
};

/// What the agent's work came to.
enum Work {
    /// It ended by itself; the reason says why it failed, if it did.
    Ended(Result<(), String>),
    /// It was dropped: the attempt is to end as failed for this reason.
    Dropped(String),
    /// It was dropped because the runner was stopped, which says nothing about the task.
    Stopped,
    /// It was dropped because the attempt has ended already, as this.
    Over(AttemptStatus),
}

impl<T: Task> Runner<T> {
    /// Executes an attempt and reports on it. Whatever happens, the attempt has ended then.
    pub(super) async fn execute(
        &self,
        claimed: AttemptedRollout,
        stop: &StopSignal,
    ) -> Result<RolloutEnd, RunnerError> {
        let claimed = Arc::new(claimed);
        let recording = Recording::start(
            claimed.rollout_id.clone(),
            claimed.attempt.attempt_id.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.ids),
            self.recording.clone(),
        );
        let mut guard = AttemptGuard::new(
            Arc::clone(&self.store),
            recording.clone(),
            self.last_words.clone(),
        );
        let kept_alive = self.heart.keep_alive(&claimed);

        let (resources, problem) = match self.resources(&claimed).await? {
            Ok(resources) => (resources, None),
            Err(problem) => (NamedResources::new(), Some(problem)),
        };
        let cx = RolloutContext::new(
            Arc::clone(&claimed),
            resources,
            self.worker_id.clone(),
            CancellationToken::new(),
            &self.extensions,
        );
        let task = match problem {
            Some(problem) => Err(problem),
            None => T::deserialize(&*claimed.input).map_err(|error| {
                let wanted = std::any::type_name::<T>();
                format!("the task does not fit the agent's task type {wanted}: {error}")
            }),
        };
        let work = self.work(&recording, &cx, task, stop).await;
        if let Work::Ended(Err(reason)) | Work::Dropped(reason) = &work {
            tracing::debug!(
                target: "lightning::runner",
                rollout_id = %claimed.rollout_id,
                attempt_id = %claimed.attempt.attempt_id,
                worker_id = %self.worker_id,
                reason,
                "an attempt failed"
            );
        }
        let stored = flush(&*self.store, &recording).await;
        drop(kept_alive);
        let attempt = self.report(&claimed, work, stored).await?;
        guard.disarm();

        let mut end = RolloutEnd::new(attempt, Vec::new());
        if !self.hooks.is_empty() {
            end.spans = self.spans_of(&end).await?;
            self.hooks("on_rollout_end", &cx, stop, |hook| hook.on_rollout_end(&cx, &end))
                .await;
        }
        Ok(end)
    }

    /// The resources that the rollout names, as this attempt should use them, or what is wrong with them.
    async fn resources(
        &self,
        claimed: &AttemptedRollout,
    ) -> Result<Result<NamedResources, String>, RunnerError> {
        let Some(id) = &claimed.resources_id else {
            return Ok(Ok(NamedResources::new()));
        };
        let found = self
            .patiently("fetch resources", || self.store.get_resources_by_id(id, None))
            .await?;
        Ok(match found {
            Some(update) => Ok(update
                .resources
                .for_attempt(&claimed.rollout_id, &claimed.attempt.attempt_id)),
            None => Err(format!(
                "the rollout asks for the resources {id}, which the store does not have; add them before enqueueing"
            )),
        })
    }

    /// Lets the agent work on the task, if there is one, until it ends, or until its work has become pointless.
    async fn work(
        &self,
        recording: &Recording,
        cx: &RolloutContext,
        task: Result<T, String>,
        stop: &StopSignal,
    ) -> Work {
        let mut agent = Box::pin(async {
            self.hooks("on_rollout_start", cx, stop, |hook| hook.on_rollout_start(cx))
                .await;
            recording.run(&*self.store, self.recorded(cx, &task?, stop)).await
        });
        let dropped = tokio::select! {
            biased;
            conclusion = &mut agent => return Work::Ended(conclusion),
            end = self.end_from_outside(recording) => match end {
                EndOfAttempt::AttemptEnded(status) => Work::Over(status),
                EndOfAttempt::RolloutEnded(status) => {
                    Work::Dropped(format!("the rollout was ended as {} while the agent worked", status.as_str()))
                }
                EndOfAttempt::Superseded { by } => {
                    Work::Dropped(format!("the attempt was superseded by {by} while the agent worked"))
                }
            },
            reason = self.out_of_time() => Work::Dropped(reason),
            () = stop.aborting() => Work::Stopped,
        };
        cx.cancellation().cancel();
        // Whatever it still has to say no longer counts.
        let _ = tokio::time::timeout(self.abort_grace, &mut agent).await;
        if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| drop(agent))) {
            tracing::warn!(
                target: "lightning::runner",
                rollout_id = %recording.rollout_id(),
                attempt_id = %recording.attempt_id(),
                error = emitter::panic_message(&*panic),
                "the agent panicked as it was dropped"
            );
        }
        dropped
    }

    /// Resolves when the runner's own limit is over.
    async fn out_of_time(&self) -> String {
        let Some(limit) = self.time_limit else {
            return std::future::pending().await;
        };
        self.clock.sleep_past(self.clock.now() + limit).await;
        format!(
            "the agent took longer than the {} s that the runner allows",
            limit.as_secs_f64()
        )
    }

    /// What is recorded of an attempt: the agent, and the hooks that belong to its trace.
    async fn recorded(&self, cx: &RolloutContext, task: &T, stop: &StopSignal) -> Result<(), String> {
        self.hooks("on_trace_start", cx, stop, |hook| hook.on_trace_start(cx))
            .await;
        // The call itself may panic, not only its future.
        let rollout = async {
            match cx.mode() {
                RolloutMode::Train => self.agent.rollout(task, cx).await,
                RolloutMode::Val | RolloutMode::Test => self.agent.validation_rollout(task, cx).await,
            }
        };
        let result = AssertUnwindSafe(rollout).catch_unwind().await;
        let conclusion = self.conclude(cx, result).await;
        self.hooks("on_trace_end", cx, stop, |hook| hook.on_trace_end(cx))
            .await;
        conclusion
    }

    /// Resolves when the agent's work has become pointless. Where the store cannot tell, never.
    async fn end_from_outside(&self, recording: &Recording) -> EndOfAttempt {
        let (rollout_id, attempt_id) = (recording.rollout_id(), recording.attempt_id());
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match self.store.wait_for_attempt_end(rollout_id, attempt_id).await {
                Ok(end) => return end,
                Err(error) => error,
            };
            let may_pass = matches!(error, StoreError::Unavailable { .. });
            if pause == FIRST_PAUSE || !may_pass {
                tracing::warn!(
                    target: "lightning::runner",
                    rollout_id = %rollout_id,
                    attempt_id = %attempt_id,
                    trying_again = may_pass,
                    error = %error,
                    "the end of an attempt cannot be waited for; a cancellation will not be noticed meanwhile"
                );
            }
            if !may_pass {
                return std::future::pending().await;
            }
            self.clock.sleep_past(self.clock.now() + pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Records what the agent returned. Runs within the recording.
    async fn conclude(
        &self,
        cx: &RolloutContext,
        result: Result<anyhow::Result<RolloutResult>, Box<dyn Any + Send>>,
    ) -> Result<(), String> {
        match result {
            Ok(Ok(RolloutResult::Nothing)) => Ok(()),
            Ok(Ok(RolloutResult::Reward(reward))) => match emitter::emit_reward(reward) {
                Ok(_) => Ok(()),
                Err(error) => Err(format!("the agent's reward could not be recorded: {error}")),
            },
            Ok(Ok(RolloutResult::Spans(spans))) => self.store_spans(cx.attempt(), spans).await,
            Ok(Err(error)) => {
                // A recording that is full or finished has no room for it; the reason is kept all the same.
                let _ = emitter::emit_exception(&*error);
                Err(emitter::error_message(&error))
            }
            Err(panic) => {
                let _ = emitter::emit_exception(emitter::Exception::from_panic(&*panic));
                Err(format!("the agent panicked: {}", emitter::panic_message(&*panic)))
            }
        }
    }

    /// Stores spans of the agent's own making under this attempt. Those without a sequence id get one.
    async fn store_spans(&self, attempt: &Attempt, mut spans: Vec<Span>) -> Result<(), String> {
        let target = (attempt.rollout_id.clone(), attempt.attempt_id.clone());
        let unnumbered = spans.iter().filter(|span| span.sequence_id == 0).count();
        let ids = if unnumbered == 0 {
            Vec::new()
        } else {
            let ids = self
                .store
                .get_many_span_sequence_ids(vec![target.clone(); unnumbered])
                .await;
            ids.map_err(|error| format!("the agent's spans got no sequence ids: {error}"))?
        };
        let mut ids = ids.into_iter();
        for span in &mut spans {
            (span.rollout_id, span.attempt_id) = target.clone();
            if span.sequence_id == 0 {
                span.sequence_id = ids.next().unwrap_or_default();
            }
        }
        let outcomes = self.store.add_many_spans(spans).await;
        let outcomes = outcomes.map_err(|error| format!("the agent's spans could not be stored: {error}"))?;
        match outcomes.into_iter().find_map(|outcome| match outcome {
            SpanOutcome::Rejected(error) => Some(error),
            SpanOutcome::Stored | SpanOutcome::Duplicate => None,
        }) {
            Some(error) => Err(format!("a span of the agent was refused: {error}")),
            None => Ok(()),
        }
    }

    /// Ends the attempt at the store.
    async fn report(
        &self,
        claimed: &AttemptedRollout,
        work: Work,
        stored: Result<(), String>,
    ) -> Result<Attempt, RunnerError> {
        let (rollout_id, attempt_id) = (&claimed.rollout_id, &claimed.attempt.attempt_id);
        let update = |patch: AttemptPatch| {
            self.store
                .update_attempt(rollout_id.clone(), AttemptRef::from(attempt_id), patch)
        };
        let action = "report on an attempt";
        match (work, stored) {
            (Work::Over(status), _) => {
                // Its last spans may have revived it, if it was taken for dead.
                let end =
                    || fail_unless_ended(&*self.store, rollout_id, attempt_id, AttemptPatch::status(status));
                self.patiently(action, || Box::pin(end())).await
            }
            (Work::Stopped, _) => {
                let reason = "the runner was stopped";
                let fail = || {
                    fail_unless_ended(
                        &*self.store,
                        rollout_id,
                        attempt_id,
                        AttemptPatch::interrupted(reason),
                    )
                };
                self.patiently(action, || Box::pin(fail())).await
            }
            (Work::Dropped(reason), _) => {
                let fail = || fail_unless_ended(&*self.store, rollout_id, attempt_id, failed(&*reason));
                self.patiently(action, || Box::pin(fail())).await
            }
            (Work::Ended(Err(reason)), _) | (Work::Ended(Ok(())), Err(reason)) => {
                self.patiently(action, || update(failed(&*reason))).await
            }
            (Work::Ended(Ok(())), Ok(())) => {
                let succeeded = || update(AttemptPatch::status(AttemptStatus::Succeeded));
                self.patiently(action, succeeded).await
            }
        }
    }
}

/// Ends an attempt whose agent was dropped. One that a time limit has ended in the meantime, and its rollout with it,
/// keeps that for its end.
pub(super) async fn fail_unless_ended(
    store: &dyn Store,
    rollout_id: &RolloutId,
    attempt_id: &AttemptId,
    end: AttemptPatch,
) -> Result<Attempt, StoreError> {
    let update = |patch| store.update_attempt(rollout_id.clone(), AttemptRef::from(attempt_id), patch);
    let attempt = update(AttemptPatch::default()).await?;
    if attempt.status.is_terminal() {
        return Ok(attempt);
    }
    update(end).await
}

/// Stores what is still recorded.
pub(super) async fn flush(store: &dyn Store, recording: &Recording) -> Result<(), String> {
    match recording.finish(store).await {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("the trace could not be stored: {error}")),
    }
}

/// A report of failure with its reason.
fn failed(reason: impl Into<String>) -> AttemptPatch {
    let reason = (semconv::ATTEMPT_REASON.to_owned(), reason.into().into());
    AttemptPatch {
        metadata: Some(JsonObject::from_iter([reason])),
        ..AttemptPatch::status(AttemptStatus::Failed)
    }
}
