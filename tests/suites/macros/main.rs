//! `#[algo]`, `#[rollout]` and `#[derive(Inject)]`: what must compile, and what it then does.

mod agents;
mod algorithms;
mod forms;
mod own_values;
mod params;
mod run_files;
mod subsets;

use lightning_core::{
    adapter::AdaptError,
    llm_proxy::{ControlProxy, LlmProxyError, ProxyFuture, ProxyModel},
    prelude::*,
    types::{Resource, Span},
};
use serde::{Deserialize, Serialize};

/// A task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Its text.
    pub text: String,
}

fn questions<const N: usize>(texts: [&str; N]) -> Dataset<Question> {
    let question = |text: &str| Question {
        text: text.to_owned(),
    };
    texts.into_iter().map(question).collect()
}

/// Counts spans.
#[derive(Clone)]
struct Count;

impl TraceAdapter for Count {
    type Output = usize;

    fn adapt(&self, spans: &[Span]) -> Result<usize, AdaptError> {
        Ok(spans.len())
    }
}

/// A proxy that has no models.
struct NoModels;

impl ControlProxy for NoModels {
    fn set_models(&self, _: Vec<ProxyModel>) -> ProxyFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn models(&self) -> Vec<ProxyModel> {
        Vec::new()
    }

    fn pause(&self) -> ProxyFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn drain(&self) -> ProxyFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn resume(&self) -> ProxyFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn as_resource(&self, model: Option<&str>) -> Result<Resource, LlmProxyError> {
        Err(LlmProxyError::UnknownModel {
            model: model.unwrap_or_default().to_owned(),
            known: Vec::new(),
        })
    }
}

/// Everything that an algorithm can ask for.
fn everything() -> AlgorithmContext<Question> {
    AlgorithmContext::for_test()
        .with_adapter(Count)
        .with_llm_proxy(LlmProxy::new(NoModels))
        .with_initial_resources(NamedResources::new())
        .with_train_dataset(questions(["a", "b"]))
        .with_val_dataset(questions(["c"]))
}
