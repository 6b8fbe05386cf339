//! What there is to inject.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
    sync::Arc,
};

use super::InjectError;
use crate::{
    adapter::{AdaptError, TraceAdapter},
    llm_proxy::LlmProxy,
    run::RunContext,
    store::Store,
    types::{AttemptedRollout, Dataset, NamedResources, Span},
};

type Shared = Arc<dyn Any + Send + Sync>;

/// What an adapter can be asked whose output is not known.
trait AnyAdapter: Send + Sync {
    fn explain(&self, spans: &[Span]) -> Option<AdaptError>;
    fn describe(&self) -> String;
}

impl<A: TraceAdapter + ?Sized> AnyAdapter for Arc<A> {
    fn explain(&self, spans: &[Span]) -> Option<AdaptError> {
        (**self).explain(spans)
    }

    fn describe(&self) -> String {
        (**self).describe()
    }
}

/// Everything that parameters can be filled with. A clone shares the values.
///
/// The trainer makes one for the algorithm, the runner makes one for each rollout from the same extensions. It knows
/// no task type: what holds datasets keeps it beside them, see [`AlgorithmContext`](crate::algorithm::AlgorithmContext).
#[derive(Clone, Default)]
pub struct Scope {
    store: Option<Arc<dyn Store>>,
    adapter: Option<AdapterCell>,
    llm_proxy: Option<LlmProxy>,
    initial_resources: Option<NamedResources>,
    train_dataset: Option<Cell>,
    val_dataset: Option<Cell>,
    run: Option<RunContext>,
    resources: Option<NamedResources>,
    rollout: Option<Arc<AttemptedRollout>>,
    extensions: Arc<HashMap<TypeId, Cell>>,
}

/// A value of any type, and the name of the type for messages.
#[derive(Clone)]
struct Cell {
    value: Shared,
    type_name: &'static str,
}

impl Cell {
    fn new<V: Any + Send + Sync>(value: V) -> Self {
        Self {
            value: Arc::new(value),
            type_name: type_name::<V>(),
        }
    }
}

#[derive(Clone)]
struct AdapterCell {
    /// The adapter in its own type; nothing if it came as a trait object.
    concrete: Option<Shared>,
    /// An `Arc<dyn TraceAdapter<Output = O>>` for some `O`.
    dynamic: Shared,
    any: Arc<dyn AnyAdapter>,
    type_name: &'static str,
}

impl Scope {
    /// Nothing to inject.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the store.
    #[must_use]
    pub fn with_store(mut self, store: Arc<dyn Store>) -> Self {
        self.store = Some(store);
        self
    }

    /// Gives the trace adapter. It can be injected in its own type and as a trait object.
    #[must_use]
    pub fn with_adapter<A: TraceAdapter>(mut self, adapter: A) -> Self {
        let adapter = Arc::new(adapter);
        let dynamic: Arc<dyn TraceAdapter<Output = A::Output>> = adapter.clone();
        self.adapter = Some(AdapterCell {
            any: Arc::new(Arc::clone(&adapter)),
            concrete: Some(adapter),
            dynamic: Arc::new(dynamic),
            type_name: type_name::<A>(),
        });
        self
    }

