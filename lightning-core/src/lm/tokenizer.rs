//! Text and tokens.

use std::path::Path;

use tokenizers::Tokenizer as HuggingFace;

use super::{LmError, ModelConfig};

/// The tokenizer whose tokens are the bytes of UTF-8 and a few that mark a conversation.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByteTokenizer;

impl ByteTokenizer {
    /// Ends an answer, and each message of a conversation.
    pub const END: u32 = 256;
    /// Begins a message of the system.
    pub const SYSTEM: u32 = 257;
    /// Begins a message of the user.
    pub const USER: u32 = 258;
    /// Begins a message of the model.
    pub const ASSISTANT: u32 = 259;
    /// Begins the result of a tool.
    pub const TOOL: u32 = 260;
    /// How many tokens there are.
    pub const VOCABULARY: usize = 261;

    /// The bytes of a text.
    pub fn encode(self, text: &str) -> Vec<u32> {
        text.bytes().map(u32::from).collect()
    }
}

/// What turns text into tokens and back.
#[derive(Clone, Debug)]
pub enum Tokenizer {
    /// One token for each byte.
    Bytes,
    /// A `tokenizer.json` of Hugging Face's library.
    HuggingFace(Box<HuggingFace>),
}

impl Tokenizer {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`LmError::Read`], [`LmError::Malformed`].
    pub fn from_file(path: &Path) -> Result<Self, LmError> {
        let bytes = std::fs::read(path).map_err(|source| LmError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(bytes, path)
    }

    pub(super) fn from_bytes(bytes: Vec<u8>, path: &Path) -> Result<Self, LmError> {
        match HuggingFace::from_bytes(bytes) {
            Ok(tokenizer) => Ok(Self::HuggingFace(Box::new(tokenizer))),
            Err(error) => Err(LmError::Malformed {
                path: path.to_owned(),
                problem: error.to_string(),
            }),
        }
    }

    /// The tokens of a text. `special` says whether the tokenizer may add those that begin and end a sequence, and whether
    /// names of special tokens in the text stand for these.
    ///
    /// # Errors
    ///
    /// [`LmError::Tokenizer`].
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, LmError> {
        match self {
            Self::Bytes => Ok(ByteTokenizer.encode(text)),
            Self::HuggingFace(tokenizer) => match tokenizer.encode(text, special) {
                Ok(encoding) => Ok(encoding.get_ids().to_vec()),
                Err(error) => Err(failed(&error)),
            },
        }
    }

    /// The text of tokens, without special ones. What is no UTF-8 becomes U+FFFD.
    ///
    /// # Errors
    ///
    /// [`LmError::Tokenizer`].
    pub fn decode(&self, tokens: &[u32]) -> Result<String, LmError> {
        match self {
            Self::Bytes => {
                let bytes = tokens.iter().filter_map(|token| u8::try_from(*token).ok());
                Ok(String::from_utf8_lossy(&bytes.collect::<Vec<u8>>()).into_owned())
            }
            Self::HuggingFace(tokenizer) => tokenizer.decode(tokens, true).map_err(|error| failed(&error)),
        }
    }

    /// Whether a model has all tokens that this makes.
    pub(super) fn check(&self, config: &ModelConfig) -> Result<(), LmError> {
        let tokens = match self {
            Self::Bytes => ByteTokenizer::VOCABULARY,
            Self::HuggingFace(tokenizer) => {
                let greatest = tokenizer.get_vocab(true).into_values().max();
                greatest.map_or(0, |token| token as usize + 1)
            }
        };
        if tokens > config.vocab_size {
            return Err(LmError::Unsupported {
                field: "vocab_size",
                value: config.vocab_size.to_string(),
                remedy: match self {
                    Self::Bytes => "a model without tokenizer.json has bytes as tokens, and needs 261",
                    Self::HuggingFace(_) => "tokenizer.json makes more tokens",
                },
            });
        }
        Ok(())
    }

    /// A token as a text of its own, special ones by their names.
    pub fn name(&self, token: u32) -> String {
        match self {
            Self::Bytes => match token {
                ByteTokenizer::END => "<|end|>".to_owned(),
                ByteTokenizer::SYSTEM => "<|system|>".to_owned(),
                ByteTokenizer::USER => "<|user|>".to_owned(),
                ByteTokenizer::ASSISTANT => "<|assistant|>".to_owned(),
                ByteTokenizer::TOOL => "<|tool|>".to_owned(),
                token => self.decode(&[token]).unwrap_or_default(),
            },
            Self::HuggingFace(tokenizer) => match tokenizer.decode(&[token], false) {
                Ok(text) if !text.is_empty() => text,
                _ => tokenizer.id_to_token(token).unwrap_or_default(),
            },
        }
    }

    /// The token of this name, if there is one.
    pub fn id(&self, name: &str) -> Option<u32> {
        match self {
            Self::Bytes => (0..ByteTokenizer::VOCABULARY as u32).find(|token| self.name(*token) == name),
            Self::HuggingFace(tokenizer) => tokenizer.token_to_id(name),
        }
    }
}

