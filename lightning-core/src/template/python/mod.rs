//! Python's `str.format` over JSON values.
//!
//! Follows the library reference ("Format String Syntax") and, where that is silent, what CPython 3.11 answers:
//! `tests/golden/python_format.json` holds several hundred of its answers. Deliberate differences: `.name` reads an
//! entry of an object (there are no attributes in JSON), the `n` type has no locale, and sizes are bounded.

mod float;
mod placeholders;
mod repr;
mod spec;

use std::borrow::Cow;

use serde_json::Value;

use super::{MAX_OUTPUT_BYTES, TemplateError, error::names};
use crate::types::JsonObject;

pub(super) use placeholders::placeholders;

/// Placeholders within a format specification, which themselves may hold none.
const MAX_NESTING: usize = 2;

/// `template.format(*positional, **named)`.
///
/// # Errors
///
/// [`TemplateError`], where Python raises `KeyError`, `IndexError`, `AttributeError`, `TypeError`, `ValueError` or
/// `OverflowError`; and for a text longer than [`MAX_OUTPUT_BYTES`] or a width above
/// [`MAX_WIDTH`](super::MAX_WIDTH).
pub fn format_python(
    template: &str,
    positional: &[Value],
    named: &JsonObject,
) -> Result<String, TemplateError> {
    let mut formatter = Formatter {
        positional,
        named,
        numbering: Numbering::Unknown,
    };
    formatter.build(template, MAX_NESTING)
}

/// What a JSON value is, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a float",
        Value::Number(_) => "an integer",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

struct Formatter<'v> {
    positional: &'v [Value],
    named: &'v JsonObject,
    numbering: Numbering,
}

/// Whether positions are counted (`{}`) or given (`{0}`); one template does not mix them.
enum Numbering {
    Unknown,
    Counted { next: usize },
    Given,
}

/// A placeholder as it is written.
struct Placeholder<'t> {
    name: &'t str,
    conversion: Option<char>,
    spec: &'t str,
    /// The specification holds placeholders itself.
    nested: bool,
}

impl<'v> Formatter<'v> {
    fn build(&mut self, template: &str, depth: usize) -> Result<String, TemplateError> {
        if depth == 0 {
            return Err(syntax(template, 0, "placeholders are nested too deeply"));
        }
        let mut out = String::new();
        let mut at = 0;
        while let Some(offset) = template[at..].find(['{', '}']) {
            let brace = at + offset;
            push(&mut out, &template[at..brace])?;
            let opening = template.as_bytes()[brace] == b'{';
            match (opening, template.as_bytes().get(brace + 1)) {
                (true, Some(b'{')) => {
                    push(&mut out, "{")?;
                    at = brace + 2;
                }
                (false, Some(b'}')) => {
                    push(&mut out, "}")?;
                    at = brace + 2;
                }
                (true, Some(_)) => {
                    let (placeholder, end) = parse(template, brace + 1)?;
                    push(&mut out, &self.fill(template, brace, &placeholder, depth)?)?;
                    at = end;
                }
                (true, None) => {
                    return Err(syntax(template, brace, "a single `{`; write `{{` for a brace"));
                }
                (false, _) => {
                    return Err(syntax(template, brace, "a single `}`; write `}}` for a brace"));
                }
            }
        }
        push(&mut out, &template[at..])?;
        Ok(out)
    }

    fn fill(
        &mut self,
        template: &str,
        brace: usize,
        placeholder: &Placeholder<'_>,
        depth: usize,
    ) -> Result<String, TemplateError> {
        let value = self.find(template, brace, placeholder.name)?;
        let value = match placeholder.conversion {
            None => value,
            Some('s') => Cow::Owned(Value::String(repr::str(&value))),
            Some('r') => Cow::Owned(Value::String(repr::repr(&value))),
            Some('a') => Cow::Owned(Value::String(repr::ascii(&value))),
            Some(other) => {
                let problem = format!("unknown conversion `!{other}`; there are `!s`, `!r` and `!a`");
                return Err(syntax(template, brace, problem));
            }
        };
        let spec = if placeholder.nested {
            Cow::Owned(self.build(placeholder.spec, depth - 1)?)
        } else {
            Cow::Borrowed(placeholder.spec)
        };
        spec::format(&value, &spec).map_err(|error| match error {
            spec::SpecError::TooLarge { what, limit } => TemplateError::TooLarge { what, limit },
            spec::SpecError::Unfit(problem) => TemplateError::Format {
                field: placeholder.name.to_owned(),
                spec: spec.clone().into_owned(),
                problem,
            },
        })
    }

