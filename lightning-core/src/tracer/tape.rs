//! What a recording writes on: the open spans of an attempt, and the ended ones on their way to the store.

use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{Notify, Semaphore};

use super::{
    RecordingOptions,
    context::{self, Parent},
    flush::Tally,
};
use crate::{
    clock::Clock,
    ids::IdSource,
    types::{AttemptId, JsonObject, Link, RolloutId, Span, SpanEvent, SpanStatus, SpanStatusCode, Timestamp},
};

/// A span within its attempt: the number that its 16 hexadecimal digits write.
pub(crate) type SpanId = u64;

/// Names a recorded span, so that others can link to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SpanRef {
    trace_id: Arc<str>,
    span_id: SpanId,
}

impl SpanRef {
    /// 32 hexadecimal digits.
    pub fn trace_id(&self) -> &str {
        &self.trace_id
    }

    /// 16 hexadecimal digits.
    pub fn span_id(&self) -> String {
        digits(self.span_id)
    }

    /// A link to this span.
    pub fn link(&self) -> Link {
        Link::to_span(self.span_id())
    }
}

fn digits(id: SpanId) -> String {
    format!("{id:016x}")
}

/// What a span says of itself that was cut off by the end of its rollout.
const STILL_OPEN: &str = "still open when its recording ended";

/// The field of OpenTelemetry's protocol that counts the events a span had no room for.
const DROPPED_EVENTS: &str = "dropped_events_count";

/// The status of what did not end well.
pub(crate) fn failed(description: impl Into<String>) -> SpanStatus {
    SpanStatus {
        status_code: SpanStatusCode::Error,
        description: Some(description.into()),
        ..SpanStatus::default()
    }
}

/// Why a span was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotRecorded {
    /// The recording is finished.
    Finished,
    /// It holds as many spans as it may.
    Full,
}

/// Shared by a recording, the scopes of its agent, and the spans that are open.
pub(crate) struct Tape {
    /// Tells recordings apart.
    pub(super) number: u64,
    pub(super) rollout_id: RolloutId,
    pub(super) attempt_id: AttemptId,
    trace_id: Arc<str>,
    pub(super) clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    pub(super) options: RecordingOptions,
    state: Mutex<State>,
    /// Rings when a span has ended and none was waiting to be sent.
    pub(super) ready: Notify,
    /// Held by whoever sends spans, so that they go out in order.
    pub(super) sending: Semaphore,
}

pub(super) struct State {
    open: HashMap<SpanId, Open>,
    /// Ended, without sequence ids.
    pub(super) ended: VecDeque<Span>,
    /// With sequence ids, sent, but not yet acknowledged.
    pub(super) sent: Vec<Span>,
    opened: u64,
    finished: bool,
    full_was_logged: bool,
    pub(super) drained: u64,
    pub(super) tally: Tally,
}

struct Open {
    /// Counts the spans in the order of their beginnings.
    order: u64,
    span: Span,
}

impl State {
    pub(super) fn is_open(&self, id: SpanId) -> bool {
        self.open.contains_key(&id)
    }

    pub(super) fn unsent(&self) -> usize {
        self.ended.len() + self.sent.len()
    }
}

impl Tape {
    pub(super) fn new(
        rollout_id: RolloutId,
        attempt_id: AttemptId,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
        options: RecordingOptions,
    ) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut trace_id = ids.hex(16);
        trace_id.push_str(&ids.hex(16));
        Self {
            number: COUNT.fetch_add(1, Ordering::Relaxed),
            rollout_id,
            attempt_id,
            trace_id: trace_id.into(),
            clock,
            ids,
            options,
            state: Mutex::new(State {
                open: HashMap::new(),
                ended: VecDeque::new(),
                sent: Vec::new(),
                opened: 0,
                finished: false,
                full_was_logged: false,
                drained: 0,
                tally: Tally::default(),
            }),
            ready: Notify::new(),
            sending: Semaphore::new(1),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) fn attempt(&self) -> (&RolloutId, &AttemptId) {
        (&self.rollout_id, &self.attempt_id)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.options.max_spans
    }

    pub(crate) fn span_ref(&self, span_id: SpanId) -> SpanRef {
        SpanRef {
            trace_id: self.trace_id.clone(),
            span_id,
        }
    }

    /// Records a span that ends as it begins.
    pub(crate) fn point(
        &self,
        name: &str,
        status: SpanStatusCode,
        attributes: JsonObject,
    ) -> Result<SpanId, NotRecorded> {
        let (id, mut span) = self.blank(name, attributes);
        span.status.status_code = status;
        span.end_time = span.start_time;
        let mut state = self.admit()?;
        span.parent_id = context::innermost(&state).map(digits);
        self.push(&mut state, span);
        Ok(id)
    }

