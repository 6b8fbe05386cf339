//! The runtime of Lightning: train LLM agents with algorithms of your own.

pub mod clock;
pub mod emitter;
pub mod ids;
pub mod semconv;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tracer;
pub mod types;
