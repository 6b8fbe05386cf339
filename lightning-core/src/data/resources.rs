//! Resources from a file.

use std::path::Path;

use super::{DataError, read_document};
use crate::types::NamedResources;

impl NamedResources {
    /// Reads resources by name from a JSON, YAML or TOML file; each has a `resource_type`.
    ///
    /// ```toml
    /// [ask]
    /// resource_type = "prompt_template"
    /// template = "Answer {question}"
    /// engine = "f-string"
    /// ```
    ///
    /// # Errors
    ///
    /// [`DataError`], also for two resources of one name. It never shows an API key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        read_document(path)
    }
}
