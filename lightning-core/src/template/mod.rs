//! Rendering of prompt templates: Python's `str.format` (`f-string`) and Jinja.
//!
//! A prompt that was tuned by a Rust algorithm may be used by a Python agent and the other way round, so `f-string`
//! templates give the same text here as there. This module knows plain data only; it reads no files and calls no model.

mod error;
mod jinja;
mod placeholders;
mod python;

use serde::Serialize;
use serde_json::Value;

use crate::types::{JsonObject, PromptTemplate, TemplateEngine};

pub use error::TemplateError;
pub use python::format_python;

/// The longest text that a template may give, in bytes.
pub const MAX_OUTPUT_BYTES: usize = 64 << 20;

/// The greatest width and precision of a format specification.
pub const MAX_WIDTH: usize = 1_000_000;

impl PromptTemplate {
    /// The text with its placeholders filled from `values`: the fields of a struct, the entries of a map, or, for
    /// positional placeholders of an `f-string` template, the items of a list or tuple.
    ///
    /// Numbers that JSON does not have (infinite or not a number) count as null.
    ///
    /// ```
    /// use lightning_core::types::PromptTemplate;
    /// use serde_json::json;
    ///
    /// let prompt = PromptTemplate::new("Answer {question!r} in {limit:,} words.");
    /// let text = prompt.render(&json!({"question": "why?", "limit": 1000}))?;
    /// assert_eq!(text, "Answer 'why?' in 1,000 words.");
    ///
    /// let error = prompt.render(&json!({"query": "why?"})).unwrap_err();
    /// assert_eq!(
    ///     error.to_string(),
    ///     "the template asks for `question`, which is not given; given: `query` (a brace that is meant as such is \
    ///      written twice)"
    /// );
    /// # Ok::<_, lightning_core::template::TemplateError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TemplateError`]: a placeholder without a value, a malformed template, a format that does not fit its value,
    /// values that are neither named nor listed, and always for the engine `poml`.
    pub fn render<V: Serialize + ?Sized>(&self, values: &V) -> Result<String, TemplateError> {
        match serde_json::to_value(values) {
            Ok(Value::Object(named)) => self.format(&[], &named),
            Ok(Value::Array(positional)) => self.format(&positional, &JsonObject::new()),
            Ok(Value::Null) => self.format(&[], &JsonObject::new()),
            Ok(other) => Err(TemplateError::Values {
                problem: format!(
                    "expected named values (a struct or a map) or a list of values, and got {}",
                    python::kind(&other)
                ),
            }),
            Err(error) => Err(TemplateError::Values {
                problem: error.to_string(),
            }),
        }
    }

    /// The text with its placeholders filled from positional and named values, as `str.format(*positional, **named)`
    /// in Python.
    ///
    /// # Errors
    ///
    /// Those of [`render`](Self::render); also if positional values are given to a Jinja template.
    pub fn format(&self, positional: &[Value], named: &JsonObject) -> Result<String, TemplateError> {
        match self.engine {
            TemplateEngine::FString => format_python(&self.template, positional, named),
            TemplateEngine::Jinja if positional.is_empty() => jinja::render(&self.template, named),
            TemplateEngine::Jinja => Err(TemplateError::Values {
                problem: "a jinja template takes named values only".to_owned(),
            }),
            TemplateEngine::Poml => Err(TemplateError::Unsupported { engine: "poml" }),
        }
    }
}
