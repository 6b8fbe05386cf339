//! An answer that comes in pieces.

use std::collections::VecDeque;

use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::{ChatAnswer, ChatError, HttpChat, http::Begun, unrecorded};
use crate::{
    emitter::{BROKE_OFF, ModelCall},
    model_wire::{Assembled, Assembler, Endpoint, sse::Events},
};

/// How long one event of a stream may be, in bytes.
const MAX_EVENT: usize = 16 << 20;
/// What a call says of itself whose answer nobody read to its end.
const LEFT: &str = "the answer was not read to its end";

/// A piece of an answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct ChatPiece {
    /// What it adds to the text of the first choice; empty if it tells something else.
    pub text: String,
    /// The piece as it came.
    pub raw: Value,
}

/// An answer that a model is writing, from [`HttpChat::stream`].
///
/// Dropped before its end, it gives the connection up, and the call is recorded with what had come, as an error.
#[derive(Debug)]
#[must_use = "an answer that is not read is given up"]
pub struct ChatStream {
    model: HttpChat,
    source: Source,
    pieces: VecDeque<ChatPiece>,
    assembler: Option<Assembler>,
    call: Option<ModelCall>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Debug)]
enum Source {
    Stream(reqwest::Response, Events),
    Ended(Result<ChatAnswer, ChatError>),
}

impl ChatStream {
    pub(super) fn new(
        model: HttpChat,
        begun: Begun,
        permit: OwnedSemaphorePermit,
        call: Option<ModelCall>,
    ) -> Self {
        let mut stream = Self {
            model,
            source: Source::Ended(Err(ChatError::unavailable(BROKE_OFF))),
            pieces: VecDeque::new(),
            assembler: None,
            call,
            _permit: permit,
        };
        match begun {
            Begun::Stream(response) => {
                stream.assembler = Some(Assembler::new(Endpoint::ChatCompletions));
                stream.source = Source::Stream(response, Events::new(MAX_EVENT));
            }
            // Not every server streams: the whole answer is one piece.
            Begun::Whole(raw) => {
                let answer = stream.model.read_json(raw.clone());
                if let Ok(answer) = &answer {
                    let text = answer.text.clone();
                    stream.pieces.push_back(ChatPiece {
                        text,
                        raw: raw.clone(),
                    });
                }
                let problem = answer.as_ref().err().map(ToString::to_string);
                stream.record(&raw, problem.as_deref());
                stream.source = Source::Ended(answer);
            }
        }
        stream
    }

    /// The next piece; `None` at the end of the answer, and from then on. Cancel safe.
    ///
    /// # Errors
    ///
    /// [`ChatError::Unavailable`] if the answer breaks off or a piece takes longer than the model's time limit,
    /// [`ChatError::Refused`] if the server gives up, [`ChatError::Malformed`] if what comes is no answer. The same error comes
    /// again from [`finish`](Self::finish).
    pub async fn next(&mut self) -> Result<Option<ChatPiece>, ChatError> {
        loop {
            if let Some(piece) = self.pieces.pop_front() {
                return Ok(Some(piece));
            }
            let (response, events) = match &mut self.source {
                Source::Stream(response, events) => (response, events),
                Source::Ended(Ok(_)) => return Ok(None),
                Source::Ended(Err(error)) => return Err(error.clone()),
            };
            let bytes = match tokio::time::timeout(self.model.timeout(), response.chunk()).await {
                Ok(Ok(Some(bytes))) => bytes,
                Ok(Ok(None)) => {
                    self.end(None);
                    continue;
                }
                Ok(Err(error)) => {
                    let error = self.model.unreachable(error);
                    self.end(Some(error));
                    continue;
                }
                Err(_) => {
                    let error = self.model.too_slow();
                    self.end(Some(error));
                    continue;
                }
            };
            let (pieces, assembler) = (&mut self.pieces, &mut self.assembler);
            let mut done = false;
            events.push(&bytes, |event| done |= take(event.data, pieces, assembler));
            if events.is_too_long() {
                let problem = format!("an event of the stream is longer than {MAX_EVENT} bytes");
                self.end(Some(ChatError::Malformed { problem }));
            } else if done {
                self.end(None);
            }
        }
    }

    /// The whole answer, once it is there.
    ///
    /// # Errors
    ///
    /// Those of [`next`](Self::next).
    pub async fn finish(mut self) -> Result<ChatAnswer, ChatError> {
        while self.next().await?.is_some() {}
        match std::mem::replace(
            &mut self.source,
            Source::Ended(Err(ChatError::unavailable(BROKE_OFF))),
        ) {
            Source::Ended(answer) => answer,
            Source::Stream(..) => Err(ChatError::unavailable(BROKE_OFF)),
        }
    }

    /// Nothing more comes.
    fn end(&mut self, error: Option<ChatError>) {
        let broken = Source::Ended(Err(ChatError::unavailable(BROKE_OFF)));
        if let Source::Stream(_, events) = std::mem::replace(&mut self.source, broken)
            && error.is_none()
        {
            let (pieces, assembler) = (&mut self.pieces, &mut self.assembler);
            events.finish(|event| {
                take(event.data, pieces, assembler);
            });
        }
        let Some(Assembled {
            answer: raw,
            complete,
        }) = self.assembler.take().map(Assembler::finish)
        else {
            return;
        };
        let refused = raw.get("error").is_some_and(|error| !error.is_null());
        let answer = match error {
            Some(error) => Err(error),
            None if complete || refused => self.model.read_json(raw.clone()),
            None => Err(ChatError::unavailable(BROKE_OFF)),
        };
        let problem = answer.as_ref().err().map(ToString::to_string);
        self.record(&raw, problem.as_deref());
        self.source = Source::Ended(answer);
    }

    fn record(&mut self, answer: &Value, problem: Option<&str>) {
        if let Some(call) = self.call.take()
            && let Err(error) = call.finish_with(answer, problem)
        {
            unrecorded(&error);
        }
    }
}

/// Takes the data of an event; whether it was the last one.
fn take(data: &str, pieces: &mut VecDeque<ChatPiece>, assembler: &mut Option<Assembler>) -> bool {
    let Some(assembler) = assembler else { return true };
    if data.trim() == "[DONE]" {
        assembler.push_text(data);
        return true;
    }
    if let Ok(raw) = serde_json::from_str::<Value>(data) {
        assembler.push(raw.clone());
        let first = raw["choices"].as_array().into_iter().flatten();
        let first = first.filter(|choice| choice["index"].as_u64().unwrap_or_default() == 0);
        let text = first
            .filter_map(|choice| choice["delta"]["content"].as_str())
            .collect();
        pieces.push_back(ChatPiece { text, raw });
    }
    false
}

impl Drop for ChatStream {
    fn drop(&mut self) {
        if let Some(assembler) = self.assembler.take() {
            let Assembled { answer, .. } = assembler.finish();
            self.record(&answer, Some(LEFT));
        }
    }
}
