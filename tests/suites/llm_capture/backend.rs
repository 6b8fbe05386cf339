//! A server of models that answers with a fixture: the one that the model is named after.

use axum::{
    Router,
    body::Body,
    extract::Request,
    http::{StatusCode, header},
    response::Response,
};
use lightning_core::llm_proxy::{ApiFamily, ProxyModel, Retries};
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use crate::fixtures::{self, Fixture};

/// Ends when it is dropped.
pub(crate) struct Backend {
    url: String,
    serving: JoinHandle<()>,
}

impl Backend {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer);
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, serving }
    }

    /// Every fixture as a model of the proxy.
    pub(crate) fn models(&self) -> Vec<ProxyModel> {
        let model = |fixture: Fixture| {
            let family = if fixture.path == "/v1/messages" {
                ApiFamily::Anthropic
            } else {
                ApiFamily::OpenAi
            };
            ProxyModel::new(fixture.name, self.url.as_str())
                .family(family)
                .retries(Retries::never())
        };
        fixtures::all().into_iter().map(model).collect()
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn answer(request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let fixture = fixtures::named(body["model"].as_str().unwrap());
    assert_eq!(path, fixture.path);
    let kind = if fixture.is_stream() {
        "text/event-stream"
    } else {
        "application/json"
    };
    Response::builder()
        .status(StatusCode::from_u16(fixture.status).unwrap())
        .header(header::CONTENT_TYPE, kind)
        .body(Body::from(fixture.response))
        .unwrap()
}
