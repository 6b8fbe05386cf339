//! Datasets and resources from files: JSONL, JSON, YAML, TOML and CSV.
//!
//! The extension says what a file is. An error names the file, the line and the field, and never repeats text that could
//! be a secret: resources hold keys. Files are read with blocking calls, which suits the start of a program; within a
//! runtime that is busy, call these functions through `spawn_blocking`. This module knows no stores and no algorithms.

mod batches;
mod csv;
mod dataset;
mod document;
mod error;
mod json_lines;
mod resources;
mod source;

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

pub use batches::{Batch, Batches};
pub use error::{DataError, Place};

use source::Source;

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// One JSON value a line (`.jsonl`, `.ndjson`).
    JsonLines,
    /// JSON (`.json`).
    Json,
    /// YAML (`.yaml`, `.yml`).
    Yaml,
    /// TOML (`.toml`).
    Toml,
    /// Comma-separated values below a line of names (`.csv`).
    Csv,
}

impl FileFormat {
    /// The format that the path's extension names.
    ///
    /// # Errors
    ///
    /// [`DataError::UnknownFormat`].
    pub fn of(path: impl AsRef<Path>) -> Result<Self, DataError> {
        let path = path.as_ref();
        let extension = path
            .extension()
            .map(|extension| extension.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("jsonl" | "ndjson") => Ok(Self::JsonLines),
            Some("json") => Ok(Self::Json),
            Some("yaml" | "yml") => Ok(Self::Yaml),
            Some("toml") => Ok(Self::Toml),
            Some("csv") => Ok(Self::Csv),
            _ => Err(DataError::UnknownFormat {
                path: path.to_owned(),
            }),
        }
    }
}

/// A file with tasks, and how to read it.
///
/// - JSONL: a task a line; empty lines are skipped.
/// - JSON and YAML: a list of tasks.
/// - TOML: one array of tables, such as `[[tasks]]`, under any name.
/// - CSV: a task a line, its fields named by the first line. An empty cell is an absent `Option`.
#[derive(Clone, Debug)]
pub struct TaskFile {
    path: PathBuf,
    format: Option<FileFormat>,
    may_be_empty: bool,
}

impl TaskFile {
    /// A file that must hold at least one task, in the format that its extension names.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: None,
            may_be_empty: false,
        }
    }

    /// The format, whatever the extension says.
    #[must_use]
    pub fn format(mut self, format: FileFormat) -> Self {
        self.format = Some(format);
        self
    }

    /// Lets the file hold no tasks.
    #[must_use]
    pub fn may_be_empty(mut self) -> Self {
        self.may_be_empty = true;
        self
    }

    /// Reads every task.
    ///
    /// # Errors
    ///
    /// [`DataError`]: no such file, an unknown format, a malformed place, or no tasks at all.
    pub fn read<T: DeserializeOwned>(&self) -> Result<Vec<T>, DataError> {
        let format = match self.format {
            Some(format) => format,
            None => FileFormat::of(&self.path)?,
        };
        let tasks = match format {
            FileFormat::JsonLines => json_lines::read(&self.path)?,
            other => {
                let source = Source::read(&self.path)?;
                if source.text().trim().is_empty() {
                    Vec::new()
                } else {
                    match other {
                        FileFormat::Csv => csv::read(&source)?,
                        FileFormat::Toml => document::toml_list(&source)?,
                        FileFormat::Yaml => document::yaml(&source)?,
                        FileFormat::Json | FileFormat::JsonLines => document::json(&source)?,
                    }
                }
            }
        };
        if tasks.is_empty() && !self.may_be_empty {
            return Err(DataError::Empty {
                path: self.path.clone(),
            });
        }
        Ok(tasks)
    }
}

/// Reads the tasks of a file, at least one. [`TaskFile`] has the choices.
///
/// # Errors
///
/// Those of [`TaskFile::read`].
pub fn read_tasks<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<Vec<T>, DataError> {
    TaskFile::new(path.as_ref()).read()
}

/// The text of a file, which must be UTF-8, without a byte order mark.
#[cfg(feature = "cli")]
pub(crate) fn read_text(path: &Path) -> Result<String, DataError> {
    Source::read(path).map(Source::into_text)
}

/// Reads one value from a JSON, YAML or TOML file.
///
/// # Errors
///
/// [`DataError`]; [`DataError::NotADocument`] for the formats that hold lists only.
pub fn read_document<T: DeserializeOwned>(path: impl AsRef<Path>) -> Result<T, DataError> {
    let path = path.as_ref();
    let format = FileFormat::of(path)?;
    if matches!(format, FileFormat::JsonLines | FileFormat::Csv) {
        return Err(DataError::NotADocument {
            path: path.to_owned(),
        });
    }
    let source = Source::read(path)?;
    match format {
        _ if source.text().trim().is_empty() => Err(DataError::Empty {
            path: path.to_owned(),
        }),
        FileFormat::Yaml => document::yaml(&source),
        FileFormat::Toml => document::toml(&source),
        _ => document::json(&source),
    }
}
