//! Chat models, judges, and the algorithms that search for better prompts by asking one.

mod apo;
mod baselines;
mod chat;
mod judge;
mod resume;
mod world;
