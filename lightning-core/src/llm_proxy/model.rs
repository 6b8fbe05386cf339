//! What stands behind the proxy: models, their backends, and what they are granted.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::types::{JsonObject, Secret, without_password};

/// A model behind the proxy. `Debug` shows no key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxyModel {
    /// The name that agents use.
    pub name: String,
    /// Which interface its backends speak.
    #[serde(default)]
    pub family: ApiFamily,
    /// The servers that have it; at least one. A rollout stays with one of them for as long as that one answers.
    pub backends: Vec<ProxyBackend>,
    /// Parameters that are added to each request that does not set them.
    #[serde(default)]
    pub parameters: JsonObject,
    /// Parameters for rollouts of one mode; they go before `parameters`.
    #[serde(default)]
    pub parameters_by_mode: ParametersByMode,
    /// How many calls it is granted.
    #[serde(default)]
    pub limits: CallLimits,
    /// How long a call may take.
    #[serde(default)]
    pub time_limits: TimeLimits,
    /// How often a call is tried again.
    #[serde(default)]
    pub retries: Retries,
    /// When a backend is left alone.
    #[serde(default)]
    pub breaker: BreakerLimits,
}

impl ProxyModel {
    /// A model that has the same name on both sides, at one backend that needs no key.
    pub fn new(name: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            family: ApiFamily::default(),
            backends: vec![ProxyBackend::new(base_url)],
            parameters: JsonObject::new(),
            parameters_by_mode: ParametersByMode::default(),
            limits: CallLimits::default(),
            time_limits: TimeLimits::default(),
            retries: Retries::default(),
            breaker: BreakerLimits::default(),
        }
    }

    /// Which interface the backends speak; OpenAI's if not set.
    #[must_use]
    pub fn family(mut self, family: ApiFamily) -> Self {
        self.family = family;
        self
    }

    /// Replaces the backends.
    #[must_use]
    pub fn backends(mut self, backends: impl IntoIterator<Item = ProxyBackend>) -> Self {
        self.backends = backends.into_iter().collect();
        self
    }

    /// Adds a parameter to each request that does not set it.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        self.parameters.insert(name.into(), value.into());
        self
    }

    /// How many calls it is granted; without end if not set.
    #[must_use]
    pub fn limits(mut self, limits: CallLimits) -> Self {
        self.limits = limits;
        self
    }

    /// How long a call may take.
    #[must_use]
    pub fn time_limits(mut self, limits: TimeLimits) -> Self {
        self.time_limits = limits;
        self
    }

    /// How often a call is tried again.
    #[must_use]
    pub fn retries(mut self, retries: Retries) -> Self {
        self.retries = retries;
        self
    }

    /// When a backend is left alone.
    #[must_use]
    pub fn breaker(mut self, breaker: BreakerLimits) -> Self {
        self.breaker = breaker;
        self
    }
}

/// The interface of a model's server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ApiFamily {
    /// OpenAI's: chat completions, completions, embeddings, responses. vLLM, SGLang, llama.cpp and Ollama speak it too.
    #[default]
    OpenAi,
    /// Anthropic's: messages.
    Anthropic,
}

impl fmt::Display for ApiFamily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OpenAi => "OpenAI",
            Self::Anthropic => "Anthropic",
        })
    }
}

/// Parameters by the mode of the rollout that a call belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParametersByMode {
    /// For training.
    pub train: JsonObject,
    /// For validation.
    pub val: JsonObject,
    /// For tests.
    pub test: JsonObject,
}

/// A server that has a model.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ProxyBackend {
    /// The server's base URL, such as `http://127.0.0.1:8000/v1`. One without a path gets `/v1`.
    #[serde(deserialize_with = "base_url")]
    pub base_url: String,
    /// What the backend is called in records and logs; its base URL, if this is `None`.
    #[serde(default)]
    pub name: Option<String>,
    /// The model's name at that server; the model's own name, if this is `None`.
    #[serde(default)]
    pub model: Option<String>,
    /// The key, where the server wants one. It takes the place of whatever the client sends.
    #[serde(default)]
    pub api_key: Option<SecretSource>,
    /// Headers of each request; they replace the client's.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretSource>,
    /// Its share of the rollouts, beside the other backends' weights; 1 if not set.
    #[serde(default = "one")]
    pub weight: f64,
    /// How many calls it is granted, among those of the model.
    #[serde(default)]
    pub limits: CallLimits,
    /// Whether it can be asked for token ids, as vLLM can. They are asked for in calls that belong to a rollout.
    #[serde(default)]
    pub return_token_ids: bool,
    /// Whether it can be asked for log-probabilities. They are asked for in calls that belong to a rollout.
    #[serde(default)]
    pub logprobs: bool,
    /// Whether it can be asked for the usage at the end of a stream. It is asked for in calls that belong to a rollout,
    /// and the client sees it as one more event.
    #[serde(default)]
    pub stream_usage: bool,
}

