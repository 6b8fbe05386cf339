//! Agents: what is trained. An agent takes one task and what the algorithm tunes, and leaves a trace and a reward.
//!
//! Knows nothing of runners and algorithms: a runner calls it, and a test may as well.

mod closure;
mod context;
mod functional;
mod hook;
mod output;

use std::{any::type_name, borrow::Cow, future::Future, pin::Pin, sync::Arc};

pub use closure::{AgentFn, agent_fn};
pub use context::RolloutContext;
pub use functional::FunctionalAgent;
#[doc(hidden)]
pub use functional::{check_before_rollouts, finish, finish_blocking, refuse};
pub use hook::{Hook, HookFuture, RolloutEnd};
pub use output::{AgentOutput, RolloutResult};

use crate::inject::{InjectErrors, Requirement, Scope};

/// What a rollout of an agent returns. An error fails the attempt.
pub type AgentFuture<'a> = Pin<Box<dyn Future<Output = anyhow::Result<RolloutResult>> + Send + 'a>>;

/// Executes tasks of type `T`.
///
/// `#[rollout]` makes an agent of a function; this is the trait to implement by hand where an agent needs state or
/// treats validation differently. `Arc` of an agent is an agent.
///
/// ```
/// use lightning_core::agent::{Agent, AgentFuture, AgentOutput, RolloutContext, RolloutResult};
///
/// struct Echo;
///
/// impl Agent<String> for Echo {
///     fn rollout<'a>(&'a self, task: &'a String, _: &'a RolloutContext) -> AgentFuture<'a> {
///         Box::pin(async move { (task.len() as f64).into_result() })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let result = Echo.rollout(&"four".to_owned(), &RolloutContext::for_test()).await?;
/// assert_eq!(result, RolloutResult::Reward(4.0.into()));
/// # Ok(())
/// # }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an agent for tasks of type `{T}`",
    label = "does not take tasks of type `{T}`",
    note = "the agent, the algorithm and both datasets of one `fit` have the same task type",
    note = "a function with `#[rollout]` is passed as a value of its own: write `name::agent()`, not `name`"
)]
pub trait Agent<T>: Send + Sync + 'static {
    /// Executes a task: in training, and in validation too unless [`validation_rollout`](Self::validation_rollout)
    /// says otherwise.
    ///
    /// The future may be dropped at any await: at a time limit, when the rollout is cancelled, when the run stops.
    /// `cx` tells beforehand, see [`RolloutContext::cancellation`].
    fn rollout<'a>(&'a self, task: &'a T, cx: &'a RolloutContext) -> AgentFuture<'a>;

    /// Executes a task when the rollout's mode is validation or test.
    fn validation_rollout<'a>(&'a self, task: &'a T, cx: &'a RolloutContext) -> AgentFuture<'a> {
        self.rollout(task, cx)
    }

    /// The name for reports and logs.
    fn name(&self) -> Cow<'static, str> {
        type_name::<Self>().into()
    }

    /// What the agent asks for; `None` for an agent that does not say.
    fn requirements(&self) -> Option<&'static [Requirement]> {
        None
    }

    /// Whether what the agent asks for is there, before anything starts. What only a rollout has, such as its
    /// resources, is not looked at.
    ///
    /// Errors with everything that is missing.
    fn check(&self, scope: &Scope) -> Result<(), InjectErrors> {
        let _ = scope;
        Ok(())
    }
}

#[diagnostic::do_not_recommend]
impl<T, A: Agent<T> + ?Sized> Agent<T> for Arc<A> {
    fn rollout<'a>(&'a self, task: &'a T, cx: &'a RolloutContext) -> AgentFuture<'a> {
        (**self).rollout(task, cx)
    }

    fn validation_rollout<'a>(&'a self, task: &'a T, cx: &'a RolloutContext) -> AgentFuture<'a> {
        (**self).validation_rollout(task, cx)
    }

    fn name(&self) -> Cow<'static, str> {
        (**self).name()
    }

    fn requirements(&self) -> Option<&'static [Requirement]> {
        (**self).requirements()
    }

    fn check(&self, scope: &Scope) -> Result<(), InjectErrors> {
        (**self).check(scope)
    }
}
