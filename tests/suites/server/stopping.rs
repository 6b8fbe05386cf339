//! How a server comes to an end.

use std::{sync::Arc, time::Duration};

use lightning_core::{
    server::ServerOptions,
    store::{LayeredStore, MemoryStore, Store, StoreError, StoreLayer},
    types::NewRollout,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::raw::{Server, read, request};

const SOON: Duration = Duration::from_secs(10);

/// Waits until that many callers are parked at the store.
pub(crate) async fn parked(store: &dyn Store, count: u64) {
    let all = async {
        while store.statistics().await.unwrap().extra["waiters"] != count {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(SOON, all).await.is_ok(), "not {count} are parked");
}

#[tokio::test]
async fn who_is_parked_is_told_and_nobody_new_is_let_in() {
    let server = Server::start().await;
    let id = server
        .store
        .enqueue_rollout(NewRollout::new(json!(1)))
        .await
        .unwrap()
        .rollout_id;
    let started = server
        .store
        .start_rollout(NewRollout::new(json!(1)), None)
        .await
        .unwrap();
    server.store.dequeue_rollout(None).await.unwrap();
    let requests = [
        ("/queues/rollouts/dequeue", json!({"wait": 1000.0})),
        ("/waits/rollouts", json!({"rollout_ids": [id], "timeout": null})),
        (
            "/waits/attempts",
            json!({"rollout_id": started.rollout_id, "attempt_id": started.attempt.attempt_id}),
        ),
    ];
    let mut connections = Vec::new();
    for (path, body) in &requests {
        let mut connection = server.connect().await;
        let path = format!("/v1/agl{path}");
        let json = ["content-type: application/json"];
        connection
            .write_all(&request("POST", &path, &json, body.to_string().as_bytes()))
            .await
            .unwrap();
        connections.push(connection);
    }
    let mut idle = server.connect().await;
    idle.write_all(b"GET /v1/agl/health HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert!(idle.read(&mut [0; 1024]).await.unwrap() > 0);
    parked(&*server.store, 3).await;
    server.stop.cancel();
    for connection in &mut connections {
        let answer = timeout(SOON, read(connection)).await.unwrap();
        assert_eq!(answer.header("retry-after"), Some("1"));
        assert!(
            answer.expect(503)["detail"]
                .as_str()
                .unwrap()
                .contains("shutting down")
        );
    }
    assert_eq!(
        timeout(SOON, idle.read(&mut [0; 16])).await.unwrap().unwrap(),
        0,
        "the idle connection is closed"
    );
    timeout(SOON, server.serving).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
    parked(&*server.store, 0).await;
}

#[tokio::test]
async fn what_was_accepted_is_answered() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let whole = request(
        "POST",
        "/v1/agl/rollouts",
        &["content-type: application/json"],
        br#"{"input": 1}"#,
    );
    let (head, body) = whole.split_at(whole.len() - 5);
    connection.write_all(head).await.unwrap();
    // The server has accepted once another, later connection was answered.
    assert_eq!(server.get("/v1/agl/health").await.status, 200);
    server.stop.cancel();
    tokio::task::yield_now().await;
    connection.write_all(body).await.unwrap();
    assert_eq!(timeout(SOON, read(&mut connection)).await.unwrap().status, 201);
    timeout(SOON, server.serving).await.unwrap().unwrap();
    assert_eq!(server.store.statistics().await.unwrap().total_rollouts, 1);
}

#[tokio::test]
async fn a_caller_that_does_not_come_to_an_end_holds_nobody_up() {
    let mut options = ServerOptions::default();
    options.drain_timeout = Duration::from_millis(100);
    let server = Server::with(options).await;
    let mut connection = server.connect().await;
    let whole = request(
        "POST",
        "/v1/agl/rollouts",
        &["content-type: application/json"],
        br#"{"input": 1}"#,
    );
    connection.write_all(&whole[..whole.len() - 1]).await.unwrap();
    assert_eq!(server.get("/v1/agl/health").await.status, 200);
    server.stop.cancel();
    timeout(SOON, server.serving).await.unwrap().unwrap();
}

/// Fails, or panics, at every operation.
struct Broken {
    panics: bool,
}

impl StoreLayer for Broken {
    fn before(&self, _: &'static str) -> Result<(), StoreError> {
        assert!(!self.panics, "the secret reason");
        Err(StoreError::Internal {
            reason: "the secret reason".to_owned(),
            source: None,
        })
    }
}

#[tokio::test]
async fn a_failure_is_answered_with_an_id_and_without_its_reason() {
    for panics in [false, true] {
        let store = LayeredStore::new(Arc::new(MemoryStore::new()), Broken { panics });
        let server = Server::over(Arc::new(store), ServerOptions::default()).await;
        let answers = [
            server.get("/v1/agl/rollouts").await,
            server.post("/v1/agl/rollouts", &json!({"input": 1})).await,
        ];
        for answer in answers {
            let id = answer.header("x-request-id").unwrap().to_owned();
            assert!(!answer.text().contains("secret"), "{}", answer.text());
            let body = answer.expect(500);
            assert_eq!(
                (&body["detail"], &body["error_id"]),
                (&json!("Internal server error"), &json!(id))
            );
        }
    }
}

#[tokio::test]
async fn a_store_that_is_unavailable_is_to_be_asked_again() {
    struct Away;
    impl StoreLayer for Away {
        fn before(&self, _: &'static str) -> Result<(), StoreError> {
            Err(StoreError::Unavailable {
                reason: "the disk is full".to_owned(),
                source: None,
            })
        }
    }
    let store = LayeredStore::new(Arc::new(MemoryStore::new()), Away);
    let server = Server::over(Arc::new(store), ServerOptions::default()).await;
    let answer = server.get("/v1/agl/statistics").await;
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert!(
        answer.expect(503)["detail"]
            .as_str()
            .unwrap()
            .contains("the disk is full")
    );
}
