//! The routes.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures::{
    StreamExt as _,
    future::try_join_all,
    stream::{self, BoxStream},
};
use http_body_util::{BodyExt as _, Limited};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{
    VERSION_HEADER, admin,
    answer::Frame,
    request::{Kind, Refusal, read},
};
use crate::{
    clock::Clock,
    ids::IdSource,
    listening::is_local,
    lm::{Engine, Event, Generation, Served},
    server::Tokens,
};

/// What the handlers share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) name: String,
    /// Who may change the model.
    pub(super) admins: Tokens,
    /// One model is read at a time.
    pub(super) loading: Semaphore,
    pub(super) max_body: usize,
    pub(super) body_timeout: Duration,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) ids: Arc<dyn IdSource>,
}

pub(super) fn router(shared: Arc<Shared>) -> Router {
    let unknown = || async { Refusal::status(StatusCode::NOT_FOUND, "there is nothing at this address") };
    let other = || async { Refusal::status(StatusCode::METHOD_NOT_ALLOWED, "not by this method") };
    Router::new()
        .route("/health", get(health))
        .route("/v1/models", get(models))
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(text))
        .route("/admin/model", post(admin::change))
        .fallback(unknown)
        .method_not_allowed_fallback(other)
        .layer(from_fn(no_pages))
        .with_state(shared)
}

/// Keeps web pages out. A browser lets any page send requests to this machine, and names the page in `Origin`; and a page can
/// have its own name point here, which then shows in `Host`.
async fn no_pages(request: Request, next: Next) -> Response {
    let shown = |headers: &HeaderMap, name| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let headers = request.headers();
    let host = shown(headers, header::HOST);
    let refused = if headers.contains_key(header::ORIGIN) {
        "web pages may not use the model"
    } else if !host.is_empty() && !is_local(&host) {
        "called by a name: the model answers to `localhost` and to IP addresses only"
    } else {
        return next.run(request).await;
    };
    Refusal::status(StatusCode::FORBIDDEN, refused).into_response()
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let served = shared.engine.served();
    answered(
        &served,
        json!({"status": "ok", "model_version": served.version}).to_string(),
    )
}

async fn models(State(shared): State<Arc<Shared>>) -> Response {
    let served = shared.engine.served();
    let model = json!({
        "id": shared.name, "object": "model", "created": 0, "owned_by": "lightning",
        "model_version": served.version, "max_model_len": served.model.context(),
    });
    answered(&served, json!({"object": "list", "data": [model]}).to_string())
}

async fn chat(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Refusal> {
    complete(&shared, Kind::Chat, request).await
}

async fn text(State(shared): State<Arc<Shared>>, request: Request) -> Result<Response, Refusal> {
    complete(&shared, Kind::Text, request).await
}

async fn complete(shared: &Shared, kind: Kind, request: Request) -> Result<Response, Refusal> {
    let body = body_of(shared, request).await?;
    // One model makes the prompt and answers it, whatever is swapped meanwhile.
    let served = shared.engine.served();
    let mut asked = read(kind, &body, &shared.name, &served)?;
    let random = || u64::from_str_radix(&shared.ids.hex(16), 16).unwrap_or_default();
    asked.generate.seed = asked.seed.unwrap_or_else(random);
    let mut generations = Vec::new();
    for choice in 0..asked.choices {
        let mut request = asked.generate.clone();
        request.seed = request.seed.wrapping_add(choice.into());
        generations.push(shared.engine.submit(&served, request)?);
    }
    let prefix = if kind == Kind::Chat { "chatcmpl" } else { "cmpl" };
    let frame = Frame {
        id: format!("{prefix}-{}", shared.ids.hex(16)),
        created: shared.clock.now().as_secs_f64() as u64,
        model: shared.name.clone(),
        asked,
        served: Arc::clone(&served),
    };
    if frame.asked.stream {
        return Ok(streamed(frame, generations));
    }
    let completions = try_join_all(generations.into_iter().map(Generation::complete)).await?;
    let choices: Vec<_> = completions
        .into_iter()
        .map(|completion| (completion.text, completion.tokens, completion.finish))
        .collect();
    Ok(answered(&served, frame.whole(&choices).to_string()))
}

/// A web page can send other content types to any address without being asked, so they are refused.
pub(super) async fn body_of(shared: &Shared, request: Request) -> Result<Bytes, Refusal> {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let essence = content_type.and_then(|value| value.to_str().ok()?.split(';').next());
    if !essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json")) {
        let message = "the body must be JSON; send `Content-Type: application/json`";
        return Err(Refusal::status(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
    }
    let body = Limited::new(request.into_body(), shared.max_body).collect();
    match tokio::time::timeout(shared.body_timeout, body).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body is larger than {} bytes", shared.max_body);
            Err(Refusal::status(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Ok(Err(error)) => {
            let message = format!("the body could not be read: {error}");
            Err(Refusal::status(StatusCode::BAD_REQUEST, message))
        }
        Err(_) => Err(Refusal::status(
            StatusCode::REQUEST_TIMEOUT,
            "the body did not arrive in time",
        )),
    }
}

pub(super) fn answered(served: &Served, body: String) -> Response {
    with_version(served, "application/json", Body::from(body))
}

fn with_version(served: &Served, content_type: &'static str, body: Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(version) = HeaderValue::from_str(&served.version) {
        headers.insert(VERSION_HEADER, version);
    }
    response
}

/// A stream of events. When the client leaves, it is dropped, and the generations with it.
fn streamed(frame: Frame, generations: Vec<Generation>) -> Response {
    let served = Arc::clone(&frame.served);
    let choices = generations
        .into_iter()
        .zip(0u32..)
        .map(|(generation, index)| -> BoxStream<'static, _> {
            stream::unfold(Some(generation), move |generation| async move {
                let mut generation = generation?;
                let event = generation.next().await?;
                let goes_on = matches!(event, Event::Token(_));
                Some(((index, event), goes_on.then_some(generation)))
            })
            .boxed()
        });
    let events = stream::select_all(choices);
    let opening: Vec<Value> = (0..frame.asked.choices)
        .map(|index| frame.opening(index))
        .collect();
    let offsets = vec![0; opening.len()];
    let state = (frame, offsets, 0usize);
    let body = events.map(Some).chain(stream::once(async { None })).scan(
        state,
        |(frame, offsets, written), event| {
            let text = match event {
                Some((index, Event::Token(token))) => {
                    *written += 1;
                    let offset = &mut offsets[index as usize];
                    let event = frame.token(index, &token, *offset);
                    *offset += token.text.chars().count();
                    sse(&event)
                }
                Some((index, Event::End(finish, rest))) => sse(&frame.end(index, finish, &rest)),
                Some((_, Event::Failed(error))) => sse(&Refusal::from(error).json()),
                None if frame.asked.include_usage => sse(&frame.closing(*written)) + "data: [DONE]\n\n",
                None => "data: [DONE]\n\n".to_owned(),
            };
            futures::future::ready(Some(text))
        },
    );
    let opening = stream::iter(opening).map(|event| sse(&event));
    let body = opening
        .chain(body)
        .map(|text| Ok::<_, Infallible>(Bytes::from(text)));
    with_version(&served, "text/event-stream", Body::from_stream(body))
}

fn sse(event: &Value) -> String {
    format!("data: {event}\n\n")
}
