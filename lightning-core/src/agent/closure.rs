//! Agents made of closures.

use std::{any::type_name, borrow::Cow, fmt, future::Future};

use super::{Agent, AgentFuture, AgentOutput, RolloutContext};
use crate::types::Task;

/// An agent that calls a closure with a copy of the task and of the context, in training and in validation.
///
/// For tests and small programs; a function with `#[rollout]` gets its parameters injected.
///
/// ```
/// use lightning_core::agent::{Agent, RolloutContext, agent_fn};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let agent = agent_fn(|task: String, _cx| async move { task.len() as f64 });
/// agent.rollout(&"four".to_owned(), &RolloutContext::for_test()).await?;
/// # Ok(())
/// # }
/// ```
pub fn agent_fn<F>(rollout: F) -> AgentFn<F> {
    AgentFn(rollout)
}

/// What [`agent_fn`] makes.
pub struct AgentFn<F>(F);

impl<F> fmt::Debug for AgentFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AgentFn").field(&type_name::<F>()).finish()
    }
}

#[diagnostic::do_not_recommend]
impl<T, F, R> Agent<T> for AgentFn<F>
where
    T: Task,
    F: Fn(T, RolloutContext) -> R + Send + Sync + 'static,
    R: Future<Output: AgentOutput> + Send,
{
    fn rollout<'a>(&'a self, task: &'a T, cx: &'a RolloutContext) -> AgentFuture<'a> {
        Box::pin(async move { (self.0)(task.clone(), cx.clone()).await.into_result() })
    }

    fn name(&self) -> Cow<'static, str> {
        "agent_fn".into()
    }
}
