//! The LLM proxy, from the outside: bytes go in at one end, and come out at the other.

mod control;
mod forwarding;
mod program;
mod real_model;
mod recording;
mod retries;
mod streaming;
mod training;
mod upstream;
mod world;
