//! The store's client, against servers that behave badly.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    http::{Response, StatusCode, Uri},
};
use lightning_core::{
    client::StoreClient,
    store::{Store, StoreError},
    types::{AttemptId, NewRollout, RolloutId},
};
use serde_json::{Value, json};
use tokio::{io::AsyncReadExt as _, net::TcpListener};

const OURS: &str = "wait,idempotency,batch,fleet";

/// What was asked: the path, the request key, the body.
#[derive(Clone, Debug)]
struct Asked {
    path: String,
    key: Option<String>,
    features: Option<String>,
    body: Value,
}

/// A server that answers as it is told, and remembers what it was asked.
struct Scripted {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// An answer: status, body, and the features that go with it.
type Answer = (u16, Value, Option<&'static str>);

impl Scripted {
    /// `answer` is told how many requests of that path there were before.
    async fn start(answer: impl Fn(&Asked, usize) -> Answer + Clone + Send + Sync + 'static) -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let shared = asked.clone();
        let router = Router::new().fallback(
            async move |uri: Uri, headers: axum::http::HeaderMap, body: Bytes| {
                let header = |name| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
                let asked = Asked {
                    path: uri.path().to_owned(),
                    key: header("idempotency-key"),
                    features: header("lightning-features"),
                    body: serde_json::from_slice(&body).unwrap_or_default(),
                };
                let before = {
                    let mut all = shared.lock().unwrap();
                    all.push(asked.clone());
                    all.iter().filter(|earlier| earlier.path == asked.path).count() - 1
                };
                let (status, body, features) = match &*asked.path {
                    "/v1/agl/health" => (200, json!({"status": "ok"}), answer(&asked, before).2),
                    _ => answer(&asked, before),
                };
                let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
                if let Some(features) = features {
                    response = response.header("lightning-features", features);
                }
                response.body(Body::from(body.to_string())).unwrap()
            },
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, asked }
    }

    fn client(&self) -> StoreClient {
        let client = StoreClient::builder(&self.url).retry_for(Duration::from_secs(5));
        client.poll_interval(Duration::from_millis(200)).build().unwrap()
    }

    /// What was asked but the probes of health.
    fn asked(&self) -> Vec<Asked> {
        let asked = self.asked.lock().unwrap();
        asked
            .iter()
            .filter(|asked| !asked.path.ends_with("/health"))
            .cloned()
            .collect()
    }
}

fn rollout() -> Value {
    json!({"rollout_id": "ro-1", "input": 1, "start_time": 1.0, "status": "queuing"})
}

fn new() -> NewRollout {
    NewRollout::new(json!(1))
}

#[tokio::test]
async fn what_passes_is_tried_again_under_the_same_key() {
    for status in [408, 429, 502, 503, 504] {
        let server = Scripted::start(move |_, before| match before {
            0 | 1 => (status, json!({"detail": "later"}), Some(OURS)),
            _ => (201, json!([rollout()]), Some(OURS)),
        })
        .await;
        assert_eq!(
            server.client().enqueue_rollout(new()).await.unwrap().rollout_id,
            "ro-1"
        );
        let asked = server.asked();
        assert_eq!(asked.len(), 3, "{status}");
        let key = asked[0].key.clone().expect("a key");
        assert!(
            key.len() >= 16 && asked.iter().all(|asked| asked.key.as_ref() == Some(&key)),
            "{asked:?}"
        );
        assert!(
            asked
                .iter()
                .all(|asked| asked.features.as_deref() == Some("json-resources"))
        );
    }
}

#[tokio::test]
async fn every_mutation_has_a_key_of_its_own() {
    let server = Scripted::start(|_, _| (201, json!([rollout()]), Some(OURS))).await;
    let client = server.client();
    for _ in 0..50 {
        client.enqueue_rollout(new()).await.unwrap();
    }
    let mut keys: Vec<String> = server
        .asked()
        .into_iter()
        .map(|asked| asked.key.unwrap())
        .collect();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 50);
}

#[tokio::test]
async fn a_mistake_is_not_tried_again() {
    for (status, detail, field) in [
        (400, json!("Limit must be greater than 0"), "request"),
        (
            422,
            json!([{"loc": ["body", "rollouts", 0, "config", "max_attempts"], "msg": "no"}]),
            "config.max_attempts",
        ),
        (401, json!("a token is needed"), "token"),
        (413, json!("too large"), "request"),
    ] {
        let server = Scripted::start(move |_, _| (status, json!({"detail": detail}), Some(OURS))).await;
        let error = server.client().enqueue_rollout(new()).await.unwrap_err();
        assert!(
            matches!(&error, StoreError::Invalid { field: found, .. } if *found == field),
            "{status}: {error:?}"
        );
        assert_eq!(server.asked().len(), 1, "{status}");
    }
    let server = Scripted::start(|_, _| (500, json!({"detail": "Internal server error"}), Some(OURS))).await;
    let error = server.client().enqueue_rollout(new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Internal { .. }), "{error:?}");
    assert_eq!(server.asked().len(), 1);
}

