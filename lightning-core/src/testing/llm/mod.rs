//! A scripted LLM server: an HTTP server on this machine that answers as its script says.
//!
//! It speaks the chat completions of OpenAI's API, plain and streaming, and lists its models. It is *simulated*: there is
//! no model, no tokenizer and no sampling behind it. Text, tool calls, token ids and log-probabilities come from the
//! script, and where the script does not give the usage, every word counts as a token.
//!
//! ```
//! use lightning_core::testing::llm::{Fault, Reply, Script, ScriptedLlm, When};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let script = Script::new()
//!     .rule(When::any().contains("2 + 2"), Reply::text("4").token_ids([19]))
//!     .rule(When::any().call(2), Reply::fault(Fault::RateLimit { retry_after_seconds: 1 }))
//!     .otherwise(Reply::text("I do not know."));
//! let server = ScriptedLlm::start(script)?;
//! let llm = server.llm("small"); // a resource for the agent: http://127.0.0.1:…/v1
//! # drop(llm);
//! // … whatever is tested calls the model …
//! assert_eq!(server.requests().len(), 0);
//! # Ok(())
//! # }
//! ```
//!
//! A script may also be a file, see [`Script`], or a closure that gets the request:
//!
//! ```
//! use lightning_core::testing::llm::{ReceivedRequest, Reply, ScriptedLlm};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let server = ScriptedLlm::start(|request: &ReceivedRequest| Reply::text(request.last_message().to_uppercase()))?;
//! # drop(server);
//! # Ok(())
//! # }
//! ```
//!
//! The server runs on a thread of its own, so that it serves any runtime and also programs without one, whatever they do
//! to Tokio's clock. Dropping it closes every connection and waits for the thread: nothing is left behind.

mod answer;
mod connection;
mod error;
mod reply;
mod request;
mod script;
mod serve;

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Arc,
    thread::JoinHandle,
};

use tokio::sync::oneshot;

use self::serve::Shared;
pub use self::{
    error::ScriptedLlmError,
    reply::{Fault, Logprob, Reply, ToolCall, Usage},
    request::ReceivedRequest,
    script::{Rule, Script, When},
};
use crate::types::Llm;

/// Says what the server answers. A [`Script`] does, and so does any `Fn(&ReceivedRequest) -> Reply`.
///
/// A responder runs on the server's thread: one that blocks holds up all other answers, and the end of the server.
pub trait Responder: Send + Sync + 'static {
    /// The reply to a chat completion.
    fn reply(&self, request: &ReceivedRequest) -> Reply;

    /// The models that the server lists. Others are answered too.
    fn models(&self) -> Vec<String> {
        unnamed_model()
    }
}

fn unnamed_model() -> Vec<String> {
    vec!["scripted".to_owned()]
}

impl<F: Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static> Responder for F {
    fn reply(&self, request: &ReceivedRequest) -> Reply {
        self(request)
    }
}

/// A server that answers as its script says, until it is dropped.
pub struct ScriptedLlm {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Ends the server when it is dropped.
    running: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ScriptedLlm {
    /// Starts a server on a free port of 127.0.0.1. It answers from the moment that this returns.
    ///
    /// # Errors
    ///
    /// [`ScriptedLlmError::Start`], if there is no port or no thread to be had.
    pub fn start(responder: impl Responder) -> Result<Self, ScriptedLlmError> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let shared = Arc::new(Shared::new(Box::new(responder)));
        let (running, ended) = oneshot::channel();
        let serving = serve::serve(listener, Arc::clone(&shared), ended);
        // The tasks of the connections end with the runtime, and so with the thread.
        let thread = std::thread::Builder::new()
            .name("scripted-llm".to_owned())
            .spawn(move || runtime.block_on(serving))?;
        Ok(Self {
            address,
            shared,
            running: Some(running),
            thread: Some(thread),
        })
    }

    /// The base URL, such as `http://127.0.0.1:40123/v1`: what `OPENAI_BASE_URL` would be.
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// The server as a resource. Any name of a model will do, unless the script asks for certain ones.
    pub fn llm(&self, model: impl Into<String>) -> Llm {
        Llm::new(self.base_url(), model)
    }

    /// All requests so far, in the order in which they came; those that were answered with an error too.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        self.shared.requests()
    }

    /// The chat completions among the [requests](Self::requests).
    pub fn calls(&self) -> Vec<ReceivedRequest> {
        let mut requests = self.requests();
        requests.retain(|request| request.call.is_some());
        requests
    }

    /// Waits until `count` requests have come. Cancel safe.
    pub async fn received(&self, count: usize) {
        self.shared.received(count).await;
    }

    /// The next `calls` chat completions meet with this fault, whatever the script says.
    pub fn fail_next(&self, calls: usize, fault: Fault) {
        self.shared.fail_next(calls, fault);
    }
}

impl Drop for ScriptedLlm {
    fn drop(&mut self) {
        drop(self.running.take());
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing left to end.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for ScriptedLlm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScriptedLlm")
            .field("base_url", &self.base_url())
            .finish_non_exhaustive()
    }
}
