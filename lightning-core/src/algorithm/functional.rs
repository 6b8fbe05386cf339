//! Algorithms that `#[algo]` made of functions.

use std::{borrow::Cow, marker::PhantomData};

use serde_json::Value;

use super::{AlgoFuture, AlgoOutput, Algorithm, AlgorithmContext};
use crate::{
    functional::{IntoError, ParamError, Params, Returned, params_to_json, run_blocking},
    inject::{InjectErrors, Requirement, Scope},
    types::JsonObject,
};

/// What `#[algo]` implements. Everything of the kind is an [`Algorithm`] for the tasks that it [`Accepts`].
///
/// It is not generic over the task type, so that it does not get into the way of `impl<T> Algorithm<T> for Mine`.
pub trait FunctionalAlgorithm: Params + Send + Sync {
    /// What the function asks for, one entry for each parameter that is injected.
    const REQUIREMENTS: &'static [Requirement];

    /// `#[algo(version = "…")]`.
    const VERSION: &'static str = "1";

    /// `Only<T>` where the function names a dataset of `T`, otherwise `AnyTask`.
    type Tasks: Tasks;

    /// What the function returns, its error aside. It has no bounds here, so that what does not fit is reported in the
    /// words of [`AlgoOutput`], and once.
    type Output;

    /// Injects every parameter; the future is then the function's. Dropping it unpolled only checks.
    ///
    /// Errors with everything that is missing.
    fn prepare<'cx>(&'cx self, scope: &'cx Scope) -> Result<AlgoFuture<'cx, Self::Output>, InjectErrors>;
}

/// Works on tasks of the type `T`.
#[derive(Debug)]
pub struct Only<T>(PhantomData<fn() -> T>);

/// Works on tasks of every type.
#[derive(Debug)]
pub struct AnyTask;

/// [`Only`] or [`AnyTask`].
pub trait Tasks {
    /// The task type to use where nothing else tells, in a run file.
    type Default;
}

impl<T> Tasks for Only<T> {
    type Default = T;
}

impl Tasks for AnyTask {
    type Default = Value;
}

/// Whether tasks of the type `T` are accepted.
pub trait Accepts<T>: Tasks {}

impl<T> Accepts<T> for Only<T> {}

impl<T> Accepts<T> for AnyTask {}

#[diagnostic::do_not_recommend]
impl<T, A> Algorithm<T> for A
where
    A: FunctionalAlgorithm<Tasks: Accepts<T>, Output: AlgoOutput>,
{
    type Output = <A as FunctionalAlgorithm>::Output;

    fn name(&self) -> Cow<'static, str> {
        A::NAME.into()
    }

    fn version(&self) -> &str {
        A::VERSION
    }

    fn parameters(&self) -> Result<JsonObject, ParamError> {
        params_to_json(self)
    }

    fn requirements(&self) -> Option<&'static [Requirement]> {
        Some(A::REQUIREMENTS)
    }

    fn check(&self, cx: &AlgorithmContext<T>) -> Result<(), InjectErrors> {
        self.prepare(cx.scope()).map(drop)
    }

    fn run<'a>(&'a self, cx: &'a AlgorithmContext<T>) -> AlgoFuture<'a, Self::Output> {
        match self.prepare(cx.scope()) {
            Ok(run) => run,
            Err(missing) => Box::pin(std::future::ready(Err(missing.into()))),
        }
    }
}

/// The future of an asynchronous function, for generated code.
#[doc(hidden)]
pub fn finish<'a, const IS_RESULT: bool, R: Returned<IS_RESULT, Error: IntoError>>(
    run: impl Future<Output = R> + Send + 'a,
) -> AlgoFuture<'a, R::Output> {
    Box::pin(async move { run.await.split().map_err(IntoError::into_error) })
}

/// The future of a synchronous function, for generated code.
#[doc(hidden)]
pub fn finish_blocking<
    'a,
    const IS_RESULT: bool,
    R: Returned<IS_RESULT, Error: IntoError> + Send + 'static,
>(
    run: impl FnOnce() -> R + Send + 'static,
) -> AlgoFuture<'a, R::Output> {
    Box::pin(async move { run_blocking(run).await?.split().map_err(IntoError::into_error) })
}

/// Checks, for generated code, that a type can be an algorithm's output.
#[doc(hidden)]
pub const fn is_output<O: AlgoOutput>() {}
