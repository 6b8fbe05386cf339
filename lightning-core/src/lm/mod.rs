//! A small language model that is trained and run in the process, on the CPU.
//!
//! It is of the Llama type and its checkpoints are those of `transformers`: `config.json`, `model.safetensors` and, unless
//! its tokens are bytes, `tokenizer.json`. It is there so that an algorithm can be seen to learn without a key, a download
//! or a GPU; models that are trained in earnest live elsewhere.
//!
//! This module knows nothing of rollouts, stores or HTTP.

mod checkpoint;
mod config;
mod decode;
mod engine;
mod error;
mod optimise;
mod pack;
mod sampling;
mod template;
mod tokenizer;
mod train;
mod transformer;
mod weights;

pub use self::{
    checkpoint::Checkpoint,
    config::ModelConfig,
    decode::{Extension, LanguageModel, Sequence},
    engine::{
        Completion, Engine, EngineError, EngineOptions, Event, Finish, GenerateRequest, GeneratedToken,
        Generation, Served,
    },
    error::LmError,
    optimise::Optimiser,
    pack::{Batch, Sample, pack},
    template::{ChatTemplate, JinjaTemplate},
    tokenizer::{ByteTokenizer, TextStream, Tokenizer},
    train::{Step, TrainOptions, Training},
    transformer::Transformer,
};
