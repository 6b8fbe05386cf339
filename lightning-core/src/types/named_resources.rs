//! Resources by name, and how an agent asks for them.

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{AttemptId, JsonResource, Llm, PromptTemplate, Resource, ResourceKind, RolloutId};

/// Resources by name. A clone shares the contents.
///
/// ```
/// use lightning_core::types::{Llm, NamedResources, PromptTemplate};
///
/// let resources = NamedResources::new()
///     .with("main", Llm::new("http://127.0.0.1:8000/v1", "small"))
///     .with("ask", PromptTemplate::new("Answer {question}"));
/// assert_eq!(resources.get::<Llm>("main")?.model, "small");
/// assert_eq!(resources.prompt_template()?.template, "Answer {question}");
///
/// let error = resources.get::<Llm>("mian").unwrap_err();
/// assert_eq!(
///     error.to_string(),
///     "there is no resource `mian`; there are `ask` (prompt_template), `main` (llm)"
/// );
/// # Ok::<_, lightning_core::types::ResourceError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct NamedResources(Arc<BTreeMap<String, Resource>>);

impl NamedResources {
    /// No resources.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a resource, or replaces the one of that name.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, resource: impl Into<Resource>) -> Self {
        self.insert(name, resource);
        self
    }

    /// Adds or replaces a resource; gives back what was there.
    pub fn insert(&mut self, name: impl Into<String>, resource: impl Into<Resource>) -> Option<Resource> {
        Arc::make_mut(&mut self.0).insert(name.into(), resource.into())
    }

    /// The resource of that name, whatever it is.
    pub fn resource(&self, name: &str) -> Option<&Resource> {
        self.0.get(name)
    }

    /// The resource of that name, which must be a `K`.
    ///
    /// # Errors
    ///
    /// [`Missing`](ResourceError::Missing) and [`WrongKind`](ResourceError::WrongKind).
    pub fn get<K: ResourceKind>(&self, name: &str) -> Result<&K, ResourceError> {
        let resource = self.resource(name).ok_or_else(|| ResourceError::Missing {
            name: name.to_owned(),
            known: self.listing(),
        })?;
        K::from_resource(resource).ok_or_else(|| ResourceError::WrongKind {
            name: name.to_owned(),
            kind: resource.kind().to_owned(),
            wanted: K::KIND,
            remedy: remedy(resource, K::KIND),
        })
    }

    /// The only `K` there is; where there are several, the one that is called as its kind is.
    ///
    /// # Errors
    ///
    /// [`NoneOfKind`](ResourceError::NoneOfKind) and [`Several`](ResourceError::Several).
    pub fn only<K: ResourceKind>(&self) -> Result<&K, ResourceError> {
        let mut found = self
            .iter()
            .filter_map(|(name, resource)| Some((name, K::from_resource(resource)?)));
        let Some((first, resource)) = found.next() else {
            return Err(ResourceError::NoneOfKind {
                wanted: K::KIND,
                known: self.listing(),
            });
        };
        let Some((second, _)) = found.next() else {
            return Ok(resource);
        };
        if let Some(named) = self.resource(K::KIND).and_then(K::from_resource) {
            return Ok(named);
        }
        let names = [first, second].into_iter().chain(found.map(|(name, _)| name));
        Err(ResourceError::Several {
            wanted: K::KIND,
            names: list(names.map(|name| format!("`{name}`"))),
        })
    }

    /// The only model, as [`only`](Self::only) finds it.
    ///
    /// # Errors
    ///
    /// Those of [`only`](Self::only).
    pub fn llm(&self) -> Result<&Llm, ResourceError> {
        self.only()
    }

    /// The only prompt, as [`only`](Self::only) finds it.
    ///
    /// # Errors
    ///
    /// Those of [`only`](Self::only).
    pub fn prompt_template(&self) -> Result<&PromptTemplate, ResourceError> {
        self.only()
    }

    /// The `json` resource of that name as a `T`.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), and [`Json`](ResourceError::Json) if the value is not a `T`.
    pub fn json<T: de::DeserializeOwned>(&self, name: &str) -> Result<T, ResourceError> {
        let resource = self.get::<JsonResource>(name)?;
        serde_path_to_error::deserialize(&resource.value).map_err(|error| ResourceError::Json {
            name: name.to_owned(),
            field: match error.path().to_string().as_str() {
                "." => String::new(),
                path => format!(", field `{path}`"),
            },
            problem: error.into_inner().to_string(),
        })
    }

    /// These resources as an attempt should use them: every `proxy_llm` becomes an `llm` whose calls the proxy
    /// attributes to that attempt. Without proxied models, the contents are shared.
    #[must_use]
    pub fn for_attempt(&self, rollout_id: &RolloutId, attempt_id: &AttemptId) -> Self {
        let mut resources = self.clone();
        for (name, resource) in self.iter() {
            if let Resource::ProxyLlm(proxy) = resource {
                resources.insert(name, proxy.for_attempt(rollout_id, attempt_id));
            }
        }
        resources
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

    fn listing(&self) -> String {
        if self.is_empty() {
            return "there are none".to_owned();
        }
        let names = self
            .iter()
            .map(|(name, resource)| format!("`{name}` ({})", resource.kind()));
        format!("there are {}", list(names))
    }
}

