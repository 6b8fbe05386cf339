//! What of `tracing` is recorded, and how.

use std::sync::{Arc, Mutex};

use lightning_core::{
    tracer::{self, LayerOptions, RecordingOptions},
    types::{Span, SpanStatusCode},
};
use serde_json::json;
use tracing::{Subscriber, debug, debug_span, error, field, info, info_span, trace_span, warn};
use tracing_subscriber::{Layer, layer::Context, prelude::*, registry::LookupSpan};

use super::{installed, paths, recording};

/// The spans that `act` records under a subscriber with this layer.
fn recorded(options: LayerOptions, act: impl FnOnce()) -> Vec<Span> {
    let recording = recording();
    let subscriber = tracing_subscriber::registry().with(tracer::layer_with(options));
    tracing::subscriber::with_default(subscriber, || recording.in_scope(act));
    recording.drain()
}

fn various() {
    drop(tracing::error_span!("error"));
    drop(info_span!("info"));
    drop(debug_span!("debug"));
    drop(trace_span!("trace"));
    drop(info_span!(target: "lightning_core", "diagnostics"));
    drop(info_span!(target: "lightning_core::runner", "diagnostics below"));
    drop(info_span!(target: "lightning::runner", "diagnostics by their own target"));
    drop(info_span!(target: "lightning_core_agent", "another crate"));
    drop(info_span!(target: "agent::search", "search"));
}

#[test]
fn the_level_and_the_target_decide() {
    let default = recorded(LayerOptions::default(), various);
    assert_eq!(paths(&default), ["error", "info", "another crate", "search"]);
    let all = recorded(LayerOptions::default().level(tracing::Level::TRACE), various);
    assert_eq!(
        paths(&all),
        ["error", "info", "debug", "trace", "another crate", "search"]
    );
    let some = recorded(
        LayerOptions::default().only("agent").only("lightning_core_agent"),
        various,
    );
    assert_eq!(paths(&some), ["another crate", "search"]);
    let others = recorded(LayerOptions::default().exclude("agent::search"), various);
    assert_eq!(paths(&others), ["error", "info", "another crate"]);
}

#[test]
fn fields_become_attributes() {
    let spans = recorded(LayerOptions::default(), || {
        let span = info_span!(
            "span",
            text = "Grüße",
            empty = "",
            number = -3,
            float = 1.5,
            odd = f64::NAN,
            big = u64::MAX,
            yes = true,
            shown = %"display",
            debugged = ?[1, 2],
            message = "a message",
            late = field::Empty,
            never = field::Empty,
            changed = 1,
        );
        span.record("late", 7);
        span.record("changed", 2);
    });
    assert_eq!(
        json!(spans[0].attributes),
        json!({
            "text": "Grüße", "empty": "", "number": -3, "float": 1.5, "odd": "NaN", "big": u64::MAX, "yes": true,
            "shown": "display", "debugged": "[1, 2]", "message": "a message", "late": 7, "changed": 2,
        })
    );
    assert_eq!(spans[0].status.status_code, SpanStatusCode::Unset);
    assert!(spans[0].end_time >= spans[0].start_time && spans[0].start_time.is_some());
}

