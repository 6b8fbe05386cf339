//! What every query does with the part that was asked for.

use super::StoreError;
use crate::types::{Page, PageRequest};

/// Refuses a part that makes no sense.
pub(super) fn check(request: PageRequest) -> Result<(), StoreError> {
    if request.limit == Some(0) {
        return Err(StoreError::invalid(
            "limit",
            "is 0; ask for at least one item, or leave it out for all",
        ));
    }
    Ok(())
}

/// The part that was asked for, of `total` that match.
pub(super) fn answer<T>(items: Vec<T>, request: PageRequest, total: usize) -> Page<T> {
    let limit = request
        .limit
        .map_or(-1, |limit| i64::try_from(limit).unwrap_or(i64::MAX));
    Page {
        items,
        limit,
        offset: request.offset,
        total,
    }
}
