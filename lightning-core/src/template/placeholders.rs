//! What a template asks for, without filling it.

use std::collections::BTreeSet;

use super::{TemplateError, jinja, python};
use crate::types::{PromptTemplate, TemplateEngine};

impl PromptTemplate {
    /// The placeholders of the template, each with the parts it asks for: `question`, `task.question`; positions as
    /// numbers from 0. Formats and conversions do not count.
    ///
    /// ```
    /// use lightning_core::types::PromptTemplate;
    ///
    /// let prompt = PromptTemplate::new("Answer {question!r} of {task[user]} in {limit:,} words. {{Not this.}}");
    /// let placeholders: Vec<String> = prompt.placeholders()?.into_iter().collect();
    /// assert_eq!(placeholders, ["limit", "question", "task[user]"]);
    /// # Ok::<_, lightning_core::template::TemplateError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`TemplateError`]: a malformed template, and always for the engine `poml`.
    pub fn placeholders(&self) -> Result<BTreeSet<String>, TemplateError> {
        match self.engine {
            TemplateEngine::FString => python::placeholders(&self.template),
            TemplateEngine::Jinja => jinja::placeholders(&self.template),
            TemplateEngine::Poml => Err(TemplateError::Unsupported { engine: "poml" }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn has(prompt: &PromptTemplate, placeholders: &[&str]) {
        let found: Vec<String> = prompt.placeholders().unwrap().into_iter().collect();
        assert_eq!(found, placeholders, "{}", prompt.template);
    }

    #[test]
    fn placeholders_are_found_wherever_they_stand() {
        has(&PromptTemplate::new("plain {{braces}}"), &[]);
        has(
            &PromptTemplate::new("{a} {b.c} {b[d]} {a:>{width}}"),
            &["a", "b.c", "b[d]", "width"],
        );
        has(&PromptTemplate::new("{} {.x} {}"), &["0", "1.x", "2"]);
        has(&PromptTemplate::new("{1} {0}"), &["0", "1"]);
        has(
            &PromptTemplate::jinja("{{ a }} {% for b in c.d %}{{ b }}{% endfor %} {x}"),
            &["a", "c.d"],
        );
    }

    #[test]
    fn a_malformed_template_has_none_to_tell() {
        for broken in ["{", "}", "{a", "{a!}", "{\"a\": 1"] {
            assert!(PromptTemplate::new(broken).placeholders().is_err(), "{broken}");
        }
        assert!(PromptTemplate::jinja("{{ a").placeholders().is_err());
        let poml = PromptTemplate::with_engine("<p/>", TemplateEngine::Poml);
        assert!(matches!(
            poml.placeholders(),
            Err(TemplateError::Unsupported { .. })
        ));
    }
}
