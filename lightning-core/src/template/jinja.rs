//! Jinja templates through minijinja, with a bound on steps and on the size of the text.

use std::{collections::BTreeSet, io};

use minijinja::{Environment, ErrorKind, UndefinedBehavior};

use super::{MAX_OUTPUT_BYTES, TemplateError, error::names};
use crate::types::JsonObject;

/// Instructions of one rendering: loops over thousands of examples fit, endless ones do not.
const MAX_STEPS: u64 = 10_000_000;

/// Renders `template`. A variable that is not given is an error, as it is for the other engine.
pub(super) fn render(template: &str, named: &JsonObject) -> Result<String, TemplateError> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_fuel(Some(MAX_STEPS));
    let compiled = environment
        .template_from_str(template)
        .map_err(|error| failure(&error))?;
    let mut out = Bounded(Vec::new());
    if let Err(error) = compiled.render_captured_to(minijinja::value::Serde(named), &mut out) {
        let unknown = || {
            let mut unknown: Vec<_> = compiled
                .undeclared_variables(false)
                .into_iter()
                .filter(|name| {
                    !named.contains_key(name) && environment.globals().all(|(global, _)| global != name)
                })
                .collect();
            unknown.sort();
            unknown
        };
        return Err(match error.kind() {
            ErrorKind::WriteFailure => TemplateError::TooLarge {
                what: "the length of the text in bytes",
                limit: MAX_OUTPUT_BYTES,
            },
            ErrorKind::UndefinedError => match unknown().as_slice() {
                [] => failure(&error),
                unknown => TemplateError::UnknownPlaceholder {
                    name: unknown.join("`, `"),
                    known: names(named.keys().map(String::as_str)),
                },
            },
            _ => failure(&error),
        });
    }
    String::from_utf8(out.0).map_err(|_| TemplateError::Jinja {
        line: None,
        problem: "the text is not UTF-8".to_owned(),
    })
}

/// The variables that the template asks for, with their parts.
pub(super) fn placeholders(template: &str) -> Result<BTreeSet<String>, TemplateError> {
    let environment = Environment::new();
    let compiled = environment
        .template_from_str(template)
        .map_err(|error| failure(&error))?;
    let is_global = |name: &str| {
        let root = name.split('.').next().unwrap_or(name);
        environment.globals().any(|(global, _)| global == root)
    };
    let names = compiled.undeclared_variables(true).into_iter();
    Ok(names.filter(|name| !is_global(name)).collect())
}

fn failure(error: &minijinja::Error) -> TemplateError {
    let detail = error.detail().map(|detail| format!(": {detail}"));
    TemplateError::Jinja {
        line: error.line(),
        problem: format!("{}{}", error.kind(), detail.unwrap_or_default()),
    }
}

/// A buffer that takes no more than the longest text.
struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
