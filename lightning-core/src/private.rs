//! The names that generated code uses. Not for users: it may change with any version.

pub use std;

pub use serde;

pub use crate::{
    agent::{self, Agent, AgentFuture, FunctionalAgent, RolloutContext},
    algorithm::{self, AlgoFuture, AnyTask, FunctionalAlgorithm, Only},
    functional::{
        FromLiteral, Ghost, NotResult, ParamError, ParamField, Params, Probe, Returned, debug_params,
        deserialize_params, param, serialize_params,
    },
    inject::{
        DatasetParam, DatasetSlot, FitsAdapter, FitsByType, FitsInitialResources, FitsLlm, FitsLlmProxy,
        FitsPromptTemplate, FitsResources, FitsRollout, FitsRun, FitsSlot, FitsStore, InjectErrors,
        Injectable, Requirement, Scope, same_task,
    },
    types::{JsonObject, Task, task_type},
};
pub use serde_json::Value as Json;
