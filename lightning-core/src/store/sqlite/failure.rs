//! What can go wrong inside, and what callers are told.

use std::{path::Path, sync::Arc};

use rusqlite::ErrorCode;

use crate::store::{NotFound, StoreError};

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request is at fault. What the command did so far is undone; others are not affected.
    Refused(StoreError),
    /// SQLite could not do it.
    Sql(rusqlite::Error),
    /// The file is not where it was. What was written last may or may not be in it.
    Vanished(StoreError),
    /// The file holds something that cannot be read.
    Unreadable(String),
}

impl Failure {
    /// As the caller sees it, with the file and the remedy.
    pub(super) fn into_error(self, path: &Path) -> StoreError {
        let path = path.display();
        let error = match self {
            Self::Refused(error) | Self::Vanished(error) => return error,
            Self::Unreadable(what) => {
                return StoreError::Internal {
                    reason: format!("{path} is damaged: {what}"),
                    source: None,
                };
            }
            Self::Sql(error) => error,
        };
        let code = error.sqlite_error_code();
        let unavailable = |what: &str| format!("{path}: {what}");
        let reason = match code {
            Some(ErrorCode::DiskFull) => {
                unavailable("there is no room left; make room on the disk, or raise the limit")
            }
            Some(ErrorCode::ReadOnly) => {
                unavailable("the file cannot be written to; make it and its folder writable")
            }
            Some(ErrorCode::SystemIoFailure) => unavailable("reading or writing failed; look at the disk"),
            Some(ErrorCode::CannotOpen) => {
                unavailable("the file cannot be opened; look at it and at its folder")
            }
            Some(ErrorCode::PermissionDenied) => {
                unavailable("access is denied; change the permissions of the file")
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                unavailable("another program holds the file; close it there")
            }
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                return StoreError::Internal {
                    reason: format!(
                        "{path} is damaged, or not a store; restore it from a copy, or name another file"
                    ),
                    source: Some(Arc::new(error)),
                };
            }
            _ => {
                return StoreError::Internal {
                    reason: format!("{path}: {error}"),
                    source: Some(Arc::new(error)),
                };
            }
        };
        StoreError::Unavailable {
            reason,
            source: Some(Arc::new(error)),
        }
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<NotFound> for Failure {
    fn from(error: NotFound) -> Self {
        Self::Refused(error.into())
    }
}
