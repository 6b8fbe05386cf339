//! Clients of models in Python at our LLM proxy, and the reference's adapter on what it recorded.

use std::{process::Stdio, sync::Arc, time::Duration};

use lightning_core::{
    adapter::{ProxyToTriplets, TraceAdapter as _},
    llm_proxy::{ControlProxy as _, ReverseProxy},
    semconv,
    store::{Store, StoreError},
    types::{NewRollout, Span, SpanQuery, model_calls},
};
use lightning_tests::tier::{self, Python};
use serde_json::{Value, json};

use crate::{backend::Backend, fixtures, python::our_server};

/// What the script says.
async fn clients(python: &Python, arguments: &[&str]) -> Value {
    let mut command = python.script("model_clients.py");
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

struct Bench {
    /// Ends when it is dropped.
    _backend: Backend,
    proxy: ReverseProxy,
    store: Arc<dyn Store>,
    store_url: String,
}

impl Bench {
    async fn start() -> Self {
        let (store_url, store) = our_server().await;
        let backend = Backend::start().await;
        let proxy = ReverseProxy::builder()
            .models(backend.models())
            .store(Arc::clone(&store))
            .build()
            .unwrap();
        proxy.start().await.unwrap();
        Self {
            _backend: backend,
            proxy,
            store,
            store_url,
        }
    }

    /// Runs a client as an attempt: what it understood, and what the store has of it.
    async fn run(&self, python: &Python, client: &str) -> Result<(Value, Vec<Span>), StoreError> {
        let made = self
            .store
            .start_rollout(NewRollout::new(json!(client)), None)
            .await?;
        let (rollout, attempt) = (&made.rollout.rollout_id, &made.attempt.attempt_id);
        let base = format!(
            "{}/rollout/{rollout}/attempt/{attempt}",
            self.proxy.url().unwrap()
        );
        let understood = clients(python, &[client, &base]).await;
        let recorded = tokio::time::timeout(Duration::from_secs(60), self.proxy.recorded(rollout, attempt));
        recorded.await.unwrap().unwrap();
        let spans = self
            .store
            .query_spans(SpanQuery::of(rollout.clone()))
            .await?
            .items;
        Ok((understood, spans))
    }
}

fn has(python: &Python, package: &str) -> bool {
    let found = python
        .command()
        .args(["-c", &format!("import {package}")])
        .output();
    let found = found.unwrap().status.success();
    if !found {
        let required = std::env::var("LIGHTNING_TEST_REQUIRE").unwrap_or_default();
        assert!(
            !required.split(',').any(|tier| tier == "python"),
            "the Python tier has no `{package}`: install tests/python/requirements-sdks.txt"
        );
        eprintln!("not run: the Python tier has no `{package}`");
    }
    found
}

fn requests(spans: &[Span]) -> Vec<&Span> {
    spans
        .iter()
        .filter(|span| span.name == semconv::PROXY_REQUEST)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openais_client_works_and_the_references_adapter_reads_its_calls() {
    let Some(python) = tier::python() else { return };
    let bench = Bench::start().await;
    let (understood, spans) = bench.run(&python, "openai").await.unwrap();
    assert_eq!(
        understood,
        json!({
            "plain": "4.", "token_ids": [19, 13, 151645], "streamed": "Grüße 🌩",
            "tools": [["look", {"at": 1}], ["look", {"at": 2}]],
            "response": "I look.", "events": "response.completed", "embeddings": 2, "text": " upon a",
            "refused": [400, "This model's maximum context length is 32768 tokens."],
        })
    );
    assert_eq!((model_calls(&spans).len(), requests(&spans).len()), (8, 8));

    let rollout = spans[0].rollout_id.clone();
    let theirs = clients(&python, &["triplets", &bench.store_url, rollout.as_str()]).await;
    let ours = ProxyToTriplets::new().adapt(&spans).unwrap().triplets;
    let ours: Vec<Value> = ours
        .iter()
        .map(|triplet| {
            json!([
                triplet.prompt.token_ids,
                triplet.response.token_ids,
                null,
                triplet.metadata.response_id
            ])
        })
        .collect();
    assert_eq!(theirs[rollout.as_str()], json!(ours));
    let expected = ["vllm-chat", "vllm-chat-stream", "vllm-completions-stream"].map(fixtures::named);
    let told: Vec<Value> = ours
        .iter()
        .map(|triplet| json!([triplet[0], triplet[1]]))
        .collect();
    let expected = expected.map(|fixture| json!([fixture.expected["prompt"], fixture.expected["response"]]));
    assert_eq!(told, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anthropics_client_works() {
    let Some(python) = tier::python().filter(|python| has(python, "anthropic")) else {
        return;
    };
    let (understood, spans) = Bench::start().await.run(&python, "anthropic").await.unwrap();
    assert_eq!(
        understood,
        json!({
            "plain": "I look.", "tool": {"city": "Ulm"}, "streamed": "I look.", "streamed_tool": {"city": "Ulm"},
            "output_tokens": 42, "refused": [529, "Overloaded"],
        })
    );
    assert_eq!(model_calls(&spans).len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn langchains_client_works() {
    let Some(python) = tier::python().filter(|python| has(python, "langchain_openai")) else {
        return;
    };
    let (understood, spans) = Bench::start().await.run(&python, "langchain").await.unwrap();
    assert_eq!(
        understood,
        json!({"plain": "4.", "streamed": "Grüße 🌩", "tools": [["look", {"at": 1}], ["look", {"at": 2}]]})
    );
    assert_eq!(model_calls(&spans).len(), 3);
}
