//! Asking a chat model: what algorithms and judges use that call a model themselves.
//!
//! [`ChatModel`] is a model that takes a [`ChatRequest`] in OpenAI's shape and gives a [`ChatAnswer`], or a [`ChatError`]
//! that says what to do about it. With the feature `client`, `HttpChat` is one behind an OpenAI-style endpoint; in a test, a
//! scripted server or an implementation of a few lines stands in. [`Judge`] has a model score answers.
//!
//! An agent calls the model among its resources: `llm.chat()?`, where `llm` is the [`Llm`](crate::types::Llm) that is injected.
//! See the page "Call a model" of the book.
//!
//! A model is handed to the trainer as an `Arc<dyn ChatModel>`, and gets to where it is used by `#[inject]`:
//!
//! ```
//! use lightning_core::{
//!     agent::agent_fn,
//!     chat::{ChatAnswer, ChatFuture, ChatModel, ChatRequest, Message},
//!     prelude::*,
//! };
//!
//! /// Says everything again.
//! struct Echo;
//!
//! impl ChatModel for Echo {
//!     fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
//!         Box::pin(async { Ok(ChatAnswer::text(request.last_text())) })
//!     }
//! }
//!
//! #[algo]
//! async fn greet(#[inject] model: Arc<dyn ChatModel>) -> anyhow::Result<String> {
//!     let answer = model.ask(&ChatRequest::new([Message::user("Hello!")])).await?;
//!     Ok(answer.text)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> anyhow::Result<()> {
//! let trainer = Trainer::builder().quiet().algorithm(greet::algorithm()).extension(Echo.shared()).build()?;
//! let agent = agent_fn(|_: String, _| async { 1.0 });
//! assert_eq!(trainer.fit(agent, None, None).await?.output, "Hello!");
//! # Ok(())
//! # }
//! ```
//!
//! Within a rollout, [`ask`](ChatModel::ask) records the call; an algorithm counts its calls by
//! [`RunContext::count_model_usage`](crate::run::RunContext::count_model_usage). This module knows neither rollouts nor runs.

mod error;
#[cfg(feature = "client")]
mod http;
mod judge;
mod message;
#[cfg(feature = "client")]
mod stream;

use std::{pin::Pin, sync::Arc};

use serde::Serialize;

pub use self::{
    error::ChatError,
    judge::{Judge, JudgeError, NoSignal, Verdict},
    message::{ChatAnswer, ChatRequest, Message, ToolCall},
};
#[cfg(feature = "client")]
pub use self::{
    http::{HttpChat, HttpChatBuilder, HttpChatError},
    stream::{ChatPiece, ChatStream},
};

use crate::emitter::{EmitError, ModelCall, model_call};

/// What a call of a model returns.
pub type ChatFuture<'a> = Pin<Box<dyn Future<Output = Result<ChatAnswer, ChatError>> + Send + 'a>>;

/// A model that can be talked to.
///
/// Those who implement it write [`complete`](Self::complete); those who call it call [`ask`](Self::ask), which records.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a chat model",
    label = "does not implement `ChatModel`"
)]
pub trait ChatModel: Send + Sync + 'static {
    /// The model's answer. Nothing is recorded.
    ///
    /// Dropping the future gives the call up; the model may have been paid for it by then.
    ///
    /// # Errors
    ///
    /// See [`ChatError`]. Whatever may go better at once has been tried again before this fails.
    fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a>;

    /// The model's answer. Within a rollout, the call is recorded as
    /// [`model_call`](crate::emitter::model_call()) does, with the request's role.
    ///
    /// # Errors
    ///
    /// Those of [`complete`](Self::complete). A call that cannot be recorded is made nevertheless, and logged.
    fn ask<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
        Box::pin(recorded(self, request))
    }

    /// The model as it is handed to the trainer: `Trainer::builder().extension(model.shared())`.
    fn shared(self) -> Arc<dyn ChatModel>
    where
        Self: Sized,
    {
        Arc::new(self)
    }
}

async fn recorded<M: ChatModel + ?Sized>(model: &M, request: &ChatRequest) -> Result<ChatAnswer, ChatError> {
    let call = begin(request, request.role.as_deref());
    let answer = model.complete(request).await;
    end(call, &answer);
    answer
}

/// Begins the record of a call; nothing where nobody records.
fn begin<R: Serialize>(request: &R, role: Option<&str>) -> Option<ModelCall> {
    match model_call(request) {
        Ok(call) => Some(match role {
            Some(role) => call.role(role),
            None => call,
        }),
        Err(EmitError::OutsideRollout { .. }) => None,
        Err(error) => {
            unrecorded(&error);
            None
        }
    }
}

fn end(call: Option<ModelCall>, answer: &Result<ChatAnswer, ChatError>) {
    let Some(call) = call else { return };
    let ended = match answer {
        Ok(answer) => call.finish(&answer.raw),
        Err(error) => call.fail(error),
    };
    if let Err(error) = ended {
        unrecorded(&error);
    }
}

fn unrecorded(error: &EmitError) {
    tracing::warn!(target: "lightning::chat", error = %error, "a call of a model is not recorded");
}
