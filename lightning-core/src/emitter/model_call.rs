//! Calls of a chat model that the agent makes itself.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::{EmitError, Exception, json};
use crate::{
    model_wire::{Assembler, Endpoint, attributes as chat},
    semconv,
    tracer::{self, NotRecorded, Parent, SpanId, SpanRef, Tape},
    types::{JsonObject, SpanStatus, SpanStatusCode},
};

const WHAT: &str = "model call";

/// What a call says of itself that nobody finished.
const GIVEN_UP: &str = "ended without an answer";

/// What a call says of itself whose stream ended too early.
pub(crate) const BROKE_OFF: &str = "the answer broke off before its end";

/// Begins the record of a call of a chat model. `request` is what is sent, in OpenAI's shape.
///
/// The adapters find such a call under the name `openai.chat.completion` and read prompt, answer, token ids and usage off
/// it. An agent whose calls go through the LLM proxy does not need it: the proxy records them.
///
/// ```
/// use lightning_core::emitter::model_call;
/// use serde_json::{Value, json};
///
/// # async fn post(_: &Value) -> anyhow::Result<Value> { Ok(json!({})) }
/// # async fn ask() -> anyhow::Result<Value> {
/// let request = json!({"model": "small", "messages": [{"role": "user", "content": "2 + 2?"}]});
/// let call = model_call(&request)?;
/// let answer: Value = post(&request).await?; // on an error, the call is recorded as one without an answer
/// call.finish(&answer)?;
/// # Ok(answer)
/// # }
/// ```
///
/// The call is not the parent of what else is recorded meanwhile, so calls may be under way at the same time in one task.
///
/// # Errors
///
/// [`EmitError::OutsideRollout`], [`EmitError::Ended`], [`EmitError::Full`]; [`EmitError::TooDeep`] and
/// [`EmitError::Unserializable`] for the request.
pub fn model_call<R: Serialize + ?Sized>(request: &R) -> Result<ModelCall, EmitError> {
    let tape = tracer::tape().ok_or(EmitError::OutsideRollout { what: WHAT })?;
    let attributes = chat::of_request(&json::value(request, "the request")?);
    let id = tape
        .begin(semconv::CHAT_COMPLETION, attributes, Parent::Innermost)
        .map_err(|reason| EmitError::not_recorded(reason, WHAT, &tape))?;
    Ok(ModelCall { tape, id })
}

/// A call of a model that is under way. Dropped before it is finished, it is recorded as an error.
#[derive(Debug)]
#[must_use = "a call without an answer is recorded as an error when this is dropped"]
pub struct ModelCall {
    tape: Arc<Tape>,
    id: SpanId,
}

impl ModelCall {
    /// Says whose call it is, such as [`ROLE_JUDGE`](semconv::ROLE_JUDGE): one that costs tokens but is no training data.
    pub fn role(self, role: impl Into<String>) -> Self {
        let role = role.into();
        self.tape.amend(self.id, |span| {
            span.attributes.insert(semconv::CALL_ROLE.to_owned(), role.into());
        });
        self
    }

    /// Ends the call with what the model answered, in OpenAI's shape. For a streamed answer there is
    /// [`finish_streamed`](Self::finish_streamed).
    ///
    /// Each tool that the answer asks for is recorded as a span below the call. An answer that is an error, as servers
    /// write it (`{"error": …}`), gives the call the status `ERROR`.
    ///
    /// # Errors
    ///
    /// [`EmitError::TooDeep`] and [`EmitError::Unserializable`] for the answer, [`EmitError::Ended`] if the rollout has
    /// ended, [`EmitError::Full`] if there is no room for the tools.
    pub fn finish<A: Serialize + ?Sized>(self, answer: &A) -> Result<SpanRef, EmitError> {
        let answer = json::value(answer, "the answer")?;
        self.finish_with(&answer, None)
    }

    /// Ends the call with the chunks of a streamed answer, in OpenAI's shape and in their order. They are put together, with
    /// the token ids and log-probabilities that came in pieces. An answer that has not come to its end gives the call the
    /// status `ERROR`.
    ///
    /// # Errors
    ///
    /// Those of [`finish`](Self::finish).
    pub fn finish_streamed<C: Serialize>(
        self,
        chunks: impl IntoIterator<Item = C>,
    ) -> Result<SpanRef, EmitError> {
        let mut assembler = Assembler::new(Endpoint::ChatCompletions);
        for chunk in chunks {
            assembler.push(json::value(&chunk, "a chunk of the answer")?);
        }
        let all = assembler.finish();
        self.finish_with(&all.answer, (!all.complete).then_some(BROKE_OFF))
    }

    /// Ends the call with an answer and what is wrong with it besides.
    pub(crate) fn finish_with(self, answer: &Value, problem: Option<&str>) -> Result<SpanRef, EmitError> {
        let attributes = chat::of_answer(answer);
        let status = match chat::refusal(answer).or_else(|| problem.map(str::to_owned)) {
            Some(message) => tracer::failed(message),
            None => well(),
        };
        self.end_with(attributes, status)?;
        for (name, attributes) in chat::tool_spans(answer) {
            let tool = self
                .tape
                .begin(&name, attributes, Parent::Span(self.id))
                .map_err(|reason| EmitError::not_recorded(reason, WHAT, &self.tape))?;
            self.tape.amend(tool, |span| span.status = well());
            self.tape.end(tool);
        }
        Ok(self.span())
    }

    /// Ends the call with what went wrong: the status becomes `ERROR`, and the exception an event of the span.
    ///
    /// # Errors
    ///
    /// [`EmitError::Ended`] if the rollout has ended.
    pub fn fail(self, exception: impl Into<Exception>) -> Result<SpanRef, EmitError> {
        let exception = exception.into();
        let status = tracer::failed(exception.to_string());
        self.tape
            .add_event(self.id, exception.into_event(self.tape.now()));
        self.end_with(JsonObject::new(), status)?;
        Ok(self.span())
    }

    /// Names the span, so that others can link to it.
    pub fn span(&self) -> SpanRef {
        self.tape.span_ref(self.id)
    }

    /// A call that is not open any more was ended by the end of its recording.
    fn end_with(&self, attributes: JsonObject, status: SpanStatus) -> Result<(), EmitError> {
        let changed = self.tape.amend(self.id, |span| {
            span.attributes.extend(attributes);
            span.status = status;
        });
        if changed {
            return Ok(());
        }
        Err(EmitError::not_recorded(NotRecorded::Finished, WHAT, &self.tape))
    }
}

fn well() -> SpanStatus {
    SpanStatus {
        status_code: SpanStatusCode::Ok,
        ..SpanStatus::default()
    }
}

impl Drop for ModelCall {
    fn drop(&mut self) {
        self.tape.amend(self.id, |span| {
            if span.status.status_code == SpanStatusCode::Unset {
                span.status = tracer::failed(GIVEN_UP);
            }
        });
        self.tape.end(self.id);
    }
}