#[test]
fn events_stay_with_their_span_and_errors_set_its_status() {
    let spans = recorded(LayerOptions::default(), || {
        info!("outside of any span: a line of a log, not of the trace");
        let outer = info_span!("outer").entered();
        info!(tokens = 12, "asked");
        debug!("too quiet");
        warn!(code = 1);
        {
            let _inner = info_span!("inner").entered();
            let problem = std::io::Error::other("disk full");
            error!(
                error = &problem as &(dyn std::error::Error + 'static),
                "cannot write"
            );
            error!(parent: &outer, "cannot go on");
            info!(target: "lightning_core", "diagnostics");
        }
        let step = lightning_core::emitter::operation("step").unwrap();
        error!("the step failed");
        drop(step);
    });
    let [inner, step, outer] = &spans[..] else {
        panic!("{spans:?}")
    };
    let told = |span: &Span| -> Vec<String> { span.events.iter().map(|event| event.name.clone()).collect() };
    assert_eq!(told(inner), ["cannot write"]);
    assert_eq!(inner.events[0].attributes["error"], "disk full");
    assert_eq!(inner.events[0].attributes["level"], "ERROR");
    assert_eq!(inner.status.status_code, SpanStatusCode::Error);
    assert_eq!(inner.status.description.as_deref(), Some("cannot write"));
    assert_eq!(outer.events[0].name, "asked");
    assert_eq!(outer.events[0].attributes["tokens"], 12);
    assert_eq!(outer.events[0].attributes["target"], "tracing::layer");
    assert!(outer.events[0].timestamp.is_some());
    assert_eq!(outer.events[1].attributes["code"], 1);
    assert_eq!(outer.events[2].name, "cannot go on");
    assert_eq!(outer.events.len(), 3);
    assert_eq!(outer.status.description.as_deref(), Some("cannot go on"));
    assert_eq!(told(step), ["the step failed"]);
    assert_eq!(step.status.status_code, SpanStatusCode::Error);
}

#[test]
fn an_error_that_an_instrumented_function_returns_sets_its_status() {
    #[tracing::instrument(err)]
    fn fails() -> Result<(), std::io::Error> {
        Err(std::io::Error::other("disk full"))
    }
    let spans = recorded(LayerOptions::default(), || {
        drop(fails().unwrap_err());
    });
    assert_eq!(spans[0].status.status_code, SpanStatusCode::Error);
    assert_eq!(spans[0].status.description.as_deref(), Some("disk full"));
}

#[test]
fn a_span_keeps_only_so_many_events() {
    let options = RecordingOptions {
        max_events_per_span: 2,
        ..RecordingOptions::default()
    };
    let recording = tracer::Recording::start(
        "ro-1".into(),
        "at-1".into(),
        Arc::new(super::JumpingClock::new()),
        Arc::new(lightning_core::ids::RandomIds),
        options,
    );
    installed();
    recording.in_scope(|| {
        let _span = info_span!("span").entered();
        (0..5).for_each(|_| info!("again"));
    });
    let spans = recording.drain();
    assert_eq!(spans[0].events.len(), 2);
    assert_eq!(spans[0].extra["dropped_events_count"], 3);
}

#[test]
fn what_follows_from_another_span_links_to_it() {
    let spans = recorded(LayerOptions::default(), || {
        let cause = info_span!("cause");
        let effect = info_span!("effect");
        effect.follows_from(&cause);
        drop(cause);
        drop(effect);
    });
    assert_eq!(spans[1].links.len(), 1);
    assert_eq!(spans[1].links[0].context.span_id, spans[0].span_id);
    assert_eq!(spans[1].links[0].context.trace_id, spans[0].trace_id);
    assert_eq!(spans[0].links, []);
}

#[test]
fn outside_of_a_recording_nothing_happens() {
    let recording = recording();
    let subscriber = tracing_subscriber::registry().with(tracer::layer());
    tracing::subscriber::with_default(subscriber, || {
        let before = info_span!("before");
        recording.in_scope(|| {
            let _entered = before.enter();
            info!("in a span that is not recorded");
            drop(info_span!("inside"));
        });
        drop(info_span!("after"));
    });
    assert_eq!(paths(&recording.drain()), ["inside"]);
}

#[test]
fn the_layer_may_be_there_twice() {
    let recording = recording();
    let subscriber = tracing_subscriber::registry()
        .with(tracer::layer())
        .with(tracer::layer());
    tracing::subscriber::with_default(subscriber, || {
        recording.in_scope(|| drop(info_span!("once")));
    });
    assert_eq!(recording.recorded(), 1);
    assert_eq!(paths(&recording.drain()), ["once"]);
}

/// Another layer of the same program, such as one that prints.
struct Names(Arc<Mutex<Vec<&'static str>>>);

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Names {
    fn on_new_span(
        &self,
        attributes: &tracing::span::Attributes<'_>,
        _: &tracing::span::Id,
        _: Context<'_, S>,
    ) {
        self.0.lock().unwrap().push(attributes.metadata().name());
    }
}

#[test]
fn other_layers_still_see_everything() {
    let (recording, names) = (recording(), Arc::new(Mutex::new(Vec::new())));
    let subscriber = tracing_subscriber::registry()
        .with(tracer::layer())
        .with(Names(names.clone()));
    tracing::subscriber::with_default(subscriber, || {
        assert!(tracer::is_installed());
        recording.in_scope(|| {
            let _info = info_span!("info").entered();
            let _quiet = debug_span!("quiet").entered();
            drop(info_span!("inner"));
        });
    });
    assert_eq!(*names.lock().unwrap(), ["info", "quiet", "inner"]);
    assert_eq!(paths(&recording.drain()), ["info/inner", "info"]);
}

#[test]
fn installing_twice_is_an_error_that_says_what_to_do() {
    installed();
    assert!(tracer::is_installed());
    let error = tracer::install().unwrap_err().to_string();
    assert!(
        error.contains("add `lightning_core::tracer::layer()` to that one"),
        "{error}"
    );
    let subscriber = tracing_subscriber::registry();
    assert!(!tracing::subscriber::with_default(
        subscriber,
        tracer::is_installed
    ));
}
