//! The small language model: checkpoints, what it computes, and how it answers.

mod checkpoints;
mod counting;
mod engine;
mod numpy;
mod server;
