//! Listening, accepting, and coming to an end.

use std::{convert::Infallible, io, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use hyper::{Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Serving, call, pages,
    refusal::Refusal,
    route::{Route, route},
    tee::Outgoing,
};
use crate::llm_proxy::ApiFamily;

/// Serves until `stop` is cancelled; then nothing more is accepted, and calls under way have their time to end.
pub(super) async fn serve(serving: Arc<Serving>, listener: TcpListener, stop: CancellationToken) {
    let options = &serving.shared.options;
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout);
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let mut connections = JoinSet::new();
    loop {
        let next = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok();
            (slot, accept(&listener).await)
        };
        let (slot, stream) = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        let own = Arc::clone(&serving);
        let service = service_fn(move |request| {
            let serving = Arc::clone(&own);
            async move { Ok::<_, Infallible>(answer(&serving, request).await) }
        });
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                // Callers leave as they like; only who looks for it wants to know.
                tracing::trace!(target: "lightning::llm_proxy", %error, "a connection broke");
            }
            drop(slot);
        });
    }
    drop(listener);
    if tokio::time::timeout(options.stop_grace, graceful.shutdown())
        .await
        .is_err()
    {
        let connections = connections.len();
        tracing::warn!(target: "lightning::llm_proxy", connections, "gave up on calls that did not end");
    }
    connections.shutdown().await;
}

/// The next connection. What keeps it from being accepted is passing (too many open files), so it is tried again.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Events of a stream are small and written at once; waiting for more would only delay them.
                let _: io::Result<()> = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(target: "lightning::llm_proxy", %error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
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
