//! What people see: the banner, the progress and the end of a run, and the logs.

mod bars;
mod lines;
mod logs;
mod paper;
mod process;
mod texts;
mod tty;
