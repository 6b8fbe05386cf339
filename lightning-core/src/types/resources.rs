//! Resources: what an algorithm tunes and an agent uses. Immutable and versioned.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::{AttemptId, JsonObject, NamedResources, ResourcesId, RolloutId, Secret, Timestamp};

const TAG: &str = "resource_type";

/// One thing that an agent uses, tagged by `resource_type` in its JSON form.
///
/// Fields that this version does not know are kept in each kind's `extra`, and kinds that it does not know are kept as
/// [`Other`](Self::Other), so that what somebody else wrote comes back as it went in.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "resource_type", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resource {
    /// A model behind an OpenAI-style endpoint.
    Llm(Llm),
    /// A model behind the proxy, which attributes its calls to the attempt.
    ProxyLlm(ProxyLlm),
    /// A prompt with placeholders.
    PromptTemplate(PromptTemplate),
    /// Anything else. The Python package cannot read it.
    Json(JsonResource),
    /// A kind that this version does not know.
    #[serde(untagged)]
    Other(OtherResource),
}

impl Resource {
    /// What it is: its `resource_type`.
    pub fn kind(&self) -> &str {
        match self {
            Self::Llm(_) => Llm::KIND,
            Self::ProxyLlm(_) => ProxyLlm::KIND,
            Self::PromptTemplate(_) => PromptTemplate::KIND,
            Self::Json(_) => JsonResource::KIND,
            Self::Other(other) => &other.resource_type,
        }
    }

    /// Any JSON value as a resource.
    pub fn json(value: impl Into<Value>) -> Self {
        Self::Json(JsonResource {
            value: value.into(),
            extra: JsonObject::new(),
        })
    }

    fn from_object(mut object: JsonObject) -> Result<Self, String> {
        let kind = match object.remove(TAG) {
            Some(Value::String(kind)) => kind,
            Some(_) => return Err(format!("`{TAG}` must be text, such as \"llm\"")),
            None => {
                return Err(format!(
                    "a resource needs a `{TAG}`: one of \"{}\", \"{}\", \"{}\", \"{}\"",
                    Llm::KIND,
                    ProxyLlm::KIND,
                    PromptTemplate::KIND,
                    JsonResource::KIND
                ));
            }
        };
        match kind.as_str() {
            Llm::KIND => decode(object).map(Self::Llm),
            ProxyLlm::KIND => decode(object).map(Self::ProxyLlm),
            PromptTemplate::KIND => decode(object).map(Self::PromptTemplate),
            JsonResource::KIND => decode(object).map(Self::Json),
            _ => Ok(Self::Other(OtherResource {
                resource_type: kind,
                fields: object,
            })),
        }
    }
}

fn decode<T: de::DeserializeOwned + ResourceKind>(object: JsonObject) -> Result<T, String> {
    serde_path_to_error::deserialize(Value::Object(object)).map_err(|error| {
        let path = error.path().to_string();
        let problem = error.into_inner();
        if path == "." {
            format!("{}: {problem}", T::KIND)
        } else {
            format!("{}, field `{path}`: {problem}", T::KIND)
        }
    })
}

impl<'de> Deserialize<'de> for Resource {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The fields are gathered by hand, because serde_json's map silently keeps the last of two equal names.
        struct Fields;

        impl<'de> de::Visitor<'de> for Fields {
            type Value = JsonObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a resource: an object with a `{TAG}`")
            }

            // Text in place of a resource may be a key, so it is not repeated.
            fn visit_str<E: de::Error>(self, _: &str) -> Result<JsonObject, E> {
                Err(E::custom(format!(
                    "expected a resource, which is an object with a `{TAG}`, and found text"
                )))
            }

            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
                let mut fields = JsonObject::new();
                while let Some(name) = map.next_key::<String>()? {
                    if fields.contains_key(&name) {
                        return Err(de::Error::custom(format!(
                            "the field `{name}` is given twice; remove one"
                        )));
                    }
                    // A key that lacks its quotes must not be repeated in a message, so text is asked for at once.
                    let value = if name == "api_key" {
                        map.next_value::<Option<Secret>>()?
                            .map_or(Value::Null, |secret| Value::from(secret.expose()))
                    } else {
                        map.next_value()?
                    };
                    fields.insert(name, value);
                }
                Ok(fields)
            }
        }

        // Asked for a map, a format would itself refuse text, and repeat it.
        let fields = deserializer.deserialize_any(Fields)?;
        Self::from_object(fields).map_err(de::Error::custom)
    }
}

