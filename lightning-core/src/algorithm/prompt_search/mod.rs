//! What the algorithms that search for a better prompt have in common: the form of what they find, how a prompt is
//! measured, when a proposed one is rejected, and where their random choices come from.

mod begun_with;
mod candidate;
mod chance;
mod contest;
mod examine;
mod examples;
mod search;

pub(super) use begun_with::BegunWith;
pub use candidate::{BatchScore, Candidate, OptimizedPrompt, Origin, Rejection, RejectionReason};
pub(super) use chance::stream;
pub(super) use contest::{Contest, Stage};
pub(super) use examine::{Rules, proposed_text};
pub(super) use examples::{Sample, as_text, conversation, shown_task};
pub(super) use search::{Halt, Search, Settings, mean};
