//! What an algorithm is run with.

use std::{any::Any, sync::Arc};

use crate::{
    adapter::TraceAdapter,
    inject::{InjectError, Scope},
    llm_proxy::LlmProxy,
    run::RunContext,
    store::{MemoryStore, Store},
    types::{Dataset, IntoDataset, NamedResources},
};

/// What an algorithm is run with: what the trainer has, and the datasets.
///
/// A function with `#[algo]` gets these as parameters and needs no context. In a test, build one by hand:
/// [`for_test`](AlgorithmContext::for_test).
#[derive(Clone, Debug)]
pub struct AlgorithmContext<T> {
    scope: Scope,
    train_dataset: Option<Dataset<T>>,
    val_dataset: Option<Dataset<T>>,
    trainer: Option<TrainerInfo>,
}

/// What an algorithm may know of the trainer that runs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TrainerInfo {
    /// How many runners the trainer starts; none, where they run elsewhere.
    pub n_runners: usize,
    /// How many rollouts each runner executes at most.
    pub max_rollouts: Option<u64>,
}

/// Something that an algorithm asked its context for and that nobody gave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MissingDependency {
    /// No trainer runs the algorithm.
    #[error("the algorithm asked for its trainer, but it is not run by one: run it with `Trainer::fit`")]
    Trainer,

    /// There is nothing for this slot.
    #[error(
        "the algorithm asked for `{slot}`, but there is none: {remedy}; in a test, \
         `AlgorithmContext::for_test().with_{slot}(..)`"
    )]
    Absent {
        /// What was asked for.
        slot: &'static str,
        /// How to give it.
        remedy: String,
    },

    /// There is something, but of another type.
    #[error("the algorithm asked for `{slot}` as `{wanted}`, but what was given is `{given}`")]
    WrongType {
        /// What was asked for.
        slot: &'static str,
        /// The type that was asked for.
        wanted: &'static str,
        /// The type that was given.
        given: &'static str,
    },
}

impl From<InjectError> for MissingDependency {
    fn from(error: InjectError) -> Self {
        match error {
            InjectError::Absent { slot, remedy } => Self::Absent { slot, remedy },
            InjectError::WrongType { slot, wanted, given } => Self::WrongType { slot, wanted, given },
            // The getters below meet only the two above.
            InjectError::Unusable(reason) => Self::Absent {
                slot: "value",
                remedy: format!("{reason:#}"),
            },
        }
    }
}

impl<T: Send + Sync + 'static> AlgorithmContext<T> {
    /// A context with everything that is in `scope`, and no datasets.
    pub fn new(scope: Scope) -> Self {
        Self {
            scope: scope.with_train_dataset::<T>(None).with_val_dataset::<T>(None),
            train_dataset: None,
            val_dataset: None,
            trainer: None,
        }
    }

    /// A context with an empty [`MemoryStore`] and a [`RunContext`], and nothing else.
    pub fn for_test() -> Self {
        let scope = Scope::new()
            .with_store(Arc::new(MemoryStore::new()))
            .with_run(RunContext::for_test());
        Self::new(scope)
    }

    /// Gives the training dataset.
    #[must_use]
    pub fn with_train_dataset(mut self, dataset: impl IntoDataset<T>) -> Self {
        self.train_dataset = dataset.into_dataset();
        self.scope = self.scope.with_train_dataset(self.train_dataset.clone());
        self
    }

    /// Gives the validation dataset.
    #[must_use]
    pub fn with_val_dataset(mut self, dataset: impl IntoDataset<T>) -> Self {
        self.val_dataset = dataset.into_dataset();
        self.scope = self.scope.with_val_dataset(self.val_dataset.clone());
        self
    }

    /// Gives the store.
    #[must_use]
    pub fn with_store(self, store: Arc<dyn Store>) -> Self {
        self.map_scope(|scope| scope.with_store(store))
    }

    /// Gives the trace adapter.
    #[must_use]
    pub fn with_adapter<A: TraceAdapter>(self, adapter: A) -> Self {
        self.map_scope(|scope| scope.with_adapter(adapter))
    }

    /// Gives a trace adapter whose type is not known.
    #[must_use]
    pub fn with_dyn_adapter<O: Send + 'static>(self, adapter: Arc<dyn TraceAdapter<Output = O>>) -> Self {
        self.map_scope(|scope| scope.with_dyn_adapter(adapter))
    }

    /// Gives the LLM proxy.
    #[must_use]
    pub fn with_llm_proxy(self, llm_proxy: LlmProxy) -> Self {
        self.map_scope(|scope| scope.with_llm_proxy(llm_proxy))
    }

    /// Gives the resources to begin with.
    #[must_use]
    pub fn with_initial_resources(self, resources: NamedResources) -> Self {
        self.map_scope(|scope| scope.with_initial_resources(resources))
    }

    /// Gives the run.
    #[must_use]
    pub fn with_run(self, run: RunContext) -> Self {
        self.map_scope(|scope| scope.with_run(run))
    }

    /// Gives a value of one's own, for `#[inject]`.
    #[must_use]
    pub fn with_extension<V: Any + Send + Sync>(self, value: V) -> Self {
        self.map_scope(|scope| scope.with_extension(value))
    }

    /// Says which trainer runs the algorithm.
    #[must_use]
    pub fn with_trainer(mut self, trainer: TrainerInfo) -> Self {
        self.trainer = Some(trainer);
        self
    }

    /// The same with datasets of another type, for an algorithm that is wrapped in another.
    #[must_use]
    pub fn with_datasets<U: Send + Sync + 'static>(
        &self,
        train: impl IntoDataset<U>,
        val: impl IntoDataset<U>,
    ) -> AlgorithmContext<U> {
        let mut other = AlgorithmContext::new(self.scope.clone())
            .with_train_dataset(train)
            .with_val_dataset(val);
        other.trainer = self.trainer.clone();
        other
    }

    fn map_scope(mut self, change: impl FnOnce(Scope) -> Scope) -> Self {
        self.scope = change(self.scope);
        self
    }
}

impl<T> AlgorithmContext<T> {
    /// The training dataset, if one was given.
    pub fn train_dataset(&self) -> Option<&Dataset<T>> {
        self.train_dataset.as_ref()
    }

    /// The validation dataset, if one was given.
    pub fn val_dataset(&self) -> Option<&Dataset<T>> {
        self.val_dataset.as_ref()
    }

    /// The store. Errors if there is none, as all of these do, saying how to give one.
    pub fn store(&self) -> Result<&Arc<dyn Store>, MissingDependency> {
        Ok(self.scope.store()?)
    }

    /// The trace adapter that makes an `O`. Errors too if it makes something else.
    pub fn adapter<O: 'static>(&self) -> Result<&Arc<dyn TraceAdapter<Output = O>>, MissingDependency> {
        Ok(self.scope.dyn_adapter()?)
    }

    /// The LLM proxy.
    pub fn llm_proxy(&self) -> Result<&LlmProxy, MissingDependency> {
        Ok(self.scope.llm_proxy()?)
    }

    /// The resources to begin with.
    pub fn initial_resources(&self) -> Result<&NamedResources, MissingDependency> {
        Ok(self.scope.initial_resources()?)
    }

    /// The run.
    pub fn run(&self) -> Result<&RunContext, MissingDependency> {
        Ok(self.scope.run()?)
    }

    /// The trainer.
    pub fn trainer(&self) -> Result<&TrainerInfo, MissingDependency> {
        self.trainer.as_ref().ok_or(MissingDependency::Trainer)
    }

    /// What parameters are injected from.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }
}
