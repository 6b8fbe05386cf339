//! A chat model behind an OpenAI-style endpoint.

use std::{fmt, sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::{StatusCode, Url, header};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{ChatAnswer, ChatError, ChatFuture, ChatModel, ChatRequest, ChatStream, begin, end};
use crate::{
    emitter::ModelCall,
    transport::{self, SetUpError},
    types::{JsonObject, Llm, without_password},
};

/// How much of what a server says against a request is kept.
const MESSAGE_CHARS: usize = 500;

/// Why a model behind an endpoint could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpChatError {
    /// The endpoint is no URL.
    #[error(
        "`{endpoint}` is no address of a model: {problem}; write something like http://127.0.0.1:8000/v1"
    )]
    Endpoint {
        /// The endpoint, without its password.
        endpoint: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The HTTP client could not be made.
    #[error("cannot set up HTTP: {0}")]
    Http(#[source] reqwest::Error),

    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[source] rustls::Error),
}

/// A chat model behind an OpenAI-style endpoint, which an [`Llm`] describes. A clone shares the connections and the bound on
/// what is under way.
///
/// Connection errors, time-outs and the statuses 408, 429 and 5xx are tried again with growing delays; a `Retry-After` in
/// seconds is waited for, unless it is longer than the longest delay. Every other refusal is final. The key enters neither
/// errors nor `Debug`.
///
/// Within a rollout, [`ask`](ChatModel::ask) and [`stream`](Self::stream) record the call with what is sent, the endpoint's
/// parameters included. Not so if the endpoint belongs to a proxy that records the calls of this attempt, as that of a
/// [`ProxyLlm`](crate::types::ProxyLlm) does: they would be counted twice. A call with a role of its own, such as a judge's, is
/// then sent past the attempt's path and recorded here, since a proxy knows no roles.
///
/// ```no_run
/// use lightning_core::{
///     chat::{ChatModel as _, ChatRequest, HttpChat, Message},
///     types::Llm,
/// };
///
/// # async fn example() -> anyhow::Result<()> {
/// let model = HttpChat::new(Llm::new("http://127.0.0.1:8000/v1", "small"))?;
/// let answer = model.ask(&ChatRequest::new([Message::user("2 + 2?")])).await?;
/// println!("{}", answer.text);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct HttpChat {
    llm: Llm,
    url: Url,
    /// Where the proxy takes calls that it does not record, if `url` is one's that does.
    beside: Option<Url>,
    http: reqwest::Client,
    options: Options,
    in_flight: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug)]
struct Options {
    timeout: Duration,
    retries: usize,
    delays: (Duration, Duration),
}

/// Builds an [`HttpChat`].
#[derive(Clone, Debug)]
pub struct HttpChatBuilder {
    llm: Llm,
    options: Options,
    in_flight: usize,
}

impl HttpChat {
    /// The model with the usual limits: 120 s for an answer, 5 retries, 32 calls at once.
    ///
    /// # Errors
    ///
    /// [`HttpChatError`], if the endpoint is no URL, or HTTP cannot be set up.
    pub fn new(llm: Llm) -> Result<Self, HttpChatError> {
        Self::builder(llm).build()
    }

    /// The model with other limits.
    pub fn builder(llm: Llm) -> HttpChatBuilder {
        HttpChatBuilder {
            llm,
            options: Options {
                timeout: Duration::from_secs(120),
                retries: 5,
                delays: (Duration::from_millis(500), Duration::from_secs(60)),
            },
            in_flight: 32,
        }
    }

    /// Another model with the same limits: the one that a rollout's resources name, for an agent. The connections are
    /// shared where both are reached in the same way, and so is the bound on what is under way.
    ///
    /// # Errors
    ///
    /// Those of [`new`](Self::new).
    pub fn at(&self, llm: Llm) -> Result<Self, HttpChatError> {
        let url = completions(&llm.endpoint)?;
        let http = if way(&url) == way(&self.url) {
            self.http.clone()
        } else {
            client(&url)?
        };
        Ok(Self {
            llm,
            beside: beside(&url),
            url,
            http,
            options: self.options,
            in_flight: Arc::clone(&self.in_flight),
        })
    }

    /// What describes the model.
    pub fn llm(&self) -> &Llm {
        &self.llm
    }

