//! Figures for Prometheus: what the server did, counted as it happens, and how the store stands, looked up when asked.

use std::{
    sync::{OnceLock, atomic::AtomicU64},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use serde_json::Value;

use crate::{
    store::{Answer, Store, StoreError},
    types::{RolloutMode, RolloutStatus},
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RequestLabels {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RouteLabels {
    method: &'static str,
    route: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct CommandLabels {
    command: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RolloutLabels {
    status: &'static str,
    mode: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ModeLabels {
    mode: &'static str,
}

/// A gauge that holds what JSON numbers do.
type FloatGauge = Gauge<f64, AtomicU64>;

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct RefusalLabels {
    reason: &'static str,
}

/// The figures of one route, looked up once: the labels of a request need no copies then.
pub(super) struct RouteFigures {
    method: &'static str,
    route: Box<str>,
    /// These are made when the first request is answered: what nobody asks for fills no page.
    seconds: OnceLock<Histogram>,
    common: [OnceLock<Counter>; COMMON.len()],
}

const COMMON: [StatusCode; 2] = [StatusCode::OK, StatusCode::CREATED];

pub(super) struct Metrics {
    registry: Registry,
    refused: Family<RefusalLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    commands: Family<CommandLabels, Counter>,
    created: Family<ModeLabels, Counter>,
    rollouts: Family<RolloutLabels, Gauge>,
    totals: [(&'static str, FloatGauge); 8],
}

impl Metrics {
    pub(super) fn new() -> Self {
        let mut registry = Registry::with_prefix("lightning");
        let requests = Family::default();
        registry.register("http_requests", "Requests that were answered", requests.clone());
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.000_1, 4.0, 9));
        let seconds = Family::new_with_constructor(histogram);
        let help = "Time from the head of a request to that of its answer, waiting included";
        registry.register_with_unit("http_request", help, Unit::Seconds, seconds.clone());
        let refused = Family::default();
        registry.register(
            "http_refused",
            "Requests that were refused for want of a token, for its role, or for where they came from",
            refused.clone(),
        );
        let commands = Family::default();
        registry.register(
            "commands",
            "Commands that were given to the store",
            commands.clone(),
        );
        let created = Family::default();
        registry.register(
            "rollouts_created",
            "Rollouts made through this server",
            created.clone(),
        );
        let rollouts = Family::default();
        registry.register("rollouts", "Rollouts at the store", rollouts.clone());
        let mut total = |name: &'static str, metric: &str, help: &str| {
            let gauge = FloatGauge::default();
            registry.register(metric, help, gauge.clone());
            (name, gauge)
        };
        let totals = [
            total("total_attempts", "attempts", "Attempts at the store"),
            total("total_spans", "spans", "Spans at the store"),
            total("total_span_bytes", "span_bytes", "Memory that the spans take"),
            total("total_resources", "resources", "Sets of resources at the store"),
            total("total_workers", "workers", "Workers that the store knows"),
            total("queue_length", "queue_length", "Rollouts in the queue"),
            total("waiters", "waiters", "Callers that are parked at the store"),
            total("uptime", "uptime_seconds", "Since the store was opened"),
        ];
        Self {
            registry,
            refused,
            requests,
            seconds,
            commands,
            created,
            rollouts,
            totals,
        }
    }

    /// The figures of a route; of all that is not routed without a method.
    pub(super) fn route(method: Option<&Method>, route: &str) -> RouteFigures {
        RouteFigures {
            method: method.map_or("other", known),
            route: route.into(),
            seconds: OnceLock::new(),
            common: Default::default(),
        }
    }

    pub(super) fn answered(
        &self,
        figures: &RouteFigures,
        method: &Method,
        status: StatusCode,
        took: Duration,
    ) {
        let method = known(method);
        let count = || {
            self.requests.get_or_create_owned(&RequestLabels {
                method,
                route: figures.route.to_string(),
                status: status.as_u16(),
            })
        };
        let seconds = || {
            self.seconds.get_or_create_owned(&RouteLabels {
                method,
                route: figures.route.to_string(),
            })
        };
        if method != figures.method {
            count().inc();
            seconds().observe(took.as_secs_f64());
            return;
        }
        figures.seconds.get_or_init(seconds).observe(took.as_secs_f64());
        match COMMON
            .iter()
            .zip(&figures.common)
            .find(|(common, _)| **common == status)
        {
            Some((_, counter)) => counter.get_or_init(count).inc(),
            None => count().inc(),
        };
    }

    pub(super) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusalLabels { reason }).inc();
    }

    pub(super) fn command(&self, command: &'static str, answer: &Result<Answer, StoreError>) {
        let outcome = match answer {
            Ok(_) => "ok",
            Err(StoreError::NotFound(_)) => "not_found",
            Err(StoreError::Invalid { .. }) => "invalid",
            Err(StoreError::KeyReused { .. }) => "key_reused",
            Err(StoreError::Draining) => "draining",
            Err(StoreError::Unavailable { .. }) => "unavailable",
            Err(StoreError::Internal { .. }) => "internal",
        };
        self.commands
            .get_or_create(&CommandLabels { command, outcome })
            .inc();
        match answer {
            Ok(Answer::Enqueued(rollouts)) => rollouts.iter().for_each(|rollout| self.made(rollout.mode)),
            Ok(Answer::Started(started))
                if started.attempt.sequence_id == 1 && command == "start_rollout" =>
            {
                self.made(started.mode);
            }
            _ => {}
        }
    }

    fn made(&self, mode: Option<RolloutMode>) {
        let mode = mode.map_or("none", RolloutMode::as_str);
        self.created.get_or_create(&ModeLabels { mode }).inc();
    }

    /// All figures in Prometheus' text format.
    pub(super) async fn render(&self, store: &dyn Store) -> Result<String, StoreError> {
        let statistics = store.statistics().await?;
        let modes = [None].into_iter().chain(RolloutMode::ALL.map(Some));
        for status in RolloutStatus::ALL {
            for mode in modes.clone() {
                let counted = statistics.rollouts.iter();
                let counted = counted.filter(|counted| (counted.status, counted.mode) == (status, mode));
                let labels = RolloutLabels {
                    status: status.as_str(),
                    mode: mode.map_or("none", RolloutMode::as_str),
                };
                let count: u64 = counted.map(|counted| counted.count).sum();
                self.rollouts
                    .get_or_create(&labels)
                    .set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        let statistics = serde_json::to_value(statistics);
        let statistics = statistics.map_err(|error| unreadable(&error))?;
        for (name, gauge) in &self.totals {
            gauge.set(statistics.get(name).and_then(Value::as_f64).unwrap_or(0.0));
        }
        let mut page = String::new();
        text::encode(&mut page, &self.registry).map_err(|error| unreadable(&error))?;
        Ok(page)
    }
}

/// The method's name, if it is one of those that there are: callers must not make up labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        Method::POST => "POST",
        _ => "other",
    }
}

fn unreadable(error: &dyn std::error::Error) -> StoreError {
    StoreError::Internal {
        reason: format!("the metrics could not be written: {error}"),
        source: None,
    }
}
