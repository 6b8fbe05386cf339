//! The fixtures through a real proxy: what the store has of them then.

use std::{sync::Arc, time::Duration};

use lightning_core::{
    adapter::{ProxyToTriplets, TraceAdapter as _},
    llm_proxy::{ControlProxy as _, ReverseProxy},
    store::{MemoryStore, Store},
    types::{NewRollout, SpanQuery, model_calls},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{backend::Backend, fixtures};

async fn post(address: &str, path: &str, body: &str) -> String {
    let mut connection = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    connection.write_all(head.as_bytes()).await.unwrap();
    connection.write_all(body.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    connection.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_is_recorded_through_the_proxy() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let backend = Backend::start().await;
    let proxy = ReverseProxy::builder()
        .models(backend.models())
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let address = proxy.address().unwrap().to_string();
    for fixture in fixtures::all() {
        let name = &fixture.name;
        let made = store
            .start_rollout(NewRollout::new(json!(name)), None)
            .await
            .unwrap();
        let (rollout, attempt) = (&made.rollout.rollout_id, &made.attempt.attempt_id);
        let mut request: Value = serde_json::from_str(&fixture.request).unwrap();
        request["model"] = name.as_str().into();
        let path = format!("/rollout/{rollout}/attempt/{attempt}{}", fixture.path);
        let answer = post(&address, &path, &request.to_string()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {}", fixture.status)),
            "{name}: {answer}"
        );
        let recorded = tokio::time::timeout(Duration::from_secs(60), proxy.recorded(rollout, attempt));
        recorded.await.unwrap().unwrap();

        let spans = store
            .query_spans(SpanQuery::of(rollout.clone()))
            .await
            .unwrap()
            .items;
        assert_eq!(model_calls(&spans).len(), 1, "{name}");
        for (place, part) in ["request", "raw"].into_iter().enumerate() {
            for (key, value) in fixture.expected[part].as_object().into_iter().flatten() {
                if key != "gen_ai.request.model" {
                    assert_eq!(spans[place].attributes.get(key), Some(value), "{name}: `{key}`");
                }
            }
        }
        assert_eq!(
            spans[0].status.description.as_deref(),
            fixture.expected["problem"].as_str(),
            "{name}"
        );
        let triplets = ProxyToTriplets::new().adapt(&spans);
        match fixture.expected["prompt"].is_null() {
            true => assert!(triplets.is_err(), "{name}"),
            false => {
                let triplet = &triplets.unwrap().triplets[0];
                assert_eq!(
                    json!(triplet.prompt.token_ids),
                    fixture.expected["prompt"],
                    "{name}"
                );
                assert_eq!(
                    json!(triplet.response.token_ids),
                    fixture.expected["response"],
                    "{name}"
                );
            }
        }
    }
    proxy.stop().await.unwrap();
}