    /// The answer in pieces, as the model writes it.
    ///
    /// Whatever may go better is tried again until the answer begins; after that, an error is final. The time limit holds for
    /// the beginning, and then for each piece. Usage is asked for, unless the request sets `stream_options`.
    ///
    /// ```no_run
    /// # use lightning_core::{chat::{ChatRequest, Message}, types::Llm};
    /// # async fn example(llm: Llm) -> anyhow::Result<()> {
    /// let model = llm.chat()?;
    /// let mut stream = model.stream(&ChatRequest::new([Message::user("Tell me a story.")])).await?;
    /// while let Some(piece) = stream.next().await? {
    ///     print!("{}", piece.text);
    /// }
    /// let answer = stream.finish().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// See [`ChatError`].
    pub async fn stream(&self, request: &ChatRequest) -> Result<ChatStream, ChatError> {
        let mut body = self.body(request)?;
        body.insert("stream".to_owned(), true.into());
        body.entry("stream_options")
            .or_insert_with(|| json!({"include_usage": true}));
        let call = self.begin(request, &body);
        match self.send(request, &body).await {
            Ok((begun, permit)) => Ok(ChatStream::new(self.clone(), begun, permit, call)),
            Err(error) => {
                end(call, &Err(error.clone()));
                Err(error)
            }
        }
    }

    /// The body of a request: the endpoint's own parameters, then what the request sets.
    fn body(&self, request: &ChatRequest) -> Result<JsonObject, ChatError> {
        let unwritable = |problem: String| ChatError::Unwritable { problem };
        let request = serde_json::to_value(request).map_err(|error| unwritable(error.to_string()))?;
        let mut body: JsonObject = self.llm.sampling_parameters.clone();
        body.insert("model".to_owned(), self.llm.model.as_str().into());
        let Value::Object(request) = request else {
            return Err(unwritable("it is no object".to_owned()));
        };
        body.extend(request);
        Ok(body)
    }

    /// Begins the record of a call, if nobody else records it.
    fn begin(&self, request: &ChatRequest, body: &JsonObject) -> Option<ModelCall> {
        let recorded_by_proxy = self.beside.is_some() && request.role.is_none();
        if recorded_by_proxy {
            None
        } else {
            begin(body, request.role.as_deref())
        }
    }

    async fn answer(&self, request: &ChatRequest, body: &JsonObject) -> Result<ChatAnswer, ChatError> {
        match self.send(request, body).await? {
            (Begun::Whole(raw), _) => self.read_json(raw),
            (Begun::Stream(response), permit) => {
                let stream = ChatStream::new(self.clone(), Begun::Stream(response), permit, None);
                stream.finish().await
            }
        }
    }

    /// Sends the request until an answer begins. Whoever gets that reads it before giving the permit back.
    async fn send(
        &self,
        request: &ChatRequest,
        body: &JsonObject,
    ) -> Result<(Begun, OwnedSemaphorePermit), ChatError> {
        let url = match &self.beside {
            Some(beside) if request.role.is_some() => beside,
            _ => &self.url,
        };
        let streams = body.get("stream").and_then(Value::as_bool).unwrap_or(false);
        let body = serde_json::to_vec(body).map_err(|error| ChatError::Unwritable {
            problem: error.to_string(),
        })?;
        let (first, longest) = self.options.delays;
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(first)
            .with_max_delay(longest)
            .with_max_times(self.options.retries)
            .with_jitter()
            .build();
        loop {
            let error = {
                // The semaphore is never closed. Whoever sleeps before a retry leaves the place to others.
                let permit = Arc::clone(&self.in_flight).acquire_owned().await;
                let permit = permit.map_err(|_| ChatError::unavailable("the model is shut down"))?;
                match self.attempt(url, &body, streams).await {
                    Ok(begun) => return Ok((begun, permit)),
                    Err(error) => error,
                }
            };
            let Some(delay) = error.is_passing().then(|| delays.next()).flatten() else {
                return Err(error);
            };
            let delay = match &error {
                ChatError::RateLimited {
                    retry_after: Some(wanted),
                    ..
                } if *wanted > longest => return Err(error),
                ChatError::RateLimited {
                    retry_after: Some(wanted),
                    ..
                } => delay.max(*wanted),
                _ => delay,
            };
            tracing::debug!(
                target: "lightning::chat",
                model = %self.llm.model,
                seconds = delay.as_secs_f64(),
                error = %error,
                "trying again"
            );
            tokio::time::sleep(delay).await;
        }
    }

