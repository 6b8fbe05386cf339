//! The runtime of Lightning: train LLM agents with algorithms of your own.

pub mod adapter;
pub mod agent;
pub mod algorithm;
pub mod clock;
pub mod data;
pub mod emitter;
pub mod functional;
pub mod ids;
pub mod inject;
pub mod llm_proxy;
pub mod prelude;
pub mod registry;
pub mod run;
pub mod runner;
pub mod semconv;
pub mod store;
pub mod template;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tracer;
pub mod trainer;
pub mod types;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

pub use lightning_macros::{Inject, algo, rollout};

#[allow(
    unused_extern_crates,
    reason = "generated code says `::lightning_core`, in this crate too"
)]
extern crate self as lightning_core;
