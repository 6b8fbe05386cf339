//! [`Inject`] for the slots of this crate.

use std::sync::Arc;

use super::{Inject, InjectError, Injectable, Scope, slots};
use crate::{
    adapter::TraceAdapter,
    chat::ChatModel,
    llm_proxy::LlmProxy,
    run::RunContext,
    store::Store,
    types::{AttemptedRollout, Llm, NamedResources, PromptTemplate, ResourceError, Rollout},
};

impl<'cx> Inject<'cx, slots::Store> for Arc<dyn Store> {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.store().cloned()
    }
}

impl<'cx> Inject<'cx, slots::Store> for &'cx dyn Store {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.store().map(|store| &**store)
    }
}

impl<'cx, O: 'static> Inject<'cx, slots::Adapter> for Arc<dyn TraceAdapter<Output = O>> {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.dyn_adapter().cloned()
    }
}

impl<'cx, O: 'static> Inject<'cx, slots::Adapter> for &'cx dyn TraceAdapter<Output = O> {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.dyn_adapter().map(|adapter| &**adapter)
    }
}

impl<'cx, A: TraceAdapter> Inject<'cx, slots::Adapter> for Arc<A> {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.adapter()
    }
}

// There is none for `&A`: `&` is fundamental, so that it would overlap with this one.
impl<'cx, A: TraceAdapter + Clone> Inject<'cx, slots::Adapter> for A {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.adapter().map(Arc::unwrap_or_clone)
    }
}

impl<'cx, V: Injectable> Inject<'cx, slots::ByType> for V {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.extension::<V>().cloned()
    }
}

/// For a value that was given as an `Arc`.
impl<'cx, V: Injectable> Inject<'cx, slots::ByType> for Arc<V> {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.extension::<Self>().cloned()
    }
}

/// `#[inject]` takes a model in the form in which [`ChatModel::shared`] gives it.
impl Injectable for Arc<dyn ChatModel> {}

/// A slot whose value lies in the scope, as a clone and by reference.
macro_rules! by_value_and_reference {
    ($($slot:ident: $ty:ty = |$scope:ident| $take:expr;)*) => {$(
        impl<'cx> Inject<'cx, slots::$slot> for &'cx $ty {
            fn inject($scope: &'cx Scope) -> Result<Self, InjectError> {
                $take
            }
        }

        impl<'cx> Inject<'cx, slots::$slot> for $ty {
            fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
                <&'cx $ty as Inject<'cx, slots::$slot>>::inject(scope).cloned()
            }
        }
    )*};
}

by_value_and_reference! {
    LlmProxy: LlmProxy = |scope| scope.llm_proxy();
    InitialResources: NamedResources = |scope| scope.initial_resources();
    Run: RunContext = |scope| scope.run();
    Resources: NamedResources = |scope| scope.resources();
    Rollout: AttemptedRollout = |scope| scope.rollout();
    Rollout: Rollout = |scope| scope.rollout().map(|attempted| &attempted.rollout);
    PromptTemplate: PromptTemplate = |scope| only(scope.resources()?.prompt_template(), "prompt_template");
}

/// By value only: the address of a model behind the proxy is made for the attempt.
impl<'cx> Inject<'cx, slots::Llm> for Llm {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        let resources = scope.resources()?;
        let models = match scope.rollout() {
            Ok(of) => &resources.for_attempt(&of.rollout_id, &of.attempt.attempt_id),
            Err(_) => resources,
        };
        only(models.llm(), "llm").cloned()
    }
}

/// The only resource of a kind. One that is not there is absent; of several, nobody can tell which is meant.
fn only<'a, R>(found: Result<&'a R, ResourceError>, slot: &'static str) -> Result<&'a R, InjectError> {
    found.map_err(|error| match error {
        ResourceError::NoneOfKind { known, .. } => InjectError::absent(
            slot,
            format!("publish one with the resources of the rollout (`initial_resources`, or the algorithm); {known}"),
        ),
        other => InjectError::unusable(other),
    })
}