    /// One try. An answer in one piece is read to its end, because what breaks off may be asked for again.
    async fn attempt(&self, url: &Url, body: &[u8], streams: bool) -> Result<Begun, ChatError> {
        let mut post = self
            .http
            .post(url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_vec());
        if !streams {
            post = post.timeout(self.options.timeout);
        }
        if let Some(key) = &self.llm.api_key {
            post = post.bearer_auth(key.expose());
        }
        let response = match tokio::time::timeout(self.options.timeout, post.send()).await {
            Ok(sent) => sent.map_err(|error| self.unreachable(error))?,
            Err(_) => return Err(self.too_slow()),
        };
        let status = response.status();
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        let kind = response.headers().get(header::CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if status.is_success() && streams && is_stream {
            return Ok(Begun::Stream(response));
        }
        let text = match tokio::time::timeout(self.options.timeout, response.bytes()).await {
            Ok(text) => text.map_err(|error| self.unreachable(error))?,
            Err(_) => return Err(self.too_slow()),
        };
        let parsed = serde_json::from_slice::<Value>(&text);
        if !status.is_success() {
            let said = parsed.unwrap_or_else(|_| String::from_utf8_lossy(&text).into_owned().into());
            return Err(self.refused(status, retry_after, &said));
        }
        let raw = parsed.map_err(|error| ChatError::Malformed {
            problem: format!("it is not JSON: {error}"),
        })?;
        Ok(Begun::Whole(raw))
    }

    /// Reads an answer in OpenAI's shape.
    pub(super) fn read_json(&self, raw: Value) -> Result<ChatAnswer, ChatError> {
        ChatAnswer::from_json(raw).map_err(|error| match error {
            ChatError::Refused { status, message } => ChatError::Refused {
                status,
                message: self.shown(&message),
            },
            other => other,
        })
    }

    pub(super) fn timeout(&self) -> Duration {
        self.options.timeout
    }

    pub(super) fn too_slow(&self) -> ChatError {
        ChatError::unavailable(format!(
            "no answer within {} s from {}",
            self.options.timeout.as_secs_f64(),
            without_password(&self.llm.endpoint)
        ))
    }

    fn refused(&self, status: StatusCode, retry_after: Option<Duration>, said: &Value) -> ChatError {
        let error = &said["error"];
        let message = error["message"]
            .as_str()
            .or(error.as_str())
            .or(said["message"].as_str())
            .or(said.as_str())
            .unwrap_or_default();
        let message = match message.trim() {
            "" => format!("it answered {status}"),
            message => self.shown(message),
        };
        match status.as_u16() {
            429 => ChatError::RateLimited { message, retry_after },
            408 | 500.. => ChatError::unavailable(format!(
                "{} answered {status}: {message}",
                without_password(&self.llm.endpoint)
            )),
            status => ChatError::Refused {
                status: Some(status),
                message,
            },
        }
    }

    /// What a server says, without the key, which some repeat.
    fn shown(&self, message: &str) -> String {
        let key = self.llm.api_key.as_ref().map_or("", |key| key.expose());
        let message = if key.is_empty() {
            message.to_owned()
        } else {
            message.replace(key, "[redacted]")
        };
        message.chars().take(MESSAGE_CHARS).collect()
    }

    pub(super) fn unreachable(&self, error: reqwest::Error) -> ChatError {
        let error = error.without_url();
        let what = if error.is_connect() {
            "cannot connect to".to_owned()
        } else if error.is_timeout() {
            format!("no answer within {} s from", self.options.timeout.as_secs_f64())
        } else {
            "lost the connection to".to_owned()
        };
        ChatError::Unavailable {
            reason: format!(
                "{what} {}: {}",
                without_password(&self.llm.endpoint),
                innermost(&error)
            ),
            source: Some(Arc::new(error)),
        }
    }
}

impl ChatModel for HttpChat {
    fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
        Box::pin(async { self.answer(request, &self.body(request)?).await })
    }

    fn ask<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
        Box::pin(async {
            let body = self.body(request)?;
            let call = self.begin(request, &body);
            let answer = self.answer(request, &body).await;
            end(call, &answer);
            answer
        })
    }
}

/// An answer that has begun.
pub(super) enum Begun {
    Stream(reqwest::Response),
    /// One in one piece, all of it.
    Whole(Value),
}

impl Llm {
    /// A client for this model, with the usual limits: what an agent calls the model with that it was given.
    ///
    /// It applies the `sampling_parameters`, and keeps every field that it does not know, in both directions. Within a rollout
    /// each call is recorded once: by the proxy, if the model is behind one, and otherwise here. Make one client for a rollout,
    /// so that its calls share connections.
    ///
    /// ```no_run
    /// use lightning_core::{chat::{ChatModel as _, ChatRequest, Message}, prelude::*};
    ///
    /// #[rollout]
    /// async fn add(task: &String, llm: Llm) -> anyhow::Result<f64> {
    ///     let answer = llm.chat()?.ask(&ChatRequest::new([Message::user(task)])).await?;
    ///     Ok(if answer.text.contains('4') { 1.0 } else { 0.0 })
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// [`HttpChatError`], if the endpoint is no URL, or HTTP cannot be set up.
    pub fn chat(&self) -> Result<HttpChat, HttpChatError> {
        HttpChat::new(self.clone())
    }
}

