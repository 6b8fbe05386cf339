//! The proxy as a part of a run.

use std::sync::Arc;

use lightning_core::{
    agent::{RolloutContext, agent_fn},
    llm_proxy::{ControlProxy as _, LlmProxy, ProxyModel, ReverseProxy},
    prelude::*,
    store::MemoryStore,
    trainer::Trainer,
    types::{AttemptStatus, NewRollout, SpanQuery},
};
use serde_json::json;
use tokio::task::JoinSet;

use super::{
    upstream::Upstream,
    world::{CHAT, chat, echo, model, post, send},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_rollouts_side_by_side_keep_their_calls() {
    const CALLS: usize = 3;
    let upstream = echo().await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let mut agents = JoinSet::new();
    for rollout in 0..100 {
        let (proxy, store) = (proxy.clone(), Arc::clone(&store));
        agents.spawn(async move {
            let started = store
                .start_rollout(NewRollout::new(json!(rollout)), None)
                .await
                .unwrap();
            let (id, attempt) = (&started.rollout_id, &started.attempt.attempt_id);
            let path = format!("/rollout/{id}/attempt/{attempt}{CHAT}");
            for call in 0..CALLS {
                let mut body = chat();
                body["messages"][0]["content"] = json!(format!("word-{rollout}-{call}."));
                assert_eq!(post(&proxy, &path, &body).await.status, 200);
            }
            proxy.recorded(id, attempt).await.unwrap();
            let query = SpanQuery::of(id.clone()).attempt(attempt.clone());
            let spans = store.query_spans(query).await.unwrap().items;
            let text = serde_json::to_string(&spans).unwrap();
            for call in 0..CALLS {
                assert!(text.contains(&format!("word-{rollout}-{call}.")), "{text}");
            }
            let others = text.matches("word-").count() - text.matches(&format!("word-{rollout}-")).count();
            assert_eq!(others, 0, "{text}");
            let numbers: Vec<u64> = spans.iter().map(|span| span.sequence_id).collect();
            assert!(numbers.is_sorted() && spans.len() >= CALLS, "{numbers:?}");
        });
    }
    while let Some(done) = agents.join_next().await {
        done.unwrap();
    }
    proxy.stop().await.unwrap();
}

/// Runs every task once and tells how many model calls the traces hold, and which endpoint it was given.
#[algo]
async fn count_calls(
    store: Arc<dyn Store>,
    llm_proxy: LlmProxy,
    initial_resources: NamedResources,
    train_dataset: Dataset<String>,
) -> anyhow::Result<(usize, usize)> {
    assert!(llm_proxy.is_running());
    assert!(
        initial_resources
            .get::<lightning_core::types::ProxyLlm>("llm")
            .is_ok()
    );
    assert!(
        initial_resources
            .get::<lightning_core::types::ProxyLlm>("second")
            .is_ok()
    );
    let new = train_dataset
        .iter()
        .map(|task| NewRollout::new(json!(task)))
        .collect();
    let made = store.enqueue_many_rollouts(new).await?;
    let ids: Vec<_> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
    let (mut calls, mut succeeded) = (0, 0);
    for rollout in store.wait_for_rollouts(&ids, None).await? {
        // Read at once: whoever sees the end of a rollout sees all of its calls.
        let spans = store
            .query_spans(SpanQuery::of(rollout.rollout_id.clone()))
            .await?
            .items;
        let text = serde_json::to_string(&spans)?;
        calls += usize::from(text.contains(&format!("about {}", rollout.input.as_str().unwrap_or_default())));
        let attempt = store.get_latest_attempt(&rollout.rollout_id).await?;
        succeeded += usize::from(attempt.is_some_and(|attempt| attempt.status == AttemptStatus::Succeeded));
    }
    Ok((calls, succeeded))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trainer_starts_its_proxy_publishes_it_and_waits_for_its_recordings() {
    let upstream = echo().await;
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .model(ProxyModel::new("second", upstream.base_url()))
        .build()
        .unwrap();
    let own = proxy.clone();
    let agent = || {
        let own = own.clone();
        agent_fn(move |task: String, cx: RolloutContext| {
            let proxy = own.clone();
            async move {
                let llm = cx.resources().llm()?.clone();
                let base = proxy.url().unwrap_or_default();
                let path = format!("{}/chat/completions", llm.endpoint.trim_start_matches(&base));
                let mut body = chat();
                body["messages"][0]["content"] = json!(format!("about {task}"));
                assert_eq!(post(&proxy, &path, &body).await.status, 200);
                anyhow::Ok(1.0)
            }
        })
    };
    let trainer = Trainer::builder()
        .algorithm(count_calls::algorithm())
        .llm_proxy(proxy.clone())
        .n_runners(8)
        .build()
        .unwrap();
    let tasks: Vec<String> = (0..40).map(|number| format!("task-{number}")).collect();
    // The second run has a store of its own, and so has the proxy then.
    for _ in 0..2 {
        let report = trainer.fit(agent(), tasks.clone(), None).await.unwrap();
        assert_eq!(report.output, (40, 40));
        assert!(!proxy.is_running());
    }
}

#[tokio::test]
async fn a_proxy_that_cannot_listen_ends_the_run_before_it_begins() {
    let upstream = Upstream::always("").await;
    let taken = upstream.address.to_string();
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .address(&taken)
        .build()
        .unwrap();
    let trainer = Trainer::builder()
        .algorithm(count_calls::algorithm())
        .llm_proxy(proxy)
        .build()
        .unwrap();
    let agent = agent_fn(|_: String, _| async { 1.0 });
    let error = trainer.fit(agent, vec!["a".to_owned()], None).await.unwrap_err();
    assert!(
        error.to_string().contains(&format!("cannot listen on {taken}")),
        "{error}"
    );
}

#[tokio::test]
async fn another_process_can_ask_whether_all_is_recorded() {
    let upstream = echo().await;
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let started = store
        .start_rollout(NewRollout::new(json!(0)), None)
        .await
        .unwrap();
    let proxy = ReverseProxy::builder()
        .model(model(&upstream))
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let prefix = format!(
        "/rollout/{}/attempt/{}",
        started.rollout_id, started.attempt.attempt_id
    );
    post(&proxy, &format!("{prefix}{CHAT}"), &chat()).await;
    let got = send(&proxy, "GET", &format!("{prefix}/recorded"), &[], "").await;
    assert_eq!(got.json(), json!({"recorded": true}));
    let spans = store
        .query_spans(SpanQuery::of(started.rollout_id.clone()))
        .await
        .unwrap();
    assert!(!spans.items.is_empty());
}