#[tokio::test]
async fn what_is_no_store_is_said_so() {
    let server = Scripted::start(|_, _| (200, json!("<html>"), None)).await;
    let error = server.client().statistics().await.unwrap_err();
    assert!(
        error.to_string().contains("something else than a store does"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_does_not_park_is_asked_at_intervals() {
    let server = Scripted::start(|_, _| (200, json!([]), None)).await;
    let began = Instant::now();
    let claimed = server
        .client()
        .dequeue_or_wait(1, None, Duration::from_secs(1))
        .await
        .unwrap();
    assert!(claimed.is_empty() && began.elapsed() >= Duration::from_secs(1));
    let asked = server.asked();
    assert!(
        (3..=12).contains(&asked.len()),
        "asked {} times in a second",
        asked.len()
    );
    assert!(
        asked.iter().all(|asked| asked.body.get("wait").is_none()),
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_server_that_comes_back_too_early_is_not_asked_in_a_tight_loop() {
    let server = Scripted::start(|asked, _| match &*asked.path {
        "/v1/agl/waits/attempts" => (200, Value::Null, Some(OURS)),
        _ => (200, json!([]), Some(OURS)),
    })
    .await;
    let client = server.client();
    client
        .dequeue_or_wait(1, None, Duration::from_secs(1))
        .await
        .unwrap();
    let asked = server.asked().len();
    assert!((3..=12).contains(&asked), "asked {asked} times in a second");
    let (rollout, attempt) = (RolloutId::from("ro-1"), AttemptId::from("at-1"));
    let wait = client.wait_for_attempt_end(&rollout, &attempt);
    assert!(tokio::time::timeout(Duration::from_secs(1), wait).await.is_err());
    let asked = server.asked().len() - asked;
    assert!((3..=12).contains(&asked), "asked {asked} times in a second");
}

#[tokio::test]
async fn a_store_that_is_away_is_given_up_after_the_time_for_retries() {
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    for (patience, least) in [
        (Duration::ZERO, Duration::ZERO),
        (Duration::from_secs(1), Duration::from_millis(400)),
    ] {
        let client = StoreClient::builder(format!("http://{free}"))
            .retry_for(patience)
            .build()
            .unwrap();
        let began = Instant::now();
        let error = client.enqueue_rollout(new()).await.unwrap_err();
        let took = began.elapsed();
        assert!(
            took >= least && took < patience + Duration::from_secs(3),
            "{took:?}"
        );
        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains(&free.to_string()), "{error}");
    }
}

/// A server that announces nothing, and breaks every connection once it has read a POST.
async fn breaking() -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let posts: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = posts.clone();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut buffer = vec![0; 65_536];
            let count = connection.read(&mut buffer).await.unwrap_or(0);
            let head = String::from_utf8_lossy(&buffer[..count]).into_owned();
            if head.starts_with("POST") {
                seen.lock().unwrap().push(head.lines().next().unwrap().to_owned());
            } else {
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                let _ = tokio::io::AsyncWriteExt::write_all(&mut connection, answer).await;
            }
        }
    });
    (url, posts)
}

#[tokio::test]
async fn without_keys_only_what_does_no_harm_is_repeated() {
    let (url, posts) = breaking().await;
    let client = StoreClient::builder(&url)
        .retry_for(Duration::from_secs(2))
        .build()
        .unwrap();
    let error = client.enqueue_rollout(new()).await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
    assert_eq!(posts.lock().unwrap().len(), 1, "a rollout could be there twice");
    client.update_worker("w".into(), None).await.unwrap_err();
    assert!(posts.lock().unwrap().len() > 2, "a heartbeat does no harm");
}