fn list(items: impl Iterator<Item = String>) -> String {
    items.collect::<Vec<_>>().join(", ")
}

fn remedy(resource: &Resource, wanted: &str) -> &'static str {
    match resource {
        Resource::ProxyLlm(_) if wanted == Llm::KIND => {
            "; `for_attempt` turns it into an llm whose calls are attributed"
        }
        Resource::Json(_) => "; `json` reads it",
        _ => "",
    }
}

impl<'de> Deserialize<'de> for NamedResources {
    /// Two resources of one name are refused; serde_json's own maps would keep the last.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ByName;

        impl<'de> de::Visitor<'de> for ByName {
            type Value = BTreeMap<String, Resource>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("resources by name")
            }

            // Text in place of the resources may be a key, so it is not repeated.
            fn visit_str<E: de::Error>(self, _: &str) -> Result<Self::Value, E> {
                Err(E::custom("expected resources by name and found text"))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut resources = BTreeMap::new();
                while let Some(name) = map.next_key::<String>()? {
                    if resources.contains_key(&name) {
                        return Err(de::Error::custom(format!(
                            "two resources are called `{name}`; rename or remove one"
                        )));
                    }
                    resources.insert(name, map.next_value()?);
                }
                Ok(resources)
            }
        }

        let resources = deserializer.deserialize_any(ByName)?;
        Ok(Self(Arc::new(resources)))
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

/// Why a resource could not be handed out.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResourceError {
    /// Nothing has that name.
    #[error("there is no resource `{name}`; {known}")]
    Missing {
        /// The name that was asked for.
        name: String,
        /// What there is.
        known: String,
    },

    /// The resource is something else.
    #[error("the resource `{name}` is a {kind}, not a {wanted}{remedy}")]
    WrongKind {
        /// The name that was asked for.
        name: String,
        /// What it is.
        kind: String,
        /// What was asked for.
        wanted: &'static str,
        /// What to do instead, where that is known.
        remedy: &'static str,
    },

    /// No resource is of that kind.
    #[error("there is no resource of the kind {wanted}; {known}")]
    NoneOfKind {
        /// What was asked for.
        wanted: &'static str,
        /// What there is.
        known: String,
    },

    /// Several resources are of that kind, and nothing says which is meant.
    #[error(
        "several resources are of the kind {wanted}: {names}; ask for one by name, or call one `{wanted}`"
    )]
    Several {
        /// What was asked for.
        wanted: &'static str,
        /// Their names.
        names: String,
    },

    /// The value is not what it was asked to be.
    #[error("the resource `{name}` cannot be read{field}: {problem}")]
    Json {
        /// The name that was asked for.
        name: String,
        /// Where in the value.
        field: String,
        /// What is wrong there.
        problem: String,
    },
}
