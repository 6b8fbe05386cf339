//! From a request to the bytes of its answer.

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    net,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    response::Response,
};
use futures::stream;
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};

use super::{
    Fault, ReceivedRequest, Reply, Responder, answer,
    connection::{Cut, CuttableListener},
};

/// The largest request that is read.
const MAX_BODY: usize = 64 << 20;

/// What the server's connections share with whoever holds the server.
pub(super) struct Shared {
    responder: Box<dyn Responder>,
    received: watch::Sender<Vec<ReceivedRequest>>,
    faults: Mutex<VecDeque<(usize, Fault)>>,
}

impl Shared {
    pub(super) fn new(responder: Box<dyn Responder>) -> Self {
        Self {
            responder,
            received: watch::Sender::new(Vec::new()),
            faults: Mutex::default(),
        }
    }

    pub(super) fn requests(&self) -> Vec<ReceivedRequest> {
        self.received.borrow().clone()
    }

    pub(super) async fn received(&self, count: usize) {
        let mut received = self.received.subscribe();
        // The sender is `self`, so the channel cannot close.
        let _ = received.wait_for(|requests| requests.len() >= count).await;
    }

    pub(super) fn fail_next(&self, calls: usize, fault: Fault) {
        self.faults().push_back((calls, fault));
    }

    /// Keeps a request, and numbers it if it asks for a chat completion.
    fn keep(&self, mut request: ReceivedRequest, is_call: bool) -> ReceivedRequest {
        self.received.send_modify(|requests| {
            if is_call {
                let before = requests.iter().filter(|request| request.call.is_some());
                request.call = Some(before.count() as u64 + 1);
            }
            requests.push(request.clone());
        });
        request
    }

    fn next_fault(&self) -> Option<Fault> {
        let mut faults = self.faults();
        while let Some((left, fault)) = faults.front_mut() {
            if let Some(fewer) = left.checked_sub(1) {
                *left = fewer;
                return Some(*fault);
            }
            faults.pop_front();
        }
        None
    }

    fn faults(&self) -> MutexGuard<'_, VecDeque<(usize, Fault)>> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves until `ended` resolves.
pub(super) async fn serve(listener: net::TcpListener, shared: Arc<Shared>, ended: oneshot::Receiver<()>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => CuttableListener(listener),
        Err(error) => {
            tracing::error!(target: "lightning::testing", error = %error, "the scripted LLM server cannot listen");
            return;
        }
    };
    let router = Router::new().fallback(respond).with_state(shared);
    let serving = axum::serve(listener, router.into_make_service_with_connect_info::<Cut>());
    tokio::select! {
        _ = serving => {}
        _ = ended => {}
    }
}

async fn respond(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(cut): ConnectInfo<Cut>,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, MAX_BODY).await.unwrap_or_default();
    let body: Option<Value> = serde_json::from_slice(&body).ok();
    let path = parts.uri.path();
    // A client may put something before the version, as one of a proxy does.
    let is_chat = path.ends_with("/v1/chat/completions");
    let is_call = is_chat && parts.method == Method::POST && body.is_some();
    let request = ReceivedRequest {
        call: None,
        method: parts.method.to_string(),
        path: path.to_owned(),
        headers: texts(&parts.headers),
        body: body.unwrap_or_default(),
    };
    let request = shared.keep(request, is_call);
    if is_call {
        let fault = shared.next_fault();
        return call(&*shared.responder, fault, &request, cut).await;
    }
    if is_chat {
        let reason = "a chat completion is a POST of a JSON object";
        return refused(StatusCode::BAD_REQUEST, reason);
    }
    if path.ends_with("/v1/models") && parts.method == Method::GET {
        let models = answer::models(&shared.responder.models());
        return json(StatusCode::OK, models.to_string());
    }
    let reason = format!(
        "{} {path} is nothing that the scripted server knows",
        parts.method
    );
    refused(StatusCode::NOT_FOUND, &reason)
}

fn texts(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    headers
        .iter()
        .map(|(name, value)| (name.to_string(), text(value.as_bytes())))
        .collect()
}

