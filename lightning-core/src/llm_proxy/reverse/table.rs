//! The models as calls meet them: resolved keys, connections, and how each backend is doing.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::header::{HeaderName, HeaderValue};

use super::{
    balance,
    breaker::Breaker,
    gate::Gate,
    outline::json_text,
    retry,
    route::Target,
    upstream::{NoReply, Upstream},
};
use crate::{
    llm_proxy::{
        ApiFamily, CallLimits, LlmProxyError, ProxyBackend, ProxyModel, capture::Endpoint,
        model::base_url_problem,
    },
    types::{JsonObject, RolloutMode, Timestamp},
};

/// All models. A call keeps the table that it began with.
pub(super) struct Table {
    models: Vec<Arc<Model>>,
    by_name: HashMap<String, usize>,
}

/// A model, and what is known of it while it is in use.
pub(super) struct Model {
    pub(super) spec: ProxyModel,
    pub(super) gate: Arc<Gate>,
    pub(super) backends: Vec<Arc<Backend>>,
    pub(super) counts: Arc<Counts>,
    /// What is added to requests, as JSON: for rollouts of each mode, and for those of none.
    defaults: [Vec<(String, String)>; 4],
}

/// A backend, and what is known of it while it is in use.
pub(super) struct Backend {
    pub(super) label: String,
    pub(super) upstream: Upstream,
    /// The model's name there, and the same as JSON if it differs from the one that agents use.
    pub(super) model: String,
    pub(super) model_json: Option<String>,
    pub(super) gate: Gate,
    pub(super) header: HeaderValue,
    breaker: Mutex<Breaker>,
    spec: ProxyBackend,
    context: (ApiFamily, std::time::Duration),
}

/// What happened to the calls of a model.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) calls: AtomicU64,
    pub(super) retries: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

impl Table {
    /// Checks the models and prepares them. What is as it was in `previous` goes on as it is: connections, the count of
    /// failures, places in line.
    pub(super) fn new(models: Vec<ProxyModel>, previous: Option<&Self>) -> Result<Self, LlmProxyError> {
        if models.is_empty() {
            return Err(invalid("models", "there are none; give at least one"));
        }
        let mut by_name = HashMap::new();
        let mut table = Vec::with_capacity(models.len());
        for (at, spec) in models.into_iter().enumerate() {
            let place = format!("models[{at}]");
            if spec.name.is_empty() {
                return Err(invalid(&format!("{place}.name"), "a model needs a name"));
            }
            if by_name.insert(spec.name.clone(), at).is_some() {
                let problem = format!(
                    "two models are called `{}`; give one model several backends instead",
                    spec.name
                );
                return Err(invalid(&format!("{place}.name"), &problem));
            }
            let before = previous.and_then(|table| table.get(&spec.name));
            table.push(Arc::new(Model::new(spec, &place, before)?));
        }
        Ok(Self {
            models: table,
            by_name,
        })
    }

    pub(super) fn get(&self, name: &str) -> Option<&Arc<Model>> {
        self.by_name.get(name).map(|place| &self.models[*place])
    }

    pub(super) fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.models.iter().map(|model| model.spec.name.clone()).collect()
    }
}

impl Model {
    fn new(spec: ProxyModel, place: &str, before: Option<&Arc<Self>>) -> Result<Self, LlmProxyError> {
        check_limits(&spec.limits, &format!("{place}.limits"))?;
        if spec.breaker.failures == 0 {
            return Err(invalid(&format!("{place}.breaker.failures"), "it is at least 1"));
        }
        if spec.backends.is_empty() {
            let problem = "there are none; give at least one";
            return Err(invalid(&format!("{place}.backends"), problem));
        }
        let mut labels = HashSet::new();
        let mut backends = Vec::with_capacity(spec.backends.len());
        for (at, backend) in spec.backends.iter().enumerate() {
            let place = format!("{place}.backends[{at}]");
            if !labels.insert(backend.label()) {
                let problem = format!("two backends are called `{}`; give them names", backend.label());
                return Err(invalid(&format!("{place}.name"), &problem));
            }
            let made = Backend::new(backend, &spec, &place)?;
            let same = before
                .and_then(|before| before.backends.iter().find(|known| known.is_like(&made)))
                .cloned();
            backends.push(same.unwrap_or_else(|| Arc::new(made)));
        }
        let gate = before.filter(|before| before.spec.limits == spec.limits);
        let by_mode = &spec.parameters_by_mode;
        let of = |mode: &JsonObject| {
            let own = spec
                .parameters
                .iter()
                .filter(|(name, _)| !mode.contains_key(*name));
            mode.iter()
                .chain(own)
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect()
        };
        let none = JsonObject::new();
        Ok(Self {
            defaults: [of(&none), of(&by_mode.train), of(&by_mode.val), of(&by_mode.test)],
            gate: gate.map_or_else(
                || Arc::new(Gate::new(&spec.limits)),
                |before| Arc::clone(&before.gate),
            ),
            counts: before
                .map(|before| Arc::clone(&before.counts))
                .unwrap_or_default(),
            backends,
            spec,
        })
    }

