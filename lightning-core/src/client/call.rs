//! One request and its answer, repeated where that helps and does no harm.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use reqwest::{Method, StatusCode, Url, header};
use serde::{Serialize, de::DeserializeOwned};

use super::{build::Inner, features::Features};
use crate::{
    store::{NotFound, StoreError},
    types::{AttemptId, RolloutId},
    wire::{self, ErrorBody},
};

/// A request that is about to be made.
pub(super) struct Call<'a> {
    method: Method,
    url: Url,
    body: Option<Vec<u8>>,
    content_type: &'static str,
    key: Option<&'a str>,
    /// Whether doing it twice is the same as doing it once, without a key too.
    harmless: bool,
    /// How long the server may take its time, in addition to what any request may take.
    wait: Duration,
    /// What the request is about, to make sense of a text that says that it is not there.
    about: About<'a>,
}

/// The ids that a request names.
#[derive(Clone, Copy, Default)]
pub(super) struct About<'a> {
    pub(super) rollout_id: Option<&'a RolloutId>,
    pub(super) attempt_id: Option<&'a AttemptId>,
}

/// Why there is no answer.
struct Failed {
    error: StoreError,
    /// Whether it may go better the next time.
    passing: bool,
    /// Whether the server may have carried the request out.
    reached: bool,
}

impl<'a> Call<'a> {
    fn new(inner: &Inner, method: Method, path: &[&str]) -> Result<Self, StoreError> {
        let mut url = inner.base.clone();
        for segment in path {
            if matches!(*segment, "" | "." | "..") {
                let problem = format!("is {segment:?}, which cannot stand in a URL");
                return Err(StoreError::invalid("id", problem));
            }
        }
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        Ok(Self {
            harmless: method == Method::GET,
            method,
            url,
            body: None,
            content_type: "application/json",
            key: None,
            wait: Duration::ZERO,
            about: About::default(),
        })
    }

    /// Reads something.
    pub(super) fn get(inner: &Inner, path: &[&str]) -> Result<Self, StoreError> {
        Self::new(inner, Method::GET, path)
    }

    /// Reads something that is described by a body.
    pub(super) fn search(inner: &Inner, path: &[&str], body: &impl Serialize) -> Result<Self, StoreError> {
        let mut call = Self::post(inner, path, body)?;
        call.harmless = true;
        Ok(call)
    }

    /// Changes something.
    pub(super) fn post(inner: &Inner, path: &[&str], body: &impl Serialize) -> Result<Self, StoreError> {
        let mut call = Self::new(inner, Method::POST, path)?;
        let body = serde_json::to_vec(body)
            .map_err(|error| StoreError::invalid("command", format!("cannot be written as JSON: {error}")))?;
        call.body = Some(body);
        Ok(call)
    }

    pub(super) fn key(mut self, key: &'a str) -> Self {
        self.key = Some(key);
        self
    }

    /// Says that doing it twice is the same as doing it once.
    pub(super) fn harmless(mut self) -> Self {
        self.harmless = true;
        self
    }

    pub(super) fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    pub(super) fn about(mut self, about: About<'a>) -> Self {
        self.about = about;
        self
    }

    /// Adds the fields of a query to the URL.
    pub(super) fn query(mut self, fields: &impl Serialize) -> Result<Self, StoreError> {
        let fields = serde_json::to_value(fields).map_err(|error| unreadable(&error))?;
        let mut pairs = self.url.query_pairs_mut();
        for (name, value) in fields.as_object().into_iter().flatten() {
            match value {
                serde_json::Value::Null => {}
                serde_json::Value::String(text) => {
                    pairs.append_pair(name, text);
                }
                other => {
                    pairs.append_pair(name, &other.to_string());
                }
            }
        }
        drop(pairs);
        Ok(self)
    }
}

impl Inner {
    /// What the server is able to do; asks it, if it has not been heard of yet.
    pub(super) async fn features(&self) -> Result<Features, StoreError> {
        match self.features.get() {
            Some(features) => Ok(features),
            None => self.probe().await,
        }
    }

