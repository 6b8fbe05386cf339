//! Progress as bars at the bottom of a terminal.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use indicatif::{MultiProgress, ProgressBar, ProgressState, ProgressStyle};

use super::{Screen, progress::words, text};
use crate::{clock::Clock, run::ProgressEvent, types::Timestamp};

/// How many bars are shown; more would push everything else off the screen.
const MAX_BARS: usize = 8;
/// The columns of a label.
const LABEL: usize = 20;
/// What took this many seconds leaves a line behind.
const WORTH_A_LINE: f64 = 1.0;
/// How often bars move without news.
const TICK: Duration = Duration::from_millis(100);

pub(super) struct Bars {
    screen: Screen,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// What goes on.
    running: BTreeMap<u64, Running>,
    shown: usize,
    /// How many have no bar, and what says so.
    waiting: usize,
    footer: Option<ProgressBar>,
}

struct Running {
    began: Timestamp,
    total: Option<u64>,
    bar: Option<ProgressBar>,
}

impl Bars {
    pub(super) fn new(screen: Screen, clock: Arc<dyn Clock>) -> Self {
        Self {
            screen,
            clock,
            state: Mutex::default(),
        }
    }

    pub(super) fn update(&self, event: &ProgressEvent<'_>) {
        if event.finished {
            self.end(event);
        } else if let Some(bar) = self.bar_of(event)
            // Events of several threads overtake each other.
            && bar.position() < event.done
        {
            bar.set_position(event.done);
        }
    }

    /// Takes every bar off the screen.
    pub(super) fn clear(&self) {
        let state = &mut *self.state();
        for running in state.running.values_mut() {
            if let Some(bar) = running.bar.take() {
                self.take_off(&bar);
                state.shown -= 1;
            }
        }
        if let Some(footer) = state.footer.take() {
            state.waiting = 0;
            self.take_off(&footer);
        }
    }

    fn end(&self, event: &ProgressEvent<'_>) {
        let state = &mut *self.state();
        let ended = state.running.remove(&event.id);
        if let Some(bar) = ended.as_ref().and_then(|running| running.bar.as_ref()) {
            self.take_off(bar);
            state.shown -= 1;
        }
        self.show_footer(state);
        let seconds = ended.map_or(0.0, |running| self.clock.now() - running.began);
        if seconds >= WORTH_A_LINE {
            let label = text::one_line(event.label);
            let line = words::end(&label, event.done, event.total, seconds);
            self.screen.print(&line);
        }
    }

    /// The bar of what goes on, which is made if there is room.
    fn bar_of(&self, event: &ProgressEvent<'_>) -> Option<ProgressBar> {
        let bars = self.screen.bars()?;
        let state = &mut *self.state();
        let running = state.running.entry(event.id).or_insert_with(|| Running {
            began: self.clock.now(),
            total: event.total,
            bar: None,
        });
        if running.bar.is_none() && state.shown < MAX_BARS {
            state.shown += 1;
            running.bar = Some(self.put_on(bars, state.footer.as_ref(), bar(event)));
        }
        let bar = running.bar.clone();
        // Asking the bar for its length would wait for whoever draws it.
        if running.total != event.total {
            running.total = event.total;
            match (&bar, event.total) {
                (Some(bar), Some(total)) => bar.set_length(total),
                (Some(bar), None) => bar.unset_length(),
                (None, _) => {}
            }
        }
        self.show_footer(state);
        bar
    }

    fn show_footer(&self, state: &mut State) {
        let waiting = state.running.len() - state.shown;
        let is_news = std::mem::replace(&mut state.waiting, waiting) != waiting;
        if waiting == 0 {
            if let Some(footer) = state.footer.take() {
                self.take_off(&footer);
            }
        } else if let Some(bars) = self.screen.bars() {
            let footer = state.footer.get_or_insert_with(|| {
                let footer = ProgressBar::no_length().with_style(style("{msg}"));
                self.put_on(bars, None, footer)
            });
            if is_news {
                footer.set_message(format!("… and {} more", text::count(waiting as u64)));
            }
        }
    }

    fn put_on(&self, bars: &MultiProgress, before: Option<&ProgressBar>, bar: ProgressBar) -> ProgressBar {
        let bar = match before {
            Some(before) => bars.insert_before(before, bar),
            None => bars.add(bar),
        };
        self.screen.count_bar();
        if self.screen.is_live() {
            // Drawn by a thread of its own, the bar keeps nobody waiting who reports progress.
            bar.enable_steady_tick(TICK);
        } else {
            bar.tick();
        }
        bar
    }

    fn take_off(&self, bar: &ProgressBar) {
        bar.finish_and_clear();
        if let Some(bars) = self.screen.bars() {
            bars.remove(bar);
        }
        self.screen.discount_bar();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn bar(event: &ProgressEvent<'_>) -> ProgressBar {
    let (bar, style) = match event.total {
        Some(total) => (
            ProgressBar::new(total),
            style("{prefix:20} {wide_bar} {part} {rate} {left}"),
        ),
        None => (
            ProgressBar::no_length(),
            style("{prefix:20} {spinner} {part} {rate} {elapsed}"),
        ),
    };
    bar.with_style(style)
        .with_prefix(text::clip(event.label, LABEL).into_owned())
        .with_position(event.done)
}

fn style(template: &str) -> ProgressStyle {
    // The templates are those above; an invalid one would show in every test.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    style
        .progress_chars("━╸─")
        .with_key("part", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&words::part(state.pos(), state.len()));
        })
        .with_key("rate", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let _ = out.write_str(&text::rate(state.per_sec()).unwrap_or_default());
        })
        .with_key("left", |state: &ProgressState, out: &mut dyn std::fmt::Write| {
            let left = state.eta().as_secs_f64();
            if left > 0.0 && state.per_sec() > 0.0 {
                let _ = write!(out, "{} left", text::duration(left));
            }
        })
        .with_key(
            "elapsed",
            |state: &ProgressState, out: &mut dyn std::fmt::Write| {
                let _ = out.write_str(&text::duration(state.elapsed().as_secs_f64()));
            },
        )
}
