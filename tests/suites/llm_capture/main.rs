//! What the LLM proxy records of the calls that pass through it, and how it keeps them until the store has them.

mod fixtures;
mod recording;
mod spans;
mod streams;