    /// Begins a span.
    pub(crate) fn begin(
        &self,
        name: &str,
        attributes: JsonObject,
        parent: Parent,
    ) -> Result<SpanId, NotRecorded> {
        let (id, mut span) = self.blank(name, attributes);
        span.status.status_code = SpanStatusCode::Unset;
        let mut state = self.admit()?;
        let parent = match parent {
            Parent::Innermost => context::innermost(&state),
            Parent::Root => None,
            Parent::Span(parent) => Some(parent),
        };
        span.parent_id = parent.map(digits);
        let order = state.opened;
        state.opened += 1;
        state.open.insert(id, Open { order, span });
        Ok(id)
    }

    /// Changes an open span; `false` if it has ended. `change` runs under the lock: no code of the user's in it.
    pub(crate) fn amend(&self, id: SpanId, change: impl FnOnce(&mut Span)) -> bool {
        match self.lock().open.get_mut(&id) {
            None => false,
            Some(open) => {
                change(&mut open.span);
                true
            }
        }
    }

    /// Adds an event to an open span; beyond the limit, it is only counted.
    pub(crate) fn add_event(&self, id: SpanId, event: SpanEvent) -> bool {
        let limit = self.options.max_events_per_span;
        self.amend(id, |span| {
            if span.events.len() < limit {
                span.events.push(event);
            } else {
                let dropped = span.extra.entry(DROPPED_EVENTS).or_insert_with(|| 0.into());
                *dropped = (dropped.as_u64().unwrap_or(0) + 1).into();
            }
        })
    }

    /// Ends an open span; nothing happens if it has ended.
    pub(crate) fn end(&self, id: SpanId) {
        let now = self.now();
        let mut state = self.lock();
        if let Some(open) = state.open.remove(&id) {
            let mut span = open.span;
            span.end_time = Some(now);
            if std::thread::panicking() && span.status.status_code == SpanStatusCode::Unset {
                span.status = failed("the code in the span panicked");
            }
            self.push(&mut state, span);
        }
    }

    /// Ends every open span, the innermost first, and lets none be recorded any more.
    pub(super) fn close(&self) {
        let now = self.now();
        let mut state = self.lock();
        state.finished = true;
        let mut open: Vec<Open> = state.open.drain().map(|(_, open)| open).collect();
        open.sort_unstable_by_key(|open| std::cmp::Reverse(open.order));
        for mut open in open {
            open.span.end_time = Some(now);
            if open.span.status.status_code == SpanStatusCode::Unset {
                open.span.status.description = Some(STILL_OPEN.to_owned());
            }
            self.push(&mut state, open.span);
        }
    }

    fn blank(&self, name: &str, attributes: JsonObject) -> (SpanId, Span) {
        let text = self.ids.hex(16);
        // A source that gives something else than hexadecimal digits still gets distinct spans.
        let id = SpanId::from_str_radix(&text, 16).unwrap_or_else(|_| rand::random());
        let (rollout_id, attempt_id) = (self.rollout_id.clone(), self.attempt_id.clone());
        let mut span = Span::new(rollout_id, attempt_id, 0, &*self.trace_id, digits(id), name);
        span.attributes = attributes;
        span.start_time = Some(self.now());
        span.resource = self.options.resource.clone();
        (id, span)
    }

    /// Room for one more span.
    fn admit(&self) -> Result<MutexGuard<'_, State>, NotRecorded> {
        let mut state = self.lock();
        if state.finished {
            return Err(NotRecorded::Finished);
        }
        if state.open.len() + state.unsent() < self.options.max_spans {
            state.tally.recorded += 1;
            return Ok(state);
        }
        state.tally.dropped += 1;
        let first = !std::mem::replace(&mut state.full_was_logged, true);
        drop(state);
        if first {
            tracing::warn!(
                target: "lightning::tracer",
                rollout_id = %self.rollout_id,
                attempt_id = %self.attempt_id,
                max_spans = self.options.max_spans,
                "spans are dropped: the recording is full and the store does not take them"
            );
        }
        Err(NotRecorded::Full)
    }

    fn push(&self, state: &mut State, span: Span) {
        if state.ended.is_empty() {
            self.ready.notify_one();
        }
        state.ended.push_back(span);
    }
}

impl fmt::Debug for Tape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tape")
            .field("rollout_id", &self.rollout_id)
            .field("attempt_id", &self.attempt_id)
            .finish_non_exhaustive()
    }
}
