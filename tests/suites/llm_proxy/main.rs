//! The LLM proxy, from the outside: bytes go in at one end, and come out at the other.

mod control;
mod forwarding;
mod retries;
mod streaming;
mod training;
mod upstream;
mod world;
