//! Progress for people.

use std::{fmt, sync::Arc, time::Duration};

use super::{Screen, bars::Bars, lines::Lines};
use crate::{
    clock::{Clock, SystemClock},
    run::{ProgressEvent, ProgressSink},
};

/// How often a line is written for what goes on under the same label.
const LINE_INTERVAL: Duration = Duration::from_secs(5);

/// Shows the progress of a run on a [`Screen`].
///
/// On a terminal each thing that goes on has a bar, with its rate and the time that is left; those that do not fit are
/// counted. What took a second or more leaves a line behind when it ends.
///
/// Elsewhere there are plain lines: one when something begins, one when it ends, and in between at most one every five
/// seconds for each label, never one for each step. What begins and ends under the same label again and again shares these
/// lines.
///
/// ```
/// use std::sync::Arc;
/// use lightning_core::{
///     run::RunContext,
///     store::MemoryStore,
///     terminal::{Screen, TerminalProgress},
/// };
///
/// let progress = Arc::new(TerminalProgress::new(Screen::stderr()));
/// let run = RunContext::builder("my-run", Arc::new(MemoryStore::new())).progress(progress).build();
/// let reading = run.progress("reading", Some(2));
/// reading.advance(1);
/// ```
pub struct TerminalProgress {
    view: View,
}

enum View {
    Bars(Bars),
    Lines(Lines),
}

impl TerminalProgress {
    /// Shows progress on that screen.
    pub fn new(screen: Screen) -> Self {
        Self::with_clock(screen, Arc::new(SystemClock::new()), LINE_INTERVAL)
    }

    /// Shows progress by that clock, with at least `interval` between two lines where lines are limited. Bars are drawn by
    /// the machine's own clock, and so are their rates.
    pub fn with_clock(screen: Screen, clock: Arc<dyn Clock>, interval: Duration) -> Self {
        let view = if screen.is_terminal() {
            View::Bars(Bars::new(screen, clock))
        } else {
            View::Lines(Lines::new(screen, clock, interval))
        };
        Self { view }
    }

    /// Takes all bars off the screen and writes the lines that were held back, so that what is printed next comes after
    /// all of them. What is still going on appears again when it moves.
    pub fn finish(&self) {
        match &self.view {
            View::Bars(bars) => bars.clear(),
            View::Lines(lines) => lines.flush(),
        }
    }
}

impl ProgressSink for TerminalProgress {
    fn update(&self, event: &ProgressEvent<'_>) {
        match &self.view {
            View::Bars(bars) => bars.update(event),
            View::Lines(lines) => lines.update(event),
        }
    }
}

impl Drop for TerminalProgress {
    fn drop(&mut self) {
        self.finish();
    }
}

impl fmt::Debug for TerminalProgress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let view = match &self.view {
            View::Bars(_) => "bars",
            View::Lines(_) => "lines",
        };
        f.debug_struct("TerminalProgress")
            .field("view", &view)
            .finish_non_exhaustive()
    }
}

/// How far something has got, in words.
pub(super) mod words {
    use crate::terminal::text;

    /// `120/300`, or `120` where the total is not known.
    pub(in crate::terminal) fn part(done: u64, total: Option<u64>) -> String {
        match total {
            Some(total) => format!("{}/{}", text::count(done), text::count(total)),
            None => text::count(done),
        }
    }

    /// How fast it was. What took no time to speak of had no speed.
    fn pace(done: u64, seconds: f64) -> Option<String> {
        (seconds >= 0.01)
            .then(|| text::rate(done as f64 / seconds))
            .flatten()
    }

    /// What is said when it begins.
    pub(in crate::terminal) fn begin(label: &str, done: u64, total: Option<u64>) -> String {
        match (done, total) {
            (0, None) => format!("{label} begins"),
            _ => format!("{label}: {}", part(done, total)),
        }
    }

    /// What is said while it goes on.
    pub(in crate::terminal) fn middle(label: &str, done: u64, total: Option<u64>, seconds: f64) -> String {
        let mut line = format!("{label}: {}", part(done, total));
        if let Some(total) = total.filter(|total| *total > 0) {
            let percent = (done as f64 / total as f64 * 100.0).min(100.0);
            line.push_str(&format!(" ({percent:.0} %)"));
        }
        if let Some(rate) = pace(done, seconds) {
            line.push_str(&format!(", {rate}"));
            let left = total.unwrap_or(0).saturating_sub(done);
            if left > 0 {
                let left = text::duration(left as f64 / done as f64 * seconds);
                line.push_str(&format!(", {left} left"));
            }
        }
        line
    }

    /// What is said when it has ended.
    pub(in crate::terminal) fn end(label: &str, done: u64, total: Option<u64>, seconds: f64) -> String {
        let ended = if total.is_some_and(|total| done < total) {
            "ended at "
        } else {
            ""
        };
        let (part, took) = (part(done, total), text::duration(seconds));
        let rate = pace(done, seconds).map(|rate| format!(", {rate}"));
        format!("{label}: {ended}{part} in {took}{}", rate.unwrap_or_default())
    }
}