async fn call(
    responder: &dyn Responder,
    fault: Option<Fault>,
    request: &ReceivedRequest,
    cut: Cut,
) -> Response {
    let reply = catch_unwind(AssertUnwindSafe(|| responder.reply(request)));
    let reply =
        reply.unwrap_or_else(|_| Reply::refusal(500, "the responder of the scripted server panicked"));
    if !reply.waits().is_zero() {
        tokio::time::sleep(reply.waits()).await;
    }
    let fault = fault.or(reply.fails_by());
    match fault {
        Some(Fault::Status(code)) => {
            let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            return refused(status, "the script says so");
        }
        Some(Fault::RateLimit { retry_after_seconds }) => {
            let mut response = refused(StatusCode::TOO_MANY_REQUESTS, "the script says so");
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, retry_after_seconds.into());
            return response;
        }
        Some(Fault::Hang) => return pending().await,
        Some(Fault::CutBeforeHeaders) => {
            cut.after_what_is_written();
            return pending().await;
        }
        _ => {}
    }
    if let Some(refusal) = &reply.refusal {
        let status = StatusCode::from_u16(refusal.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return refused(status, &refusal.message);
    }
    let mut whole = if request.streams() {
        stream_of(&reply, request)
    } else {
        vec![answer::complete(&reply, request).to_string()]
    };
    if fault == Some(Fault::MalformedJson) {
        break_json(&mut whole);
    }
    let length = whole.iter().map(String::len).sum::<usize>();
    let delivery = Delivery::of(whole, fault, cut);
    let response = Response::builder().status(StatusCode::OK);
    let response = if request.streams() {
        response.header(header::CONTENT_TYPE, "text/event-stream")
    } else {
        response
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::CONTENT_LENGTH, length)
    };
    response.body(delivery.into_body()).unwrap_or_default()
}

/// The events of a stream as they are written.
fn stream_of(reply: &Reply, request: &ReceivedRequest) -> Vec<String> {
    let events = answer::events(reply, request);
    let mut written: Vec<String> = events.iter().map(|event| format!("data: {event}\n\n")).collect();
    written.push("data: [DONE]\n\n".to_owned());
    written
}

/// Takes the last brace off the answer, or off an event in the middle of a stream.
fn break_json(whole: &mut [String]) {
    let middle = whole.len() / 2;
    if let Some(text) = whole.get_mut(middle)
        && let Some(brace) = text.rfind('}')
    {
        text.remove(brace);
    }
}

/// A body that is on its way.
struct Delivery {
    pieces: VecDeque<Bytes>,
    pause: Duration,
    is_first: bool,
    end: End,
}

/// What comes after the last piece.
enum End {
    Complete,
    Hang,
    Cut(Cut),
}

impl Delivery {
    fn of(whole: Vec<String>, fault: Option<Fault>, cut: Cut) -> Self {
        let (pieces, pause, end) = match fault {
            Some(Fault::CutAfterHeaders) => (VecDeque::new(), 0, End::Cut(cut)),
            Some(Fault::CutMidBody) => (first_half(&whole), 0, End::Cut(cut)),
            Some(Fault::HangMidBody) => (first_half(&whole), 0, End::Hang),
            Some(Fault::SlowBytes { bytes, pause_ms }) => {
                let whole = Bytes::from(whole.concat());
                let crumbs = whole.chunks(bytes.max(1)).map(|crumb| whole.slice_ref(crumb));
                (crumbs.collect(), pause_ms, End::Complete)
            }
            _ => (whole.into_iter().map(Bytes::from).collect(), 0, End::Complete),
        };
        Self {
            pieces,
            pause: Duration::from_millis(pause),
            is_first: true,
            end,
        }
    }

    fn into_body(self) -> Body {
        Body::from_stream(stream::unfold(self, |mut delivery| async move {
            let Some(piece) = delivery.pieces.pop_front() else {
                match delivery.end {
                    End::Complete => return None,
                    End::Hang => {}
                    End::Cut(cut) => cut.after_what_is_written(),
                }
                return pending().await;
            };
            if !delivery.is_first && !delivery.pause.is_zero() {
                tokio::time::sleep(delivery.pause).await;
            }
            delivery.is_first = false;
            Some((Ok::<_, Infallible>(piece), delivery))
        }))
    }
}

/// Half of the events, or half of the only piece.
fn first_half(whole: &[String]) -> VecDeque<Bytes> {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    match whole {
        [only] => {
            let half = only.len() / 2;
            VecDeque::from([bytes(&only[..only.floor_char_boundary(half)])])
        }
        events => events[..events.len() / 2]
            .iter()
            .map(|event| bytes(event))
            .collect(),
    }
}

fn refused(status: StatusCode, reason: &str) -> Response {
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_client_error() => "invalid_request_error",
        _ => "server_error",
    };
    json(status, answer::error(kind, reason).to_string())
}

fn json(status: StatusCode, body: String) -> Response {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, "application/json");
    response.body(Body::from(body)).unwrap_or_default()
}
