//! The report of a run, as text and as a page: read from the run's folder, whatever the run's end was.
//!
//! The page is one file. It asks for nothing from elsewhere, has no script, and is sound whatever the run's tasks, prompts
//! and errors hold. `fit` leaves it in the run folder as `report.html`; `lightning report` makes it anew, also of a run that
//! goes on or was killed.
//!
//! This module reads files and knows no trainer.

mod candidates;
mod chart;
mod html;
mod page;
mod read;
mod tables;
mod text;

use std::path::PathBuf;

pub use self::read::{RunReport, RunState};

/// The page's file in a run folder.
pub const PAGE: &str = "report.html";

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The folder is none of a run.
    #[error("{} has no run.json, so no run was begun there; give the folder that the trainer has as `run_dir`", path.display())]
    NoRun {
        /// The folder.
        path: PathBuf,
    },

    /// A file of the folder could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// The record of the run is damaged, or was written by a version that is not known here.
    #[error("{} is not the record of a run: {source}; it may be damaged, or of another version of Lightning", path.display())]
    NotARecord {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },

    /// The page could not be written.
    #[error(transparent)]
    Write(#[from] crate::run::RunError),
}