/// A type that is one kind of [`Resource`], for [`NamedResources::get`].
pub trait ResourceKind: Sized {
    /// What it is called: the `resource_type` of the JSON form.
    const KIND: &'static str;

    /// The resource as this kind, if it is one.
    fn from_resource(resource: &Resource) -> Option<&Self>;
}

macro_rules! kinds {
    ($($name:literal $variant:ident $kind:ident;)*) => {$(
        impl ResourceKind for $kind {
            const KIND: &'static str = $name;

            fn from_resource(resource: &Resource) -> Option<&Self> {
                match resource {
                    Resource::$variant(resource) => Some(resource),
                    _ => None,
                }
            }
        }

        impl From<$kind> for Resource {
            fn from(resource: $kind) -> Self {
                Self::$variant(resource)
            }
        }
    )*};
}

kinds! {
    "llm" Llm Llm;
    "proxy_llm" ProxyLlm ProxyLlm;
    "prompt_template" PromptTemplate PromptTemplate;
    "json" Json JsonResource;
}

impl From<Value> for Resource {
    fn from(value: Value) -> Self {
        Self::json(value)
    }
}

macro_rules! llms {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// `Debug` shows neither the key, nor a password within the endpoint, nor texts among the parameters (headers
        /// are handed over there).
        #[derive(Clone, PartialEq, Serialize, Deserialize)]
        pub struct $name {
            /// The base URL, such as `http://127.0.0.1:8000/v1`.
            pub endpoint: String,
            /// The model's name at that endpoint.
            pub model: String,
            /// The key, where the endpoint wants one.
            #[serde(default)]
            pub api_key: Option<Secret>,
            /// Parameters of each request, such as `temperature`.
            #[serde(default)]
            pub sampling_parameters: JsonObject,
            /// Fields that this version does not know.
            #[serde(flatten, deserialize_with = "extra_fields")]
            pub extra: JsonObject,
        }

        impl $name {
            /// A model at an endpoint, without a key and with that endpoint's own parameters.
            pub fn new(endpoint: impl Into<String>, model: impl Into<String>) -> Self {
                Self {
                    endpoint: endpoint.into(),
                    model: model.into(),
                    api_key: None,
                    sampling_parameters: JsonObject::new(),
                    extra: JsonObject::new(),
                }
            }

            /// Sets the key.
            #[must_use]
            pub fn with_api_key(mut self, key: impl Into<Secret>) -> Self {
                self.api_key = Some(key.into());
                self
            }

            /// Sets one parameter of each request.
            #[must_use]
            pub fn with_sampling_parameter(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
                self.sampling_parameters.insert(name.into(), value.into());
                self
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("endpoint", &without_password(&self.endpoint))
                    .field("model", &self.model)
                    .field("api_key", &self.api_key)
                    .field("sampling_parameters", &Guarded(&self.sampling_parameters))
                    .field("extra", &Guarded(&self.extra))
                    .finish()
            }
        }
    )*};
}

llms! {
    /// A model behind an OpenAI-style endpoint.
    Llm;
    /// A model behind the proxy, which attributes each call to the attempt that the call's path names.
    ProxyLlm;
}

impl ProxyLlm {
    /// The model as an attempt should call it: `/rollout/{rollout_id}/attempt/{attempt_id}` enters the endpoint's path,
    /// before a final `/v1`. What has a meaning in a path is encoded.
    ///
    /// ```
    /// use lightning_core::types::ProxyLlm;
    ///
    /// let proxy = ProxyLlm::new("http://127.0.0.1:4000/v1", "small");
    /// let llm = proxy.for_attempt(&"ro-1".into(), &"at-1".into());
    /// assert_eq!(llm.endpoint, "http://127.0.0.1:4000/rollout/ro-1/attempt/at-1/v1");
    /// ```
    pub fn for_attempt(&self, rollout_id: &RolloutId, attempt_id: &AttemptId) -> Llm {
        let base = self.endpoint.strip_suffix('/').unwrap_or(&self.endpoint);
        let (base, version) = base.strip_suffix("/v1").map_or((base, ""), |base| (base, "/v1"));
        Llm {
            endpoint: format!(
                "{base}/rollout/{}/attempt/{}{version}",
                in_path(rollout_id.as_str()),
                in_path(attempt_id.as_str())
            ),
            model: self.model.clone(),
            api_key: self.api_key.clone(),
            sampling_parameters: self.sampling_parameters.clone(),
            extra: self.extra.clone(),
        }
    }
}

