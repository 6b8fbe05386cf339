//! Runs that are spread over processes, on a program of their own, with everything in their way that happens to processes.
#![cfg(target_os = "linux")]

mod apart;
mod killed;
mod machines;
mod one_fit;
mod program;
mod recordings;
mod relay;
mod shared;
mod stopped;
mod tokens;
