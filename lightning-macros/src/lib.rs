//! The attribute macros of `lightning-core`, which re-exports them; depend on that crate, not on this one.
//!
//! They only translate: what generated code does lies in the core. A function goes through three stages, of which the
//! first two collect every mistake they see and the last cannot fail:
//!
//! 1. `parse`: tokens → syntax, the function's body left as it is;
//! 2. `model`: syntax → what each parameter means;
//! 3. `expand`: meaning → tokens, each check spanned on the user's own.

mod derive;
mod function;

use function::Kind;
use proc_macro::TokenStream;

/// Makes an algorithm of a function.
///
/// The function stays what it is: a test calls it like any other. Beside it, `name::algorithm()` makes a value that is
/// an `Algorithm`, for `Trainer::builder().algorithm(..)`.
///
/// ```
/// use lightning_core::{prelude::*, store::MemoryStore, types::NewRollout};
///
/// /// Enqueues every task a few times.
/// #[algo]
/// async fn repeat(
///     store: Arc<dyn Store>,
///     train_dataset: Dataset<String>,
///     #[param(default = 3)] times: usize,
/// ) -> anyhow::Result<usize> {
///     for _ in 0..times {
///         for task in &train_dataset {
///             store.enqueue_rollout(NewRollout::new(serde_json::to_value(task)?)).await?;
///         }
///     }
///     Ok(times * train_dataset.len())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// // As an algorithm, with one of its parameters set; the trainer fills in the rest.
/// let algorithm = repeat::algorithm().times(2);
/// let cx = AlgorithmContext::for_test().with_train_dataset(vec!["2 + 2?".to_owned()]);
/// assert_eq!(algorithm.run(&cx).await?, 2);
///
/// // As a function.
/// let store = Arc::new(MemoryStore::new());
/// assert_eq!(repeat(store, vec!["3 + 3?".to_owned()].into(), 5).await?, 5);
/// # Ok(())
/// # }
/// ```
///
/// # Parameters
///
/// The name of a parameter says what it is filled with, its type says in which form. Order does not matter, and what is
/// not needed is left out. A leading underscore is ignored. `Option` of any of these types means that the function does
/// without; otherwise the trainer refuses to start when the value is missing.
///
/// | name | types |
/// |---|---|
/// | `store` | `Arc<dyn Store>`, `&dyn Store` |
/// | `adapter` | `Arc<dyn TraceAdapter<Output = T>>`, `&dyn TraceAdapter<Output = T>`, a type that implements `TraceAdapter`, `Arc` of it |
/// | `llm_proxy` | `LlmProxy`, `&LlmProxy` |
/// | `initial_resources` | `NamedResources`, `&NamedResources` |
/// | `train_dataset`, `val_dataset` | `Dataset<T>`, `&Dataset<T>`, `Arc<[T]>`, `&[T]` |
/// | `run` | `RunContext`, `&RunContext` |
///
/// A function that names a dataset of `T` is an algorithm for tasks of type `T`; one that names none is an algorithm for
/// tasks of every type. A generic function is made with its types, if they cannot be inferred:
/// `name::<Question>::algorithm()`.
///
/// ## Hyper-parameters: `#[param]`
///
/// `#[param(default = ..)]` makes a builder method of the parameter, `#[param(default)]` does so with the default of its
/// type, and `#[param]` makes it an argument of `algorithm(..)`. The type is one with `Clone`, `Serialize` and
/// `Deserialize`: parameters are read from run files and saved with checkpoints, by name.
///
/// ```
/// use lightning_core::prelude::*;
///
/// #[algo]
/// async fn anneal(#[param] rate: f64, #[param(default = "mean")] metric: String) -> String {
///     format!("{metric} at {rate}")
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let cx = AlgorithmContext::<String>::for_test();
/// let algorithm = anneal::algorithm(0.1).metric("max".to_owned());
/// assert_eq!(algorithm.run(&cx).await?, "max at 0.1");
/// assert_eq!(serde_json::to_string(&algorithm)?, r#"{"metric":"max","rate":0.1}"#);
/// # Ok(())
/// # }
/// ```
///
/// ## Values of your own: `#[inject]`
///
/// `#[inject]` fills a parameter by its type, which opts in with `#[derive(Inject)]`; `#[inject(Slot)]` fills it by a
/// slot of yours, any type for which an `impl Inject<'_, Slot>` says where the value comes from. The values are given to
/// the trainer: `Trainer::builder().extension(value)`.
///
/// ```
/// use lightning_core::prelude::*;
///
/// #[derive(Clone, Inject)]
/// struct Budget(u32);
///
/// #[algo]
/// async fn spend(#[inject] budget: Budget) -> u32 {
///     budget.0
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let cx = AlgorithmContext::<String>::for_test().with_extension(Budget(7));
/// assert_eq!(spend::algorithm().run(&cx).await?, 7);
/// # Ok(())
/// # }
/// ```
///
/// # What it returns
///
/// `()` or any type with `Serialize`, or a `Result` of one of them whose error becomes an `anyhow::Error`. The report of
/// the run holds it in its own type.
///
/// # Synchronous functions
///
/// A function that is not `async` runs on one of Tokio's blocking threads and takes owned parameters only. Once it has
/// begun it cannot be stopped from outside.
///
/// # Options
///
/// - `#[algo(version = "2")]`: the version of the algorithm, `1` by default. Saved state of another version is not
///   resumed from.
/// - `#[algo(handle = Name)]`: another name for the generated type, where that of the function is taken: the module has
///   it, or a crate. Then `Name::algorithm()` makes the algorithm.
/// - `#[algo(crate = path)]`: where `lightning_core` is, for crates that re-export it or rename it.
///
/// Generic functions may need `Send + Sync + 'static` for a type parameter: values cross threads.
#[proc_macro_attribute]
pub fn algo(options: TokenStream, item: TokenStream) -> TokenStream {
    function::translate(Kind::Algo, options.into(), &item.into()).into()
}

