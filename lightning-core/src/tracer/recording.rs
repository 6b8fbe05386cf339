//! The recording of one attempt, as its runner holds it.

use std::{
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use super::{context::Scope, tape::Tape};
use crate::{
    clock::Clock,
    ids::IdSource,
    semconv,
    types::{AttemptId, JsonObject, RolloutId, Span, SpanResource},
};

/// How a [`Recording`] keeps and sends spans.
#[derive(Clone, Debug)]
pub struct RecordingOptions {
    /// How many spans are kept at most, open ones and those that the store has not acknowledged. Once there are so many,
    /// new ones are dropped and counted. 65 536 unless set; a span takes about a kilobyte.
    pub max_spans: usize,
    /// How many events a span keeps; those beyond are counted in its field `dropped_events_count`. 1 024 unless set.
    pub max_events_per_span: usize,
    /// How many spans are sent at once. 1 024 unless set.
    pub max_batch: usize,
    /// How long to wait before trying again after the store was first unavailable; doubled each time. 50 ms unless set.
    pub first_retry: Duration,
    /// The longest wait before trying again. 5 s unless set.
    pub longest_retry: Duration,
    /// How long [`finish`](Recording::finish) goes on trying while the store is unavailable. 30 s unless set.
    pub patience: Duration,
    /// What the spans say about their producer.
    pub resource: Arc<SpanResource>,
}

impl Default for RecordingOptions {
    fn default() -> Self {
        static RESOURCE: LazyLock<Arc<SpanResource>> = LazyLock::new(|| {
            let attributes = [
                (semconv::TRACER_NAME, semconv::LIGHTNING_TRACER),
                ("telemetry.sdk.language", "rust"),
            ];
            let attributes = attributes
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.into()));
            Arc::new(SpanResource {
                attributes: attributes.collect::<JsonObject>(),
                ..SpanResource::default()
            })
        });
        Self {
            max_spans: 65_536,
            max_events_per_span: 1_024,
            max_batch: 1_024,
            first_retry: Duration::from_millis(50),
            longest_retry: Duration::from_secs(5),
            patience: Duration::from_secs(30),
            resource: RESOURCE.clone(),
        }
    }
}

/// Records what happens during one attempt. A clone is another handle on the same recording.
///
/// All spans share one trace. They get their sequence ids as they are sent, in the order in which they ended, so that
/// they fall in line with those that others store for the same rollout, such as an LLM proxy.
#[derive(Clone, Debug)]
pub struct Recording {
    pub(super) tape: Arc<Tape>,
}

impl Recording {
    /// Begins a recording. Nothing is sent before [`run`](Self::run), [`flush`](Self::flush) or
    /// [`finish`](Self::finish).
    pub fn start(
        rollout_id: RolloutId,
        attempt_id: AttemptId,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        options: RecordingOptions,
    ) -> Self {
        Self {
            tape: Arc::new(Tape::new(rollout_id, attempt_id, clock, ids, options)),
        }
    }

    /// The rollout that is recorded.
    pub fn rollout_id(&self) -> &RolloutId {
        &self.tape.rollout_id
    }

    /// The attempt that is recorded.
    pub fn attempt_id(&self) -> &AttemptId {
        &self.tape.attempt_id
    }

    /// How many spans have been recorded so far, open ones included.
    pub fn recorded(&self) -> u64 {
        self.tape.lock().tally.recorded
    }

    /// The future, recorded: whatever it does while it is polled belongs to this recording. Sends nothing; see
    /// [`run`](Self::run).
    pub fn scope<F: Future>(&self, future: F) -> impl Future<Output = F::Output> + use<F> {
        Scope::new(self.tape.clone(), None).around(future)
    }

    /// Calls a function, recorded.
    pub fn in_scope<T>(&self, call: impl FnOnce() -> T) -> T {
        Scope::new(self.tape.clone(), None).around_sync(call)
    }

    /// Takes out the spans that have ended and have not been sent, for code that has no store. They are numbered from 1
    /// in the order in which they ended.
    pub fn drain(&self) -> Vec<Span> {
        let mut state = self.tape.lock();
        let mut spans: Vec<Span> = state.ended.drain(..).collect();
        for span in &mut spans {
            state.drained += 1;
            span.sequence_id = state.drained;
        }
        spans
    }
}
