//! One call, from its request to the head of its answer.

use std::{future::Future, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::{
    Response, StatusCode,
    body::{Body as _, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};
use tokio::time::{Instant, timeout};

use super::{
    Serving,
    headers::{for_upstream, without_hop},
    outline::Outline,
    record::Record,
    refusal::Refusal,
    retry::{self, Tried},
    route::{Caller, Target},
    table::{Backend, Counts, Model, Table},
    tee::{Outgoing, Patience, Tee},
    upstream::{NoReply, Reply},
};
use crate::{
    ids::IdSource,
    llm_proxy::{ApiFamily, capture::Exchange},
    store::{Store, StoreFuture},
    types::{RolloutMode, Timestamp},
};

/// How long the proxy itself took, in microseconds: without waiting for the client, the backend, or a place in line.
pub(super) const OVERHEAD_HEADER: &str = "lightning-overhead-us";
/// Which backend answered.
pub(super) const BACKEND_HEADER: &str = "lightning-backend";

/// A call under way, and how much of its time was spent waiting for others.
struct Call<'a> {
    serving: &'a Serving,
    target: Target,
    caller: Option<Caller>,
    began: Instant,
    waited: Duration,
    sequence: Sequence<'a>,
}

/// Passes a call on.
pub(super) async fn forward(
    serving: &Serving,
    target: Target,
    caller: Option<Caller>,
    head: Parts,
    body: Incoming,
) -> Result<Response<Outgoing>, Refusal> {
    let shared = &serving.shared;
    let Some(pass) = shared.flow.enter() else {
        return Err(Refusal::new(
            StatusCode::TOO_MANY_REQUESTS,
            "paused while the models change; come again",
        )
        .code("paused")
        .retry_after(shared.options.pause_retry_after));
    };
    let started = shared.clock.now();
    let mut call = Call {
        serving,
        target,
        caller,
        began: Instant::now(),
        waited: Duration::ZERO,
        sequence: Sequence::Missing,
    };
    let body = call.read(&head, body).await?;
    let outline = Outline::of(&body).map_err(Refusal::bad)?;
    let table = shared.table();
    let model = call.model(&table, &outline, &body)?;
    let until = call.began + model.spec.time_limits.total;
    Counts::add(&model.counts.calls);

    let mut record = call.record(&model, &outline, &body, started);
    call.sequence.draw(serving.store.as_deref(), call.caller.as_ref());
    let mode = call.mode(&model).await;
    let clock = &*shared.clock;
    let permit = call.wait(model.gate.enter(clock)).await.map_err(|full| {
        let message = format!("the limits of the model `{}` are reached", model.spec.name);
        record.end(Some(message.clone()));
        limit_reached(message, full.retry_after)
    })?;

    let order = model.order(|| match &call.caller {
        Some(caller) => caller.rollout.to_string(),
        None => shared.ids.hex(16),
    });
    let headers = for_upstream(head.headers);
    let query = head.uri.query();
    let is_stream = outline.is_true(&body, "stream");
    let (mut tries, mut tried) = (0, Vec::new());
    loop {
        let Some(place) = model.pick(&order, &tried, clock.now()) else {
            let now = clock.now();
            let soon = model
                .next_try(now)
                .map_or(Duration::ZERO, |next| next.saturating_since(now));
            tries += 1;
            let state = Tried {
                tries,
                retry_after: Some(soon),
                has_other: false,
            };
            if let Some(delay) = retry::decide(state, &model.spec.retries, 0.0)
                && call.pause(delay, until).await
            {
                continue;
            }
            let message = format!("no backend of the model `{}` answers", model.spec.name);
            record.end(Some(message.clone()));
            Counts::add(&model.counts.failed);
            return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, message)
                .code("no_backend")
                .retry_after(soon));
        };
        let backend = &model.backends[place];
        if !tried.contains(&place) {
            tried.push(place);
        }
        tries += 1;
        record.note(|exchange| {
            exchange.backend.clone_from(&backend.label);
            exchange.upstream_model.clone_from(&backend.model);
            exchange.retries = tries - 1;
        });
        let outcome = match call.wait(backend.gate.enter(clock)).await {
            Ok(granted) => {
                let asks = call.caller.is_some().then(|| backend.asks(target, is_stream));
                let additions = model.defaults(mode).iter().chain(asks.into_iter().flatten());
                let body = outline.rewrite(&body, backend.model_json.as_deref(), additions);
                let headers = headers.clone();
                let limit = model.spec.time_limits.first_byte;
                let sending = backend.upstream.send(target, query, headers, body, limit, until);
                let outcome = call.wait_drawing(sending).await;
                let status = outcome.as_ref().map(|reply| reply.head.status());
                model.observe(backend, status, clock.now());
                outcome.map(|reply| (reply, granted))
            }
            Err(full) => {
                let state = Tried {
                    tries,
                    retry_after: Some(full.retry_after),
                    has_other: model.has_other(&tried, clock.now()),
                };
                // Waiting was done in line already, so it is only elsewhere that the call is tried at once.
                if state.has_other && retry::decide(state, &model.spec.retries, 0.0).is_some() {
                    continue;
                }
                let message = format!("the limits of the backend {} are reached", backend.label);
                record.end(Some(message.clone()));
                return Err(limit_reached(message, full.retry_after));
            }
        };
        let retry_after = match &outcome {
            Ok((reply, _)) if !retry::may_pass(reply.head.status()) => None,
            // What took too long once is not begun again.
            Err(NoReply::TimedOut(_)) => None,
            Ok((reply, _)) => Some(retry::retry_after(reply.head.headers(), clock.now())),
            Err(NoReply::Lost(_)) => Some(None),
        };
        if let Some(retry_after) = retry_after {
            let state = Tried {
                tries,
                retry_after,
                has_other: model.has_other(&tried, clock.now()),
            };
            if let Some(delay) = retry::decide(state, &model.spec.retries, jitter(&*shared.ids))
                && call.begin_again(&model, backend, &outcome, delay, until).await
            {
                continue;
            }
        }
        return match outcome {
            Ok((reply, granted)) => {
                record.note(|exchange| exchange.sequence_id = call.sequence.id());
                let patience = Patience::new(
                    model.spec.time_limits.between_bytes,
                    model.spec.time_limits.total,
                    until,
                );
                let held = (pass, [permit, granted]);
                Ok(call.respond(&model, backend, reply, record, patience, held))
            }
            Err(no_reply) => {
                Counts::add(&model.counts.failed);
                record.note(|exchange| exchange.sequence_id = call.sequence.id());
                record.end(Some(no_reply.to_string()));
                let status = match no_reply {
                    NoReply::Lost(_) => StatusCode::BAD_GATEWAY,
                    NoReply::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
                };
                let message = format!("the backend {}: {no_reply}", backend.label);
                Err(Refusal::new(status, message).code("upstream_failed"))
            }
        };
    }
}

