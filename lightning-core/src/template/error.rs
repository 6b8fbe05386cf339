//! Why a template gave no text.

/// Why a template gave no text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// A placeholder has no value.
    #[error(
        "the template asks for `{name}`, which is not given; given: {known} (a brace that is meant as such is \
         written twice)"
    )]
    UnknownPlaceholder {
        /// The placeholder.
        name: String,
        /// The names that were given.
        known: String,
    },

    /// A positional placeholder has no value.
    #[error("the template asks for the value at position {index}, and {count} positional values are given")]
    UnknownPosition {
        /// The position, from 0.
        index: usize,
        /// How many values there are.
        count: usize,
    },

    /// A value has no such part.
    #[error("the placeholder `{{{field}}}` cannot be filled: {problem}")]
    Part {
        /// The placeholder with its parts.
        field: String,
        /// What is missing.
        problem: String,
    },

    /// A format specification is malformed, or does not fit the value.
    #[error("the placeholder `{{{field}}}` cannot be formatted by `{spec}`: {problem}")]
    Format {
        /// The placeholder with its parts.
        field: String,
        /// The specification.
        spec: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The template itself is malformed.
    #[error("the template is malformed at character {position}: {problem}")]
    Syntax {
        /// Where, counted in characters from 1.
        position: usize,
        /// What is wrong there.
        problem: String,
    },

    /// The text would be larger than any prompt is.
    #[error("{what} is greater than {limit}, the most that a template may ask for")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// The limit.
        limit: usize,
    },

    /// The engine is known but not implemented here.
    #[error(
        "templates of the engine `{engine}` are stored but cannot be rendered here; use `f-string` or `jinja`"
    )]
    Unsupported {
        /// The engine.
        engine: &'static str,
    },

    /// The values cannot fill a template.
    #[error("the values cannot fill a template: {problem}")]
    Values {
        /// What is wrong with them.
        problem: String,
    },

    /// Jinja refused the template, or failed while rendering it.
    #[error("the jinja template fails{}: {problem}", .line.map(|line| format!(" at line {line}")).unwrap_or_default())]
    Jinja {
        /// The line of the template, from 1, where that is known.
        line: Option<usize>,
        /// What is wrong.
        problem: String,
    },
}

/// The names, each in backquotes.
pub(super) fn names<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    names.sort();
    if names.is_empty() {
        "nothing".to_owned()
    } else {
        names.join(", ")
    }
}
