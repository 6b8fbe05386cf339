//! What a rollout leaves behind, besides its trace.

use crate::{
    functional::IntoError,
    types::{Reward, Span},
};

/// What a rollout of an agent came to.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum RolloutResult {
    /// Nothing: the trace speaks for itself.
    #[default]
    Nothing,
    /// How good it was. The runner stores it as a span.
    Reward(Reward),
    /// Spans of the agent's own making, to be stored as they are.
    Spans(Vec<Span>),
}

/// What an agent may return: `()`, a number, a [`Reward`], spans, an `Option` of these (`None` is nothing), and a
/// `Result` of these with an error that becomes an `anyhow::Error`.
#[diagnostic::on_unimplemented(
    message = "a rollout cannot return `{Self}`",
    label = "not a result of a rollout",
    note = "return `()`, a number, `Reward`, `Vec<Span>`, or a `Result` of one of them, such as `anyhow::Result<f64>`"
)]
pub trait AgentOutput {
    /// The result, or the error that fails the attempt.
    fn into_result(self) -> anyhow::Result<RolloutResult>;
}

#[diagnostic::do_not_recommend]
impl AgentOutput for () {
    fn into_result(self) -> anyhow::Result<RolloutResult> {
        Ok(RolloutResult::Nothing)
    }
}

#[diagnostic::do_not_recommend]
impl AgentOutput for RolloutResult {
    fn into_result(self) -> anyhow::Result<RolloutResult> {
        Ok(self)
    }
}

#[diagnostic::do_not_recommend]
impl AgentOutput for Reward {
    fn into_result(self) -> anyhow::Result<RolloutResult> {
        Ok(RolloutResult::Reward(self))
    }
}

#[diagnostic::do_not_recommend]
impl AgentOutput for Vec<Span> {
    fn into_result(self) -> anyhow::Result<RolloutResult> {
        Ok(RolloutResult::Spans(self))
    }
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        #[diagnostic::do_not_recommend]
        impl AgentOutput for $number {
            // Of the integers, those beyond 2^53 are rounded, which is no loss in a reward.
            fn into_result(self) -> anyhow::Result<RolloutResult> {
                Ok(RolloutResult::Reward(Reward::from(self as f64)))
            }
        }
    )*};
}

numbers!(f64 f32 i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

/// Right or wrong: 1 or 0.
#[diagnostic::do_not_recommend]
impl AgentOutput for bool {
    fn into_result(self) -> anyhow::Result<RolloutResult> {
        f64::from(u8::from(self)).into_result()
    }
}

impl<R: AgentOutput> AgentOutput for Option<R> {
    fn into_result(self) -> anyhow::Result<RolloutResult> {
        self.map_or(Ok(RolloutResult::Nothing), R::into_result)
    }
}

impl<R: AgentOutput, E: IntoError> AgentOutput for Result<R, E> {
    fn into_result(self) -> anyhow::Result<RolloutResult> {
        self.map_err(E::into_error)?.into_result()
    }
}
