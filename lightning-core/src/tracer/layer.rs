//! Spans and events of `tracing` as spans of the present recording.

use std::{borrow::Cow, sync::Arc};

use tracing::{
    Event, Level, Metadata, Subscriber,
    level_filters::LevelFilter,
    span::{Attributes, Id, Record},
    subscriber::{Interest, SetGlobalDefaultError},
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, Filter, SubscriberExt as _},
    registry::{LookupSpan, SpanRef as RegistrySpan},
};

use super::{
    context::{self, Parent},
    fields::Fields,
    tape::{SpanId, Tape, failed},
};
use crate::types::{SpanContext, SpanEvent, SpanLink};

/// Which spans and events of `tracing` are recorded.
///
/// The default is those of level INFO and above, of all targets but `lightning` and `lightning_core`, whose spans and
/// events are diagnostics.
#[derive(Clone, Debug)]
pub struct LayerOptions {
    level: LevelFilter,
    only: Vec<Cow<'static, str>>,
    exclude: Vec<Cow<'static, str>>,
}

impl Default for LayerOptions {
    fn default() -> Self {
        Self {
            level: LevelFilter::INFO,
            only: Vec::new(),
            exclude: vec!["lightning".into(), "lightning_core".into()],
        }
    }
}

impl LayerOptions {
    /// Records this level and what is more severe.
    #[must_use]
    pub fn level(mut self, level: impl Into<LevelFilter>) -> Self {
        self.level = level.into();
        self
    }

    /// Records only this target and what is below it (`agent` stands for `agent::search` too). May be called several
    /// times; never called, every target counts.
    #[must_use]
    pub fn only(mut self, target: impl Into<Cow<'static, str>>) -> Self {
        self.only.push(target.into());
        self
    }

    /// Leaves out this target and what is below it. May be called several times.
    #[must_use]
    pub fn exclude(mut self, target: impl Into<Cow<'static, str>>) -> Self {
        self.exclude.push(target.into());
        self
    }

    fn records(&self, metadata: &Metadata<'_>) -> bool {
        let below = |targets: &[Cow<'static, str>]| {
            let mut targets = targets.iter();
            targets.any(|target| is_target_below(metadata.target(), target))
        };
        *metadata.level() <= self.level
            && (self.only.is_empty() || below(&self.only))
            && !below(&self.exclude)
    }
}

/// Whether a target is `other` or below it: `agent::search` is below `agent`, and `agents` is not.
pub(crate) fn is_target_below(target: &str, other: &str) -> bool {
    let rest = target.strip_prefix(other);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A filter of the layer's own: spans and events that it leaves out still reach the other layers.
impl<S> Filter<S> for LayerOptions {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.records(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.records(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.level)
    }
}

/// Turns `tracing` spans made inside a recording into spans of that attempt, with the default [`LayerOptions`].
///
/// Outside of a recording it does nothing. For a program that has its own subscriber:
///
/// ```
/// use tracing_subscriber::layer::SubscriberExt as _;
///
/// let subscriber = tracing_subscriber::registry().with(lightning_core::tracer::layer());
/// # drop(subscriber);
/// ```
///
/// - A span's fields become attributes, also those recorded later. Events inside a span become events of the stored span;
///   one of level ERROR makes its status `ERROR`.
/// - The parent is the span given by `parent:`, or else the innermost open one, be it of `tracing` or an
///   [operation](crate::emitter::operation()). `follows_from` becomes a link.
/// - A span is stored when its last handle is dropped.
pub fn layer<S>() -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    layer_with(LayerOptions::default())
}

/// As [`layer`], with options.
pub fn layer_with<S>(options: LayerOptions) -> impl Layer<S> + Send + Sync
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    RecordingLayer.with_filter(options)
}