impl fmt::Debug for HttpChat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpChat")
            .field("llm", &self.llm)
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl HttpChatBuilder {
    /// How long one try may take until the answer is complete; 120 s if not set.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.options.timeout = timeout;
        self
    }

    /// How often a request is tried again; 5 times if not set.
    #[must_use]
    pub fn retries(mut self, retries: usize) -> Self {
        self.options.retries = retries;
        self
    }

    /// The delay before the first retry and the longest one: 0.5 s and 60 s if not set.
    #[must_use]
    pub fn delays(mut self, first: Duration, longest: Duration) -> Self {
        self.options.delays = (first.min(longest), longest);
        self
    }

    /// How many calls may be under way at once, at least 1; 32 if not set.
    #[must_use]
    pub fn in_flight(mut self, calls: usize) -> Self {
        self.in_flight = calls;
        self
    }

    /// The model. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`HttpChatError`], if the endpoint is no URL, or HTTP cannot be set up.
    pub fn build(self) -> Result<HttpChat, HttpChatError> {
        let url = completions(&self.llm.endpoint)?;
        Ok(HttpChat {
            http: client(&url)?,
            llm: self.llm,
            beside: beside(&url),
            url,
            options: self.options,
            in_flight: Arc::new(Semaphore::new(self.in_flight.clamp(1, Semaphore::MAX_PERMITS))),
        })
    }
}

/// Where an endpoint takes chat completions.
fn completions(endpoint: &str) -> Result<Url, HttpChatError> {
    let refused = |problem: String| HttpChatError::Endpoint {
        endpoint: without_password(endpoint),
        problem,
    };
    let url = format!("{}/chat/completions", endpoint.trim_end_matches('/'));
    let url = Url::parse(&url).map_err(|error| refused(error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refused(
            "it begins neither with http:// nor with https://".to_owned(),
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("it has a query or a fragment".to_owned()));
    }
    Ok(url)
}

/// Where a proxy takes calls of nobody's: the address without `/rollout/{rollout_id}/attempt/{attempt_id}`. `None` if that is
/// not in it.
fn beside(url: &Url) -> Option<Url> {
    let path: Vec<&str> = url.path().split('/').collect();
    let place = path
        .windows(4)
        .position(|part| part[0] == "rollout" && part[2] == "attempt")?;
    let rest: Vec<&str> = path[..place].iter().chain(&path[place + 4..]).copied().collect();
    let mut beside = url.clone();
    beside.set_path(&rest.join("/"));
    Some(beside)
}

/// What decides how a server is reached: with TLS or without, through the environment's proxy or not.
fn way(url: &Url) -> (bool, bool) {
    (url.scheme() == "https", transport::is_loopback(url))
}

fn client(url: &Url) -> Result<reqwest::Client, HttpChatError> {
    Ok(transport::client_for(url, Duration::from_secs(10))?)
}

impl From<SetUpError> for HttpChatError {
    fn from(error: SetUpError) -> Self {
        match error {
            SetUpError::Http(error) => Self::Http(error),
            SetUpError::Tls(error) => Self::Tls(error),
        }
    }
}

/// What the system said.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        for endpoint in ["http://h:1/v1", "http://h:1/v1/"] {
            assert_eq!(
                completions(endpoint).unwrap().as_str(),
                "http://h:1/v1/chat/completions"
            );
        }
        for wrong in ["h:1", "", "ftp://h", "http://h/v1?x=1", "http://h#x"] {
            assert!(completions(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_path_of_an_attempt_is_seen() {
        let seen = |url: &str| beside(&Url::parse(url).unwrap()).map(String::from);
        assert_eq!(
            seen("http://h:1/base/rollout/ro-1/attempt/at%2F1/v1/chat/completions").as_deref(),
            Some("http://h:1/base/v1/chat/completions")
        );
        assert_eq!(seen("http://h:1/v1/chat/completions"), None);
        assert_eq!(seen("http://h:1/rollout/attempt/v1/chat/completions"), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        let llm = Llm::new("http://user:hidden@h:1/v1", "small").with_api_key("sk-secret");
        let model = HttpChat::new(llm.clone()).unwrap();
        let said = serde_json::json!({"error": {"message": "the key sk-secret is wrong"}});
        let refused = model.refused(StatusCode::UNAUTHORIZED, None, &said);
        let broken = model.refused(StatusCode::BAD_GATEWAY, None, &said);
        let wrong = HttpChat::new(Llm::new("ftp://user:hidden@h", "small")).unwrap_err();
        let shown = format!(
            "{model:?} {refused} {refused:?} {broken} {wrong} {:?}",
            HttpChat::builder(llm)
        );
        assert!(!shown.contains("secret") && !shown.contains("hidden"), "{shown}");
        assert!(shown.contains("the key [redacted] is wrong"), "{shown}");
    }
}