    pub(super) async fn probe(&self) -> Result<Features, StoreError> {
        self.send(&Call::get(self, &["health"])?).await?;
        Ok(self.features.get().unwrap_or_default())
    }

    /// Where OTLP traces are taken.
    pub(super) fn otlp_url(&self) -> Url {
        let mut url = self.base.clone();
        let root = url.path().strip_suffix(wire::PREFIX).unwrap_or_default();
        let path = format!("{root}{}", wire::OTLP_TRACES);
        url.set_path(&path);
        url
    }

    pub(super) async fn probe_otlp(&self) -> Result<(), StoreError> {
        let mut call = Call::new(self, Method::POST, &[])?.harmless();
        call.url = self.otlp_url();
        call.body = Some(Vec::new());
        call.content_type = "application/x-protobuf";
        self.send(&call).await.map(drop)
    }

    /// A fresh request key.
    pub(super) fn fresh_key(&self) -> String {
        format!("{}{}", self.ids.hex(16), self.ids.hex(16))
    }

    /// Makes a request and reads the JSON of its answer.
    pub(super) async fn call<T: DeserializeOwned>(&self, call: Call<'_>) -> Result<T, StoreError> {
        let body = self.send(&call).await?;
        serde_json::from_slice(&body).map_err(|error| StoreError::Internal {
            reason: format!(
                "{} answered something else than a store does: {error}",
                call.url.path()
            ),
            source: Some(Arc::new(error)),
        })
    }