    /// The value that `name` leads to: a name or a position, then entries and items of it.
    fn find(&mut self, template: &str, brace: usize, name: &str) -> Result<Cow<'v, Value>, TemplateError> {
        let split = name.find(['.', '[']).unwrap_or(name.len());
        let (first, mut rest) = name.split_at(split);
        let part = |problem: String| TemplateError::Part {
            field: name.to_owned(),
            problem,
        };
        let index = integer(first).map_err(|problem| syntax(template, brace, problem))?;
        let index = if first.is_empty() {
            match &mut self.numbering {
                Numbering::Given => {
                    return Err(syntax(
                        template,
                        brace,
                        "`{}` after a numbered placeholder; number all or none",
                    ));
                }
                Numbering::Unknown => {
                    self.numbering = Numbering::Counted { next: 1 };
                    Some(0)
                }
                Numbering::Counted { next } => {
                    *next += 1;
                    Some(*next - 1)
                }
            }
        } else {
            if index.is_some() {
                if matches!(self.numbering, Numbering::Counted { .. }) {
                    return Err(syntax(
                        template,
                        brace,
                        "a numbered placeholder after `{}`; number all or none",
                    ));
                }
                self.numbering = Numbering::Given;
            }
            index
        };
        let mut value: Cow<'v, Value> = match index {
            Some(index) => {
                Cow::Borrowed(self.positional.get(index).ok_or(TemplateError::UnknownPosition {
                    index,
                    count: self.positional.len(),
                })?)
            }
            None => {
                Cow::Borrowed(
                    self.named
                        .get(first)
                        .ok_or_else(|| TemplateError::UnknownPlaceholder {
                            name: first.to_owned(),
                            known: names(self.named.keys().map(String::as_str)),
                        })?,
                )
            }
        };
        while let Some(mark) = rest.chars().next() {
            rest = &rest[mark.len_utf8()..];
            let key;
            match mark {
                '.' => {
                    (key, rest) = rest.split_at(rest.find(['.', '[']).unwrap_or(rest.len()));
                    if key.is_empty() {
                        return Err(syntax(template, brace, "a name is missing after `.`"));
                    }
                    value = entry(&value, key).map_err(part)?;
                }
                '[' => {
                    let Some((inner, after)) = rest.split_once(']') else {
                        return Err(syntax(template, brace, "a `]` is missing"));
                    };
                    (key, rest) = (inner, after);
                    let index = integer(key).map_err(|problem| syntax(template, brace, problem))?;
                    if key.is_empty() {
                        return Err(syntax(template, brace, "`[]` is empty"));
                    }
                    value = match index {
                        Some(index) => item(&value, index).map_err(part)?,
                        None if matches!(*value, Value::Object(_)) => entry(&value, key).map_err(part)?,
                        None => {
                            let problem =
                                format!("`[{key}]` asks for an entry, and the value is {}", kind(&value));
                            return Err(part(problem));
                        }
                    };
                }
                _ => return Err(syntax(template, brace, "only `.` or `[` may follow `]`")),
            }
        }
        Ok(value)
    }
}

/// Adds to the text, within its bound.
fn push(out: &mut String, text: &str) -> Result<(), TemplateError> {
    if out.len() + text.len() > MAX_OUTPUT_BYTES {
        return Err(TemplateError::TooLarge {
            what: "the length of the text in bytes",
            limit: MAX_OUTPUT_BYTES,
        });
    }
    out.push_str(text);
    Ok(())
}

