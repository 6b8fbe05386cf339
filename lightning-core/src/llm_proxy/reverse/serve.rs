//! Listening, accepting, and coming to an end.

use std::{convert::Infallible, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt as _;
use hyper::{Request, Response, StatusCode, body::Incoming, service::service_fn};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{
    Serving, call, pages,
    refusal::Refusal,
    route::{Route, route},
    tee::Outgoing,
};
use crate::{
    listening::{self, Limits},
    llm_proxy::ApiFamily,
};

/// Serves until `stop` is cancelled; then nothing more is accepted, and calls under way have their time to end.
pub(super) async fn serve(serving: Arc<Serving>, listener: TcpListener, stop: CancellationToken) {
    let options = &serving.shared.options;
    let limits = Limits {
        connections: options.max_connections,
        header_timeout: options.header_timeout,
    };
    let own = Arc::clone(&serving);
    let service = service_fn(move |request| {
        let serving = Arc::clone(&own);
        async move { Ok::<_, Infallible>(answer(&serving, request).await) }
    });
    let connections = listening::accept(listener, &limits, &stop, service).await;
    tracing::debug!(target: "lightning::llm_proxy", connections = connections.count(), "draining");
    let connections = connections.finish(options.stop_grace).await;
    if connections > 0 {
        tracing::warn!(target: "lightning::llm_proxy", connections, "gave up on calls that did not end");
    }
}

/// Answers one request.
async fn answer(serving: &Serving, request: Request<Incoming>) -> Response<Outgoing> {
    let is_anthropic =
        request.uri().path().contains("/messages") || request.headers().contains_key("anthropic-version");
    let family = if is_anthropic {
        ApiFamily::Anthropic
    } else {
        ApiFamily::OpenAi
    };
    let answered = AssertUnwindSafe(dispatch(serving, request)).catch_unwind().await;
    let answered = answered.unwrap_or_else(|_| {
        Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the proxy panicked; this is a defect of it",
        ))
    });
    answered.unwrap_or_else(|refusal| {
        tracing::debug!(
            target: "lightning::llm_proxy",
            status = refusal.status.as_u16(),
            "a request was refused"
        );
        refusal.into_response(family)
    })
}

async fn dispatch(serving: &Serving, request: Request<Incoming>) -> Result<Response<Outgoing>, Refusal> {
    let shared = &serving.shared;
    let (head, body) = request.into_parts();
    let (route, caller) = route(&head.method, head.uri.path());
    if route == Route::Health {
        return Ok(pages::health(shared));
    }
    shared.access.check(&head.headers)?;
    match (route, caller) {
        (Route::Forward(target), caller) => call::forward(serving, target, caller, head, body).await,
        (Route::Models(only), _) => pages::models(shared, &head.headers, only.as_deref()),
        (Route::Metrics, _) => Ok(pages::metrics(serving)),
        (Route::Recorded, Some(caller)) => pages::recorded(serving, &caller, head.uri.query()).await,
        (Route::WrongMethod(right), _) => {
            let message = format!("{} takes a {right}, not a {}", head.uri.path(), head.method);
            Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, message))
        }
        (Route::Unknown | Route::Health | Route::Recorded, _) => {
            let path: String = head.uri.path().chars().take(200).collect();
            let message = format!(
                "there is nothing at {path}; there are /v1/chat/completions, /v1/completions, /v1/embeddings, \
                 /v1/responses, /v1/messages, /v1/messages/count_tokens and /v1/models, each also behind \
                 /rollout/ROLLOUT_ID/attempt/ATTEMPT_ID, and /health and /metrics"
            );
            Err(Refusal::new(StatusCode::NOT_FOUND, message))
        }
    }
}
