//! Rules by which the server answers.

use std::path::Path;

use regex::Regex;
use serde::{Deserialize, Deserializer, de};

use super::{ReceivedRequest, Reply, Responder, ScriptedLlmError};

/// Rules, of which the first that fits a request gives the reply.
///
/// A request that none fits is answered with status 400 and a message that says so, unless there is a default.
///
/// ```
/// use lightning_core::testing::llm::Script;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let script = Script::from_json(r#"{
///     "models": ["small", "large"],
///     "rules": [
///         {"when": {"model": "large"}, "reply": {"text": "A long answer.", "usage": {"prompt_tokens": 9, "completion_tokens": 3}}},
///         {"when": {"contains": "weather"}, "reply": {"tool_calls": [{"name": "weather", "arguments": {"city": "Oslo"}}]}},
///         {"when": {"matches": "\\d+ \\+ \\d+"}, "reply": {"text": "4", "logprobs": [{"token": "4", "logprob": -0.1}]}},
///         {"when": {"call": 4}, "reply": {"fault": "cut_mid_body", "text": "You will not read this."}}
///     ],
///     "default": {"text": "I do not know."}
/// }"#)?;
/// # drop(script);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct Script {
    models: Vec<String>,
    rules: Vec<Rule>,
    default: Option<Reply>,
}

/// A reply, and when it is given.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Which requests it is for; all of them if left out.
    #[serde(default)]
    pub when: When,
    /// What they are answered with.
    pub reply: Reply,
}

/// Which requests a rule is for: those that meet all that is set.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use]
pub struct When {
    model: Option<String>,
    contains: Option<String>,
    #[serde(deserialize_with = "pattern")]
    matches: Option<Regex>,
    call: Option<u64>,
}

impl Script {
    /// No rules and no default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a script from JSON.
    ///
    /// # Errors
    ///
    /// [`ScriptedLlmError::Script`], which names the field.
    pub fn from_json(json: &str) -> Result<Self, ScriptedLlmError> {
        let mut json = serde_json::Deserializer::from_str(json);
        let script: Self =
            serde_path_to_error::deserialize(&mut json).map_err(|error| ScriptedLlmError::Script {
                place: error.path().to_string(),
                reason: error.inner().to_string(),
            })?;
        json.end().map_err(|error| ScriptedLlmError::Script {
            place: ".".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(script)
    }

    /// Reads a script from a JSON file.
    ///
    /// # Errors
    ///
    /// [`ScriptedLlmError::File`], and [`ScriptedLlmError::Script`], which names the field.
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, ScriptedLlmError> {
        let path = path.as_ref();
        let json = std::fs::read_to_string(path).map_err(|source| ScriptedLlmError::File {
            path: path.to_owned(),
            source,
        })?;
        Self::from_json(&json)
    }

    /// Adds a rule, after those there are.
    pub fn rule(mut self, when: When, reply: Reply) -> Self {
        self.rules.push(Rule { when, reply });
        self
    }

    /// Sets the reply for all that no rule fits.
    pub fn otherwise(mut self, reply: Reply) -> Self {
        self.default = Some(reply);
        self
    }

    /// Lists a model; one called `scripted` is listed if there is none.
    pub fn model(mut self, name: impl Into<String>) -> Self {
        self.models.push(name.into());
        self
    }
}

impl Responder for Script {
    fn reply(&self, request: &ReceivedRequest) -> Reply {
        let rule = self.rules.iter().find(|rule| rule.when.fits(request));
        let reply = rule.map(|rule| &rule.reply).or(self.default.as_ref());
        reply.cloned().unwrap_or_else(|| {
            let complaint = format!(
                "no rule of the script fits call {}, model `{}`, last message {:?}: add a rule or a default",
                request.call.unwrap_or_default(),
                request.model(),
                request.last_message(),
            );
            Reply::refusal(400, complaint)
        })
    }

    fn models(&self) -> Vec<String> {
        if self.models.is_empty() {
            return super::unnamed_model();
        }
        self.models.clone()
    }
}

impl When {
    /// All requests.
    pub fn any() -> Self {
        Self::default()
    }

    /// Those for this model.
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = Some(model.into());
        self
    }

    /// Those whose last message contains this text.
    pub fn contains(mut self, text: impl Into<String>) -> Self {
        self.contains = Some(text.into());
        self
    }

    /// Those whose last message matches this regular expression somewhere.
    ///
    /// # Errors
    ///
    /// [`ScriptedLlmError::Script`], if it is none.
    pub fn matches(mut self, expression: &str) -> Result<Self, ScriptedLlmError> {
        let regex = Regex::new(expression).map_err(|error| ScriptedLlmError::Script {
            place: "matches".to_owned(),
            reason: error.to_string(),
        })?;
        self.matches = Some(regex);
        Ok(self)
    }

    /// The `number`th chat completion that the server is asked for, counted from 1.
    pub fn call(mut self, number: u64) -> Self {
        self.call = Some(number);
        self
    }

    fn fits(&self, request: &ReceivedRequest) -> bool {
        let last = request.last_message();
        self.model.as_ref().is_none_or(|model| model == request.model())
            && self.contains.as_ref().is_none_or(|text| last.contains(text))
            && self.matches.as_ref().is_none_or(|regex| regex.is_match(&last))
            && self.call.is_none_or(|number| request.call == Some(number))
    }
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Regex>, D::Error> {
    let Some(expression) = Option::<String>::deserialize(deserializer)? else {
        return Ok(None);
    };
    Regex::new(&expression).map(Some).map_err(de::Error::custom)
}
