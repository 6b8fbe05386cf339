//! Where a span belongs: the recording of the present task, and the innermost span that is open in it.
//!
//! A *scope* travels with a future and is in place while that is polled. The operations that are open in it travel along.
//! Spans of `tracing` are entered and left at each poll instead, so those live on a stack of the thread; a scope only
//! sees what was pushed since its own poll began, and takes away at its end what was left behind.

use std::{
    cell::{Cell, RefCell},
    future::{Future, poll_fn},
    pin::pin,
    sync::Arc,
};

use tokio::task::JoinHandle;

use super::tape::{SpanId, State, Tape};
use crate::types::{AttemptId, RolloutId};

tokio::task_local! {
    static SCOPE: Scope;
}

thread_local! {
    static ENTERED: RefCell<Vec<Entered>> = const { RefCell::new(Vec::new()) };
}

/// What makes code part of a recording.
pub(super) struct Scope {
    tape: Arc<Tape>,
    /// The parent of what is recorded here outside of any other span.
    parent: Option<SpanId>,
    /// Where the entries of this scope begin in [`ENTERED`], during a poll.
    entered_from: Cell<usize>,
    operations: RefCell<Vec<OpenOperation>>,
}

struct OpenOperation {
    id: SpanId,
    /// The span of `tracing` in which it began. While that is not entered, as when another branch of a `join!` runs, the
    /// operation is not the parent of anything.
    within: Option<SpanId>,
}

/// A span of `tracing` that is recorded and entered on this thread.
struct Entered {
    tracing_id: u64,
    tape: u64,
    id: SpanId,
}

/// The parent of a span that begins.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Parent {
    /// The innermost open span.
    Innermost,
    /// None.
    Root,
    /// This one.
    Span(SpanId),
}

impl Scope {
    pub(super) fn new(tape: Arc<Tape>, parent: Option<SpanId>) -> Self {
        Self {
            tape,
            parent,
            entered_from: Cell::new(0),
            operations: RefCell::new(Vec::new()),
        }
    }

    /// The present scope, for another task: what it records there is part of what is open here and now.
    fn carried() -> Option<Self> {
        let tape = tape()?;
        let parent = innermost(&tape.lock());
        Some(Self::new(tape, parent))
    }

    pub(super) fn around<F: Future>(self, future: F) -> impl Future<Output = F::Output> {
        SCOPE.scope(self, async move {
            let mut future = pin!(future);
            poll_fn(|cx| {
                let _frame = Frame::begin();
                future.as_mut().poll(cx)
            })
            .await
        })
    }

    pub(super) fn around_sync<T>(self, call: impl FnOnce() -> T) -> T {
        SCOPE.sync_scope(self, || {
            let _frame = Frame::begin();
            call()
        })
    }
}

/// One poll of a scope.
struct Frame {
    depth: usize,
}

impl Frame {
    fn begin() -> Self {
        let depth = ENTERED.try_with(|entered| entered.borrow().len()).unwrap_or(0);
        let _ = SCOPE.try_with(|scope| scope.entered_from.set(depth));
        Self { depth }
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        // A guard of `tracing` that is held across an await would leave its span behind for other tasks.
        let _ = ENTERED.try_with(|entered| entered.borrow_mut().truncate(self.depth));
    }
}

/// What the present task records on.
pub(crate) fn tape() -> Option<Arc<Tape>> {
    SCOPE.try_with(|scope| scope.tape.clone()).ok()
}

/// The rollout and attempt that the present task works on, if it runs in the scope of a recording.
pub fn current_attempt() -> Option<(RolloutId, AttemptId)> {
    SCOPE
        .try_with(|scope| (scope.tape.rollout_id.clone(), scope.tape.attempt_id.clone()))
        .ok()
}

/// The innermost span that is open where the present task stands. `state` is that of the present recording.
pub(super) fn innermost(state: &State) -> Option<SpanId> {
    SCOPE
        .try_with(|scope| {
            let entered = entered(scope);
            let mut operations = scope.operations.borrow_mut();
            while operations
                .last()
                .is_some_and(|operation| !state.is_open(operation.id))
            {
                operations.pop();
            }
            let operation = operations
                .iter()
                .rev()
                .find(|operation| operation.within == entered && state.is_open(operation.id));
            operation
                .map(|operation| operation.id)
                .or(entered)
                .or(scope.parent)
        })
        .ok()
        .flatten()
}

