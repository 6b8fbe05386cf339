//! Runners elsewhere, and what a proxy records of their attempts.

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    extract::Path,
    http::{HeaderMap, StatusCode, header},
    routing::get,
};
use lightning_core::{
    agent::agent_fn,
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, Store},
    trainer::{RunnerOnly, Trainer},
    types::{NamedResources, NewRollout, ProxyLlm, RolloutId, RolloutStatus},
};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

/// A store that is served, with a rollout whose model is behind a proxy at `proxy`.
struct World {
    store: Arc<dyn Store>,
    url: String,
    rollout: RolloutId,
    closing: CancellationToken,
    serving: tokio::task::JoinHandle<()>,
}

impl World {
    async fn new(proxy: &str) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let server = StoreServer::bind("127.0.0.1:0", Arc::clone(&store), ServerOptions::default());
        let server = server.await.unwrap();
        let (url, closing) = (server.url(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(closing.clone()));
        let model = |name| ProxyLlm::new(format!("{proxy}/v1"), name).with_api_key("the-key");
        // Two models behind one proxy are one question.
        let resources = NamedResources::new()
            .with("llm", model("large"))
            .with("judge", model("small"));
        store.add_resources(resources).await.unwrap();
        let rollout = store.enqueue_rollout(NewRollout::new(json!(1))).await.unwrap();
        Self {
            store,
            url,
            rollout: rollout.rollout_id,
            closing,
            serving,
        }
    }

    fn runner(&self, patience: Duration) -> RunnerOnly {
        let runners = Trainer::builder()
            .quiet()
            .handle_interrupts(false)
            .max_rollouts(1)
            .store_patience(patience)
            .runner_only(&self.url);
        runners.unwrap()
    }

    async fn status(&self) -> RolloutStatus {
        let found = self.store.get_rollout_by_id(&self.rollout).await.unwrap();
        found.unwrap().status
    }

    async fn close(self) {
        self.closing.cancel();
        soon(self.serving).await.unwrap();
    }
}

/// What the proxy was asked, and where its answer is awaited.
type Question = (String, Option<String>, oneshot::Sender<(StatusCode, Value)>);

/// A proxy that answers as it is told to.
async fn proxy() -> (String, mpsc::UnboundedReceiver<Question>) {
    let (ask, asked) = mpsc::unbounded_channel::<Question>();
    let handler = async move |Path((rollout, _)): Path<(String, String)>, headers: HeaderMap| {
        let key = headers.get(header::AUTHORIZATION);
        let key = key.and_then(|key| key.to_str().ok()).map(str::to_owned);
        let (tell, told) = oneshot::channel();
        ask.send((rollout, key, tell)).unwrap();
        let (status, body) = told.await.unwrap();
        (status, Json(body))
    };
    let router = Router::new().route("/rollout/{rollout}/attempt/{attempt}/recorded", get(handler));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, asked)
}

#[tokio::test]
async fn a_runner_elsewhere_ends_an_attempt_when_its_calls_are_recorded() {
    let (url, mut asked) = proxy().await;
    let world = World::new(&url).await;
    let runner = world.runner(Duration::from_secs(60));
    let working = tokio::spawn(async move { runner.run(agent_fn(|_: u64, _| async { 1.0 })).await });
    // Not yet, then out of order for a moment, then all of them.
    for (status, answer) in [
        (StatusCode::OK, json!({"recorded": false})),
        (StatusCode::SERVICE_UNAVAILABLE, json!({})),
        (StatusCode::OK, json!({"recorded": true})),
    ] {
        let (rollout, key, tell) = soon(asked.recv()).await.unwrap();
        assert_eq!(rollout, world.rollout.as_str());
        assert_eq!(key.as_deref(), Some("Bearer the-key"));
        assert!(
            !world.status().await.is_terminal(),
            "the agent has ended, the attempt has not"
        );
        tell.send((status, answer)).unwrap();
    }
    assert_eq!(soon(working).await.unwrap().unwrap().succeeded, 1);
    assert_eq!(world.status().await, RolloutStatus::Succeeded);
    assert!(asked.try_recv().is_err(), "it asks no more than it has to");
    world.close().await;
}

#[tokio::test]
async fn a_proxy_that_cannot_tell_or_does_not_get_there_keeps_no_attempt_open() {
    // One that records nothing, because its store is away: until the patience is over.
    let (url, mut asked) = proxy().await;
    tokio::spawn(async move {
        while let Some((_, _, tell)) = asked.recv().await {
            // Whoever asked may have given up.
            let _ = tell.send((StatusCode::OK, json!({"recorded": false})));
        }
    });
    // One of Python's, which has no such page; and none at all.
    let elsewhere = Router::new();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let python = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, elsewhere).await.unwrap() });
    for proxy in [url.as_str(), &python, "http://127.0.0.1:1"] {
        let world = World::new(proxy).await;
        let runner = world.runner(Duration::from_millis(300));
        let report = soon(runner.run(agent_fn(|_: u64, _| async { 1.0 })))
            .await
            .unwrap();
        assert_eq!(report.succeeded, 1, "{proxy}");
        world.close().await;
    }
}
