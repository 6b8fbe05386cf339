//! A chat model whose answers are kept, so that a study can be repeated without the model.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::Context as _;
use lightning_core::chat::{ChatAnswer, ChatError, ChatFuture, ChatModel, ChatRequest};
use serde::{Deserialize, Serialize};

/// One call.
#[derive(Debug, Serialize, Deserialize)]
struct Call {
    request: String,
    answer: String,
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
}

/// Answers what was asked before as it was answered then, and asks the model for the rest, if there is one.
pub(crate) struct Recorded {
    name: &'static str,
    model: Option<Arc<dyn ChatModel>>,
    known: Mutex<HashMap<String, Call>>,
    file: Mutex<Option<File>>,
}

impl Recorded {
    /// The answers in this file; with a model, new ones are appended.
    pub(crate) fn new(
        name: &'static str,
        file: &Path,
        model: Option<Arc<dyn ChatModel>>,
    ) -> anyhow::Result<Self> {
        let mut known = HashMap::new();
        if model.is_none() || file.exists() {
            let open = File::open(file).with_context(|| format!("the answers in {}", file.display()))?;
            for line in BufReader::new(open).lines() {
                // A line that was cut off when the study was killed is asked again.
                if let Ok(call) = serde_json::from_str::<Call>(&line?) {
                    known.insert(call.request.clone(), call);
                }
            }
        }
        let append = || OpenOptions::new().create(true).append(true).open(file);
        let kept = model.as_ref().map(|_| append()).transpose()?;
        Ok(Self {
            name,
            model,
            known: Mutex::new(known),
            file: Mutex::new(kept),
        })
    }

    /// The same request has the same name: which of the models, and all that it is asked.
    fn named(&self, request: &ChatRequest) -> String {
        let asked = serde_json::to_string(request).unwrap_or_default();
        format!("{} {}", self.name, digest(&asked))
    }

    fn keep(&self, call: Call) {
        let line = serde_json::to_string(&call).unwrap_or_default();
        if let Some(file) = &mut *self.file.lock().unwrap_or_else(PoisonError::into_inner)
            && let Err(error) = writeln!(file, "\n{line}")
        {
            eprintln!("an answer could not be kept: {error}");
        }
        self.known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(call.request.clone(), call);
    }
}

impl ChatModel for Recorded {
    fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
        Box::pin(async move {
            let name = self.named(request);
            let known = self
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&name)
                .map(answer_of);
            if let Some(answer) = known {
                return Ok(answer);
            }
            let Some(model) = &self.model else {
                let message = format!(
                    "{} was never asked this; the study has changed since it was recorded",
                    self.name
                );
                return Err(ChatError::Refused {
                    status: None,
                    message,
                });
            };
            let answer = model.complete(request).await?;
            self.keep(Call {
                request: name,
                answer: answer.text.clone(),
                input_tokens: answer.input_tokens,
                output_tokens: answer.output_tokens,
            });
            Ok(answer)
        })
    }
}

fn answer_of(call: &Call) -> ChatAnswer {
    let mut answer = ChatAnswer::text(&call.answer);
    (answer.input_tokens, answer.output_tokens) = (call.input_tokens, call.output_tokens);
    answer
}

/// Names a text in a few characters, the same in every process (FNV-1a, 128 bits).
fn digest(text: &str) -> String {
    let prime = 0x0000_0000_0100_0000_0000_0000_0000_013b_u128;
    let begin = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128;
    let hash = text
        .bytes()
        .fold(begin, |hash, byte| (hash ^ u128::from(byte)).wrapping_mul(prime));
    format!("{hash:032x}")
}
