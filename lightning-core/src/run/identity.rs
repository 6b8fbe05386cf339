//! What a run is a run of, and how two such differ.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::types::{JsonObject, NamedResources};

/// Which algorithm a run runs, and with which parameters: what a checkpoint must agree with.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlgorithmIdentity {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its parameters by name.
    pub parameters: JsonObject,
}

impl AlgorithmIdentity {
    /// One line for each thing that is not as it was before: `beam_width: 4 before, 8 now`.
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let mut lines: Vec<String> = [
            difference(
                "algorithm",
                &before.name.as_str().into(),
                &self.name.as_str().into(),
            ),
            difference(
                "version",
                &before.version.as_str().into(),
                &self.version.as_str().into(),
            ),
        ]
        .into_iter()
        .flatten()
        .collect();
        let mut names: Vec<&String> = before.parameters.keys().chain(self.parameters.keys()).collect();
        names.sort();
        names.dedup();
        let of = |settings: &JsonObject, name: &str| settings.get(name).cloned().unwrap_or_default();
        lines.extend(
            names.into_iter().filter_map(|name| {
                difference(name, &of(&before.parameters, name), &of(&self.parameters, name))
            }),
        );
        lines
    }
}

/// A line on a setting that is not as it was before.
pub(crate) fn difference(name: &str, before: &Value, now: &Value) -> Option<String> {
    (before != now).then(|| format!("  {name}: {} before, {} now", shown(before), shown(now)))
}

fn shown(value: &Value) -> String {
    if value.is_null() {
        "not set".to_owned()
    } else {
        value.to_string()
    }
}

/// Stands for a value: equal values have equal digests, in every process.
pub(crate) fn digest(value: &(impl Serialize + ?Sized)) -> serde_json::Result<String> {
    // Through `Value`, whose objects are sorted.
    let canonical = serde_json::to_vec(&serde_json::to_value(value)?)?;
    Ok(hex(&Sha256::digest(&canonical)[..16]))
}

/// Stands for what resources hold. Keys are left out, and so is where a proxy listens: neither says what is evaluated, and
/// both may be others when a run is resumed.
pub(crate) fn digest_of_resources(resources: &NamedResources) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(resources)?;
    for resource in value.as_object_mut().into_iter().flat_map(|all| all.values_mut()) {
        let Some(fields) = resource.as_object_mut() else {
            continue;
        };
        match fields.get("resource_type").and_then(Value::as_str) {
            Some("llm") => drop(fields.remove("api_key")),
            Some("proxy_llm") => {
                fields.remove("api_key");
                fields.remove("endpoint");
            }
            _ => {}
        }
    }
    digest(&value)
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::types::{Llm, ProxyLlm};

    #[test]
    fn what_differs_is_told_line_by_line() {
        let identity = |version: &str, parameters: Value| AlgorithmIdentity {
            name: "beam".to_owned(),
            version: version.to_owned(),
            parameters: parameters.as_object().cloned().unwrap_or_default(),
        };
        let before = identity("1", json!({"width": 4, "depth": 2}));
        let now = identity("2", json!({"width": 8, "seed": 1, "depth": 2}));
        assert_eq!(
            now.differences(&before),
            [
                "  version: \"1\" before, \"2\" now",
                "  seed: not set before, 1 now",
                "  width: 4 before, 8 now",
            ]
        );
        assert_eq!(now.differences(&now), Vec::<String>::new());
    }

    #[test]
    fn resources_are_told_apart_by_what_is_evaluated() {
        let digest = |resource: crate::types::Resource| {
            digest_of_resources(&NamedResources::new().with("main", resource)).unwrap()
        };
        let llm = |at: &str, key: &str| digest(Llm::new(at, "small").with_api_key(key).into());
        assert_eq!(llm("http://a/v1", "sk-1"), llm("http://a/v1", "sk-2"));
        assert_ne!(llm("http://a/v1", "sk-1"), llm("http://b/v1", "sk-1"));
        let proxy = |at: &str, model: &str| digest(ProxyLlm::new(at, model).into());
        assert_eq!(
            proxy("http://127.0.0.1:1/v1", "a"),
            proxy("http://127.0.0.1:2/v1", "a")
        );
        assert_ne!(
            proxy("http://127.0.0.1:1/v1", "a"),
            proxy("http://127.0.0.1:1/v1", "b")
        );
    }
}
