//! The small language model: checkpoints, what it computes, and how it answers.

mod admin;
mod checkpoints;
mod counting;
mod engine;
mod numpy;
mod program;
mod server;
mod tokenizers;
