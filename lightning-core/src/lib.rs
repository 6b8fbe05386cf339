//! The runtime of Lightning: train LLM agents with algorithms of your own.

pub mod clock;
pub mod ids;
pub mod semconv;
pub mod store;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod types;
