//! Operations: spans that last, with inputs and an output.

use std::{future::Future, sync::Arc};

use serde::Serialize;

use super::{Attributes, EmitError, Exception, json};
use crate::{
    semconv,
    tracer::{self, NotRecorded, Parent, SpanId, SpanRef, Tape},
    types::JsonObject,
};

/// Begins an operation: a step of the agent's work that is stored as one span when the guard is dropped.
///
/// Until then it is the parent of what the present task records. Where several branches of one task take turns, as in a
/// `join!`, give each its own with [`Operation::run`]. The macro of the same name takes inputs too:
///
/// ```
/// use lightning_core::emitter::{EmitError, operation};
///
/// async fn search(query: &str) -> Result<Vec<String>, EmitError> {
///     let searching = operation!("search", query = query, limit = 3)?;
///     let found = vec!["a page".to_owned()];
///     searching.output(&found)?;
///     Ok(found)
/// }
/// # drop(search("rust"));
/// ```
///
/// # Errors
///
/// [`EmitError::OutsideRollout`], [`EmitError::Ended`], [`EmitError::Full`].
pub fn operation(name: impl Into<String>) -> Result<Operation, EmitError> {
    let what = "operation";
    let tape = tracer::tape().ok_or(EmitError::OutsideRollout { what })?;
    let mut attributes = JsonObject::new();
    attributes.insert(semconv::OPERATION_NAME.to_owned(), name.into().into());
    let id = tape
        .begin(semconv::OPERATION, attributes, Parent::Innermost)
        .map_err(|reason| EmitError::not_recorded(reason, what, &tape))?;
    tracer::open_operation(id);
    Ok(Operation { tape, id })
}

/// Begins an [operation](crate::emitter::operation()) with inputs: `operation!("search", query = q, limit = 3)?`.
///
/// Each input is any value that serializes. Evaluates to a `Result<Operation, EmitError>`.
#[macro_export]
macro_rules! operation {
    ($name:expr $(, $input:ident = $value:expr)* $(,)?) => {{
        let operation = $crate::emitter::operation($name);
        $(let operation = $crate::emitter::__operation_input(operation, stringify!($input), &$value);)*
        operation
    }};
}

#[doc(hidden)]
pub fn __operation_input<T: Serialize + ?Sized>(
    operation: Result<Operation, EmitError>,
    name: &str,
    value: &T,
) -> Result<Operation, EmitError> {
    let operation = operation?;
    operation.input(name, value)?;
    Ok(operation)
}

/// An operation that is under way; dropping it ends it.
///
/// Its status is unset, unless it was told that it [failed](Self::fail) or is dropped in a panic.
#[derive(Debug)]
#[must_use = "the operation ends when this is dropped"]
pub struct Operation {
    tape: Arc<Tape>,
    id: SpanId,
}

impl Operation {
    /// Records an input. A nested value is [flattened](crate::types::flatten).
    ///
    /// # Errors
    ///
    /// [`EmitError::TooDeep`], [`EmitError::Unserializable`]; [`EmitError::Ended`] if the rollout has ended.
    pub fn input<T: Serialize + ?Sized>(&self, name: &str, value: &T) -> Result<(), EmitError> {
        let mut attributes = JsonObject::new();
        json::flatten(
            &mut attributes,
            format!("{}.{name}", semconv::OPERATION_INPUT),
            value,
        )?;
        self.add(attributes)
    }

    /// Records the output. A nested value is [flattened](crate::types::flatten).
    ///
    /// # Errors
    ///
    /// Those of [`input`](Self::input).
    pub fn output<T: Serialize + ?Sized>(&self, value: &T) -> Result<(), EmitError> {
        let mut attributes = JsonObject::new();
        json::flatten(&mut attributes, semconv::OPERATION_OUTPUT.to_owned(), value)?;
        self.add(attributes)
    }

    /// Adds tags, links or other attributes. Tags and links come after those that the operation has already; another
    /// attribute takes the place of one of the same name.
    ///
    /// # Errors
    ///
    /// Those of [`input`](Self::input).
    pub fn annotate(&self, attributes: Attributes) -> Result<(), EmitError> {
        let attributes = attributes.check()?;
        self.changed(
            self.tape
                .amend(self.id, |span| attributes.add_to(&mut span.attributes)),
        )
    }

    /// Records that something went wrong: the status becomes `ERROR`, and the exception an event of the span.
    ///
    /// # Errors
    ///
    /// [`EmitError::Ended`] if the rollout has ended.
    pub fn fail(&self, exception: impl Into<Exception>) -> Result<(), EmitError> {
        let exception = exception.into();
        let status = tracer::failed(exception.to_string());
        self.tape
            .add_event(self.id, exception.into_event(self.tape.now()));
        self.changed(self.tape.amend(self.id, |span| span.status = status))
    }

    /// Names the span, so that others can link to it.
    pub fn span(&self) -> SpanRef {
        self.tape.span_ref(self.id)
    }

    /// Runs `future` as this operation, which ends with it.
    ///
    /// Only what `future` does is part of the operation, not what else the task does meanwhile:
    ///
    /// ```
    /// # use lightning_core::emitter::{EmitError, operation};
    /// # async fn agent() -> Result<(), EmitError> {
    /// let left = operation("left")?.run(async { /* … */ });
    /// let right = operation("right")?.run(async { /* … */ });
    /// tokio::join!(left, right);
    /// # Ok(())
    /// # }
    /// ```
    pub fn run<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        tracer::close_operation(self.id);
        let inner = tracer::within_operation(self.tape.clone(), self.id, future);
        async move {
            let _operation = self;
            inner.await
        }
    }

    fn add(&self, attributes: JsonObject) -> Result<(), EmitError> {
        self.changed(
            self.tape
                .amend(self.id, |span| span.attributes.extend(attributes)),
        )
    }

    /// An operation that is not open any more was ended by the end of its recording.
    fn changed(&self, changed: bool) -> Result<(), EmitError> {
        if changed {
            return Ok(());
        }
        Err(EmitError::not_recorded(
            NotRecorded::Finished,
            "operation",
            &self.tape,
        ))
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        tracer::close_operation(self.id);
        self.tape.end(self.id);
    }
}
