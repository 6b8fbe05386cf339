//! Striking secrets out of what is shown to those who only look.
//!
//! The keys of models stand in resources, and come from there into what agents record. Nobody can tell every secret from
//! other text; what has the name of one is struck out wherever it stands, and within resources more strictly.

use axum::{
    Json,
    extract::FromRequestParts,
    http::request::Parts,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::Value;

use super::{app::Shared, refusal::Refusal};
use crate::{store::StoreError, types::without_password};

/// What stands in the place of a secret.
const REDACTED: &str = "[redacted]";

/// Names of secrets, in lower case and without hyphens and underscores.
const NAMES: &[&str] = &[
    "accesstoken",
    "apikey",
    "apitoken",
    "authorization",
    "authtoken",
    "bearertoken",
    "clientsecret",
    "privatekey",
    "proxyauthorization",
    "refreshtoken",
    "secretkey",
    "xapikey",
];

/// Names of secrets within resources. Elsewhere they may well be what a task is about.
const NAMES_IN_RESOURCES: &[&str] = &[
    "cookie",
    "credential",
    "credentials",
    "passwd",
    "password",
    "secret",
    "token",
];

/// Names of objects within resources whose texts all are taken for secrets.
const HEADERS: &[&str] = &["defaultheaders", "extraheaders", "headers"];

/// How an answer is shown to who asked for it.
pub(super) struct Viewer {
    only_looks: bool,
}

/// In a request's extensions: who asks must see no secrets.
#[derive(Clone, Copy)]
pub(super) struct OnlyLooks;

impl FromRequestParts<Shared> for Viewer {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, Self::Rejection> {
        Ok(Self {
            only_looks: parts.extensions.get::<OnlyLooks>().is_some(),
        })
    }
}

impl Viewer {
    pub(super) fn ok(&self, body: impl Serialize) -> Result<Response, Refusal> {
        if !self.only_looks {
            return Ok(Json(body).into_response());
        }
        let body = serde_json::to_value(body).map_err(|error| StoreError::Internal {
            reason: format!("an answer could not be written: {error}"),
            source: None,
        })?;
        Ok(Json(without_secrets(body)).into_response())
    }
}

/// The record without what has the name of a secret.
pub(crate) fn without_secrets(mut value: Value) -> Value {
    strike_out(&mut value);
    value
}

/// How strict to be with a value.
#[derive(Clone, Copy, PartialEq)]
enum Within {
    Record,
    Resource,
    /// What nobody here knows: only its names, numbers and truth values are shown.
    Unknown,
}

/// Whether anything was struck out.
fn strike_out(value: &mut Value) -> bool {
    let mut changed = false;
    // A list of what is left to do, because nesting comes from outside.
    let mut rest = vec![(value, Within::Record)];
    while let Some((value, within)) = rest.pop() {
        match value {
            Value::Object(object) => {
                let within = match object.get("resource_type").and_then(Value::as_str) {
                    None => within,
                    Some("llm" | "proxy_llm" | "prompt_template" | "json") => Within::Resource,
                    Some(_) => Within::Unknown,
                };
                for (name, value) in object {
                    if name == "resource_type" {
                        continue;
                    }
                    let name = plain(name);
                    if is_secret(&name, within) && !value.is_null() {
                        *value = REDACTED.into();
                        changed = true;
                    } else if within == Within::Resource && HEADERS.contains(&&*name) {
                        rest.push((value, Within::Unknown));
                    } else {
                        rest.push((value, within));
                    }
                }
            }
            Value::Array(items) => rest.extend(items.iter_mut().map(|item| (item, within))),
            Value::String(text) => {
                if let Some(shown) = shown(text, within) {
                    *text = shown;
                    changed = true;
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
    changed
}

/// The last part of a dotted name, without what sets its words apart.
fn plain(name: &str) -> String {
    let last = name.rsplit('.').next().unwrap_or(name);
    last.chars()
        .filter(|c| !matches!(c, '-' | '_'))
        .flat_map(char::to_lowercase)
        .collect()
}

fn is_secret(name: &str, within: Within) -> bool {
    NAMES.contains(&name) || (within != Within::Record && NAMES_IN_RESOURCES.contains(&name))
}

/// What is shown in place of a text, unless it is the text itself.
fn shown(text: &str, within: Within) -> Option<String> {
    if within == Within::Unknown {
        return Some(REDACTED.to_owned());
    }
    if within == Within::Resource && text.contains("://") {
        let shown = without_password(text);
        if shown != text {
            return Some(shown);
        }
    }
    // What agents record may be JSON as text.
    if !text.trim_start().starts_with(['{', '[']) {
        return None;
    }
    let mut inner: Value = serde_json::from_str(text).ok()?;
    strike_out(&mut inner).then(|| inner.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_struck_out_wherever_they_stand() {
        for (record, expected) in [
            (
                json!({"a": [{"api_key": "sk", "model": "m"}], "api_key": null, "b": {"x-Api-Key": ["sk"]}}),
                json!({"a": [{"api_key": "[redacted]", "model": "m"}], "api_key": null, "b": {"x-Api-Key": "[redacted]"}}),
            ),
            (
                json!({"attributes": {"llm.request.apiKey": "sk", "api_key.length": 2, "max_tokens": 5}}),
                json!({"attributes": {"llm.request.apiKey": "[redacted]", "api_key.length": 2, "max_tokens": 5}}),
            ),
            (
                json!({"object.json": "{\"llm\": {\"api_key\": \"sk\"}}", "other": "{ \"n\":  1 }", "broken": "{api_key: 1"}),
                json!({"object.json": "{\"llm\":{\"api_key\":\"[redacted]\"}}", "other": "{ \"n\":  1 }", "broken": "{api_key: 1"}),
            ),
            (
                json!({"input": {"password": "guess it"}}),
                json!({"input": {"password": "guess it"}}),
            ),
        ] {
            assert_eq!(without_secrets(record), expected);
        }
    }

    #[test]
    fn resources_are_shown_more_strictly() {
        let resources = json!({
            "main": {
                "resource_type": "llm", "endpoint": "http://u:sk@h/v1", "model": "m", "api_key": "sk",
                "sampling_parameters": {"stop": "\n", "temperature": 1, "extra_headers": {"X-Team": "sk"}, "token": "sk"},
            },
            "mine": {"resource_type": "json", "value": {"db": {"password": "sk", "host": "h"}}},
            "ask": {"resource_type": "prompt_template", "template": "Say {word} to me@h at 9", "engine": "f-string"},
            "new": {"resource_type": "vault", "ticket": "sk", "retries": 3, "nested": ["sk"]},
        });
        assert_eq!(
            without_secrets(resources),
            json!({
                "main": {
                    "resource_type": "llm", "endpoint": "http://[redacted]@h/v1", "model": "m", "api_key": "[redacted]",
                    "sampling_parameters": {
                        "stop": "\n", "temperature": 1, "extra_headers": {"X-Team": "[redacted]"}, "token": "[redacted]",
                    },
                },
                "mine": {"resource_type": "json", "value": {"db": {"password": "[redacted]", "host": "h"}}},
                "ask": {"resource_type": "prompt_template", "template": "Say {word} to me@h at 9", "engine": "f-string"},
                "new": {"resource_type": "vault", "ticket": "[redacted]", "retries": 3, "nested": ["[redacted]"]},
            })
        );
    }

    #[test]
    fn deep_nesting_does_no_harm() {
        let mut record = json!({"api_key": "sk"});
        for _ in 0..1_000 {
            record = Value::Array(vec![record]);
        }
        let mut shown = &without_secrets(record);
        while let Some(inner) = shown.get(0) {
            shown = inner;
        }
        assert_eq!(shown, &json!({"api_key": "[redacted]"}));
    }
}
