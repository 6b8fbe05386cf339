//! Ids that can be foreseen.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::IdSource;

/// Counts: the first digits are `…0001`, then `…0002`. Rollouts, attempts, resources and spans share the count.
#[derive(Debug, Default)]
pub struct SequentialIds(AtomicU64);

impl IdSource for SequentialIds {
    fn hex(&self, digits: usize) -> String {
        let count = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        format!("{count:0digits$x}")
    }
}
