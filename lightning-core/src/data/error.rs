//! What can be wrong with a file of data.

use std::{fmt, io, path::PathBuf};

/// Why a file gave no data.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is no such file.
    #[error("there is no file `{}`{}; give a path that exists", .path.display(), looked_in(.directory.as_ref()))]
    NotFound {
        /// The path that was asked for.
        path: PathBuf,
        /// What a relative path starts from.
        directory: Option<PathBuf>,
    },

    /// The file is there but cannot be read.
    #[error("cannot read `{}`: {source}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// The extension names no known format.
    #[error(
        "cannot tell what `{}` is; name it `.jsonl`, `.json`, `.yaml`, `.toml` or `.csv`, or say its format",
        .path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
    },

    /// One value was asked for, of a format that holds lists.
    #[error("`{}` holds a list of tasks, not one value; write it as `.json`, `.yaml` or `.toml`", .path.display())]
    NotADocument {
        /// The file.
        path: PathBuf,
    },

    /// The file holds nothing.
    #[error("`{}` is empty; it should hold at least one entry", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },

    /// A place in the file is not as it should be.
    #[error("{place}: {problem}; {remedy}")]
    Malformed {
        /// Where.
        place: Box<Place>,
        /// What is wrong there.
        problem: String,
        /// What to do about it.
        remedy: String,
    },

    /// The share of a split is not one.
    #[error("a share is between 0 and 1, not {0}")]
    Share(f64),
}

fn looked_in(directory: Option<&PathBuf>) -> String {
    directory.map_or_else(String::new, |directory| format!(" in `{}`", directory.display()))
}

/// A place in a file. Shown as `file:line:column, field`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, where it is known.
    pub line: Option<usize>,
    /// The column, from 1, where it is known.
    pub column: Option<usize>,
    /// The field, such as `tasks[2].answer`, where it is known.
    pub field: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
            if let Some(column) = self.column {
                write!(f, ":{column}")?;
            }
        }
        match &self.field {
            Some(field) => write!(f, ", field `{field}`"),
            None => Ok(()),
        }
    }
}