impl<'a> Call<'a> {
    /// Waits for somebody else, whose time is not ours.
    async fn wait<F: Future>(&mut self, other: F) -> F::Output {
        // What is ready at once is spared the clock.
        let mut other = pin!(other);
        if let Some(output) = other.as_mut().now_or_never() {
            return output;
        }
        let since = Instant::now();
        let output = other.await;
        self.waited += since.elapsed();
        output
    }

    /// The same, while the sequence id is being drawn.
    async fn wait_drawing<F: Future>(&mut self, other: F) -> F::Output {
        let since = Instant::now();
        let mut other = pin!(other);
        let output = loop {
            tokio::select! {
                biased;
                output = &mut other => break output,
                () = self.sequence.drawn() => {}
            }
        };
        self.waited += since.elapsed();
        output
    }

    /// Pauses before the next try. False if the call would be over before.
    async fn pause(&mut self, delay: Duration, until: Instant) -> bool {
        if Instant::now() + delay >= until {
            return false;
        }
        if !delay.is_zero() {
            self.wait(tokio::time::sleep(delay)).await;
        }
        true
    }

    /// Says that a call is tried again, and pauses. False if the call would be over before.
    async fn begin_again<T>(
        &mut self,
        model: &Model,
        backend: &Backend,
        outcome: &Result<(Reply, T), NoReply>,
        delay: Duration,
        until: Instant,
    ) -> bool {
        let reason = match outcome {
            Ok((reply, _)) => format!("status {}", reply.head.status().as_u16()),
            Err(no_reply) => no_reply.to_string(),
        };
        tracing::debug!(
            target: "lightning::llm_proxy",
            rollout_id = self.caller.as_ref().map(|caller| caller.rollout.as_str()),
            attempt_id = self.caller.as_ref().map(|caller| caller.attempt.as_str()),
            model = model.spec.name,
            backend = backend.label,
            reason,
            delay_seconds = delay.as_secs_f64(),
            "a call is tried again"
        );
        Counts::add(&model.counts.retries);
        self.pause(delay, until).await
    }

