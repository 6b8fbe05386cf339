//! Answers in OpenAI's shape.

use serde_json::{Map, Value, json};

use super::request::{Asked, Kind};
use crate::lm::{Finish, GeneratedToken, Served};

/// What the answers to a request have in common.
#[derive(Debug)]
pub(super) struct Frame {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) asked: Asked,
    pub(super) served: std::sync::Arc<Served>,
}

pub(super) fn reason(finish: Finish) -> &'static str {
    match finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
    }
}

impl Frame {
    fn is_chat(&self) -> bool {
        self.asked.kind == Kind::Chat
    }

    fn around(&self, choices: Value, streamed: bool) -> Map<String, Value> {
        let object = match (self.is_chat(), streamed) {
            (true, false) => "chat.completion",
            (true, true) => "chat.completion.chunk",
            (false, _) => "text_completion",
        };
        let mut frame = Map::new();
        frame.insert("id".to_owned(), json!(self.id));
        frame.insert("object".to_owned(), json!(object));
        frame.insert("created".to_owned(), json!(self.created));
        frame.insert("model".to_owned(), json!(self.model));
        frame.insert("model_version".to_owned(), json!(self.served.version));
        frame.insert("choices".to_owned(), choices);
        frame
    }

    fn usage(&self, written: usize) -> Value {
        let given = self.asked.generate.prompt.len();
        json!({"prompt_tokens": given, "completion_tokens": written, "total_tokens": given + written})
    }

    /// The answer as a whole: for each choice its text, its tokens and why it ended.
    pub(super) fn whole(&self, choices: &[(String, Vec<GeneratedToken>, Finish)]) -> Value {
        let written = choices.iter().map(|(_, tokens, _)| tokens.len()).sum();
        let choices = choices.iter().enumerate().map(|(index, (text, tokens, finish))| {
            let mut choice = json!({"index": index, "finish_reason": reason(*finish), "logprobs": null});
            if self.is_chat() {
                choice["message"] = json!({"role": "assistant", "content": text});
            } else {
                choice["text"] = json!(text);
            }
            self.add_details(&mut choice, tokens, 0);
            if !self.is_chat() && self.asked.token_ids {
                choice["prompt_token_ids"] = json!(self.asked.generate.prompt);
            }
            choice
        });
        let mut whole = self.around(choices.collect(), false);
        if self.is_chat() && self.asked.token_ids {
            whole.insert("prompt_token_ids".to_owned(), json!(self.asked.generate.prompt));
        }
        whole.insert("usage".to_owned(), self.usage(written));
        Value::Object(whole)
    }

    /// What begins a stream: whose words follow, and the tokens of the prompt.
    pub(super) fn opening(&self, index: u32) -> Value {
        let mut choice = self.piece(index, "", None);
        if self.is_chat() {
            choice["delta"]["role"] = json!("assistant");
        } else if self.asked.token_ids {
            choice["prompt_token_ids"] = json!(self.asked.generate.prompt);
        }
        let mut event = self.around(json!([choice]), true);
        if self.is_chat() && self.asked.token_ids {
            event.insert("prompt_token_ids".to_owned(), json!(self.asked.generate.prompt));
        }
        Value::Object(event)
    }

    /// One token of a stream; `offset` is where its text begins.
    pub(super) fn token(&self, index: u32, token: &GeneratedToken, offset: usize) -> Value {
        let mut choice = self.piece(index, &token.text, None);
        self.add_details(&mut choice, std::slice::from_ref(token), offset);
        Value::Object(self.around(json!([choice]), true))
    }

    /// The end of a choice of a stream.
    pub(super) fn end(&self, index: u32, finish: Finish, rest: &str) -> Value {
        let choice = self.piece(index, rest, Some(finish));
        Value::Object(self.around(json!([choice]), true))
    }

    /// What a stream ends with, if it was asked for.
    pub(super) fn closing(&self, written: usize) -> Value {
        let mut event = self.around(json!([]), true);
        event.insert("usage".to_owned(), self.usage(written));
        Value::Object(event)
    }

    fn piece(&self, index: u32, text: &str, finish: Option<Finish>) -> Value {
        let mut choice = json!({"index": index, "finish_reason": finish.map(reason), "logprobs": null});
        if self.is_chat() {
            choice["delta"] = if text.is_empty() {
                json!({})
            } else {
                json!({"content": text})
            };
        } else {
            choice["text"] = json!(text);
        }
        choice
    }

    fn add_details(&self, choice: &mut Value, tokens: &[GeneratedToken], offset: usize) {
        if self.asked.token_ids {
            choice["token_ids"] = tokens.iter().map(|token| token.token).collect();
        }
        if self.asked.logprobs {
            choice["logprobs"] = if self.is_chat() {
                json!({"content": tokens.iter().map(|token| self.of_chat(token)).collect::<Vec<_>>()})
            } else {
                self.of_text(tokens, offset)
            };
        }
    }

    fn name(&self, token: u32) -> String {
        self.served.tokenizer.name(token)
    }

    fn of_chat(&self, token: &GeneratedToken) -> Value {
        let entry = |token: u32, logprob: f64| {
            let name = self.name(token);
            json!({"bytes": name.as_bytes(), "token": name, "logprob": logprob})
        };
        let mut shown = entry(token.token, token.logprob);
        let top = token.top.iter().map(|(token, logprob)| entry(*token, *logprob));
        shown["top_logprobs"] = top.collect();
        shown
    }

    fn of_text(&self, tokens: &[GeneratedToken], mut offset: usize) -> Value {
        let (mut names, mut logprobs, mut tops, mut offsets) = (vec![], vec![], vec![], vec![]);
        for token in tokens {
            names.push(self.name(token.token));
            logprobs.push(token.logprob);
            let top = token
                .top
                .iter()
                .map(|(token, logprob)| (self.name(*token), json!(logprob)));
            tops.push(top.collect::<Map<String, Value>>());
            offsets.push(offset);
            offset += token.text.chars().count();
        }
        json!({"tokens": names, "token_logprobs": logprobs, "top_logprobs": tops, "text_offset": offsets})
    }
}