    /// Whether it matters which mode a rollout has.
    pub(super) fn minds_mode(&self) -> bool {
        let modes = &self.spec.parameters_by_mode;
        !(modes.train.is_empty() && modes.val.is_empty() && modes.test.is_empty())
    }

    /// What is added to a request that does not have it.
    pub(super) fn defaults(&self, mode: Option<RolloutMode>) -> &[(String, String)] {
        &self.defaults[match mode {
            None => 0,
            Some(RolloutMode::Train) => 1,
            Some(RolloutMode::Val) => 2,
            Some(RolloutMode::Test) => 3,
        }]
    }

    /// The backends in the order in which a rollout tries them.
    pub(super) fn order(&self, rollout: impl FnOnce() -> String) -> Cow<'static, [usize]> {
        if self.backends.len() == 1 {
            return Cow::Borrowed(&[0]);
        }
        let backends = self.backends.iter();
        let weighted = backends.map(|backend| (backend.label.as_str(), backend.spec.weight));
        Cow::Owned(balance::order(&rollout(), weighted))
    }

    /// The backend for the next try: the first that this call has not tried and that is not left alone, else the first that
    /// is not left alone.
    pub(super) fn pick(&self, order: &[usize], tried: &[usize], now: Timestamp) -> Option<usize> {
        let of_kind = |is_known: bool| {
            let places = order.iter().copied();
            places.filter(move |place| tried.contains(place) == is_known)
        };
        of_kind(false)
            .chain(of_kind(true))
            .find(|place| self.backends[*place].breaker().admits(now, &self.spec.breaker))
    }

    /// Whether there is a backend that this call has not tried and that is not left alone.
    pub(super) fn has_other(&self, tried: &[usize], now: Timestamp) -> bool {
        (0..self.backends.len())
            .any(|place| !tried.contains(&place) && self.backends[place].breaker().next_try(now).is_none())
    }

    /// When the first backend may be tried again, if all are left alone.
    pub(super) fn next_try(&self, now: Timestamp) -> Option<Timestamp> {
        let moments = self
            .backends
            .iter()
            .map(|backend| backend.breaker().next_try(now));
        moments.collect::<Option<Vec<_>>>()?.into_iter().min()
    }

    /// Takes note of how a backend did.
    pub(super) fn observe(
        &self,
        backend: &Backend,
        outcome: Result<hyper::StatusCode, &NoReply>,
        now: Timestamp,
    ) {
        let mut breaker = backend.breaker();
        let opened = match outcome {
            Ok(status) if !retry::is_failure(status) => {
                breaker.succeeded();
                false
            }
            Ok(_) | Err(_) => breaker.failed(now, &self.spec.breaker),
        };
        drop(breaker);
        if opened {
            tracing::warn!(
                target: "lightning::llm_proxy",
                model = self.spec.name,
                backend = backend.label,
                failures = self.spec.breaker.failures,
                pause_seconds = self.spec.breaker.pause.as_secs_f64(),
                "a backend fails again and again; it is left alone"
            );
        }
    }
}