    async fn read(&mut self, head: &Parts, body: Incoming) -> Result<Bytes, Refusal> {
        let options = &self.serving.shared.options;
        let too_large = || {
            let message = format!("the body has more than {} bytes", options.max_body_bytes);
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
        };
        if let Some(encoding) = head.headers.get(header::CONTENT_ENCODING)
            && encoding.as_bytes() != b"identity"
        {
            let message = "the body is compressed; send it as it is";
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        if body.size_hint().lower() > options.max_body_bytes as u64 {
            return Err(too_large());
        }
        let whole = Limited::new(body, options.max_body_bytes).collect();
        match self.wait(timeout(options.body_timeout, whole)).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
            Ok(Err(_)) => Err(Refusal::bad("the body did not arrive as a whole")),
            Err(_) => {
                let message = format!("the body did not arrive within {:?}", options.body_timeout);
                Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message))
            }
        }
    }

    /// The model that is asked for.
    fn model(&self, table: &Table, outline: &Outline, body: &[u8]) -> Result<Arc<Model>, Refusal> {
        let Some(name) = outline.text(body, "model") else {
            let message = format!(
                "the body names no `model`; write one of: {}",
                table.names().join(", ")
            );
            return Err(Refusal::bad(message));
        };
        let Some(model) = table.get(&name) else {
            return Err(unknown_model(table, &name));
        };
        let (has, wanted) = (model.spec.family, self.target.family());
        if has != wanted {
            let message = format!(
                "the model `{name}` speaks {has}'s interface and not {wanted}'s, and the proxy does not translate; call it \
                 at {}",
                match has {
                    ApiFamily::OpenAi => "/v1/chat/completions",
                    ApiFamily::Anthropic => "/v1/messages",
                }
            );
            return Err(Refusal::bad(message).code("wrong_interface"));
        }
        Ok(Arc::clone(model))
    }

    /// Begins the note of a call that belongs to an attempt.
    fn record(&self, model: &Model, outline: &Outline, body: &Bytes, started: Timestamp) -> Record {
        let (Some(caller), Some(recorder), Target::Call(endpoint)) =
            (&self.caller, &self.serving.recorder, self.target)
        else {
            return Record::none();
        };
        let shared = &self.serving.shared;
        let exchange = Exchange {
            rollout: caller.rollout.clone(),
            attempt: caller.attempt.clone(),
            sequence_id: None,
            endpoint,
            model: model.spec.name.clone(),
            upstream_model: String::new(),
            backend: String::new(),
            request: body.clone(),
            http_status: 0,
            streamed: outline.is_true(body, "stream"),
            content_encoding: None,
            response: Bytes::new(),
            truncated: false,
            error: None,
            started,
            first_byte: None,
            ended: started,
            retries: 0,
        };
        let ticket = recorder.begin(&caller.rollout, &caller.attempt);
        Record::new(
            ticket,
            exchange,
            shared.options.capture_bytes,
            Arc::clone(&shared.clock),
        )
    }

    /// What the rollout is for, where that matters.
    async fn mode(&mut self, model: &Model) -> Option<RolloutMode> {
        let rollout = self.caller.as_ref().map(|caller| caller.rollout.clone())?;
        if !model.minds_mode() {
            return None;
        }
        let (modes, store) = (&self.serving.modes, self.serving.store.as_deref()?);
        self.wait(modes.of(store, &rollout)).await
    }

    fn respond(
        &self,
        model: &Model,
        backend: &Backend,
        reply: Reply,
        mut record: Record,
        patience: Patience,
        held: (super::flow::Pass, [super::gate::Permit; 2]),
    ) -> Response<Outgoing> {
        let (mut head, body) = reply.head.into_parts();
        if head.status.is_server_error() {
            Counts::add(&model.counts.failed);
        }
        record.note(|exchange| {
            let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok());
            exchange.http_status = head.status.as_u16();
            exchange.streamed =
                text(header::CONTENT_TYPE).is_some_and(|kind| kind.starts_with("text/event-stream"));
            exchange.content_encoding = text(header::CONTENT_ENCODING).map(str::to_owned);
        });
        without_hop(&mut head.headers);
        head.version = hyper::Version::HTTP_11;
        let overhead = self.began.elapsed().saturating_sub(self.waited);
        let overhead = u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX);
        head.headers.insert(OVERHEAD_HEADER, HeaderValue::from(overhead));
        head.headers.insert(BACKEND_HEADER, backend.header.clone());
        let tee = Tee::new(body, reply.first, record, patience, held);
        Response::from_parts(head, Outgoing::Tee(Box::new(tee)))
    }
}

