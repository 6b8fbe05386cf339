//! Who may use the store, and how much of it.

use std::time::Duration;

use lightning_core::{
    server::{ServerError, ServerOptions, StoreServer},
    store::MemoryStore,
    types::Secret,
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, timeout},
};

use crate::raw::{Server, read, request};

fn with(change: impl FnOnce(&mut ServerOptions)) -> ServerOptions {
    let mut options = ServerOptions::default();
    change(&mut options);
    options
}

#[tokio::test]
async fn a_token_is_asked_of_all_but_the_probe_of_health() {
    let server = Server::with(with(|options| options.tokens = Secret::from("secret").into())).await;
    assert_eq!(server.get("/v1/agl/health").await.status, 200);
    for path in ["/v1/agl/rollouts", "/v1/agl/nowhere", "/v1/prometheus", "/"] {
        let refused = server.get(path).await;
        assert_eq!(
            refused.header("www-authenticate"),
            Some("Bearer, Basic realm=\"lightning\""),
            "{path}"
        );
        assert!(
            refused.expect(401)["detail"]
                .as_str()
                .unwrap()
                .contains("Authorization: Bearer")
        );
    }
    assert_eq!(server.post("/v1/traces", &json!({})).await.status, 401);
    assert_eq!(
        server.post("/v1/agl/rollouts", &json!({"input": 1})).await.status,
        401
    );
    assert_eq!(server.store.statistics().await.unwrap().total_rollouts, 0);
    for header in [
        "authorization: Bearer secret",
        "authorization: Basic eDpzZWNyZXQ=",
    ] {
        assert_eq!(
            server
                .send("GET", "/v1/agl/rollouts", &[header], b"")
                .await
                .status,
            200
        );
    }
    assert_eq!(
        server
            .send("GET", "/v1/agl/rollouts", &["authorization: Bearer Secret"], b"")
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn without_a_token_only_the_machine_itself_is_served() {
    let bind = async |address: &str, options| {
        StoreServer::bind(
            address.to_owned(),
            std::sync::Arc::new(MemoryStore::new()),
            options,
        )
        .await
    };
    let error = bind("0.0.0.0:0", ServerOptions::default()).await.unwrap_err();
    assert!(
        matches!(error, ServerError::Open { .. }) && error.to_string().contains("set a token"),
        "{error}"
    );
    let open = bind("0.0.0.0:0", with(|options| options.insecure = true)).await;
    assert!(open.is_ok(), "{:?}", open.err());
    let server = bind(
        "0.0.0.0:0",
        with(|options| options.tokens = Secret::from("t").into()),
    )
    .await
    .unwrap();
    assert!(server.url().starts_with("http://127.0.0.1:"));
    let taken = bind(
        &server.address().to_string(),
        with(|options| options.tokens = Secret::from("t").into()),
    )
    .await;
    let error = taken.unwrap_err();
    assert!(
        error.to_string().contains(&server.address().to_string()),
        "{error}"
    );
}

#[tokio::test]
async fn web_pages_of_other_origins_are_kept_out_unless_named() {
    let ask = async |origins: &[&str], origin: &str| {
        let origins = origins.iter().map(|&origin| origin.to_owned()).collect();
        let server = Server::with(with(|options| options.cors_origins = origins)).await;
        let origin = format!("origin: {origin}");
        let answer = server.send("GET", "/v1/agl/health", &[&origin], b"").await;
        assert_eq!(
            answer.status,
            if answer.header("access-control-allow-origin").is_some() {
                200
            } else {
                403
            }
        );
        let asked = [
            &*origin,
            "access-control-request-method: POST",
            "access-control-request-headers: content-type",
        ];
        let preflight = server.send("OPTIONS", "/v1/agl/rollouts", &asked, b"").await;
        let allowed = answer.header("access-control-allow-origin").map(str::to_owned);
        let preflight_allowed = preflight.header("access-control-allow-origin").map(str::to_owned);
        assert_eq!(allowed, preflight_allowed);
        if allowed.is_some() {
            assert_eq!(
                preflight.header("access-control-allow-headers"),
                Some("content-type")
            );
            assert_eq!(preflight.header("access-control-allow-methods"), Some("GET,POST"));
        }
        (
            allowed,
            answer.header("access-control-allow-credentials").is_some(),
        )
    };
    let (page, other) = ("http://page:1", "http://other:1");
    assert_eq!(ask(&[], page).await, (None, false));
    assert_eq!(ask(&[page], page).await, (Some(page.to_owned()), true));
    assert_eq!(ask(&[page, other], other).await, (Some(other.to_owned()), true));
    assert_eq!(ask(&[page], other).await.0, None);
    assert_eq!(ask(&["*"], other).await, (Some("*".to_owned()), false));
}

#[tokio::test]
async fn what_is_no_origin_is_refused_at_the_start() {
    for origin in ["page", "", "http://", "http://page/path", "http://a b"] {
        let options = with(|options| options.cors_origins = vec![origin.to_owned()]);
        let error = StoreServer::bind("127.0.0.1:0", std::sync::Arc::new(MemoryStore::new()), options).await;
        assert!(matches!(error, Err(ServerError::Origin { .. })), "{origin:?}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    let patience = Duration::from_millis(100);
    let server = Server::with(with(|options| options.header_timeout = patience)).await;
    let mut connection = server.connect().await;
    connection
        .write_all(b"GET /v1/agl/health HTTP/1.1\r\nhost: localhost\r\n")
        .await
        .unwrap();
    let mut rest = Vec::new();
    let ended = timeout(Duration::from_secs(10), connection.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the connection is still open");
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let server = Server::with(with(|options| options.body_timeout = Duration::from_millis(100))).await;
    let mut connection = server.connect().await;
    let whole = request(
        "POST",
        "/v1/agl/rollouts",
        &["content-type: application/json"],
        br#"{"input": 1}"#,
    );
    connection.write_all(&whole[..whole.len() - 3]).await.unwrap();
    let answer = read(&mut connection).await.expect(408);
    assert!(
        answer["detail"].as_str().unwrap().contains("did not arrive"),
        "{answer}"
    );
    assert_eq!(server.store.statistics().await.unwrap().total_rollouts, 0);
}

#[tokio::test]
async fn further_connections_wait_until_one_is_closed() {
    let server = Server::with(with(|options| options.max_connections = 2)).await;
    let (first, second) = (server.connect().await, server.connect().await);
    // Whoever came first holds the places; the third is connected but not served.
    let mut third = server.connect().await;
    third
        .write_all(&request("GET", "/v1/agl/health", &[], b""))
        .await
        .unwrap();
    let began = Instant::now();
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(100), third.peek(&mut byte))
            .await
            .is_err()
    );
    drop(first);
    assert_eq!(read(&mut third).await.status, 200);
    assert!(began.elapsed() < Duration::from_secs(10));
    drop(second);
}

#[tokio::test]
async fn web_pages_cannot_use_a_store_behind_the_user_s_back() {
    let server = Server::start().await;
    let claim = async |headers: &str| {
        // A form of any page can send this; it needs no permission of the server's.
        let request = format!(
            "POST /v1/agl/rollouts HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: 0\r\n\r\n"
        );
        let mut connection = server.connect().await;
        connection.write_all(request.as_bytes()).await.unwrap();
        read(&mut connection).await
    };
    let foreign = claim("host: 127.0.0.1:4747\r\norigin: http://evil.example\r\n")
        .await
        .expect(403);
    assert!(
        foreign["detail"].as_str().unwrap().contains("--cors-origin"),
        "{foreign}"
    );
    let opaque = claim("host: 127.0.0.1:4747\r\norigin: null\r\n").await;
    assert_eq!(opaque.status, 403);
    let rebound = claim("host: evil.example:4747\r\norigin: http://evil.example:4747\r\n")
        .await
        .expect(403);
    assert!(
        rebound["detail"].as_str().unwrap().contains("without a token"),
        "{rebound}"
    );
    for own in [
        "host: localhost:4747\r\norigin: http://localhost:4747\r\n",
        "host: [::1]:4747\r\n",
    ] {
        assert_eq!(claim(own).await.status, 422, "{own}");
    }
    let server = Server::with(with(|options| options.insecure = true)).await;
    let mut connection = server.connect().await;
    let named = b"GET /v1/agl/rollouts HTTP/1.1\r\nhost: store.example\r\nconnection: close\r\n\r\n";
    connection.write_all(named).await.unwrap();
    assert_eq!(read(&mut connection).await.status, 200);
    let server = Server::with(with(|options| options.tokens = Secret::from("t").into())).await;
    let mut connection = server.connect().await;
    let named = b"GET /v1/agl/rollouts HTTP/1.1\r\nhost: store.example\r\nconnection: close\r\nauthorization: Bearer t\r\n\r\n";
    connection.write_all(named).await.unwrap();
    assert_eq!(read(&mut connection).await.status, 200);
}
