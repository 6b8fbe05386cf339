//! A server under test, and requests that are written by hand, so that they may be as wrong as they like.

use std::sync::Arc;

use lightning_core::{
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, Store},
    types::{RolloutQuery, SpanQuery, WorkerQuery},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// A server over a fresh store in memory.
pub(crate) struct Server {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) stop: CancellationToken,
    pub(crate) serving: JoinHandle<()>,
}

/// An answer, taken apart.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self::with(ServerOptions::default()).await
    }

    pub(crate) async fn with(options: ServerOptions) -> Self {
        Self::over(Arc::new(MemoryStore::new()), options).await
    }

    pub(crate) async fn over(store: Arc<dyn Store>, options: ServerOptions) -> Self {
        let server = StoreServer::bind("127.0.0.1:0", store.clone(), options)
            .await
            .unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(stop.clone()));
        Self {
            store,
            address,
            stop,
            serving,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], b"").await
    }

    /// Posts JSON.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, body.to_string().as_bytes()).await
    }

    pub(crate) async fn post_bytes(&self, path: &str, body: &[u8]) -> Answer {
        self.send("POST", path, &["content-type: application/json"], body)
            .await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, method: &str, path: &str, headers: &[&str], body: &[u8]) -> Answer {
        let mut connection = self.connect().await;
        // A server that refuses a request by its head closes the connection before the body was sent.
        let _ = connection.write_all(&request(method, path, headers, body)).await;
        read(&mut connection).await
    }
}

/// The bytes of a request, after which the connection is closed.
pub(crate) fn request(method: &str, path: &str, headers: &[&str], body: &[u8]) -> Vec<u8> {
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for header in headers {
        head += &format!("{header}\r\n");
    }
    if method == "POST" {
        head += &format!("content-length: {}\r\n", body.len());
    }
    head += "\r\n";
    [head.as_bytes(), body].concat()
}

/// Reads an answer to the end of the connection.
pub(crate) async fn read(connection: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    while let Ok(count @ 1..) = connection.read(&mut buffer).await {
        bytes.extend_from_slice(&buffer[..count]);
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer, but {:?}", String::from_utf8_lossy(&bytes)));
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    Answer {
        status: status.expect("a status line"),
        body: bytes[end + 4..].to_vec(),
        head,
    }
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            found.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    /// The JSON of an answer that must have that status.
    pub(crate) fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }
}

/// Everything that a store shows of itself.
pub(crate) async fn contents(store: &dyn Store) -> Value {
    let mut statistics = json!(store.statistics().await.unwrap());
    statistics["uptime"] = Value::Null;
    let rollouts = store.query_rollouts(RolloutQuery::default()).await.unwrap();
    let workers = store.query_workers(WorkerQuery::default()).await.unwrap();
    let resources = store.query_resources(Default::default()).await.unwrap();
    let mut spans = Vec::new();
    for rollout in &rollouts.items {
        spans.push(
            store
                .query_spans(SpanQuery::of(rollout.rollout_id.clone()))
                .await
                .unwrap(),
        );
    }
    json!([statistics, rollouts, workers, resources, spans])
}
