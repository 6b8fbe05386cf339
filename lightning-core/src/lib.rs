//! The runtime of Lightning: train LLM agents with algorithms of your own.
//!
//! Start with the [`prelude`]. A function with [`#[algo]`](macro@algo) is an algorithm, one with
//! [`#[rollout]`](macro@rollout) is an agent; [`Trainer::fit`](trainer::Trainer::fit) runs the one with runners of the
//! other. They meet only in a [`Store`](store::Store).
//!
//! | to | see |
//! |---|---|
//! | write an algorithm | [`algo`](macro@algo), [`run`], [`algorithm`] |
//! | write an agent | [`rollout`](macro@rollout), [`agent`], [`emitter`], [`tracer`] |
//! | ask a chat model | [`chat`] |
//! | load tasks, prompts and models | [`data`], [`types`], [`template`] |
//! | run all of it, or one task | [`trainer`], [`execution`], [`runner`] |
//! | keep what happens | [`store`] |
//! | watch it | [`terminal`], [`logging`] |
//! | look at it afterwards | [`report`] |
//! | test it | `testing`, with the feature of that name |
//!
//! | feature | what it adds |
//! |---|---|
//! | `testing` | `testing`: rollouts step by step, assertions, a scripted LLM server, clock and ids by hand, a store that fails on demand, the conformance suite of stores |
//! | `cli` | `config`: run files; `cli`: the program `lightning`, which runs them, runs a store, and looks into one |
//! | `client` | `client`: a store behind a URL, also one of Python's `agl store`; `chat::HttpChat`: a model behind a URL; `model_launcher`: servers of models as processes of ours |
//! | `llm-proxy` | [`llm_proxy`]: the reverse proxy between agents and models, which records their calls |
//! | `lm` | `lm`: a small language model that is trained and run in the process, on the CPU; `train_process`: that in a process of its own; `algorithm::sft`; with `server`, also `model_server`: that model behind an OpenAI-style endpoint |
//! | `server` | `server`: any store over HTTP, in the wire format of `agentlightning==0.3.0`, with OTLP and metrics |
//! | `sqlite` | [`store`]: `SqliteStore`, a durable store in one file, with SQLite compiled in |
//! | `full` | all of the above |

pub mod adapter;
pub mod agent;
pub mod alerts;
pub mod algorithm;
pub mod chat;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "client")]
pub mod client;
pub mod clock;
#[cfg(feature = "cli")]
pub mod config;
pub mod data;
pub mod emitter;
pub mod execution;
pub mod functional;
pub mod ids;
pub mod inject;
#[cfg(any(feature = "llm-proxy", feature = "server"))]
mod listening;
pub mod llm_proxy;
#[cfg(feature = "lm")]
pub mod lm;
pub mod logging;
#[cfg(feature = "client")]
pub mod model_launcher;
#[cfg(all(feature = "lm", feature = "server"))]
pub mod model_server;
mod model_wire;
pub mod prelude;
pub mod registry;
pub mod report;
pub mod run;
pub mod runner;
pub mod semconv;
#[cfg(feature = "server")]
pub mod server;
pub mod store;
pub mod template;
pub mod terminal;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
pub mod tracer;
#[cfg(feature = "lm")]
pub mod train_process;
pub mod trainer;
#[cfg(feature = "client")]
mod transport;
pub mod types;
#[cfg(feature = "wire")]
pub(crate) mod wire;

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;

#[cfg(all(feature = "client", feature = "server"))]
pub use execution::role;
pub use lightning_macros::{Inject, algo, rollout};

#[allow(
    unused_extern_crates,
    reason = "generated code says `::lightning_core`, in this crate too"
)]
extern crate self as lightning_core;
