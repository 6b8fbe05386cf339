//! The tracer: what an agent does during an attempt becomes spans in the store.
//!
//! A [`Recording`] collects the spans of one attempt and sends them to a store. Code that runs in its
//! [scope](Recording::scope) finds it through its task, never through a global, so that rollouts that run at the same
//! time cannot mix. Two things record:
//!
//! - the functions of [`emitter`](crate::emitter), always;
//! - spans and events of the [`tracing`] crate, once [`layer()`] is part of the program's subscriber (or [`install`] was
//!   called).
//!
//! Tasks and threads that the agent starts are outside its scope unless they carry it: [`spawn`], [`spawn_blocking`], or
//! [`CarryContext::in_rollout`] on a future that something else spawns.
//!
//! Training spans are data, and diagnostics are logs: spans and events of the library itself (targets `lightning` and
//! `lightning_core`), and those below level INFO, are not recorded unless [`LayerOptions`] say so.
//!
//! This module knows nothing of runners, agents or HTTP.
//!
//! ```
//! use std::sync::Arc;
//! use lightning_core::{
//!     clock::SystemClock,
//!     emitter::{emit_message, emit_reward, operation},
//!     ids::RandomIds,
//!     store::{MemoryStore, Store},
//!     tracer::{Recording, RecordingOptions},
//!     types::{NewRollout, SpanQuery, final_reward},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = MemoryStore::new();
//! let started = store.start_rollout(NewRollout::new(serde_json::json!("2 + 2")), None).await?;
//! let (rollout, attempt) = (started.rollout.rollout_id, started.attempt.attempt_id);
//!
//! let recording = Recording::start(
//!     rollout.clone(),
//!     attempt,
//!     Arc::new(SystemClock::new()),
//!     Arc::new(RandomIds),
//!     RecordingOptions::default(),
//! );
//! recording
//!     .run(&store, async {
//!         let adding = operation("add")?;
//!         emit_message("carrying nothing")?; // a child of the operation
//!         adding.output(&4)?;
//!         drop(adding);
//!         emit_reward(1.0)
//!     })
//!     .await?;
//! let summary = recording.finish(&store).await?;
//! assert_eq!(summary.stored, 3);
//!
//! let spans = store.query_spans(SpanQuery::of(rollout)).await?.items;
//! assert_eq!(final_reward(&spans).map(|reward| reward.primary()), Some(1.0));
//! # Ok(())
//! # }
//! ```

mod context;
mod fields;
mod flush;
mod layer;
mod recording;
mod tape;

pub use context::{CarryContext, current_attempt, spawn, spawn_blocking};
pub use flush::{FlushError, RejectedSpan, Summary};
pub use layer::{InstallError, LayerOptions, install, is_installed, layer, layer_with};
pub use recording::{Recording, RecordingOptions};
pub use tape::SpanRef;

pub(crate) use context::{Parent, carry, close_operation, open_operation, tape, within_operation};
pub(crate) use fields::Fields;
pub(crate) use layer::is_target_below;
pub(crate) use tape::{NotRecorded, SpanId, Tape, failed};