impl ProxyBackend {
    /// A server that needs no key.
    pub fn new(base_url: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            name: None,
            model: None,
            api_key: None,
            headers: BTreeMap::new(),
            weight: one(),
            limits: CallLimits::default(),
            return_token_ids: false,
            logprobs: false,
            stream_usage: false,
        }
    }

    /// What the backend is called in records and logs.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// The model's name at that server.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// The key, or where it is found.
    #[must_use]
    pub fn api_key(mut self, key: impl Into<SecretSource>) -> Self {
        self.api_key = Some(key.into());
        self
    }

    /// Sets a header of each request.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<SecretSource>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Its share of the rollouts.
    #[must_use]
    pub fn weight(mut self, weight: f64) -> Self {
        self.weight = weight;
        self
    }

    /// How many calls it is granted.
    #[must_use]
    pub fn limits(mut self, limits: CallLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Says that it can be asked for token ids.
    #[must_use]
    pub fn with_token_ids(mut self) -> Self {
        self.return_token_ids = true;
        self
    }

    /// Says that it can be asked for log-probabilities.
    #[must_use]
    pub fn with_logprobs(mut self) -> Self {
        self.logprobs = true;
        self
    }

    /// What it is called in records and logs; never a password.
    #[cfg(feature = "llm-proxy")]
    pub(crate) fn label(&self) -> String {
        self.name
            .clone()
            .unwrap_or_else(|| without_password(&self.base_url))
    }
}

impl fmt::Debug for ProxyBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyBackend")
            .field("base_url", &without_password(&self.base_url))
            .field("name", &self.name)
            .field("model", &self.model)
            .field("api_key", &self.api_key)
            .field("headers", &self.headers)
            .field("weight", &self.weight)
            .field("limits", &self.limits)
            .field("return_token_ids", &self.return_token_ids)
            .field("logprobs", &self.logprobs)
            .field("stream_usage", &self.stream_usage)
            .finish()
    }
}

/// A key, or where it is found. In a file: text, `{env: NAME}` or `{file: PATH}`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SecretSource {
    /// The key itself.
    Literal(Secret),
    /// The environment variable that holds it.
    Env(String),
    /// The file that holds it; space around it does not count.
    File(PathBuf),
}

impl SecretSource {
    /// The key in an environment variable.
    pub fn env(name: impl Into<String>) -> Self {
        Self::Env(name.into())
    }

    /// The key in a file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        Self::File(path.as_ref().to_owned())
    }

    /// The key, or what is in the way.
    #[cfg(feature = "llm-proxy")]
    pub(crate) fn resolve(&self) -> Result<Secret, String> {
        let (text, place) = match self {
            Self::Literal(secret) => return Ok(secret.clone()),
            Self::Env(name) => {
                let place = format!("the environment variable `{name}`");
                let value = std::env::var(name);
                (
                    value.map_err(|_| format!("{place} is not set, or is not text"))?,
                    place,
                )
            }
            Self::File(path) => {
                let place = format!("the file `{}`", path.display());
                let text = std::fs::read_to_string(path);
                (
                    text.map_err(|error| format!("{place} cannot be read: {error}"))?,
                    place,
                )
            }
        };
        match text.trim() {
            "" => Err(format!("{place} is empty")),
            text => Ok(text.into()),
        }
    }
}

impl From<Secret> for SecretSource {
    fn from(secret: Secret) -> Self {
        Self::Literal(secret)
    }
}

impl From<&str> for SecretSource {
    fn from(secret: &str) -> Self {
        Self::Literal(secret.into())
    }
}

impl Serialize for SecretSource {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Literal(secret) => secret.serialize(serializer),
            Self::Env(name) => serializer.collect_map([("env", name)]),
            Self::File(path) => serializer.collect_map([("file", path)]),
        }
    }
}

