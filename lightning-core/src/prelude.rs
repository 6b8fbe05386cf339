//! What nearly every program that uses this crate names: `use lightning_core::prelude::*;`.

pub use std::sync::Arc;

pub use crate::{
    Inject,
    adapter::TraceAdapter,
    agent::{Agent, RolloutContext},
    algo,
    algorithm::{Algorithm, AlgorithmContext},
    llm_proxy::LlmProxy,
    rollout,
    run::RunContext,
    store::Store,
    trainer::Trainer,
    types::{Dataset, Llm, NamedResources, PromptTemplate, Reward, Rollout, Task},
};
