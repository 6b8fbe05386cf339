//! [`Inject`] for the slots of this crate.

use std::sync::Arc;

use super::{Inject, InjectError, Injectable, Scope, slots};
use crate::{
    adapter::TraceAdapter,
    llm_proxy::LlmProxy,
    run::RunContext,
    store::Store,
    types::{AttemptedRollout, Llm, NamedResources, PromptTemplate, Resource, Rollout},
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
    PromptTemplate: PromptTemplate = |scope| first(scope, "prompt_template", |resource| match resource {
        Resource::PromptTemplate(template) => Some(template),
        _ => None,
    });
}

/// By value only: the address of a model behind the proxy is made for the attempt.
impl<'cx> Inject<'cx, slots::Llm> for Llm {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        let resource = first(scope, "llm", |resource| match resource {
            Resource::Llm(_) | Resource::ProxyLlm(_) => Some(resource),
            _ => None,
        })?;
        match resource {
            Resource::ProxyLlm(llm) => Ok(attributed(llm, scope.rollout()?)),
            Resource::Llm(llm) => Ok(llm.clone()),
            _ => Err(InjectError::absent("llm", "the resource is not a model")),
        }
    }
}

/// A model behind the proxy, at the address under which the proxy counts its calls for this attempt.
fn attributed(llm: &Llm, rollout: &AttemptedRollout) -> Llm {
    let base = llm.endpoint.trim_end_matches('/');
    let (base, version) = base.strip_suffix("/v1").map_or((base, ""), |base| (base, "/v1"));
    let (rollout_id, attempt_id) = (&rollout.rollout_id, &rollout.attempt.attempt_id);
    Llm {
        endpoint: format!("{base}/rollout/{rollout_id}/attempt/{attempt_id}{version}"),
        ..llm.clone()
    }
}

/// The first resource of a kind, by name.
fn first<'cx, V>(
    scope: &'cx Scope,
    slot: &'static str,
    of_kind: impl Fn(&'cx Resource) -> Option<&'cx V>,
) -> Result<&'cx V, InjectError> {
    let resources = scope.resources()?;
    resources
        .iter()
        .find_map(|(_, resource)| of_kind(resource))
        .ok_or_else(|| {
            let there: Vec<String> = resources
                .iter()
                .map(|(name, resource)| format!("`{name}` (`{}`)", kind(resource)))
                .collect();
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            InjectError::absent(
                slot,
                format!("the algorithm, or `initial_resources`, has to publish one; the rollout's resources: {there}"),
            )
        })
}

fn kind(resource: &Resource) -> &'static str {
    match resource {
        Resource::Llm(_) => "llm",
        Resource::ProxyLlm(_) => "proxy_llm",
        Resource::PromptTemplate(_) => "prompt_template",
        Resource::Json { .. } => "json",
    }
}