    /// Makes a request, again and again while that may help. Between tries it sleeps.
    async fn send(&self, call: &Call<'_>) -> Result<Vec<u8>, StoreError> {
        let mut delays = ExponentialBuilder::new()
            .with_min_delay(Duration::from_millis(50))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .with_total_delay(Some(self.retry_for))
            .build();
        loop {
            let failed = match self.attempt(call).await {
                Ok(body) => return Ok(body),
                Err(failed) => failed,
            };
            let keeps_keys = self.features.get().is_some_and(Features::keeps_keys);
            let repeatable = !failed.reached || call.harmless || (call.key.is_some() && keeps_keys);
            let delay = (failed.passing && repeatable).then(|| delays.next()).flatten();
            let Some(delay) = delay else {
                return Err(failed.error);
            };
            tracing::debug!(
                target: "lightning::client",
                path = call.url.path(),
                seconds = delay.as_secs_f64(),
                error = %failed.error,
                "trying again"
            );
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Vec<u8>, Failed> {
        let mut request = self
            .http
            .request(call.method.clone(), call.url.clone())
            .timeout(self.request_timeout.saturating_add(call.wait))
            .header(wire::FEATURES_HEADER, wire::JSON_RESOURCES);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(key) = call.key {
            request = request.header(wire::KEY_HEADER, wire::encode_key(key));
        }
        if let Some(body) = &call.body {
            request = request
                .header(header::CONTENT_TYPE, call.content_type)
                .body(body.clone());
        }
        let answer = request.send().await.map_err(|error| self.unreachable(error))?;
        let status = answer.status();
        let features = answer
            .headers()
            .get(wire::FEATURES_HEADER)
            .map(|value| value.to_str().ok());
        // What stands between us and the server knows nothing of features.
        if features.is_some() || status.is_success() {
            self.features.set(Features::announced(features.flatten()));
        }
        let body = answer.bytes().await.map_err(|error| self.unreachable(error))?;
        if status.is_success() {
            return Ok(body.into());
        }
        Err(refused(status, &body, call.about))
    }

    fn unreachable(&self, error: reqwest::Error) -> Failed {
        let error = error.without_url();
        let reached = !error.is_connect() && !error.is_builder();
        let mut url = self.base.clone();
        let _ = url.set_password(None);
        let _ = url.set_username("");
        let what = if error.is_connect() {
            "cannot connect to"
        } else if error.is_timeout() {
            "no answer in time from"
        } else {
            "lost the connection to"
        };
        Failed {
            error: StoreError::Unavailable {
                reason: format!("{what} {url}: {}", innermost(&error)),
                source: Some(Arc::new(error)),
            },
            passing: true,
            reached,
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

fn unreadable(error: &serde_json::Error) -> StoreError {
    StoreError::invalid("request", format!("cannot be written as a query: {error}"))
}

/// Restores the error of an answer that is no success.
fn refused(status: StatusCode, body: &[u8], about: About<'_>) -> Failed {
    let final_error = |error| Failed {
        error,
        passing: false,
        reached: true,
    };
    let passing = matches!(status.as_u16(), 408 | 429 | 502 | 503 | 504);
    let Ok(body) = serde_json::from_slice::<PythonBody>(body) else {
        let reason = format!("it answered {status}");
        let error = if passing {
            StoreError::Unavailable { reason, source: None }
        } else {
            StoreError::Internal {
                reason: format!("{reason} without saying why"),
                source: None,
            }
        };
        return Failed {
            error,
            passing,
            reached: true,
        };
    };
    let PythonBody { body, traceback } = body;
    let text = body.text();
    if let Some(error) = body.error {
        return Failed {
            error: error.into_store_error(body.error_id.as_deref()),
            passing,
            reached: true,
        };
    }
    if let Some(missing) = about.missing(traceback.as_deref().unwrap_or(&text)) {
        return final_error(missing.into());
    }
    if passing {
        let error = StoreError::Unavailable {
            reason: text,
            source: None,
        };
        return Failed {
            error,
            passing,
            reached: true,
        };
    }
    final_error(match status {
        StatusCode::UNAUTHORIZED => StoreError::invalid("token", text),
        StatusCode::FORBIDDEN => StoreError::invalid("access", text),
        status if status.is_client_error() => {
            let field = first_field(&body.detail).unwrap_or_else(|| "request".to_owned());
            wire::WireError::Invalid { field, problem: text }.into_store_error(None)
        }
        status => StoreError::Internal {
            reason: match traceback
                .as_deref()
                .and_then(|traceback| traceback.trim().lines().last())
            {
                Some(last) => format!("the server answered {status}: {last}"),
                None => format!("the server answered {status}: {text}"),
            },
            source: None,
        },
    })
}

/// An error as Python's server writes it.
#[derive(serde::Deserialize)]
struct PythonBody {
    #[serde(flatten)]
    body: ErrorBody,
    #[serde(default)]
    traceback: Option<String>,
}

/// The field that a list of what is wrong names first.
fn first_field(detail: &serde_json::Value) -> Option<String> {
    let path = detail.get(0)?.get("loc")?.as_array()?;
    let names: Vec<&str> = path
        .iter()
        .skip(1)
        .filter_map(serde_json::Value::as_str)
        .collect();
    match &names[..] {
        [] => None,
        [.., "config", last] => Some(format!("config.{last}")),
        [.., last] => Some((*last).to_owned()),
    }
}

impl About<'_> {
    /// What is not there, if that is what the text ends with.
    fn missing(self, text: &str) -> Option<NotFound> {
        let rollout_id = self.rollout_id?;
        let mut candidates = vec![
            NotFound::Rollout(rollout_id.clone()),
            NotFound::UpdatedRollout(rollout_id.clone()),
            NotFound::NoAttempts(rollout_id.clone()),
        ];
        candidates.extend(self.attempt_id.map(|attempt_id| NotFound::Attempt {
            rollout_id: rollout_id.clone(),
            attempt_id: attempt_id.clone(),
        }));
        let text = text.trim_end();
        // How the reference's release really words it.
        if text.ends_with(&format!("primary key(s): rollout_id='{rollout_id}'")) {
            return Some(NotFound::UpdatedRollout(rollout_id.clone()));
        }
        candidates
            .into_iter()
            .find(|missing| text.ends_with(&missing.to_string()))
    }
}
