//! Resources: what an algorithm tunes and an agent uses. Immutable and versioned.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{JsonObject, ResourcesId, Timestamp};

/// One thing that an agent uses, tagged by `resource_type` in its JSON form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "resource_type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resource {
    /// A model behind an OpenAI-style endpoint.
    Llm(Llm),
    /// A model behind the proxy, which attributes its calls to the attempt.
    ProxyLlm(Llm),
    /// A prompt with placeholders.
    PromptTemplate(PromptTemplate),
    /// Anything else. The Python package cannot read it.
    Json {
        /// The value.
        value: Value,
    },
}

/// A model behind an OpenAI-style endpoint. The key never shows in `Debug`.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
pub struct Llm {
    /// The base URL, such as `http://127.0.0.1:8000/v1`.
    pub endpoint: String,
    /// The model's name at that endpoint.
    pub model: String,
    /// The key, where the endpoint wants one.
    #[serde(default)]
    pub api_key: Option<String>,
    /// Parameters of each request, such as `temperature`.
    #[serde(default)]
    pub sampling_parameters: JsonObject,
}

impl fmt::Debug for Llm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Llm")
            .field("endpoint", &self.endpoint)
            .field("model", &self.model)
            .field("api_key", &self.api_key.as_ref().map(|_| "[redacted]"))
            .field("sampling_parameters", &self.sampling_parameters)
            .finish()
    }
}

/// A prompt with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTemplate {
    /// The text.
    pub template: String,
    /// How its placeholders are written.
    pub engine: TemplateEngine,
}

/// How the placeholders of a prompt are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TemplateEngine {
    /// `{name}`, as Python's `str.format` reads it.
    #[default]
    #[serde(rename = "f-string")]
    FString,
    /// `{{ name }}`, as Jinja reads it.
    Jinja,
    /// POML; stored, but not rendered.
    Poml,
}

/// Resources by name. A clone shares the contents.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NamedResources(Arc<BTreeMap<String, Resource>>);

impl NamedResources {
    /// No resources.
    pub fn new() -> Self {
        Self::default()
    }

    /// The resource of that name.
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.0.get(name)
    }

    /// Adds or replaces a resource; gives back what was there.
    pub fn insert(&mut self, name: impl Into<String>, resource: impl Into<Resource>) -> Option<Resource> {
        Arc::make_mut(&mut self.0).insert(name.into(), resource.into())
    }

    /// Every resource with its name, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Resource)> {
        self.0.iter().map(|(name, resource)| (name.as_str(), resource))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<N: Into<String>, R: Into<Resource>> FromIterator<(N, R)> for NamedResources {
    fn from_iter<I: IntoIterator<Item = (N, R)>>(entries: I) -> Self {
        Self(Arc::new(
            entries
                .into_iter()
                .map(|(name, resource)| (name.into(), resource.into()))
                .collect(),
        ))
    }
}

impl From<Llm> for Resource {
    fn from(llm: Llm) -> Self {
        Self::Llm(llm)
    }
}

impl From<PromptTemplate> for Resource {
    fn from(template: PromptTemplate) -> Self {
        Self::PromptTemplate(template)
    }
}

impl From<Value> for Resource {
    fn from(value: Value) -> Self {
        Self::Json { value }
    }
}

/// One version of a set of resources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResourcesUpdate {
    /// Names the set over all its versions.
    pub resources_id: ResourcesId,
    /// When the first version was stored.
    pub create_time: Timestamp,
    /// When this version was stored.
    pub update_time: Timestamp,
    /// Counts the versions, from 1.
    pub version: u64,
    /// The resources.
    pub resources: NamedResources,
}
