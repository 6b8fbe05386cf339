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
    tags: Vec<String>,
    links: Vec<Link>,
    problem: Option<EmitError>,
}

impl Attributes {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tag: any text.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Adds several tags.
    pub fn tags<S: Into<String>>(self, tags: impl IntoIterator<Item = S>) -> Self {
        tags.into_iter().fold(self, Self::tag)
    }

    /// Adds a link to other spans.
    pub fn link(mut self, link: Link) -> Self {
        self.links.push(link);
        self
    }

    /// Sets an attribute. A nested value is [flattened](crate::types::flatten) under `key`.
    pub fn set(mut self, key: impl Into<String>, value: impl Serialize) -> Self {
        let set = json::flatten(&mut self.attributes, key.into(), &value);
        self.problem = self.problem.or(set.err());
        self
    }

    /// Whether all of them have a JSON form.
    pub(super) fn check(mut self) -> Result<Self, EmitError> {
        match self.problem.take() {
            Some(problem) => Err(problem),
            None => Ok(self),
        }
    }

    /// Adds these to the attributes that a span has already: tags and links after those that are there.
    pub(super) fn add_to(self, attributes: &mut JsonObject) {
        attributes.extend(self.attributes);
        let key = |number: usize| format!("{}.{number}", semconv::TAG_PREFIX);
        for (number, tag) in (first_free(attributes, key)..).zip(self.tags) {
            attributes.insert(key(number), tag.into());
        }
        let key = |number: usize, field| format!("{}.{number}.{field}", semconv::LINK_PREFIX);
        let first = first_free(attributes, |number| key(number, semconv::LINK_KEY_MATCH));
        for (number, link) in (first..).zip(self.links) {
            attributes.insert(key(number, semconv::LINK_KEY_MATCH), link.key_match.into());
            attributes.insert(key(number, semconv::LINK_VALUE_MATCH), link.value_match.into());
        }
    }
}

/// The first number whose key is not there.
fn first_free(attributes: &JsonObject, key: impl Fn(usize) -> String) -> usize {
    (0..)
        .find(|number| !attributes.contains_key(&key(*number)))
        .unwrap_or_default()
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
