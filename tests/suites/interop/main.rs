//! Ours and the reference's, each as the other's partner. Tier `python`.

mod agents;
#[path = "../llm_capture/backend.rs"]
mod backend;
mod client;
mod differences;
mod differential;
#[path = "../llm_capture/fixtures.rs"]
#[allow(dead_code, reason = "another suite uses all of it")]
mod fixtures;
mod models;
mod python;