fn limit_reached(message: String, retry_after: Duration) -> Refusal {
    Refusal::new(StatusCode::TOO_MANY_REQUESTS, message)
        .code("limit_reached")
        .retry_after(retry_after)
}

/// A number from 0 to 1.
fn jitter(ids: &dyn IdSource) -> f64 {
    let digits = u16::from_str_radix(&ids.hex(4), 16);
    f64::from(digits.unwrap_or_default()) / f64::from(u16::MAX)
}

/// There is no such model.
pub(super) fn unknown_model(table: &Table, name: &str) -> Refusal {
    let names = table.names();
    let nearest = names
        .iter()
        .map(|known| (strsim::jaro_winkler(known, name), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(similarity, _)| *similarity > 0.75);
    let shown: String = name.chars().take(200).collect();
    let message = match nearest {
        Some((_, nearest)) => format!("there is no model `{shown}`; did you mean `{nearest}`?"),
        None => format!("there is no model `{shown}`; there are: {}", names.join(", ")),
    };
    Refusal::new(StatusCode::NOT_FOUND, message).code("model_not_found")
}

/// The sequence id of a call: drawn before it, while it goes on if that takes time, and never waited for.
enum Sequence<'a> {
    Missing,
    Drawing(StoreFuture<'a, u64>),
    Drawn(u64),
}

impl<'a> Sequence<'a> {
    /// Begins to draw. A store in memory answers at once.
    fn draw(&mut self, store: Option<&'a dyn Store>, caller: Option<&Caller>) {
        if let (Some(store), Some(caller)) = (store, caller) {
            let mut id = store.get_next_span_sequence_id(caller.rollout.clone(), caller.attempt.clone());
            *self = match (&mut id).now_or_never() {
                Some(Ok(id)) => Self::Drawn(id),
                Some(Err(_)) => Self::Missing,
                None => Self::Drawing(id),
            };
        }
    }

    /// Resolves when it is drawn; never if there is nothing to draw.
    async fn drawn(&mut self) {
        let Self::Drawing(id) = self else {
            return std::future::pending().await;
        };
        *self = match id.await {
            Ok(id) => Self::Drawn(id),
            Err(_) => Self::Missing,
        };
    }

    fn id(&self) -> Option<u64> {
        match self {
            Self::Drawn(id) => Some(*id),
            Self::Missing | Self::Drawing(_) => None,
        }
    }
}
