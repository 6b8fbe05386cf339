//! The text of a file, and places in it.

use std::{
    any::type_name,
    env, fs, io,
    path::{Path, PathBuf},
};

use super::error::{DataError, Place};

const BYTE_ORDER_MARK: &str = "\u{feff}";

/// A file that was read.
pub(super) struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    /// Reads the file, which must be UTF-8. A byte order mark is dropped.
    pub(super) fn read(path: &Path) -> Result<Self, DataError> {
        let bytes = fs::read(path).map_err(|source| unreadable(path, source))?;
        let mut text = String::from_utf8(bytes).map_err(|error| {
            let valid = error.utf8_error().valid_up_to();
            let before = &error.as_bytes()[..valid];
            not_utf8(path, before.iter().filter(|byte| **byte == b'\n').count() + 1)
        })?;
        if text.starts_with(BYTE_ORDER_MARK) {
            text.drain(..BYTE_ORDER_MARK.len());
        }
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    #[cfg(feature = "cli")]
    pub(super) fn into_text(self) -> String {
        self.text
    }

    /// The place at a line and column.
    pub(super) fn place(&self, line: usize, column: usize, field: Option<String>) -> Place {
        place(&self.path, line, column, field)
    }

    /// The place at a byte of the text.
    pub(super) fn place_of(&self, byte: Option<usize>, field: Option<String>) -> Place {
        let Some(before) = byte.and_then(|byte| self.text.get(..byte)) else {
            return self.place(0, 0, field);
        };
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
        self.place(line, column, field)
    }
}

/// A place; 0 stands for an unknown line or column.
pub(super) fn place(path: &Path, line: usize, column: usize, field: Option<String>) -> Place {
    Place {
        path: path.to_owned(),
        line: (line > 0).then_some(line),
        column: (column > 0).then_some(column),
        field,
    }
}

/// Drops the mark from the first bytes of a file.
pub(super) fn without_mark(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(BYTE_ORDER_MARK.as_bytes()).unwrap_or(bytes)
}

pub(super) fn not_utf8(path: &Path, line: usize) -> DataError {
    DataError::Malformed {
        place: place(path, line, 0, None).into(),
        problem: "this is not UTF-8".to_owned(),
        remedy: "save the file as UTF-8".to_owned(),
    }
}

pub(super) fn unreadable(path: &Path, source: io::Error) -> DataError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::NotFound => DataError::NotFound {
            directory: path.is_relative().then(|| env::current_dir().ok()).flatten(),
            path,
        },
        _ => DataError::Read { path, source },
    }
}

/// The field at which reading failed; nothing at the top.
pub(super) fn field(path: &serde_path_to_error::Path) -> Option<String> {
    (path.iter().next().is_some()).then(|| path.to_string())
}

/// The name of a type without its modules, for messages.
pub(super) fn short_name<T>() -> String {
    let mut out = String::new();
    for part in
        type_name::<T>().split_inclusive(|char: char| !(char.is_alphanumeric() || "_:".contains(char)))
    {
        out.push_str(part.rsplit("::").next().unwrap_or(part));
    }
    out
}
