//! Run files: a whole run in one YAML, TOML or JSON file.
//!
//! ```yaml
//! algorithm: {name: select_prompt, parameters: {candidates: [{template: "Answer: {question}"}]}}
//! agent: {command: [python, agent.py]}
//! datasets: {train: tasks.jsonl}
//! run_dir: runs/first
//! n_runners: ${RUNNERS:-4}
//! ```
//!
//! Over what the file says lie the variables that begin with `LIGHTNING_RUN__`, and over those what is given on the command
//! line ([`Overrides`]). Texts may hold references: `${NAME}`, `${NAME:-else}`, and `file:PATH` in place of a whole value.
//! Relative paths start from the folder of the file that they stand in. The book's page on run files has the rest.

mod error;
mod launch;
mod layers;
mod node;
mod parse;
mod programs;
mod reference;
mod reload;
mod run_file;
mod said;
mod schema;

pub use self::{
    error::{ConfigError, Problem},
    launch::{Setup, dev},
    layers::Overrides,
    node::Origin,
    reload::{Run, Watch, watch},
    run_file::{Change, RunFile},
};
use crate::registry::Registry;

/// The JSON Schema of run files for a program with these algorithms and agents, for editors.
pub fn schema(registry: &Registry) -> serde_json::Value {
    schema::published(registry)
}
