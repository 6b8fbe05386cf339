//! Sending recorded spans to a store.
//!
//! Spans stay with the recording until the store has acknowledged them, so that a broken connection or a dropped future
//! loses none; what was stored before the acknowledgement got lost is recognised by the store as a duplicate.

use std::{future::Future, pin::pin, time::Duration};

use super::{Recording, tape::Tape};
use crate::{
    store::{SpanOutcome, Store, StoreError},
    types::Span,
};

/// How many rejected spans are told apart in a [`Summary`]; the others are only counted.
const REJECTIONS_KEPT: usize = 16;

/// What became of the spans of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Summary {
    /// How many spans were recorded.
    pub recorded: u64,
    /// How many of them the store has. Those taken out by [`Recording::drain`] it does not.
    pub stored: u64,
    /// How many were not recorded because the recording held as many as it may.
    pub dropped: u64,
    /// How many the store refused.
    pub rejected: u64,
    /// The first of those, with the reason.
    pub rejections: Vec<RejectedSpan>,
}

/// A span that the store refused.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct RejectedSpan {
    /// What it is called.
    pub name: String,
    /// Its id: 16 hexadecimal digits.
    pub span_id: String,
    /// Why it was refused.
    pub error: StoreError,
}

pub(super) type Tally = Summary;

/// The store did not take the spans of a recording. They are kept: flush or finish again.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{unsent} spans could not be stored, and are kept for another try")]
#[non_exhaustive]
pub struct FlushError {
    /// How many spans are still to be stored.
    pub unsent: usize,
    /// What the store said last.
    pub source: StoreError,
}

impl Recording {
    /// Runs `future` in the [scope](Self::scope) of this recording, and meanwhile sends spans to the store as they end.
    ///
    /// Returns as soon as the future does, without waiting for spans that are still to be sent: [`finish`](Self::finish)
    /// sees to those. While the store is unavailable the future goes on, and sending is tried again now and then.
    ///
    /// Cancel safe: spans that were being sent are sent again by `finish`. A panic of the future passes through; the
    /// recording can be used afterwards.
    pub async fn run<F: Future>(&self, store: &dyn Store, future: F) -> F::Output {
        let mut future = pin!(self.scope(future));
        let mut sending = pin!(self.send_as_they_end(store));
        tokio::select! {
            biased;
            output = &mut future => output,
            never = &mut sending => match never {},
        }
    }

    /// Sends every span that has ended.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if the store is unavailable or fails; it is not tried again, and the spans are kept. A span that
    /// the store refuses for itself is no error: it is logged, and reported by [`finish`](Self::finish).
    ///
    /// Cancel safe: no span is lost.
    pub async fn flush(&self, store: &dyn Store) -> Result<(), FlushError> {
        let tape = &*self.tape;
        // The semaphore is never closed.
        let _permit = tape.sending.acquire().await;
        while let Some(batch) = next_batch(tape, store).await? {
            let sent = batch.len();
            let outcomes = match store.add_many_spans(batch).await {
                Ok(outcomes) if outcomes.len() == sent => outcomes,
                Ok(_) => {
                    let reason = "it did not answer with one outcome for each span".to_owned();
                    return Err(unsent(tape, StoreError::Internal { reason, source: None }));
                }
                Err(error) => vec![SpanOutcome::Rejected(error); sent],
            };
            settle(tape, outcomes)?;
        }
        Ok(())
    }

    /// Ends the recording: closes the spans that are still open, and sends all that is left. After this call, nothing is
    /// recorded any more. May be called again, with the same answer.
    ///
    /// While the store is unavailable, tries again for as long as [`patience`](super::RecordingOptions::patience) says.
    ///
    /// # Errors
    ///
    /// [`FlushError`] if the store stays unavailable. The spans are kept, and another call tries again.
    ///
    /// Cancel safe: no span is lost, and another call goes on.
    pub async fn finish(&self, store: &dyn Store) -> Result<Summary, FlushError> {
        let tape = &*self.tape;
        tape.close();
        let mut retry = Retry::new(tape);
        let give_up = tape.clock.now() + tape.options.patience;
        while let Err(error) = self.flush(store).await {
            if tape.clock.now() >= give_up {
                return Err(error);
            }
            retry.pause(&error).await;
        }
        Ok(tape.lock().tally.clone())
    }

