//! The reference's store server, as a process.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use lightning_core::{
    client::StoreClient,
    server::{ServerOptions, StoreServer},
    store::{MemoryStore, Store},
};
use lightning_tests::tier::Python;
use tokio_util::sync::CancellationToken;

/// A server of the reference. It ends with this value.
pub(crate) struct PythonServer {
    pub(crate) url: String,
    process: Child,
}

impl PythonServer {
    pub(crate) async fn start(python: &Python) -> Self {
        // The reference cannot be asked for a free port, so one is looked for.
        let free = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let mut command = python.script("store_server.py");
        command
            .arg(free.port().to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let process = command.spawn().unwrap();
        let url = format!("http://{free}");
        let server = Self { url, process };
        // Importing the package takes its time.
        let client = StoreClient::builder(&server.url)
            .retry_for(Duration::from_secs(120))
            .build()
            .unwrap();
        client.probe().await.expect("the reference's server should start");
        server
    }
}

impl Drop for PythonServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A server of ours over a store in memory. It ends with the runtime.
pub(crate) async fn our_server() -> (String, std::sync::Arc<dyn Store>) {
    let store: std::sync::Arc<dyn Store> = std::sync::Arc::new(MemoryStore::new());
    let server = StoreServer::bind("127.0.0.1:0", store.clone(), ServerOptions::default())
        .await
        .unwrap();
    let url = server.url();
    tokio::spawn(server.serve(CancellationToken::new()));
    (url, store)
}
