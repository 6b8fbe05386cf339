//! What can go wrong with a scripted server.

use std::path::PathBuf;

/// Why a script or its server cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptedLlmError {
    /// The server does not start.
    #[error("the scripted LLM server cannot be started on 127.0.0.1")]
    Start(#[from] std::io::Error),

    /// The file of a script cannot be read.
    #[error("the script {} cannot be read", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },

    /// A script is not as it should be.
    #[error("the script of the LLM server, at `{place}`: {reason}")]
    Script {
        /// Where, as a path of fields.
        place: String,
        /// What is wrong there.
        reason: String,
    },
}
