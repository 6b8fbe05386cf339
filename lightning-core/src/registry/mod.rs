//! Algorithms and agents by name, for run files: parameters, tasks and outputs are JSON.

mod erased;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;

pub use self::erased::{erase_agent, erase_algorithm};
use crate::{
    agent::{Agent, FunctionalAgent},
    algorithm::{Algorithm, Apo, Baseline, FewShot, FunctionalAlgorithm, RandomSearch, SelectPrompt, Tasks},
    functional::{ParamError, Params, param_names, params_to_json, set_params},
    types::{JsonObject, Task},
};

/// An algorithm whose tasks and output are JSON.
pub type AnyAlgorithm = Arc<dyn Algorithm<Value, Output = Value>>;

/// An agent whose tasks are JSON.
pub type AnyAgent = Arc<dyn Agent<Value>>;

type Build<V> = Box<dyn Fn(JsonObject) -> Result<V, ParamError> + Send + Sync>;
type DefaultTask<A> = <<A as FunctionalAlgorithm>::Tasks as Tasks>::Default;

/// The algorithms and agents that a program has, by the names of their functions.
///
/// ```
/// use lightning_core::{prelude::*, registry::Registry};
///
/// #[algo]
/// async fn count(train_dataset: Dataset<String>, #[param(default = 1)] factor: usize) -> usize {
///     train_dataset.len() * factor
/// }
///
/// #[rollout]
/// async fn measure(task: &String) -> f64 {
///     task.len() as f64
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let registry = Registry::new().algorithm(count::algorithm()).agent(measure::agent());
///
/// let parameters = serde_json::from_str(r#"{"factor": 3}"#)?;
/// let count = registry.build_algorithm("count", parameters)?;
/// let cx = AlgorithmContext::for_test().with_train_dataset(vec!["a".into(), "b".into()]);
/// assert_eq!(count.run(&cx).await?, 6);
/// # Ok(())
/// # }
/// ```
#[derive(Default)]
pub struct Registry {
    algorithms: BTreeMap<&'static str, Entry<AnyAlgorithm>>,
    agents: BTreeMap<&'static str, Entry<AnyAgent>>,
}

struct Entry<V> {
    build: Build<V>,
    parameters: Vec<(&'static str, Option<Value>)>,
}

impl<V> Entry<V> {
    fn new<S: Params>(defaults: &S, build: Build<V>) -> Self {
        let defaults = params_to_json(defaults).unwrap_or_default();
        let names = param_names::<S>().into_iter();
        Self {
            build,
            parameters: names.map(|name| (name, defaults.get(name).cloned())).collect(),
        }
    }
}

/// What a registry knows of an algorithm or an agent.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct Described<'a> {
    /// Its name.
    pub name: &'static str,
    /// Its parameters in the order of the function, with their defaults; `None` if a default has no JSON form.
    pub parameters: &'a [(&'static str, Option<Value>)],
}

/// Why something could not be made by its name.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// Nothing of that name was registered.
    #[error("there is no {kind} `{name}`; there are: {}", known.join(", "))]
    Unknown {
        /// `algorithm` or `agent`.
        kind: &'static str,
        /// The name that was asked for.
        name: String,
        /// The names that there are.
        known: Vec<&'static str>,
    },

    /// A parameter is unknown or does not fit.
    #[error(transparent)]
    Param(#[from] ParamError),
}

impl Registry {
    /// No algorithms and no agents.
    pub fn new() -> Self {
        Self::default()
    }

    /// The algorithms that come with the crate, and no agents.
    pub fn shipped() -> Self {
        Self::new()
            .algorithm(Apo::<Value>::algorithm())
            .algorithm(Baseline::<Value>::algorithm())
            .algorithm(FewShot::<Value>::algorithm())
            .algorithm(RandomSearch::<Value>::algorithm())
            .algorithm(SelectPrompt::<Value>::algorithm(Vec::new()))
    }

    /// Adds an algorithm that `#[algo]` made. Its parameters are the defaults of those that a run file leaves out.
    #[must_use]
    pub fn algorithm<A>(mut self, algorithm: A) -> Self
    where
        A: FunctionalAlgorithm<Tasks: Tasks<Default: Task>> + Clone + Algorithm<DefaultTask<A>>,
    {
        let defaults = algorithm.clone();
        let build = move |values| {
            Ok(erase_algorithm::<DefaultTask<A>, A>(set_params(
                algorithm.clone(),
                values,
            )?))
        };
        self.algorithms
            .insert(A::NAME, Entry::new(&defaults, Box::new(build)));
        self
    }

    /// Adds an agent that `#[rollout]` made. Its parameters are the defaults of those that a run file leaves out.
    #[must_use]
    pub fn agent<A>(mut self, agent: A) -> Self
    where
        A: FunctionalAgent<DefaultTask: Task> + Clone + Agent<A::DefaultTask>,
    {
        let defaults = agent.clone();
        let build = move |values| {
            Ok(erase_agent::<A::DefaultTask, A>(set_params(
                agent.clone(),
                values,
            )?))
        };
        self.agents
            .insert(A::NAME, Entry::new(&defaults, Box::new(build)));
        self
    }

    /// The algorithms, by name.
    pub fn algorithms(&self) -> impl Iterator<Item = Described<'_>> {
        describe(&self.algorithms)
    }

    /// The agents, by name.
    pub fn agents(&self) -> impl Iterator<Item = Described<'_>> {
        describe(&self.agents)
    }

    /// The algorithm of that name with these parameters.
    ///
    /// Errors if the name or a parameter is unknown, or a value does not fit.
    pub fn build_algorithm(&self, name: &str, parameters: JsonObject) -> Result<AnyAlgorithm, RegistryError> {
        build("algorithm", &self.algorithms, name, parameters)
    }

    /// The agent of that name with these parameters.
    ///
    /// Errors if the name or a parameter is unknown, or a value does not fit.
    pub fn build_agent(&self, name: &str, parameters: JsonObject) -> Result<AnyAgent, RegistryError> {
        build("agent", &self.agents, name, parameters)
    }
}

fn describe<'a, V>(of: &'a BTreeMap<&'static str, Entry<V>>) -> impl Iterator<Item = Described<'a>> {
    of.iter().map(|(name, entry)| Described {
        name,
        parameters: &entry.parameters,
    })
}

fn build<V>(
    kind: &'static str,
    of: &BTreeMap<&'static str, Entry<V>>,
    name: &str,
    parameters: JsonObject,
) -> Result<V, RegistryError> {
    let entry = of.get(name).ok_or_else(|| RegistryError::Unknown {
        kind,
        name: name.to_owned(),
        known: of.keys().copied().collect(),
    })?;
    Ok((entry.build)(parameters)?)
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("algorithms", &self.algorithms.keys())
            .field("agents", &self.agents.keys())
            .finish()
    }
}
