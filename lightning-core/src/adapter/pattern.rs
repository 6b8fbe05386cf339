//! Regular expressions that users give.

use regex::Regex;

/// A pattern is no regular expression.
#[derive(Clone, Debug, thiserror::Error)]
#[error("`{pattern}` is no regular expression (see https://docs.rs/regex; there is no look-around)")]
pub struct InvalidPattern {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it.
    pub source: regex::Error,
}

pub(super) fn pattern(pattern: &str) -> Result<Regex, InvalidPattern> {
    Regex::new(pattern).map_err(|source| InvalidPattern {
        pattern: pattern.to_owned(),
        source,
    })
}
