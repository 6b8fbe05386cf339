//! Tools for tests: time that is moved by hand and ids that can be foreseen.

mod manual_clock;
mod sequential_ids;

pub use manual_clock::ManualClock;
pub use sequential_ids::SequentialIds;
