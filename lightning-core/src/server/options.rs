//! What a server allows.

use std::time::Duration;

use super::Tokens;

/// What a server allows, and how long it is patient. The defaults suit a store on one's own machine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ServerOptions {
    /// What callers must show, as a bearer token or as the password of basic authentication; nothing if there are none.
    pub tokens: Tokens,
    /// Serves everybody without a token, also by other names than those of this machine, and lets the server listen where
    /// others reach it.
    pub insecure: bool,
    /// The origins whose web pages may use the store: `*`, or `scheme://host[:port]`. None by default. Pages of named
    /// origins may send credentials.
    pub cors_origins: Vec<String>,
    /// The largest body that is accepted, in bytes, before and after it was inflated.
    pub max_body_bytes: usize,
    /// How many connections there may be at once. Further ones wait until one is closed. A parked caller holds one.
    pub max_connections: usize,
    /// How long the head of a request may take, and a connection may be idle.
    pub header_timeout: Duration,
    /// How long the body of a request may take.
    pub body_timeout: Duration,
    /// How long requests under way may take to end when the server is stopped.
    pub drain_timeout: Duration,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            tokens: Tokens::new(),
            insecure: false,
            cors_origins: Vec::new(),
            max_body_bytes: 64 << 20,
            max_connections: 16_384,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
