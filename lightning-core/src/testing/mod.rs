//! The test kit: for algorithms, for agents, and for stores of one's own.
//!
//! | to test | use |
//! |---|---|
//! | an algorithm, one rollout after the other | [`StepRunner`] |
//! | an agent, on one task | [`Runner::step`](crate::runner::Runner::step), [`assert_step`] |
//! | what a run left in the store | [`assert_rollout`], [`assert_all_ended`], [`RolloutRecord`] |
//! | whatever calls a language model | `llm::ScriptedLlm`, a server with a script |
//! | what happens when time passes | [`ManualClock`] |
//! | what an unreachable store does to it | [`Faults`] |
//! | what the proxy makes of a call, without a proxy | `ProxiedCall`, `CallRecorder` |
//! | that ids are as expected | [`SequentialIds`] |
//! | a store of one's own | [`conformance`] |
//!
//! An algorithm is an ordinary function: it may be called with a store in memory, and something has to execute what it
//! enqueues. A [`StepRunner`] does so when the test says, so that the test decides what the algorithm sees, and when:
//!
//! ```
//! use std::sync::Arc;
//! use lightning_core::{prelude::*, run::RunContext, store::MemoryStore, testing::{StepRunner, assert_all_ended}};
//! use serde_json::json;
//!
//! /// Tries both prompts on all tasks and tells the better one.
//! #[algo]
//! async fn better(run: RunContext, train_dataset: Dataset<String>) -> anyhow::Result<String> {
//!     let mut scores = Vec::new();
//!     for text in ["Dear {name}", "Hi {name}"] {
//!         let evaluator = run.evaluator().resource("prompt", PromptTemplate::new(text)).tasks(&train_dataset);
//!         scores.push((evaluator.evaluate().await?.mean()?, text));
//!     }
//!     let best = scores.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
//!     Ok(best.map(|(_, text)| text.to_owned()).unwrap_or_default())
//! }
//!
//! /// The shorter, the better.
//! #[rollout]
//! async fn greet(task: &String, prompt_template: &PromptTemplate) -> anyhow::Result<f64> {
//!     Ok(1.0 / prompt_template.render(&json!({ "name": task }))?.len() as f64)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
//! let run = RunContext::builder("test", Arc::clone(&store)).build();
//! let steps = StepRunner::new(greet::agent(), Arc::clone(&store));
//! let test = async {
//!     steps.next().await?.input(&"Ada").succeeded().reward(0.125);
//!     assert_eq!(steps.queued().await?, 0, "the second prompt is not tried before the first has ended");
//!     steps.next().await?.reward(1.0 / 6.0);
//!     anyhow::Ok(())
//! };
//! let (best, tested) = tokio::join!(better(run, vec!["Ada".to_owned()].into()), test);
//! tested?;
//! assert_eq!(best?, "Hi {name}");
//! assert_eq!(assert_all_ended(&*store).await.len(), 2);
//! # Ok(())
//! # }
//! ```

mod assertions;
pub mod conformance;
mod faulty_store;
#[cfg(feature = "testing")]
pub mod llm;
mod manual_clock;
#[cfg(feature = "llm-proxy")]
mod proxied;
mod record;
mod sequential_ids;
mod step_runner;

pub use assertions::{RolloutAssertion, assert_all_ended, assert_rollout, assert_step};
pub use faulty_store::Faults;
pub use manual_clock::ManualClock;
#[cfg(feature = "llm-proxy")]
pub use proxied::{CallFigures, CallRecorder, OpenCall, ProxiedCall, assembled_answer};
pub use record::RolloutRecord;
pub use sequential_ids::SequentialIds;
pub use step_runner::StepRunner;