    /// Gives a trace adapter whose type is not known. It can be injected only as a trait object.
    #[must_use]
    pub fn with_dyn_adapter<O: Send + 'static>(mut self, adapter: Arc<dyn TraceAdapter<Output = O>>) -> Self {
        self.adapter = Some(AdapterCell {
            any: Arc::new(Arc::clone(&adapter)),
            concrete: None,
            dynamic: Arc::new(adapter),
            type_name: type_name::<dyn TraceAdapter<Output = O>>(),
        });
        self
    }

    /// Gives the LLM proxy.
    #[must_use]
    pub fn with_llm_proxy(mut self, llm_proxy: LlmProxy) -> Self {
        self.llm_proxy = Some(llm_proxy);
        self
    }

    /// Gives the resources to begin with.
    #[must_use]
    pub fn with_initial_resources(mut self, resources: NamedResources) -> Self {
        self.initial_resources = Some(resources);
        self
    }

    /// Gives the training dataset, or takes it away.
    #[must_use]
    pub fn with_train_dataset<T: Send + Sync + 'static>(mut self, dataset: Option<Dataset<T>>) -> Self {
        self.train_dataset = dataset.map(Cell::new);
        self
    }

    /// Gives the validation dataset, or takes it away.
    #[must_use]
    pub fn with_val_dataset<T: Send + Sync + 'static>(mut self, dataset: Option<Dataset<T>>) -> Self {
        self.val_dataset = dataset.map(Cell::new);
        self
    }

    /// Gives the run.
    #[must_use]
    pub fn with_run(mut self, run: RunContext) -> Self {
        self.run = Some(run);
        self
    }

    /// Gives the resources of a rollout.
    #[must_use]
    pub fn with_resources(mut self, resources: NamedResources) -> Self {
        self.resources = Some(resources);
        self
    }

    /// Gives the rollout.
    #[must_use]
    pub fn with_rollout(mut self, rollout: impl Into<Arc<AttemptedRollout>>) -> Self {
        self.rollout = Some(rollout.into());
        self
    }

    /// Gives a value of one's own; it replaces an earlier one of the same type.
    #[must_use]
    pub fn with_extension<V: Any + Send + Sync>(mut self, value: V) -> Self {
        Arc::make_mut(&mut self.extensions).insert(TypeId::of::<V>(), Cell::new(value));
        self
    }

    /// A scope with nothing but this one's extensions, to be filled for a rollout.
    #[must_use]
    pub fn extensions_only(&self) -> Self {
        Self {
            extensions: Arc::clone(&self.extensions),
            ..Self::default()
        }
    }

    /// The store. Errors with [`InjectError::Absent`] if none was given, as all of these do.
    pub fn store(&self) -> Result<&Arc<dyn Store>, InjectError> {
        given(&self.store, "store", "`Trainer::builder().store(..)` gives one")
    }

    /// The trace adapter that makes an `O`. Errors with [`InjectError::WrongType`] if it makes something else.
    pub fn dyn_adapter<O: 'static>(&self) -> Result<&Arc<dyn TraceAdapter<Output = O>>, InjectError> {
        let cell = self.adapter_cell()?;
        cell.dynamic.downcast_ref().ok_or(InjectError::WrongType {
            slot: "adapter",
            wanted: type_name::<dyn TraceAdapter<Output = O>>(),
            given: cell.type_name,
        })
    }

    /// The trace adapter in its own type. Errors with [`InjectError::WrongType`] if it is of another type.
    pub fn adapter<A: TraceAdapter>(&self) -> Result<Arc<A>, InjectError> {
        let cell = self.adapter_cell()?;
        let concrete = cell
            .concrete
            .as_ref()
            .and_then(|adapter| Arc::clone(adapter).downcast().ok());
        concrete.ok_or(InjectError::WrongType {
            slot: "adapter",
            wanted: type_name::<A>(),
            given: cell.type_name,
        })
    }

    /// Why the trace adapter finds no data in these spans, whatever its output is; `None` if it finds some, or if no adapter
    /// was given.
    pub fn explain_adapter(&self, spans: &[Span]) -> Option<AdaptError> {
        self.adapter.as_ref()?.any.explain(spans)
    }

    /// What the trace adapter makes of what, in a few words; `None` if none was given.
    pub fn describe_adapter(&self) -> Option<String> {
        Some(self.adapter.as_ref()?.any.describe())
    }

    fn adapter_cell(&self) -> Result<&AdapterCell, InjectError> {
        given(
            &self.adapter,
            "adapter",
            "`Trainer::builder().adapter(..)` gives one",
        )
    }

    /// The LLM proxy.
    pub fn llm_proxy(&self) -> Result<&LlmProxy, InjectError> {
        given(
            &self.llm_proxy,
            "llm_proxy",
            "`Trainer::builder().llm_proxy(..)` gives one",
        )
    }

    /// The resources to begin with.
    pub fn initial_resources(&self) -> Result<&NamedResources, InjectError> {
        given(
            &self.initial_resources,
            "initial_resources",
            "`Trainer::builder().initial_resources(..)` gives them",
        )
    }

    /// The training dataset. Errors with [`InjectError::WrongType`] if its tasks are not of type `T`.
    pub fn train_dataset<T: 'static>(&self) -> Result<&Dataset<T>, InjectError> {
        dataset(
            &self.train_dataset,
            "train_dataset",
            "give `fit` a training dataset",
        )
    }

    /// The validation dataset. Errors with [`InjectError::WrongType`] if its tasks are not of type `T`.
    pub fn val_dataset<T: 'static>(&self) -> Result<&Dataset<T>, InjectError> {
        dataset(
            &self.val_dataset,
            "val_dataset",
            "give `fit` a validation dataset",
        )
    }

    /// The run.
    pub fn run(&self) -> Result<&RunContext, InjectError> {
        given(
            &self.run,
            "run",
            "there is one only while a trainer runs; in a test use `RunContext::for_test()`",
        )
    }

    /// The resources of the rollout.
    pub fn resources(&self) -> Result<&NamedResources, InjectError> {
        given(
            &self.resources,
            "resources",
            "there are some only during a rollout",
        )
    }

    /// The rollout and its attempt.
    pub fn rollout(&self) -> Result<&AttemptedRollout, InjectError> {
        given(&self.rollout, "rollout", "there is one only during a rollout").map(|rollout| &**rollout)
    }

    /// The value of one's own that has this type.
    pub fn extension<V: Any + Send + Sync>(&self) -> Result<&V, InjectError> {
        self.extensions
            .get(&TypeId::of::<V>())
            .and_then(|cell| cell.value.downcast_ref())
            .ok_or_else(|| {
                InjectError::absent(
                    type_name::<V>(),
                    "`Trainer::builder().extension(value)` gives one",
                )
            })
    }
}

fn given<'a, V>(value: &'a Option<V>, slot: &'static str, remedy: &str) -> Result<&'a V, InjectError> {
    value.as_ref().ok_or_else(|| InjectError::absent(slot, remedy))
}

fn dataset<'a, T: 'static>(
    cell: &'a Option<Cell>,
    slot: &'static str,
    remedy: &str,
) -> Result<&'a Dataset<T>, InjectError> {
    let cell = given(cell, slot, remedy)?;
    cell.value.downcast_ref().ok_or(InjectError::WrongType {
        slot,
        wanted: type_name::<Dataset<T>>(),
        given: cell.type_name,
    })
}

/// Only what there is, not its contents.
impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let present = [
            ("store", self.store.is_some()),
            ("adapter", self.adapter.is_some()),
            ("llm_proxy", self.llm_proxy.is_some()),
            ("initial_resources", self.initial_resources.is_some()),
            ("train_dataset", self.train_dataset.is_some()),
            ("val_dataset", self.val_dataset.is_some()),
            ("run", self.run.is_some()),
            ("resources", self.resources.is_some()),
            ("rollout", self.rollout.is_some()),
        ];
        let mut names: Vec<&str> = present
            .iter()
            .filter(|(_, is)| *is)
            .map(|(name, _)| *name)
            .collect();
        names.extend(self.extensions.values().map(|cell| cell.type_name));
        f.debug_tuple("Scope").field(&names).finish()
    }
}
