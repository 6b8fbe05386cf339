//! What can go wrong with a server of a model.

use std::{io, sync::Arc, time::Duration};

use crate::llm_proxy::LlmProxyError;

/// Why a server of a model does not run.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LaunchError {
    /// The command cannot be one.
    #[error("the command cannot start a model: {problem}")]
    Command {
        /// What is wrong with it.
        problem: String,
    },

    /// The process could not be started.
    #[error("`{program}` cannot be started: {source}")]
    Start {
        /// The program.
        program: String,
        /// What the system says.
        source: Arc<io::Error>,
    },

    /// The process ended before the server was ready.
    #[error("`{program}` ended before it was ready, with {how}{output}")]
    ExitedEarly {
        /// The program.
        program: String,
        /// How it ended.
        how: String,
        /// The last that it wrote, beginning with a line of ours; empty if it wrote nothing.
        output: String,
    },

    /// The server was not ready in time, and was stopped.
    #[error(
        "`{program}` was not ready within {} s: {url} {last}; allow more by `start_timeout`, or ask for another `health_path`{output}",
        within.as_secs_f64()
    )]
    Unhealthy {
        /// The program.
        program: String,
        /// What was asked for.
        url: String,
        /// How long was waited.
        within: Duration,
        /// What came of it last.
        last: String,
        /// The last that it wrote, beginning with a line of ours; empty if it wrote nothing.
        output: String,
    },

    /// The server died again and again.
    #[error("`{program}` has died {times} times in succession, the last time with {how}{output}")]
    GaveUp {
        /// The program.
        program: String,
        /// How often.
        times: u32,
        /// How it ended.
        how: String,
        /// The last that it wrote, beginning with a line of ours; empty if it wrote nothing.
        output: String,
    },

    /// The address cannot be asked.
    #[error("the server cannot be asked whether it is ready: {problem}")]
    Http {
        /// Why not.
        problem: String,
    },

    /// No backend of the proxy is this server.
    #[error("the proxy has no backend at {base_url}: give it `proxy_model()` or `backend()` first")]
    NotAtProxy {
        /// The address that was looked for.
        base_url: String,
    },

    /// A proxy did not do what it was told.
    #[error("the model is served, but a proxy did not take its address: {0}")]
    Proxy(#[source] LlmProxyError),

    /// Another order came before the server was ready.
    #[error("another swap, or a stop, came before the model was ready")]
    Interrupted,

    /// The server was stopped, or is down.
    #[error("the server of the model is down")]
    Down,
}
