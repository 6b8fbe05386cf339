//! Progress as plain lines, few of them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{Screen, progress::words, text};
use crate::{clock::Clock, run::ProgressEvent, types::Timestamp};

/// How many labels are remembered although nothing goes on under them.
const MAX_LABELS: usize = 256;

pub(super) struct Lines {
    screen: Screen,
    clock: Arc<dyn Clock>,
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    labels: HashMap<String, Label>,
    /// When what goes on began.
    running: HashMap<u64, Timestamp>,
    /// When the first line that is held back is due.
    due: Option<Timestamp>,
}

/// What was written about everything of one label.
struct Label {
    running: usize,
    written: Timestamp,
    /// Whose beginning was the last line. Its end follows at any time.
    opened_by: Option<u64>,
    held: Option<Held>,
}

/// The end of something that came too soon after another line.
struct Held {
    line: String,
    /// How many ends it stands for.
    ends: u64,
}

impl Lines {
    pub(super) fn new(screen: Screen, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        Self {
            screen,
            clock,
            interval,
            state: Mutex::default(),
        }
    }

    pub(super) fn update(&self, event: &ProgressEvent<'_>) {
        let now = self.clock.now();
        let state = &mut *self.state();
        if state.due.is_some_and(|due| now >= due) {
            self.write_held(state, now, false);
        }
        let is_new = !state.running.contains_key(&event.id);
        let began = *state.running.entry(event.id).or_insert(now);
        if !state.labels.contains_key(event.label) {
            self.begin_label(state, event, now);
        }
        let Some(label) = state.labels.get_mut(event.label) else {
            return;
        };
        label.running += usize::from(is_new);
        let is_due = now.saturating_since(label.written) >= self.interval;
        let (name, seconds) = (|| text::one_line(event.label), now - began);
        if event.finished {
            state.running.remove(&event.id);
            label.running = label.running.saturating_sub(1);
            let line = words::end(&name(), event.done, event.total, seconds);
            if is_due || label.opened_by == Some(event.id) {
                label.write(&self.screen, &line, now);
            } else {
                let ends = 1 + label.held.as_ref().map_or(0, |held| held.ends);
                label.held = Some(Held { line, ends });
                let due = label.written + self.interval;
                state.due = Some(state.due.map_or(due, |earlier| earlier.min(due)));
            }
        } else if is_due {
            let line = if is_new {
                words::begin(&name(), event.done, event.total)
            } else {
                words::middle(&name(), event.done, event.total, seconds)
            };
            label.write(&self.screen, &line, now);
            label.opened_by = is_new.then_some(event.id);
        }
    }

    /// Writes all that was held back.
    pub(super) fn flush(&self) {
        let now = self.clock.now();
        self.write_held(&mut self.state(), now, true);
    }

    fn begin_label(&self, state: &mut State, event: &ProgressEvent<'_>, now: Timestamp) {
        if state.labels.len() >= MAX_LABELS {
            state.labels.retain(|_, label| {
                let recent = now.saturating_since(label.written) < self.interval;
                label.running > 0 || label.held.is_some() || recent
            });
        }
        if !event.finished {
            let name = text::one_line(event.label);
            self.screen.print(&words::begin(&name, event.done, event.total));
        }
        let label = Label {
            running: 0,
            written: now,
            opened_by: Some(event.id),
            held: None,
        };
        state.labels.insert(event.label.to_owned(), label);
    }

    fn write_held(&self, state: &mut State, now: Timestamp, all: bool) {
        state.due = None;
        for label in state.labels.values_mut() {
            let Some(held) = &label.held else {
                continue;
            };
            let due = label.written + self.interval;
            if !all && now < due {
                state.due = Some(state.due.map_or(due, |earlier| earlier.min(due)));
                continue;
            }
            let line = match held.ends {
                1 => held.line.clone(),
                ends => format!("{} (and {} before)", held.line, text::count(ends - 1)),
            };
            label.write(&self.screen, &line, now);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Label {
    /// Writes a line of this label.
    fn write(&mut self, screen: &Screen, line: &str, now: Timestamp) {
        screen.print(line);
        self.written = now;
        self.opened_by = None;
        self.held = None;
    }
}