impl Llm {
    /// Where a proxy tells whether the calls of an attempt are recorded, if this is the endpoint of that attempt at a proxy.
    #[cfg(feature = "client")]
    pub(crate) fn recordings_of(&self, rollout_id: &RolloutId, attempt_id: &AttemptId) -> Option<String> {
        let prefix = format!(
            "/rollout/{}/attempt/{}",
            in_path(rollout_id.as_str()),
            in_path(attempt_id.as_str())
        );
        let end = self.endpoint.find(&prefix)? + prefix.len();
        let (base, rest) = self.endpoint.split_at(end);
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{base}/recorded"))
    }
}

/// The id as one segment of a path. Ids that the store chose stay as they are.
fn in_path(id: &str) -> String {
    let mut segment = String::with_capacity(id.len());
    for byte in id.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => segment.push(byte.into()),
            // Writing to a string does not fail.
            other => drop(fmt::Write::write_fmt(&mut segment, format_args!("%{other:02X}"))),
        }
    }
    segment
}

/// A prompt with placeholders.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PromptTemplate {
    /// The text.
    pub template: String,
    /// How its placeholders are written.
    #[serde(default)]
    pub engine: TemplateEngine,
    /// Fields that this version does not know.
    #[serde(flatten, deserialize_with = "extra_fields")]
    pub extra: JsonObject,
}

impl PromptTemplate {
    /// A template whose placeholders are written as `{name}`.
    pub fn new(template: impl Into<String>) -> Self {
        Self::with_engine(template, TemplateEngine::FString)
    }

    /// A template whose placeholders are written as `{{ name }}`.
    pub fn jinja(template: impl Into<String>) -> Self {
        Self::with_engine(template, TemplateEngine::Jinja)
    }

    /// A template of any engine.
    pub fn with_engine(template: impl Into<String>, engine: TemplateEngine) -> Self {
        Self {
            template: template.into(),
            engine,
            extra: JsonObject::new(),
        }
    }
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

/// Any JSON value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JsonResource {
    /// The value.
    pub value: Value,
    /// Fields that this version does not know.
    #[serde(flatten, deserialize_with = "extra_fields")]
    pub extra: JsonObject,
}

/// A resource of a kind that this version does not know. `Debug` names its fields but does not show them: nobody here
/// can tell which of them is a secret.
#[derive(Clone, PartialEq, Serialize)]
pub struct OtherResource {
    /// What it is.
    pub resource_type: String,
    /// All its other fields.
    #[serde(flatten)]
    pub fields: JsonObject,
}

impl fmt::Debug for OtherResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherResource")
            .field("resource_type", &self.resource_type)
            .field("fields", &self.fields.keys().collect::<Vec<_>>())
            .finish()
    }
}

impl From<OtherResource> for Resource {
    fn from(resource: OtherResource) -> Self {
        Self::Other(resource)
    }
}

/// The unknown fields of a kind. The tag is not one of them, whoever left it there.
fn extra_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JsonObject, D::Error> {
    let mut fields = JsonObject::deserialize(deserializer)?;
    fields.remove(TAG);
    Ok(fields)
}

/// Shows numbers and booleans, and only the presence of all else.
struct Guarded<'a>(&'a JsonObject);

impl fmt::Debug for Guarded<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for (name, value) in self.0 {
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => map.entry(name, &format_args!("{value}")),
                Value::String(_) | Value::Array(_) | Value::Object(_) => map.entry(name, &format_args!("…")),
            };
        }
        map.finish()
    }
}

/// The URL without what stands between `//` and `@`.
pub(crate) fn without_password(url: &str) -> String {
    let authority = url.find("//").map_or(0, |slashes| slashes + 2);
    let rest = &url[authority..];
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{}[redacted]{}", &url[..authority], &rest[at..]),
        None => url.to_owned(),
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
