//! The emitters: an agent says how well it did, and what else is worth keeping.
//!
//! Each emitter stores one span below the innermost one that is open, in the [recording](crate::tracer::Recording) of the
//! present task. Names and attributes are those of `agentlightning==0.3.0`.
//!
//! | emitter | span | carries |
//! |---|---|---|
//! | [`emit_reward`] | `agentlightning.annotation` | a [`Reward`](crate::types::Reward) of one or several dimensions |
//! | [`emit_annotation`] | `agentlightning.annotation` | [`Attributes`]: tags, links, anything |
//! | [`emit_message`] | `agentlightning.message` | a text |
//! | [`emit_object`] | `agentlightning.object` | any value that serializes |
//! | [`emit_exception`] | `agentlightning.exception` | an [`Exception`] |
//! | [`operation()`] | `agentlightning.operation` | what happens until it ends; inputs and output |
//! | [`model_call`] | `openai.chat.completion` | a call of a chat model: prompt, answer, token ids, usage |
//!
//! Outside of a recording they all answer [`EmitError::OutsideRollout`]. This module knows nothing of stores, runners or
//! agents.
//!
//! ```
//! use lightning_core::{
//!     emitter::{Attributes, EmitError, emit_message_with, emit_reward},
//!     types::Reward,
//! };
//!
//! fn judge(answer: &str) -> Result<(), EmitError> {
//!     let message = emit_message_with(answer, Attributes::new().tag("final answer"))?;
//!     let attributes = Attributes::new().link(message.link());
//!     lightning_core::emitter::emit_reward_with(Reward::new("exact", 1.0).with("brevity", 0.5), attributes)?;
//!     Ok(())
//! }
//!
//! // Nobody records here.
//! assert!(matches!(judge("4"), Err(EmitError::OutsideRollout { .. })));
//! assert!(matches!(emit_reward(1.0), Err(EmitError::OutsideRollout { .. })));
//! ```

mod attributes;
mod emit;
mod error;
mod exception;
mod json;
mod model_call;
mod operation;

pub use attributes::Attributes;
pub use emit::{
    emit_annotation, emit_exception, emit_exception_with, emit_message, emit_message_with, emit_object,
    emit_object_with, emit_reward, emit_reward_with,
};
pub use error::EmitError;
pub use exception::Exception;
pub(crate) use exception::{error_message, panic_message};
#[cfg(feature = "client")]
pub(crate) use model_call::BROKE_OFF;
pub use model_call::{ModelCall, model_call};
pub use operation::{Operation, operation};

#[doc(inline)]
pub use crate::operation;
#[doc(hidden)]
pub use operation::__operation_input;
