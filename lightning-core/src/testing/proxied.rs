//! Calls recorded as the LLM proxy records them, without a proxy.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use serde_json::Value;

use crate::{
    clock::{Clock, SystemClock},
    ids::RandomIds,
    llm_proxy::capture::{CallTicket, Endpoint, Exchange, Recorder, RecorderOptions, call_spans},
    model_wire::{Assembler, sse::Events},
    store::Store,
    types::{AttemptId, RolloutId, Span, Timestamp},
};

/// A call as it would have passed through the proxy.
///
/// ```
/// use lightning_core::testing::ProxiedCall;
///
/// let call = ProxiedCall::new(
///     "/v1/chat/completions",
///     r#"{"model": "small", "messages": [{"role": "user", "content": "2 + 2?"}]}"#,
///     r#"{"id": "c-1", "choices": [{"message": {"role": "assistant", "content": "4"}}]}"#,
/// );
/// let spans = call.spans("ro-1", "at-1");
/// assert_eq!(spans[0].attributes["gen_ai.completion.0.content"], "4");
/// assert_eq!(spans[1].parent_id.as_deref(), Some(spans[0].span_id.as_str()));
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ProxiedCall(Exchange);

impl ProxiedCall {
    /// A call of `path`, such as `/v1/messages`, that was answered with 200. The model is the one that the request names;
    /// the times are zero.
    pub fn new(path: &str, request: impl Into<Vec<u8>>, response: impl Into<Vec<u8>>) -> Self {
        let request: Vec<u8> = request.into();
        let asked: Value = serde_json::from_slice(&request).unwrap_or_default();
        let model = asked["model"].as_str().unwrap_or_default().to_owned();
        let zero = Timestamp::from_secs_f64(0.0);
        Self(Exchange {
            rollout: "".into(),
            attempt: "".into(),
            sequence_id: None,
            endpoint: Endpoint::of_path(path).unwrap_or(Endpoint::ChatCompletions),
            upstream_model: model.clone(),
            model,
            backend: "http://127.0.0.1:8000/v1".to_owned(),
            request: request.into(),
            status: 200,
            streamed: asked["stream"] == true,
            content_encoding: None,
            response: Bytes::from(response.into()),
            truncated: false,
            error: None,
            started: zero,
            first_byte: None,
            ended: zero,
            retries: 0,
        })
    }

    /// The status of the answer; 0 stands for no answer.
    pub fn status(mut self, status: u16) -> Self {
        self.0.status = status;
        self
    }

    /// How the answer is encoded: `gzip`.
    pub fn encoding(mut self, encoding: &str) -> Self {
        self.0.content_encoding = Some(encoding.to_owned());
        self
    }

    /// Says that there was more of the answer than is kept.
    pub fn truncated(mut self) -> Self {
        self.0.truncated = true;
        self
    }

    /// Says what went wrong on the way.
    pub fn error(mut self, error: &str) -> Self {
        self.0.error = Some(error.to_owned());
        self
    }

    /// When it began, its answer began, and it ended: seconds since the epoch.
    pub fn times(mut self, started: f64, first_byte: f64, ended: f64) -> Self {
        let at = Timestamp::from_secs_f64;
        (self.0.started, self.0.first_byte, self.0.ended) = (at(started), Some(at(first_byte)), at(ended));
        self
    }

    /// How often it was tried again.
    pub fn retries(mut self, retries: u32) -> Self {
        self.0.retries = retries;
        self
    }

    /// The sequence id that was drawn before it.
    pub fn sequence_id(mut self, id: u64) -> Self {
        self.0.sequence_id = Some(id);
        self
    }

    /// The spans that it becomes.
    pub fn spans(&self, rollout: impl Into<RolloutId>, attempt: impl Into<AttemptId>) -> Vec<Span> {
        let mut call = self.0.clone();
        (call.rollout, call.attempt) = (rollout.into(), attempt.into());
        call_spans(&call, &RandomIds)
    }
}

/// A streamed answer of `path` in one piece, from the pieces in which its bytes came, and whether it came to its end.
pub fn assembled_answer(path: &str, pieces: impl IntoIterator<Item = impl AsRef<[u8]>>) -> (Value, bool) {
    let endpoint = Endpoint::of_path(path).unwrap_or(Endpoint::ChatCompletions);
    let mut assembler = Assembler::new(endpoint);
    let mut events = Events::new(usize::MAX);
    for piece in pieces {
        events.push(piece.as_ref(), |event| assembler.push_text(event.data));
    }
    events.finish(|event| assembler.push_text(event.data));
    let all = assembler.finish();
    (all.answer, all.complete)
}

/// Records calls at a store as the proxy does: from a bounded queue.
#[derive(Clone, Debug)]
pub struct CallRecorder(Recorder);

/// A call that is under way. Dropped, it ends without a record.
#[derive(Debug)]
#[must_use = "a call that is not finished is not recorded"]
pub struct OpenCall {
    ticket: CallTicket,
    whose: (RolloutId, AttemptId),
}

/// What became of the calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CallFigures {
    /// Stored.
    pub recorded: u64,
    /// Not stored, because there was no room for them in the queue.
    pub dropped: u64,
    /// Not stored, because the store did not want them.
    pub refused: u64,
    /// Waiting to be stored.
    pub waiting: usize,
    /// The bytes of those.
    pub waiting_bytes: usize,
}

impl CallRecorder {
    /// A recorder with the proxy's limits. Must be called within a Tokio runtime.
    pub fn start(store: Arc<dyn Store>) -> Self {
        let options = RecorderOptions::default();
        Self::with_limits(
            store,
            Arc::new(SystemClock::new()),
            options.max_calls,
            options.max_bytes,
        )
    }

    /// A recorder with other limits on what waits, and a clock. Must be called within a Tokio runtime.
    pub fn with_limits(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        max_calls: usize,
        max_bytes: usize,
    ) -> Self {
        let options = RecorderOptions {
            max_calls,
            max_bytes,
            first_retry: Duration::from_millis(1),
            longest_retry: Duration::from_millis(20),
            ..RecorderOptions::default()
        };
        Self(Recorder::start(store, clock, Arc::new(RandomIds), options))
    }

    /// Begins a call of this attempt.
    pub fn begin(&self, rollout: impl Into<RolloutId>, attempt: impl Into<AttemptId>) -> OpenCall {
        let whose = (rollout.into(), attempt.into());
        OpenCall {
            ticket: self.0.begin(&whose.0, &whose.1),
            whose,
        }
    }

    /// Resolves when every call that was begun for this attempt is recorded or dropped. Cancel safe.
    pub async fn recorded(&self, rollout: impl Into<RolloutId>, attempt: impl Into<AttemptId>) {
        self.0.recorded(&rollout.into(), &attempt.into()).await;
    }

    /// Records what waits, for as long as `grace`, and ends. Cancel safe.
    pub async fn shutdown(&self, grace: Duration) {
        self.0.shutdown(grace).await;
    }

    /// What became of the calls so far.
    pub fn figures(&self) -> CallFigures {
        let figures = self.0.figures();
        CallFigures {
            recorded: figures.recorded,
            dropped: figures.dropped,
            refused: figures.refused,
            waiting: figures.waiting,
            waiting_bytes: figures.waiting_bytes,
        }
    }
}

impl OpenCall {
    /// Ends the call with what went by.
    pub fn finish(self, call: &ProxiedCall) {
        let mut exchange = call.0.clone();
        (exchange.rollout, exchange.attempt) = self.whose;
        self.ticket.finish(exchange);
    }
}
