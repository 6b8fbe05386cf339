//! What the LLM proxy records of the calls that pass through it, and how it keeps them until the store has them.

mod backend;
mod fixtures;
mod proxied;
mod recording;
mod spans;
mod streams;
