//! Algorithms: what trains. An algorithm enqueues rollouts, waits, reads spans and rewards, and publishes resources.
//!
//! `#[algo]` makes one of a function; [`Algorithm`] is the trait to implement by hand. Both meet runners only through
//! the store, so nothing here knows of runners.
//!
//! These come with the crate:
//!
//! | algorithm | what it does |
//! |---|---|
//! | [`baseline`] | runs the datasets through and tunes nothing, to see whether the plumbing holds |
//! | [`select_prompt`] | keeps the best prompt of a list |
//! | [`apo`] | improves a prompt by what a model says about its failures |
//! | [`random_search`] | keeps the best of prompts that a model makes up; what `apo` has to beat |
//! | [`few_shot`] | adds solved tasks to a prompt as examples; what `apo` has to beat, too |
//! | `sft` | trains a small model on the best of its own answers; with the feature `lm` |

mod apo;
mod baseline;
mod context;
mod few_shot;
mod functional;
mod output;
mod prompt_search;
mod random_search;
mod select_prompt;
#[cfg(feature = "lm")]
mod sft;

use std::{any::type_name, borrow::Cow, future::Future, pin::Pin, sync::Arc};

pub use apo::{Apo, apo};
pub use baseline::{Baseline, BaselineReport, SpanVerbosity, SplitCounts, baseline};
pub use context::{AlgorithmContext, MissingDependency, TrainerInfo};
pub use few_shot::{FewShot, few_shot};
pub use functional::{Accepts, AnyTask, FunctionalAlgorithm, Only, Tasks};
#[doc(hidden)]
pub use functional::{finish, finish_blocking, is_output};
pub use output::AlgoOutput;
pub use prompt_search::{BatchScore, Candidate, OptimizedPrompt, Origin, Rejection, RejectionReason};
pub use random_search::{RandomSearch, random_search};
pub use select_prompt::{PromptScore, SelectPrompt, SelectedPrompt, select_prompt};
#[cfg(feature = "lm")]
pub use sft::{FineTuned, Iteration, ModelHost, PassRates, ServeCheckpoint, Sft, sft};

pub use crate::inject::Requirement;
use crate::{functional::ParamError, inject::InjectErrors, types::JsonObject};

/// What a run of an algorithm returns.
pub type AlgoFuture<'a, O> = Pin<Box<dyn Future<Output = anyhow::Result<O>> + Send + 'a>>;

/// Learns from tasks of type `T`. `Arc` of an algorithm is an algorithm.
///
/// ```
/// use lightning_core::{
///     algorithm::{AlgoFuture, Algorithm, AlgorithmContext},
///     types::Task,
/// };
///
/// struct CountTasks;
///
/// impl<T: Task> Algorithm<T> for CountTasks {
///     type Output = usize;
///
///     fn run<'a>(&'a self, cx: &'a AlgorithmContext<T>) -> AlgoFuture<'a, usize> {
///         Box::pin(async move { Ok(cx.train_dataset().map_or(0, |tasks| tasks.len())) })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let cx = AlgorithmContext::for_test().with_train_dataset(vec!["a".to_owned(), "b".to_owned()]);
/// assert_eq!(CountTasks.run(&cx).await?, 2);
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an algorithm for tasks of type `{T}`",
    label = "not an `Algorithm<{T}>`",
    note = "the agent, the algorithm and both datasets of one `fit` have the same task type",
    note = "a function with `#[algo]` is passed as a value of its own: write `name::algorithm()`, not `name`"
)]
pub trait Algorithm<T>: Send + Sync + 'static {
    /// What a run returns; it goes into the report.
    type Output: AlgoOutput;

    /// The name for reports and logs.
    fn name(&self) -> Cow<'static, str> {
        type_name::<Self>().into()
    }

    /// The version, to be changed when saved state of an earlier one is of no use; `1` unless said otherwise.
    fn version(&self) -> &str {
        "1"
    }

    /// The hyper-parameters by name.
    ///
    /// Errors if one of them has no JSON form.
    fn parameters(&self) -> Result<JsonObject, ParamError> {
        Ok(JsonObject::new())
    }

    /// What the algorithm asks for; `None` for an algorithm that does not say, which may be given anything.
    fn requirements(&self) -> Option<&'static [Requirement]> {
        None
    }

    /// Whether everything that the algorithm asks for is there. It is called before anything starts.
    ///
    /// Errors with everything that is missing.
    fn check(&self, cx: &AlgorithmContext<T>) -> Result<(), InjectErrors> {
        let _ = cx;
        Ok(())
    }

    /// Runs the algorithm. The future may be dropped at any await, when the run is stopped for good.
    fn run<'a>(&'a self, cx: &'a AlgorithmContext<T>) -> AlgoFuture<'a, Self::Output>;
}

#[diagnostic::do_not_recommend]
impl<T, A: Algorithm<T> + ?Sized> Algorithm<T> for Arc<A> {
    type Output = A::Output;

    fn name(&self) -> Cow<'static, str> {
        (**self).name()
    }

    fn version(&self) -> &str {
        (**self).version()
    }

    fn parameters(&self) -> Result<JsonObject, ParamError> {
        (**self).parameters()
    }

    fn requirements(&self) -> Option<&'static [Requirement]> {
        (**self).requirements()
    }

    fn check(&self, cx: &AlgorithmContext<T>) -> Result<(), InjectErrors> {
        (**self).check(cx)
    }

    fn run<'a>(&'a self, cx: &'a AlgorithmContext<T>) -> AlgoFuture<'a, Self::Output> {
        (**self).run(cx)
    }
}