    async fn send_as_they_end(&self, store: &dyn Store) -> std::convert::Infallible {
        let tape = &*self.tape;
        loop {
            tape.ready.notified().await;
            let mut retry = Retry::new(tape);
            while let Err(error) = self.flush(store).await {
                retry.pause(&error).await;
            }
        }
    }
}

/// Waits longer each time.
struct Retry<'a> {
    tape: &'a Tape,
    pause: Duration,
}

impl<'a> Retry<'a> {
    fn new(tape: &'a Tape) -> Self {
        Self {
            tape,
            pause: tape.options.first_retry,
        }
    }

    async fn pause(&mut self, error: &FlushError) {
        let tape = self.tape;
        if self.pause == tape.options.first_retry {
            tracing::warn!(
                target: "lightning::tracer",
                rollout_id = %tape.rollout_id,
                attempt_id = %tape.attempt_id,
                unsent = error.unsent,
                error = %error.source,
                "spans could not be stored; trying again"
            );
        }
        tape.clock.sleep_past(tape.clock.now() + self.pause).await;
        self.pause = (self.pause * 2).min(tape.options.longest_retry);
    }
}

/// Whether trying again may help.
fn may_pass(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Unavailable { .. } | StoreError::Internal { .. }
    )
}

fn unsent(tape: &Tape, source: StoreError) -> FlushError {
    FlushError {
        unsent: tape.lock().unsent(),
        source,
    }
}

/// What is to be sent next, with sequence ids; `None` if nothing is. It stays with the tape until [`settle`].
async fn next_batch(tape: &Tape, store: &dyn Store) -> Result<Option<Vec<Span>>, FlushError> {
    let count = {
        let state = tape.lock();
        if !state.sent.is_empty() {
            // A flush was broken off. Sent again with the same ids, what arrived then is recognised.
            return Ok(Some(state.sent.clone()));
        }
        state.ended.len().min(tape.options.max_batch.max(1))
    };
    if count == 0 {
        return Ok(None);
    }
    let target = (tape.rollout_id.clone(), tape.attempt_id.clone());
    let ids = store.get_many_span_sequence_ids(vec![target; count]).await;
    let ids = ids.map_err(|error| unsent(tape, error))?;
    let mut state = tape.lock();
    // Meanwhile some may have been drained.
    let count = ids.len().min(state.ended.len());
    let mut batch: Vec<Span> = state.ended.drain(..count).collect();
    for (span, id) in batch.iter_mut().zip(ids) {
        span.sequence_id = id;
    }
    state.sent.clone_from(&batch);
    Ok((!batch.is_empty()).then_some(batch))
}

/// Lets go of the spans that were sent, but for those that should be tried again.
fn settle(tape: &Tape, outcomes: Vec<SpanOutcome>) -> Result<(), FlushError> {
    let mut state = tape.lock();
    let sent = std::mem::take(&mut state.sent);
    let mut rejected = 0;
    let mut transient = None;
    for (span, outcome) in sent.into_iter().zip(outcomes) {
        match outcome {
            SpanOutcome::Stored | SpanOutcome::Duplicate => state.tally.stored += 1,
            SpanOutcome::Rejected(error) if may_pass(&error) => {
                transient = Some(error);
                state.sent.push(span);
            }
            SpanOutcome::Rejected(error) => {
                rejected += 1;
                if state.tally.rejections.len() < REJECTIONS_KEPT {
                    let Span { name, span_id, .. } = span;
                    state.tally.rejections.push(RejectedSpan { name, span_id, error });
                }
            }
        }
    }
    state.tally.rejected += rejected;
    let first = state.tally.rejections.first().map(|first| first.error.clone());
    let left = state.unsent();
    drop(state);
    if let Some(error) = first.filter(|_| rejected > 0) {
        tracing::warn!(
            target: "lightning::tracer",
            rollout_id = %tape.rollout_id,
            attempt_id = %tape.attempt_id,
            rejected,
            %error,
            "the store refused spans"
        );
    }
    match transient {
        None => Ok(()),
        Some(source) => Err(FlushError { unsent: left, source }),
    }
}
