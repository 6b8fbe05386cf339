//! Tools for tests: time that is moved by hand, ids that can be foreseen, and the suite that every store has to pass.

pub mod conformance;
mod faulty_store;
#[cfg(feature = "testing")]
pub mod llm;
mod manual_clock;
mod sequential_ids;

pub use faulty_store::Faults;
pub use manual_clock::ManualClock;
pub use sequential_ids::SequentialIds;
