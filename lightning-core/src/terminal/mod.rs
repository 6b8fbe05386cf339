//! What people see of a run while it goes on: its banner, its progress, its end.
//!
//! All of it goes to a [`Screen`], of which a process has one: its standard error. If that is a terminal, progress is
//! shown as bars at the bottom, and whatever else is printed appears above them; otherwise it is shown as a few plain
//! lines, so that the log of a build server stays readable. Standard output is left to the program.
//!
//! [`Banner`] and [`RunSummary`] are plain data that render to text. [`TerminalProgress`] is where a run's
//! [progress](crate::run::Progress) goes.
//!
//! Nothing here can fail a run: what cannot be written is not shown. This module knows nothing of trainers, runners or
//! agents; those who do fill in its data.

mod banner;
mod bars;
mod lines;
mod progress;
mod screen;
mod summary;
mod text;

pub use banner::Banner;
pub use progress::TerminalProgress;
pub use screen::Screen;
pub use summary::RunSummary;
pub(crate) use text::{Rows, count, counted, duration, number};