/// Makes an agent of a function.
///
/// The function stays what it is: a test calls it like any other. Beside it, `name::agent()` makes a value that is an
/// `Agent`, for `Trainer::fit`.
///
/// ```
/// use lightning_core::{agent::RolloutResult, prelude::*};
///
/// #[rollout]
/// async fn answer(task: &String, prompt_template: Option<PromptTemplate>) -> anyhow::Result<f64> {
///     let prompt = prompt_template.map_or_else(String::new, |prompt| prompt.template);
///     Ok(if prompt.contains("brief") { 1.0 } else { 1.0 / task.len() as f64 })
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// // As an agent: the runner fills in task and resources.
/// let result = answer::agent().rollout(&"2+2?".to_owned(), &RolloutContext::for_test()).await?;
/// assert_eq!(result, RolloutResult::Reward(0.25.into()));
///
/// // As a function.
/// assert_eq!(answer(&"2+2?".to_owned(), None).await?, 0.25);
/// # Ok(())
/// # }
/// ```
///
/// # Parameters
///
/// The name of a parameter says what it is filled with, its type says in which form; `Option` means that the function
/// does without, and a leading underscore is ignored.
///
/// | name | types |
/// |---|---|
/// | `task` | `T`, `&T`: the input of the rollout, for any `T` with `Clone`, `Serialize` and `Deserialize` |
/// | `llm` | `Llm`: the only model among the resources; one behind the proxy with the address of this attempt |
/// | `prompt_template` | `PromptTemplate`, `&PromptTemplate`: the only prompt among the resources |
/// | `resources` | `NamedResources`, `&NamedResources` |
/// | `rollout` | `Rollout`, `&Rollout`, `AttemptedRollout`, `&AttemptedRollout` |
///
/// Where there are several models or prompts, take `resources` and name one. A function that names no task is an agent
/// for tasks of every type. `#[param]` and `#[inject]` are those of
/// `#[algo]`.
///
/// # What it returns
///
/// `()` where the trace speaks for itself, a number or a `bool` as the reward, `Reward` for one with several dimensions,
/// `Vec<Span>` for spans of its own making, `Option` of these, and `Result` of these with an error that becomes an
/// `anyhow::Error`. An error fails the attempt.
///
/// # Synchronous functions
///
/// A function that is not `async` runs on one of Tokio's blocking threads and takes owned parameters only, the task
/// aside. Once it has begun it cannot be stopped from outside.
///
/// # Options
///
/// `#[rollout(handle = Name)]` and `#[rollout(crate = path)]`, as those of `#[algo]`.
#[proc_macro_attribute]
pub fn rollout(options: TokenStream, item: TokenStream) -> TokenStream {
    function::translate(Kind::Rollout, options.into(), &item.into()).into()
}

/// Lets the values of a type be injected by the type alone, with `#[inject]` on a parameter.
///
/// The type needs `Clone`, `Send` and `Sync`. The value is given to the trainer: `Trainer::builder().extension(value)`.
/// If it is given as an `Arc`, the parameter is one too.
///
/// ```
/// use lightning_core::prelude::*;
///
/// #[derive(Clone, Inject)]
/// struct Limits {
///     calls: u32,
/// }
///
/// #[rollout]
/// async fn answer(task: &String, #[inject] limits: Limits) -> f64 {
///     f64::from(limits.calls.min(task.len() as u32))
/// }
/// ```
///
/// `#[inject(crate = path)]` says where `lightning_core` is, for crates that re-export it or rename it.
#[proc_macro_derive(Inject, attributes(inject))]
pub fn inject(item: TokenStream) -> TokenStream {
    derive::inject(item.into()).into()
}
