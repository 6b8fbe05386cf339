//! What a caller who may wait asks of the queue.

use super::{Command, RequestKey};
use crate::types::WorkerId;

/// A claim that may have to wait, with the key under which it is made once.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) limit: usize,
    pub(super) worker_id: Option<WorkerId>,
    pub(super) key: Option<RequestKey>,
}

impl Claim {
    /// The command that does the same without waiting.
    pub(super) fn command(&self) -> Command {
        Command::DequeueRollouts {
            limit: self.limit,
            worker_id: self.worker_id.clone(),
        }
    }
}
