//! What the proxy answers by itself.

use std::{fmt::Write as _, sync::atomic::Ordering, time::Duration};

use hyper::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::{
    Serving, Shared,
    call::unknown_model,
    refusal::{Refusal, answer, json_answer},
    route::Caller,
    tee::Outgoing,
};
use crate::llm_proxy::ApiFamily;

/// How long a request waits for recordings, before the answer is that they are not there yet: if it does not say, and at most.
/// Whatever stands in between may close connections on which nothing has come for a minute.
const WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_secs(50);

/// The list of models, or one of them, as the clients of either family read it.
pub(super) fn models(
    shared: &Shared,
    headers: &HeaderMap,
    only: Option<&str>,
) -> Result<Response<Outgoing>, Refusal> {
    let is_anthropic = headers.contains_key("anthropic-version");
    let table = shared.table();
    let entry = |name: &str| {
        if is_anthropic {
            json!({"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"})
        } else {
            json!({"id": name, "object": "model", "created": 0, "owned_by": "lightning"})
        }
    };
    if let Some(name) = only {
        return match table.get(name) {
            Some(_) => Ok(json_answer(StatusCode::OK, &entry(name))),
            None => Err(unknown_model(&table, name)),
        };
    }
    let family = if is_anthropic {
        ApiFamily::Anthropic
    } else {
        ApiFamily::OpenAi
    };
    // Anthropic's clients could use no other model; all others list what there is.
    let models = table.models().iter().map(|model| &model.spec);
    let names: Vec<&str> = models
        .filter(|spec| !is_anthropic || spec.family == family)
        .map(|spec| spec.name.as_str())
        .collect();
    let data: Vec<Value> = names.iter().map(|name| entry(name)).collect();
    let body = if is_anthropic {
        json!({"data": data, "has_more": false, "first_id": names.first(), "last_id": names.last()})
    } else {
        json!({"object": "list", "data": data})
    };
    Ok(json_answer(StatusCode::OK, &body))
}

/// Whether the proxy lets calls through.
pub(super) fn health(shared: &Shared) -> Response<Outgoing> {
    let status = if shared.flow.is_paused() { "paused" } else { "ok" };
    let body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "calls_under_way": shared.flow.under_way(),
    });
    json_answer(StatusCode::OK, &body)
}

/// Waits until the calls of an attempt are recorded, for runners of other processes: for as long as the request says by
/// `?wait_seconds=`, within limits.
pub(super) async fn recorded(
    serving: &Serving,
    caller: &Caller,
    query: Option<&str>,
) -> Result<Response<Outgoing>, Refusal> {
    let wait = match query.unwrap_or_default() {
        "" => WAIT,
        asked => asked
            .strip_prefix("wait_seconds=")
            .and_then(|seconds| Duration::try_from_secs_f64(seconds.parse().ok()?).ok())
            .ok_or_else(|| Refusal::bad("write `?wait_seconds=` and a number of seconds, or nothing"))?,
    };
    let wait = wait.min(LONGEST_WAIT).min(serving.shared.options.record_patience);
    let Some(recorder) = &serving.recorder else {
        return Ok(json_answer(StatusCode::OK, &json!({"recorded": true})));
    };
    let clock = &serving.shared.clock;
    let deadline = clock.now() + wait;
    let body = tokio::select! {
        biased;
        () = recorder.recorded(&caller.rollout, &caller.attempt) => json!({"recorded": true}),
        () = clock.sleep_past(deadline) => {
            let calls = recorder.unsettled(&caller.rollout, &caller.attempt);
            json!({"recorded": false, "calls": calls})
        }
    };
    Ok(json_answer(StatusCode::OK, &body))
}

/// Figures in Prometheus' text format.
pub(super) fn metrics(serving: &Serving) -> Response<Outgoing> {
    let shared = &serving.shared;
    let table = shared.table();
    let now = shared.clock.now();
    let mut page = String::new();
    let mut family =
        |name: &str, kind: &str, help: &str, samples: &mut dyn Iterator<Item = (String, u64)>| {
            // Writing to text does not fail.
            let _ = writeln!(page, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(page, "{name}{labels} {value}");
            }
        };
    let models = || table.models().iter();
    let of = |name: &str| format!("{{model=\"{}\"}}", escaped(name));
    for (name, help, counter) in [
        (
            "lightning_llm_proxy_calls_total",
            "Calls of a model",
            (|counts: &super::table::Counts| &counts.calls) as fn(&_) -> &_,
        ),
        (
            "lightning_llm_proxy_retries_total",
            "Tries after the first",
            |counts| &counts.retries,
        ),
        (
            "lightning_llm_proxy_failed_total",
            "Calls without an answer, or with one of 5xx",
            |counts| &counts.failed,
        ),
    ] {
        let mut samples = models().map(|model| {
            let value = counter(&model.counts).load(Ordering::Relaxed);
            (of(&model.spec.name), value)
        });
        family(name, "counter", help, &mut samples);
    }
    let mut samples = models().flat_map(|model| {
        model.backends.iter().map(move |backend| {
            let is_up = backend.breaker().next_try(now).is_none();
            let labels = format!(
                "{{model=\"{}\",backend=\"{}\"}}",
                escaped(&model.spec.name),
                escaped(&backend.label)
            );
            (labels, u64::from(is_up))
        })
    });
    let help = "Whether a backend is tried, and not left alone after failures";
    family("lightning_llm_proxy_backend_up", "gauge", help, &mut samples);
    let under_way = u64::try_from(shared.flow.under_way()).unwrap_or(u64::MAX);
    family(
        "lightning_llm_proxy_calls_under_way",
        "gauge",
        "Calls under way",
        &mut std::iter::once((String::new(), under_way)),
    );
    if let Some(recorder) = &serving.recorder {
        let figures = recorder.figures();
        let outcomes = [
            ("recorded", figures.recorded),
            ("dropped", figures.dropped),
            ("refused", figures.refused),
        ];
        let mut samples = outcomes
            .into_iter()
            .map(|(outcome, count)| (format!("{{outcome=\"{outcome}\"}}"), count));
        let help = "Calls of rollouts, by what became of their records";
        family("lightning_llm_proxy_records_total", "counter", help, &mut samples);
        let waiting = u64::try_from(figures.waiting).unwrap_or(u64::MAX);
        let mut samples = std::iter::once((String::new(), waiting));
        let help = "Calls that wait to be recorded";
        family("lightning_llm_proxy_records_waiting", "gauge", help, &mut samples);
    }
    answer(StatusCode::OK, "text/plain; version=0.0.4", page)
}

fn escaped(label: &str) -> String {
    label
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}
