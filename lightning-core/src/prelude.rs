//! What nearly every program that uses this crate names: `use lightning_core::prelude::*;`.

pub use std::sync::Arc;

pub use crate::{
    adapter::TraceAdapter,
    agent::{Agent, RolloutContext},
    algorithm::{Algorithm, AlgorithmContext},
    inject::Inject,
    llm_proxy::LlmProxy,
    run::RunContext,
    store::Store,
    types::{Dataset, Llm, NamedResources, PromptTemplate, Reward, Rollout, Task},
};
