//! The runtime of Lightning: train LLM agents with algorithms of your own.

pub mod adapter;
pub mod agent;
pub mod algorithm;
pub mod clock;
pub mod emitter;
pub mod functional;
pub mod ids;
pub mod inject;
pub mod llm_proxy;
pub mod prelude;
pub mod run;
pub mod semconv;
pub mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tracer;
pub mod types;
