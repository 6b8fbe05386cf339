//! What a span carries besides its own.

use serde::Serialize;
use serde_json::Value;

use super::{EmitError, json};
use crate::{
    semconv,
    types::{JsonObject, Link},
};

/// Tags, links and any other attributes of a span that is emitted.
///
/// A value without a JSON form, or nested too deeply, is reported by the emitter that takes the attributes.
///
/// ```
/// use lightning_core::{emitter::Attributes, types::Link};
///
/// let attributes = Attributes::new()
///     .tag("reliable")
///     .link(Link::new("gen_ai.response.id", "response-123"))
///     .set("judge", serde_json::json!({"model": "m", "votes": [1, 2]})); // `judge.model`, `judge.votes`
/// # drop(attributes);
/// ```
#[derive(Debug, Default)]
#[must_use]
pub struct Attributes {
    attributes: JsonObject,
    tags: usize,
    links: usize,
    problem: Option<EmitError>,
}

impl Attributes {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tag: any text.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        let key = format!("{}.{}", semconv::TAG_PREFIX, self.tags);
        self.tags += 1;
        self.attributes.insert(key, Value::String(tag.into()));
        self
    }

    /// Adds several tags.
    pub fn tags<S: Into<String>>(self, tags: impl IntoIterator<Item = S>) -> Self {
        tags.into_iter().fold(self, Self::tag)
    }

    /// Adds a link to other spans.
    pub fn link(mut self, link: Link) -> Self {
        let key = |field| format!("{}.{}.{field}", semconv::LINK_PREFIX, self.links);
        let (key_match, value_match) = (key(semconv::LINK_KEY_MATCH), key(semconv::LINK_VALUE_MATCH));
        self.links += 1;
        self.attributes.insert(key_match, link.key_match.into());
        self.attributes.insert(value_match, link.value_match.into());
        self
    }

    /// Sets an attribute. A nested value is [flattened](crate::types::flatten) under `key`.
    pub fn set(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        let set = json::flatten(&mut self.attributes, key.into(), &value);
        self.problem = self.problem.or(set.err());
        self
    }

    /// Adds these to the attributes that a span has of itself.
    pub(super) fn add_to(self, attributes: &mut JsonObject) -> Result<(), EmitError> {
        match self.problem {
            Some(problem) => Err(problem),
            None => {
                attributes.extend(self.attributes);
                Ok(())
            }
        }
    }
}

impl From<JsonObject> for Attributes {
    /// The object, [flattened](crate::types::flatten).
    fn from(object: JsonObject) -> Self {
        let mut attributes = Self::new();
        let set = json::flatten_value(&mut attributes.attributes, String::new(), Value::Object(object));
        attributes.problem = set.err();
        attributes
    }
}
