//! Algorithms and agents of any task type as ones of JSON.

use std::{borrow::Cow, marker::PhantomData, sync::Arc};

use serde_json::Value;

use super::{AnyAgent, AnyAlgorithm};
use crate::{
    agent::{Agent, AgentFuture, RolloutContext},
    algorithm::{AlgoFuture, Algorithm, AlgorithmContext},
    functional::ParamError,
    inject::{InjectError, InjectErrors, Requirement, Scope},
    types::{Dataset, JsonObject, Task},
};

/// The algorithm as one of JSON: its datasets are decoded before it runs, its output is encoded after it.
///
/// A task that does not decode is an error of its parameter, with the index of the task.
pub fn erase_algorithm<T: Task, A: Algorithm<T>>(algorithm: A) -> AnyAlgorithm {
    Arc::new(Erased::<A, T>(algorithm, PhantomData))
}

/// The agent as one of JSON: its task is decoded before each rollout. A task that does not decode fails the attempt.
pub fn erase_agent<T: Task, A: Agent<T>>(agent: A) -> AnyAgent {
    Arc::new(Erased::<A, T>(agent, PhantomData))
}

struct Erased<A, T>(A, PhantomData<fn() -> T>);

impl<T: Task, A: Algorithm<T>> Erased<A, T> {
    fn decode(cx: &AlgorithmContext<Value>) -> Result<AlgorithmContext<T>, InjectErrors> {
        let mut errors = InjectErrors::default();
        let train = errors.keep("train_dataset", decode_all(cx.train_dataset()));
        let val = errors.keep("val_dataset", decode_all(cx.val_dataset()));
        match (train, val) {
            (Some(train), Some(val)) => Ok(cx.with_datasets(train, val)),
            _ => Err(errors),
        }
    }
}

fn decode_all<T: Task>(tasks: Option<&Dataset<Value>>) -> Result<Option<Dataset<T>>, InjectError> {
    let Some(tasks) = tasks else { return Ok(None) };
    tasks
        .iter()
        .enumerate()
        .map(|(index, task)| {
            T::deserialize(task)
                .map_err(|error| InjectError::Unusable(anyhow::anyhow!("task {index} does not fit: {error}")))
        })
        .collect::<Result<_, _>>()
        .map(Some)
}

impl<T: Task, A: Algorithm<T>> Algorithm<Value> for Erased<A, T> {
    type Output = Value;

    fn name(&self) -> Cow<'static, str> {
        self.0.name()
    }

    fn version(&self) -> &str {
        self.0.version()
    }

    fn parameters(&self) -> Result<JsonObject, ParamError> {
        self.0.parameters()
    }

    fn requirements(&self) -> Option<&'static [Requirement]> {
        self.0.requirements()
    }

    fn check(&self, cx: &AlgorithmContext<Value>) -> Result<(), InjectErrors> {
        self.0.check(&Self::decode(cx)?)
    }

    fn run<'a>(&'a self, cx: &'a AlgorithmContext<Value>) -> AlgoFuture<'a, Value> {
        Box::pin(async move {
            let cx = Self::decode(cx)?;
            Ok(serde_json::to_value(self.0.run(&cx).await?)?)
        })
    }
}

impl<T: Task, A: Agent<T>> Agent<Value> for Erased<A, T> {
    fn rollout<'a>(&'a self, task: &'a Value, cx: &'a RolloutContext) -> AgentFuture<'a> {
        Box::pin(async move { self.0.rollout(&decode::<T>(task)?, cx).await })
    }

    fn validation_rollout<'a>(&'a self, task: &'a Value, cx: &'a RolloutContext) -> AgentFuture<'a> {
        Box::pin(async move { self.0.validation_rollout(&decode::<T>(task)?, cx).await })
    }

    fn name(&self) -> Cow<'static, str> {
        self.0.name()
    }

    fn requirements(&self) -> Option<&'static [Requirement]> {
        self.0.requirements()
    }

    fn check(&self, scope: &Scope) -> Result<(), InjectErrors> {
        self.0.check(scope)
    }
}

fn decode<T: Task>(task: &Value) -> anyhow::Result<T> {
    T::deserialize(task).map_err(|error| anyhow::anyhow!("the task does not fit: {error}"))
}
