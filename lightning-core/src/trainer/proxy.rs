//! The LLM proxy of a run: started before the algorithm, stopped after the runners.

use std::sync::Arc;

use super::TrainerError;
use crate::{
    agent::{Hook, HookFuture, RolloutContext},
    llm_proxy::LlmProxy,
    store::Store,
    types::{Llm, NamedResources, ResourceKind as _},
};

/// A proxy that was started for a run. One that ran already is left as it is, also at the end.
pub(super) struct RunProxy {
    proxy: LlmProxy,
    is_ours: bool,
}

impl RunProxy {
    /// Starts the proxy, if there is one and it does not run, with the store of the run.
    pub(super) async fn start(
        proxy: Option<&LlmProxy>,
        store: &Arc<dyn Store>,
    ) -> Result<Option<Self>, TrainerError> {
        let Some(proxy) = proxy.cloned() else {
            return Ok(None);
        };
        let is_ours = !proxy.is_running();
        if is_ours {
            proxy.use_store(Arc::clone(store));
            proxy.start().await.map_err(TrainerError::LlmProxy)?;
        }
        Ok(Some(Self { proxy, is_ours }))
    }

    /// The resources to begin with, and the proxy's models among them: the first one as `llm`, the others under their own
    /// names. What was given under one of these names stays.
    pub(super) fn resources(&self, given: Option<&NamedResources>) -> Result<NamedResources, TrainerError> {
        let mut resources = given.cloned().unwrap_or_default();
        for (place, model) in self.proxy.models().into_iter().enumerate() {
            let name = if place == 0 { Llm::KIND } else { &model.name };
            if resources.iter().any(|(known, _)| known == name) {
                continue;
            }
            let resource = self.proxy.as_resource(Some(&model.name));
            resources.insert(name, resource.map_err(TrainerError::LlmProxy)?);
        }
        Ok(resources)
    }

    /// Stops the proxy, if it was started for this run.
    pub(super) async fn stop(mut self) {
        if std::mem::take(&mut self.is_ours) {
            say_failure(self.proxy.stop().await);
        }
    }
}

impl Drop for RunProxy {
    /// A run that is dropped leaves no proxy behind that still records in its store.
    fn drop(&mut self) {
        if !self.is_ours {
            return;
        }
        let proxy = self.proxy.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { say_failure(proxy.stop().await) });
        }
    }
}

fn say_failure(stopped: Result<(), crate::llm_proxy::LlmProxyError>) {
    if let Err(error) = stopped {
        tracing::warn!(target: "lightning::trainer", %error, "the LLM proxy did not stop in order");
    }
}

/// Has the report of an attempt wait until its calls are recorded, so that nobody reads half a trace.
pub(super) struct WaitForCalls(pub(super) LlmProxy);

impl Hook for WaitForCalls {
    fn on_trace_end<'a>(&'a self, cx: &'a RolloutContext) -> HookFuture<'a> {
        Box::pin(async move {
            let (rollout, attempt) = (&cx.rollout().rollout_id, &cx.attempt().attempt_id);
            Ok(self.0.recorded(rollout, attempt).await?)
        })
    }
}