/// A subscriber was installed before.
#[derive(Debug, thiserror::Error)]
#[error(
    "a tracing subscriber is installed already: add `lightning_core::tracer::layer()` to that one instead"
)]
pub struct InstallError(#[from] SetGlobalDefaultError);

/// Installs [`layer`] as the program's subscriber, for programs that have no other. Spans are recorded; logs go nowhere,
/// for which there is [`logging::init`](crate::logging::init).
///
/// # Errors
///
/// [`InstallError`] if a subscriber is installed already.
pub fn install() -> Result<(), InstallError> {
    tracing::subscriber::set_global_default(Registry::default().with(layer()))?;
    Ok(())
}

/// Whether the present subscriber has the [`layer`]. Without it, spans of `tracing` are not recorded, only what the
/// [emitters](crate::emitter) emit.
pub fn is_installed() -> bool {
    tracing::dispatcher::get_default(|dispatch| dispatch.is::<RecordingLayer>())
}

struct RecordingLayer;

/// Kept with a span of `tracing` that is recorded.
struct Recorded {
    tape: Arc<Tape>,
    id: SpanId,
}

/// The recorded span that `span` stands for.
fn recorded<'a, S: LookupSpan<'a>>(span: &RegistrySpan<'a, S>) -> Option<(Arc<Tape>, SpanId)> {
    let extensions = span.extensions();
    let recorded = extensions.get::<Recorded>()?;
    Some((recorded.tape.clone(), recorded.id))
}

/// The innermost span of this recording among `id` and its ancestors.
fn nearest<S>(id: &Id, tape: &Tape, cx: &Context<'_, S>) -> Option<SpanId>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let own = |span: RegistrySpan<'_, S>| recorded(&span).filter(|(other, _)| other.number == tape.number);
    cx.span_scope(id)?.find_map(own).map(|(_, id)| id)
}

impl<S> Layer<S> for RecordingLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let (Some(tape), Some(span)) = (context::tape(), cx.span(id)) else {
            return;
        };
        if recorded(&span).is_some() {
            // The layer is part of the subscriber twice.
            return;
        }
        let parent = match attributes.parent() {
            Some(parent) => nearest(parent, &tape, &cx).map_or(Parent::Root, Parent::Span),
            None if attributes.is_root() => Parent::Root,
            None => Parent::Innermost,
        };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(message) = fields.message {
            fields.attributes.insert("message".to_owned(), message.into());
        }
        // What is not recorded is counted there.
        if let Ok(id) = tape.begin(span.name(), fields.attributes, parent) {
            span.extensions_mut().replace(Recorded { tape, id });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, cx: Context<'_, S>) {
        let Some((tape, id)) = cx.span(id).as_ref().and_then(recorded) else {
            return;
        };
        let mut fields = Fields::default();
        values.record(&mut fields);
        if let Some(message) = fields.message {
            fields.attributes.insert("message".to_owned(), message.into());
        }
        tape.amend(id, |span| span.attributes.extend(fields.attributes));
    }

    fn on_follows_from(&self, id: &Id, follows: &Id, cx: Context<'_, S>) {
        let recorded = |id| cx.span(id).as_ref().and_then(recorded);
        if let (Some((tape, id)), Some((other, before))) = (recorded(id), recorded(follows)) {
            let before = other.span_ref(before);
            let link = SpanLink {
                context: SpanContext::new(before.trace_id(), before.span_id()),
                attributes: None,
                extra: crate::types::JsonObject::new(),
            };
            tape.amend(id, |span| span.links.push(link));
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let Some(tape) = context::tape() else {
            return;
        };
        let span = match event.parent() {
            Some(parent) => nearest(parent, &tape, &cx),
            None if event.is_root() => None,
            None => context::innermost(&tape.lock()),
        };
        let Some(span) = span else {
            return;
        };
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = *event.metadata().level();
        let problem = (level == Level::ERROR).then(|| fields.problem().unwrap_or_default());
        let mut attributes = fields.attributes;
        attributes.insert("level".to_owned(), level.as_str().into());
        attributes.insert("target".to_owned(), event.metadata().target().into());
        let name = fields
            .message
            .unwrap_or_else(|| event.metadata().name().to_owned());
        let recorded = SpanEvent {
            name,
            attributes,
            timestamp: Some(tape.now()),
            extra: crate::types::JsonObject::new(),
        };
        tape.add_event(span, recorded);
        if let Some(problem) = problem {
            tape.amend(span, |span| span.status = failed(problem));
        }
    }

    fn on_enter(&self, id: &Id, cx: Context<'_, S>) {
        if let Some((tape, recorded)) = cx.span(id).as_ref().and_then(recorded) {
            context::enter(id.into_u64(), &tape, recorded);
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        context::exit(id.into_u64());
    }

    fn on_close(&self, id: Id, cx: Context<'_, S>) {
        if let Some((tape, id)) = cx.span(&id).as_ref().and_then(recorded) {
            tape.end(id);
        }
    }
}
