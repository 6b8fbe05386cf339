//! Spans that begin and end at once.

use std::borrow::Cow;

use serde::Serialize;

use super::{Attributes, EmitError, Exception, json};
use crate::{
    semconv,
    tracer::{self, SpanRef},
    types::{JsonObject, Reward, SpanStatusCode},
};

fn emit(
    what: &'static str,
    name: &str,
    status: SpanStatusCode,
    attributes: JsonObject,
) -> Result<SpanRef, EmitError> {
    let tape = tracer::tape().ok_or(EmitError::OutsideRollout { what })?;
    let id = tape
        .point(name, status, attributes)
        .map_err(|reason| EmitError::not_recorded(reason, what, &tape))?;
    Ok(tape.span_ref(id))
}

/// Emits a reward: a number, or a [`Reward`] with several dimensions.
///
/// An agent may emit several; the last one is the final reward of the rollout.
///
/// # Errors
///
/// [`EmitError::OutsideRollout`], [`EmitError::Ended`], [`EmitError::Full`]; [`EmitError::NotFinite`] for NaN and
/// infinities.
pub fn emit_reward(reward: impl Into<Reward>) -> Result<SpanRef, EmitError> {
    emit_reward_with(reward, Attributes::new())
}

/// As [`emit_reward`], with more attributes, such as a [link](Attributes::link) to the answer that is rewarded.
///
/// # Errors
///
/// Those of [`emit_reward`], and [`EmitError::TooDeep`] and [`EmitError::Unserializable`] for the attributes.
pub fn emit_reward_with(reward: impl Into<Reward>, attributes: Attributes) -> Result<SpanRef, EmitError> {
    let reward = reward.into();
    let mut all = JsonObject::new();
    for (index, (dimension, value)) in reward.iter().enumerate() {
        let Some(number) = serde_json::Number::from_f64(value) else {
            let dimension = dimension.to_owned();
            return Err(EmitError::NotFinite { dimension, value });
        };
        let (name_key, value_key) = match index {
            0 => (
                semconv::PRIMARY_REWARD_NAME.to_owned(),
                semconv::PRIMARY_REWARD_VALUE.to_owned(),
            ),
            _ => {
                let prefix = semconv::REWARD_PREFIX;
                (
                    format!("{prefix}.{index}.name"),
                    format!("{prefix}.{index}.value"),
                )
            }
        };
        all.insert(name_key, dimension.into());
        all.insert(value_key, number.into());
    }
    attributes.check()?.add_to(&mut all);
    emit("reward", semconv::ANNOTATION, SpanStatusCode::Ok, all)
}

/// Emits a note on the rollout or on spans it links to: tags, links, any attributes.
///
/// # Errors
///
/// [`EmitError::OutsideRollout`], [`EmitError::Ended`], [`EmitError::Full`]; [`EmitError::TooDeep`] and
/// [`EmitError::Unserializable`] for the attributes.
pub fn emit_annotation(attributes: impl Into<Attributes>) -> Result<SpanRef, EmitError> {
    let mut all = JsonObject::new();
    attributes.into().check()?.add_to(&mut all);
    emit("annotation", semconv::ANNOTATION, SpanStatusCode::Ok, all)
}

/// Emits a message: a line for whoever reads the trace.
///
/// # Errors
///
/// [`EmitError::OutsideRollout`], [`EmitError::Ended`], [`EmitError::Full`].
pub fn emit_message(message: impl Into<String>) -> Result<SpanRef, EmitError> {
    emit_message_with(message, Attributes::new())
}

/// As [`emit_message`], with more attributes.
///
/// # Errors
///
/// Those of [`emit_message`], and [`EmitError::TooDeep`] and [`EmitError::Unserializable`] for the attributes.
pub fn emit_message_with(message: impl Into<String>, attributes: Attributes) -> Result<SpanRef, EmitError> {
    let mut all = JsonObject::new();
    all.insert(semconv::MESSAGE_BODY.to_owned(), message.into().into());
    attributes.check()?.add_to(&mut all);
    emit("message", semconv::MESSAGE, SpanStatusCode::Unset, all)
}

/// Emits a value: texts, numbers and truth values as they are, anything else as JSON.
///
/// # Errors
///
/// [`EmitError::OutsideRollout`], [`EmitError::Ended`], [`EmitError::Full`]; [`EmitError::TooDeep`] beyond
/// [`MAX_ATTRIBUTE_DEPTH`](crate::types::MAX_ATTRIBUTE_DEPTH) levels; [`EmitError::Unserializable`].
pub fn emit_object<T: Serialize + ?Sized>(object: &T) -> Result<SpanRef, EmitError> {
    emit_object_with(object, Attributes::new())
}

/// As [`emit_object`], with more attributes.
///
/// # Errors
///
/// Those of [`emit_object`].
pub fn emit_object_with<T: Serialize + ?Sized>(
    object: &T,
    attributes: Attributes,
) -> Result<SpanRef, EmitError> {
    let text = json::text(object, "the object")?;
    let (kind, key, text) = encoded(&text)?;
    let mut all = JsonObject::new();
    all.insert(semconv::OBJECT_TYPE.to_owned(), kind.into());
    all.insert(key.to_owned(), text.into_owned().into());
    attributes.check()?.add_to(&mut all);
    emit("object", semconv::OBJECT, SpanStatusCode::Ok, all)
}

/// The type of a JSON text, the attribute that holds it, and its form there. Types and literals are written as Python
/// does, which is what readers of this format expect.
fn encoded(text: &str) -> Result<(&'static str, &'static str, Cow<'_, str>), EmitError> {
    let literal = semconv::OBJECT_LITERAL;
    Ok(match text.as_bytes().first() {
        Some(b'{') => ("dict", semconv::OBJECT_JSON, text.into()),
        Some(b'[') => ("list", semconv::OBJECT_JSON, text.into()),
        Some(b'"') => {
            let text: String = serde_json::from_str(text).map_err(|source| EmitError::Unserializable {
                what: "the object".to_owned(),
                source,
            })?;
            ("str", literal, text.into())
        }
        Some(b't') => ("bool", literal, "True".into()),
        Some(b'f') => ("bool", literal, "False".into()),
        Some(b'-' | b'0'..=b'9') if text.contains(['.', 'e', 'E']) => ("float", literal, text.into()),
        Some(b'-' | b'0'..=b'9') => ("int", literal, text.into()),
        _ => ("NoneType", semconv::OBJECT_JSON, text.into()),
    })
}

/// Emits an exception that the agent met: an error (`emit_exception(&error)`), or an [`Exception`] of one's own.
///
/// # Errors
///
/// [`EmitError::OutsideRollout`], [`EmitError::Ended`], [`EmitError::Full`].
pub fn emit_exception(exception: impl Into<Exception>) -> Result<SpanRef, EmitError> {
    emit_exception_with(exception, Attributes::new())
}

/// As [`emit_exception`], with more attributes.
///
/// # Errors
///
/// Those of [`emit_exception`], and [`EmitError::TooDeep`] and [`EmitError::Unserializable`] for the attributes.
pub fn emit_exception_with(
    exception: impl Into<Exception>,
    attributes: Attributes,
) -> Result<SpanRef, EmitError> {
    let mut all = exception.into().into_attributes();
    attributes.check()?.add_to(&mut all);
    // The span itself is fine: it tells of an exception.
    emit("exception", semconv::EXCEPTION, SpanStatusCode::Ok, all)
}