fn failed(error: &tokenizers::Error) -> LmError {
    LmError::Tokenizer {
        problem: error.to_string(),
    }
}

/// The text of an answer while it is written. A character of several tokens comes when it is complete.
#[derive(Debug, Default)]
pub struct TextStream {
    tokens: Vec<u32>,
    /// Where the tokens begin whose text was given out last; they tell whether a space comes next.
    known: usize,
    /// Where the tokens begin whose text was not given out.
    new: usize,
}

impl TextStream {
    /// The text that a token completes; empty while more tokens are needed.
    ///
    /// # Errors
    ///
    /// [`LmError::Tokenizer`].
    pub fn push(&mut self, tokenizer: &Tokenizer, token: u32) -> Result<String, LmError> {
        self.tokens.push(token);
        self.take(tokenizer, false)
    }

    /// The rest of the text, complete or not.
    ///
    /// # Errors
    ///
    /// [`LmError::Tokenizer`].
    pub fn finish(&mut self, tokenizer: &Tokenizer) -> Result<String, LmError> {
        self.take(tokenizer, true)
    }

    fn take(&mut self, tokenizer: &Tokenizer, all: bool) -> Result<String, LmError> {
        let before = tokenizer.decode(&self.tokens[self.known..self.new])?;
        let now = tokenizer.decode(&self.tokens[self.known..])?;
        let waits = now.ends_with(char::REPLACEMENT_CHARACTER) && !all;
        // A character has at most four bytes, so what is incomplete for longer will never be complete.
        if waits && self.tokens.len() - self.new < 4 {
            return Ok(String::new());
        }
        let text = now.strip_prefix(before.as_str()).unwrap_or_default().to_owned();
        self.known = self.new;
        self.new = self.tokens.len();
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_as_they_went_in() {
        let text = "añ 漢字 🦀\n";
        let tokens = Tokenizer::Bytes.encode(text, true).unwrap();
        assert_eq!(tokens.len(), text.len());
        assert_eq!(Tokenizer::Bytes.decode(&tokens).unwrap(), text);
        assert_eq!(Tokenizer::Bytes.decode(&[104, 256, 105, 9999]).unwrap(), "hi");
        assert_eq!(Tokenizer::Bytes.id("<|tool|>"), Some(ByteTokenizer::TOOL));
    }

    #[test]
    fn a_stream_gives_whole_characters_and_the_same_text_in_the_end() {
        let stream = |tokens: &[u32]| {
            let mut stream = TextStream::default();
            let mut parts: Vec<String> = Vec::new();
            for token in tokens {
                parts.push(stream.push(&Tokenizer::Bytes, *token).unwrap());
            }
            parts.push(stream.finish(&Tokenizer::Bytes).unwrap());
            parts
        };
        let text = "x🦀é";
        let parts = stream(&ByteTokenizer.encode(text));
        assert_eq!(parts.concat(), text);
        assert_eq!(parts, ["x", "", "", "", "🦀", "", "é", ""]);
        for broken in [
            vec![0xff, 0xff, 0xff, 0xff, 0xff, 65],
            vec![0xf0, 0x9f],
            vec![0xe6, 65, 256],
        ] {
            assert_eq!(
                stream(&broken).concat(),
                Tokenizer::Bytes.decode(&broken).unwrap(),
                "{broken:?}"
            );
        }
    }
}