/// The innermost span of `tracing` that was entered within the scope.
fn entered(scope: &Scope) -> Option<SpanId> {
    ENTERED
        .try_with(|entered| {
            let entered = entered.borrow();
            let inner = entered.get(scope.entered_from.get()..).unwrap_or_default();
            inner
                .iter()
                .rev()
                .find(|entry| entry.tape == scope.tape.number)
                .map(|entry| entry.id)
        })
        .ok()
        .flatten()
}

/// Makes an open span the parent of what the present task records from now on until that ends.
pub(crate) fn open_operation(id: SpanId) {
    let _ = SCOPE.try_with(|scope| {
        let within = entered(scope);
        scope.operations.borrow_mut().push(OpenOperation { id, within });
    });
}

/// Takes back [`open_operation`].
pub(crate) fn close_operation(id: SpanId) {
    let _ = SCOPE.try_with(|scope| {
        let mut operations = scope.operations.borrow_mut();
        if let Some(place) = operations.iter().rposition(|operation| operation.id == id) {
            operations.remove(place);
        }
    });
}

pub(super) fn enter(tracing_id: u64, tape: &Tape, id: SpanId) {
    let entry = Entered {
        tracing_id,
        tape: tape.number,
        id,
    };
    let _ = ENTERED.try_with(|entered| entered.borrow_mut().push(entry));
}

pub(super) fn exit(tracing_id: u64) {
    let _ = ENTERED.try_with(|entered| {
        let mut entered = entered.borrow_mut();
        if let Some(place) = entered.iter().rposition(|entry| entry.tracing_id == tracing_id) {
            entered.remove(place);
        }
    });
}

/// Runs `future` with the open span `id` as the parent of what it records.
pub(crate) fn within_operation<F: Future>(
    tape: Arc<Tape>,
    id: SpanId,
    future: F,
) -> impl Future<Output = F::Output> {
    Scope::new(tape, Some(id)).around(future)
}

/// Takes a future into the present recording, wherever it will be polled.
pub trait CarryContext: Future + Sized {
    /// This future in the recording of the task that calls this, below the span that is the innermost one at the call.
    /// Outside of a recording, the future as it is.
    ///
    /// ```
    /// # use lightning_core::{emitter::emit_message, tracer::CarryContext};
    /// # async fn agent() {
    /// let mut tasks = tokio::task::JoinSet::new();
    /// tasks.spawn(async { emit_message("from another task") }.in_rollout());
    /// # }
    /// ```
    fn in_rollout(self) -> impl Future<Output = Self::Output> {
        let scope = Scope::carried();
        async move {
            match scope {
                Some(scope) => scope.around(self).await,
                None => self.await,
            }
        }
    }
}

impl<F: Future> CarryContext for F {}

/// As [`tokio::spawn`], within the present recording.
///
/// Whoever starts a task owns it: await or abort it before the agent returns, for nothing is recorded once the rollout
/// has ended.
///
/// # Panics
///
/// Outside of a Tokio runtime, as [`tokio::spawn`] does.
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    tokio::spawn(future.in_rollout())
}

/// As [`tokio::task::spawn_blocking`], within the present recording.
///
/// # Panics
///
/// Outside of a Tokio runtime, as [`tokio::task::spawn_blocking`] does.
pub fn spawn_blocking<T, F>(call: F) -> JoinHandle<T>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    tokio::task::spawn_blocking(carry(call))
}

/// The call in the recording of the task that asks for it, on whichever thread it will run.
pub(crate) fn carry<T>(call: impl FnOnce() -> T) -> impl FnOnce() -> T {
    let scope = Scope::carried();
    move || match scope {
        Some(scope) => scope.around_sync(call),
        None => call(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{ids::RandomIds, testing::ManualClock, tracer::RecordingOptions};

    #[test]
    fn what_a_poll_leaves_entered_is_taken_away() {
        let tape = Arc::new(Tape::new(
            "ro-1".into(),
            "at-1".into(),
            Arc::new(ManualClock::default()),
            Arc::new(RandomIds),
            RecordingOptions::default(),
        ));
        let depth = || ENTERED.with(|entered| entered.borrow().len());
        let careless = || {
            enter(1, &tape, 1);
            assert_eq!(depth(), 1);
        };
        Scope::new(tape.clone(), None).around_sync(careless);
        assert_eq!(depth(), 0);
        let panicking = std::panic::AssertUnwindSafe(|| {
            Scope::new(tape.clone(), None).around_sync(|| {
                careless();
                std::panic::resume_unwind(Box::new(()));
            });
        });
        std::panic::catch_unwind(panicking).unwrap_err();
        assert_eq!(depth(), 0);
    }
}