impl<'de> Deserialize<'de> for SecretSource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Source;

        const WANTED: &str =
            "expected a key: text in quotes, `{env: NAME}` or `{file: PATH}` (what is there is not shown)";

        impl Source {
            fn refuse<E: de::Error>() -> Result<SecretSource, E> {
                Err(E::custom(WANTED))
            }
        }

        // A key of digits whose quotes were forgotten is still a key, so nothing is repeated.
        impl<'de> de::Visitor<'de> for Source {
            type Value = SecretSource;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(WANTED)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<SecretSource, E> {
                Ok(text.into())
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretSource, E> {
                Self::refuse()
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretSource, E> {
                Self::refuse()
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretSource, E> {
                Self::refuse()
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretSource, E> {
                Self::refuse()
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<SecretSource, A::Error> {
                let source = match map.next_key::<String>()?.as_deref() {
                    Some("env") => SecretSource::Env(map.next_value()?),
                    Some("file") => SecretSource::File(map.next_value()?),
                    _ => return Self::refuse(),
                };
                if map.next_key::<de::IgnoredAny>()?.is_some() {
                    return Self::refuse();
                }
                Ok(source)
            }
        }

        deserializer.deserialize_any(Source)
    }
}

/// How many calls somebody is granted. Further ones wait in line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallLimits {
    /// How many at once; without end if `None`.
    pub concurrency: Option<u32>,
    /// How many a minute, in bursts of a second's worth; without end if `None`.
    pub requests_per_minute: Option<f64>,
    /// How long a call waits before it is refused with `429`; 60 s if not set.
    #[serde(rename = "max_wait_seconds", with = "seconds")]
    pub max_wait: Duration,
}

impl Default for CallLimits {
    fn default() -> Self {
        Self {
            concurrency: None,
            requests_per_minute: None,
            max_wait: Duration::from_secs(60),
        }
    }
}

/// How long a call may take. In a file each field ends in `_seconds`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TimeLimits {
    /// Until the backend has accepted the connection; 10 s if not set.
    #[serde(rename = "connect_seconds", with = "seconds")]
    pub connect: Duration,
    /// From sending the request to the first byte of the answer's body; 600 s if not set, as an answer that is not
    /// streamed comes only when it is complete.
    #[serde(rename = "first_byte_seconds", with = "seconds")]
    pub first_byte: Duration,
    /// Between two pieces of the answer; 120 s if not set.
    #[serde(rename = "between_bytes_seconds", with = "seconds")]
    pub between_bytes: Duration,
    /// From the request to the last byte, with all tries; 1800 s if not set.
    #[serde(rename = "total_seconds", with = "seconds")]
    pub total: Duration,
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(10),
            first_byte: Duration::from_secs(600),
            between_bytes: Duration::from_secs(120),
            total: Duration::from_secs(1800),
        }
    }
}

/// How often a call is tried again, after connection errors and the statuses 408, 409, 429 and 5xx, as long as nothing of
/// the answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retries {
    /// How often, after the first try; 3 if not set.
    pub max: u32,
    /// The pause before the second try at the same backend; doubled each time; 0.25 s if not set.
    #[serde(rename = "first_delay_seconds", with = "seconds")]
    pub first_delay: Duration,
    /// The longest pause. A backend that asks for a longer one is not asked again; 30 s if not set.
    #[serde(rename = "max_delay_seconds", with = "seconds")]
    pub max_delay: Duration,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            max: 3,
            first_delay: Duration::from_millis(250),
            max_delay: Duration::from_secs(30),
        }
    }
}

impl Retries {
    /// Every call is tried once.
    pub fn never() -> Self {
        Self {
            max: 0,
            ..Self::default()
        }
    }
}

/// When a backend is left alone, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BreakerLimits {
    /// After how many failures in a row (lost connections, 5xx, time limits); 5 if not set.
    pub failures: u32,
    /// For how long, before one call tries it again; 10 s if not set.
    #[serde(rename = "pause_seconds", with = "seconds")]
    pub pause: Duration,
}

impl Default for BreakerLimits {
    fn default() -> Self {
        Self {
            failures: 5,
            pause: Duration::from_secs(10),
        }
    }
}

fn one() -> f64 {
    1.0
}

/// What is wrong with a base URL, if anything is.
pub(crate) fn base_url_problem(url: &str) -> Option<&'static str> {
    let rest = url
        .strip_prefix("http://")
        .or_else(|| url.strip_prefix("https://"));
    let Some(rest) = rest else {
        return Some("a base URL begins with http:// or https://");
    };
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') {
        Some("a base URL names a host, as in http://127.0.0.1:8000/v1")
    } else if rest.contains('@') {
        Some("a base URL holds no user and no password; give the key as `api_key` or within `headers`")
    } else if rest.contains(['?', '#']) {
        Some("a base URL has neither `?` nor `#`")
    } else if rest.bytes().any(|byte| !byte.is_ascii_graphic()) {
        Some("a base URL consists of visible ASCII characters")
    } else {
        None
    }
}

fn base_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let url = String::deserialize(deserializer)?;
    match base_url_problem(&url) {
        Some(problem) => Err(de::Error::custom(problem)),
        None => Ok(url),
    }
}

/// Durations as seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        // A year is as good as forever, and keeps every sum of times finite.
        Duration::try_from_secs_f64(seconds)
            .ok()
            .filter(|duration| *duration <= Duration::from_secs(366 * 86_400))
            .ok_or_else(|| de::Error::custom("expected seconds: a number from 0 to a year's worth"))
    }
}
