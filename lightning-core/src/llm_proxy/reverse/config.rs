//! A file that describes a proxy.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    data::{DataError, read_document},
    llm_proxy::ProxyModel,
};

/// What a file says of a proxy: its models.
///
/// ```yaml
/// models:
///   - name: small
///     backends:
///       - base_url: http://127.0.0.1:8000/v1
///         api_key: { env: VLLM_API_KEY }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxyConfig {
    /// The models.
    pub models: Vec<ProxyModel>,
}

impl ProxyConfig {
    /// Reads a YAML, JSON or TOML file.
    ///
    /// # Errors
    ///
    /// [`DataError`], which names the file, the line and the field, and repeats no key.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, DataError> {
        read_document(path)
    }
}
