//! Which model the examples call.

use std::env;

use anyhow::Context as _;
use lightning_core::{
    testing::llm::{ReceivedRequest, Reply, ScriptedLlm},
    types::Llm,
};

/// The model of the environment, `OPENAI_BASE_URL` with `OPENAI_MODEL` and perhaps `OPENAI_API_KEY`, or that of a scripted
/// server, which lives as long as it is held.
///
/// Errors if a model is named by half.
pub fn from_environment(
    simulated: fn(&ReceivedRequest) -> Reply,
) -> anyhow::Result<(Llm, Option<ScriptedLlm>)> {
    let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
    let Some(endpoint) = set("OPENAI_BASE_URL") else {
        let server = ScriptedLlm::start(simulated)?;
        return Ok((server.llm("simulated"), Some(server)));
    };
    let model =
        set("OPENAI_MODEL").context("OPENAI_BASE_URL is set and OPENAI_MODEL is not: name the model")?;
    let llm = Llm::new(endpoint.trim_end_matches('/'), model);
    Ok(match set("OPENAI_API_KEY") {
        Some(key) => (llm.with_api_key(key), None),
        None => (llm, None),
    })
}
