//! Adapters: from the spans of an agent to data that an algorithm trains on.
//!
//! | to get | use |
//! |---|---|
//! | prompts, answers and rewards from what a tracer recorded | [`TracerToTriplets`] |
//! | the same from what a model's proxy recorded | [`ProxyToTriplets`] |
//! | whole conversations with loss masks | [`ToTrajectories`] around one of these |
//! | chat messages for fine-tuning | [`ToMessages`] |
//! | anything else | an implementation of [`TraceAdapter`], on [`TraceTree`] perhaps |
//!
//! An adapter takes the spans of **one attempt** and never gives an empty result: it gives an [`AdaptError`] that says what
//! the spans lack. What it leaves out of a result that is not empty it counts in [`LeftOut`].
//!
//! Sees only [`types`](crate::types) and [`semconv`]: where the spans come from is none of its business.
//!
//! [`semconv`]: crate::semconv

mod call_span;
mod calls;
mod chat;
mod error;
mod json_lines;
mod lineage;
mod ordered;
mod pattern;
mod proxy_to_triplets;
mod python_literal;
mod rewards;
mod to_messages;
mod tracer_to_triplets;
mod trajectory;
mod tree;
mod triplet;
mod waiting;

pub use chat::{CalledFunction, ChatMessage, Conversation, FunctionDefinition, ToolCall, ToolDefinition};
pub use error::{AdaptError, EmptyReason};
pub use pattern::InvalidPattern;
pub use proxy_to_triplets::ProxyToTriplets;
pub use rewards::{CustomPolicy, Episode, RewardPolicy};
pub use to_messages::{Conversations, ToMessages};
pub use tracer_to_triplets::TracerToTriplets;
pub use trajectory::{Parting, ToTrajectories, Trajectories, Trajectory, Turn};
pub use tree::{NodeId, TraceTree, TreeNode};
pub use triplet::{CallMetadata, LeftOut, Prompt, Response, Triplet, Triplets, UnmatchedReward};

use crate::types::Span;

/// Turns the spans of one attempt into data for training.
///
/// An algorithm asks for it with a parameter called `adapter`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a trace adapter",
    label = "does not implement `TraceAdapter`"
)]
pub trait TraceAdapter: Send + Sync + 'static {
    /// The data for training.
    type Output: Send + 'static;

    /// The data that these spans hold.
    ///
    /// # Errors
    ///
    /// An [`AdaptError`] that says what the spans lack: an empty result would hide it.
    fn adapt(&self, spans: &[Span]) -> Result<Self::Output, AdaptError>;

    /// Why there is no data in these spans, for those who need no data; `None` if there is some.
    fn explain(&self, spans: &[Span]) -> Option<AdaptError> {
        self.adapt(spans).err()
    }

    /// What it makes of what, in a few words, for whoever starts a run; the name of its type unless it says more.
    fn describe(&self) -> String {
        std::any::type_name::<Self>().to_owned()
    }
}