fn syntax(template: &str, at: usize, problem: impl Into<String>) -> TemplateError {
    TemplateError::Syntax {
        position: template[..at].chars().count() + 1,
        problem: problem.into(),
    }
}

/// Reads the placeholder that begins at `start`, behind its brace; also gives where it ends.
fn parse(template: &str, start: usize) -> Result<(Placeholder<'_>, usize), TemplateError> {
    let bytes = template.as_bytes();
    let unfinished = || syntax(template, start - 1, "the placeholder is not closed by `}`");
    let mut at = start;
    let end = loop {
        match bytes.get(at) {
            None => return Err(unfinished()),
            Some(b'{') => return Err(syntax(template, at, "a `{` within the name of a placeholder")),
            // Whatever stands in brackets belongs to the name.
            Some(b'[') => at = template[at..].find(']').map_or(bytes.len(), |close| at + close),
            Some(b'}' | b':' | b'!') => break at,
            Some(_) => at += 1,
        }
    };
    let mut placeholder = Placeholder {
        name: &template[start..end],
        conversion: None,
        spec: "",
        nested: false,
    };
    at = end + 1;
    match bytes[end] {
        b'}' => return Ok((placeholder, at)),
        b'!' => {
            let conversion = template[at..].chars().next().ok_or_else(unfinished)?;
            placeholder.conversion = Some(conversion);
            at += conversion.len_utf8();
            match bytes.get(at) {
                None => return Err(unfinished()),
                Some(b'}') => return Ok((placeholder, at + 1)),
                Some(b':') => at += 1,
                Some(_) => return Err(syntax(template, at, "expected `:` or `}` after the conversion")),
            }
        }
        _ => {}
    }
    let spec = at;
    let mut open = 1;
    loop {
        match bytes.get(at) {
            None => return Err(unfinished()),
            Some(b'{') => {
                placeholder.nested = true;
                open += 1;
            }
            Some(b'}') => open -= 1,
            Some(_) => {}
        }
        if open == 0 {
            placeholder.spec = &template[spec..at];
            return Ok((placeholder, at + 1));
        }
        at += 1;
    }
}

/// The text as a position; nothing if it is not made of digits.
fn integer(text: &str) -> Result<Option<usize>, String> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<isize>() {
        Ok(index) => Ok(usize::try_from(index).ok()),
        Err(_) => Err(format!("the position {text} is too large")),
    }
}

fn entry<'v>(value: &Cow<'v, Value>, key: &str) -> Result<Cow<'v, Value>, String> {
    let found = match value {
        Cow::Borrowed(Value::Object(object)) => object.get(key).map(Cow::Borrowed),
        Cow::Owned(Value::Object(object)) => object.get(key).cloned().map(Cow::Owned),
        other => {
            return Err(format!(
                "`{key}` is asked of {}, which has no entries",
                kind(other)
            ));
        }
    };
    found.ok_or_else(|| match &**value {
        Value::Object(object) => {
            let known = names(object.keys().map(String::as_str));
            format!("there is no `{key}`; there is {known}")
        }
        _ => format!("there is no `{key}`"),
    })
}

fn item<'v>(value: &Cow<'v, Value>, index: usize) -> Result<Cow<'v, Value>, String> {
    let found = match value {
        Cow::Borrowed(Value::Array(items)) => items.get(index).map(Cow::Borrowed),
        Cow::Owned(Value::Array(items)) => items.get(index).cloned().map(Cow::Owned),
        Cow::Borrowed(Value::String(text)) => character(text, index),
        Cow::Owned(Value::String(text)) => character(text, index),
        // As in Python, whose dictionaries do not take the number 0 for the text "0".
        other => {
            return Err(format!(
                "[{index}] is asked of {}, which has no positions",
                kind(other)
            ));
        }
    };
    found.ok_or_else(|| format!("[{index}] is past the end"))
}

fn character(text: &str, index: usize) -> Option<Cow<'static, Value>> {
    let char = text.chars().nth(index)?;
    Some(Cow::Owned(Value::String(char.into())))
}