impl Backend {
    fn new(spec: &ProxyBackend, model: &ProxyModel, place: &str) -> Result<Self, LlmProxyError> {
        let at = |field: &str| format!("{place}.{field}");
        if let Some(problem) = base_url_problem(&spec.base_url) {
            return Err(invalid(&at("base_url"), problem));
        }
        if !(spec.weight.is_finite() && spec.weight > 0.0) {
            return Err(invalid(&at("weight"), "it is a number above 0"));
        }
        check_limits(&spec.limits, &at("limits"))?;
        let mut headers = Vec::new();
        if let Some(key) = &spec.api_key {
            let key = key
                .resolve()
                .map_err(|problem| invalid(&at("api_key"), &problem))?;
            let (name, text) = match model.family {
                ApiFamily::OpenAi => ("authorization", format!("Bearer {}", key.expose())),
                ApiFamily::Anthropic => ("x-api-key", key.expose().to_owned()),
            };
            headers.push(header(name, &text).map_err(|problem| invalid(&at("api_key"), &problem))?);
        }
        for (name, value) in &spec.headers {
            let place = at(&format!("headers.{name}"));
            let value = value.resolve().map_err(|problem| invalid(&place, &problem))?;
            headers.push(header(name, value.expose()).map_err(|problem| invalid(&place, &problem))?);
        }
        let connect = model.time_limits.connect;
        let upstream = Upstream::new(&spec.base_url, model.family, headers, connect);
        let upstream = upstream.map_err(|problem| invalid(&at("base_url"), &problem))?;
        let name = spec.model.as_ref().unwrap_or(&model.name);
        let label = spec.label();
        Ok(Self {
            header: HeaderValue::from_str(&label)
                .map_err(|_| invalid(&at("name"), "it consists of visible ASCII characters"))?,
            label,
            upstream,
            model: name.clone(),
            model_json: (*name != model.name).then(|| json_text(name)),
            gate: Gate::new(&spec.limits),
            breaker: Mutex::default(),
            context: (model.family, connect),
            spec: spec.clone(),
        })
    }

    fn is_like(&self, other: &Self) -> bool {
        self.spec == other.spec
            && self.context == other.context
            && self.model_json == other.model_json
            && self.upstream.headers() == other.upstream.headers()
    }

    /// What is asked for besides in calls that belong to a rollout.
    pub(super) fn asks(&self, target: Target, is_stream: bool) -> impl Iterator<Item = &(String, String)> {
        static ASKS: std::sync::LazyLock<[(String, String); 4]> = std::sync::LazyLock::new(|| {
            [
                ("return_token_ids", "true"),
                ("logprobs", "true"),
                // Older completions want a number: how many alternatives there are to be besides.
                ("logprobs", "1"),
                ("stream_options", r#"{"include_usage":true}"#),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
        });
        let is_chat = target == Target::Call(Endpoint::ChatCompletions);
        let is_completion = target == Target::Call(Endpoint::Completions);
        let either = is_chat || is_completion;
        let wanted = [
            self.spec.return_token_ids && either,
            self.spec.logprobs && is_chat,
            self.spec.logprobs && is_completion,
            self.spec.stream_usage && either && is_stream,
        ];
        ASKS.iter()
            .zip(wanted)
            .filter(|(_, wanted)| *wanted)
            .map(|(ask, _)| ask)
    }

    pub(super) fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), String> {
    let name =
        HeaderName::from_bytes(name.as_bytes()).map_err(|_| format!("`{name}` is no name of a header"))?;
    // Neither the value nor what is wrong with it is shown: it may be a key.
    let mut value =
        HeaderValue::from_str(value).map_err(|_| "it holds characters that no header may have".to_owned())?;
    value.set_sensitive(true);
    Ok((name, value))
}

fn check_limits(limits: &CallLimits, place: &str) -> Result<(), LlmProxyError> {
    if limits.concurrency == Some(0) {
        return Err(invalid(&format!("{place}.concurrency"), "it is at least 1"));
    }
    match limits.requests_per_minute {
        Some(rate) if !(rate.is_finite() && rate > 0.0) => Err(invalid(
            &format!("{place}.requests_per_minute"),
            "it is a number above 0",
        )),
        _ => Ok(()),
    }
}

fn invalid(field: &str, problem: &str) -> LlmProxyError {
    LlmProxyError::Invalid {
        field: field.to_owned(),
        problem: problem.to_owned(),
    }
}
