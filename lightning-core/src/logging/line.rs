//! An event as a line.

use std::{borrow::Cow, fmt::Write as _};

use console::Style;
use serde::Serialize;
use serde_json::{Map, Value};
use tracing::{Event, Level};
use tracing_subscriber::fmt::{
    format::Writer,
    time::{FormatTime as _, SystemTime},
};

use crate::tracer::{Fields, current_attempt};

/// A line for people: `TIME LEVEL target: message field=value`.
pub(super) fn text(event: &Event<'_>, coloured: bool) -> String {
    let style = |style: Style| style.force_styling(coloured);
    let level = *event.metadata().level();
    let Fields {
        message, attributes, ..
    } = fields(event);
    let mut line = style(Style::new().dim()).apply_to(now()).to_string();
    let name = style(colour(level)).apply_to(level.as_str());
    let _ = write!(line, " {name:>5} ");
    let target = format!("{}:", event.metadata().target());
    let _ = write!(line, "{}", style(Style::new().dim()).apply_to(target));
    if let Some(message) = &message {
        let _ = write!(line, " {}", escaped(message));
    }
    for (name, value) in &attributes {
        let name = style(Style::new().dim())
            .apply_to(format_args!("{name}="))
            .to_string();
        let _ = write!(line, " {name}{}", plain(value));
    }
    line
}

/// The same as an object, without line feeds.
pub(super) fn json(event: &Event<'_>) -> String {
    #[derive(Serialize)]
    struct Line<'a> {
        timestamp: String,
        level: &'a str,
        target: &'a str,
        fields: Map<String, Value>,
    }

    let Fields {
        message,
        mut attributes,
        ..
    } = fields(event);
    if let Some(message) = message {
        attributes.insert("message".to_owned(), message.into());
    }
    let line = Line {
        timestamp: now(),
        level: event.metadata().level().as_str(),
        target: event.metadata().target(),
        fields: attributes,
    };
    // Text and numbers can always be written.
    serde_json::to_string(&line).unwrap_or_default()
}

/// The fields of the event, and what it belongs to.
fn fields(event: &Event<'_>) -> Fields {
    let mut fields = Fields::default();
    event.record(&mut fields);
    if let Some((rollout_id, attempt_id)) = current_attempt() {
        let ids = [
            ("rollout_id", rollout_id.to_string()),
            ("attempt_id", attempt_id.to_string()),
        ];
        // The event knows better, if it names another.
        if !ids.iter().any(|(name, _)| fields.attributes.contains_key(*name)) {
            let ids = ids.into_iter().map(|(name, id)| (name.to_owned(), id.into()));
            fields.attributes.extend(ids);
        }
    }
    fields
}

/// The present, in UTC as RFC 3339 has it.
fn now() -> String {
    let mut text = String::new();
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    text
}

fn colour(level: Level) -> Style {
    match level {
        Level::ERROR => Style::new().red(),
        Level::WARN => Style::new().yellow(),
        Level::INFO => Style::new().green(),
        Level::DEBUG => Style::new().blue(),
        Level::TRACE => Style::new().magenta(),
    }
}

/// Text from outside must neither begin a line of its own nor move the cursor.
fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for char in text.chars() {
        if char.is_control() {
            escaped.extend(char.escape_default());
        } else {
            escaped.push(char);
        }
    }
    Cow::Owned(escaped)
}

/// A value without quotes, unless it would be taken for several.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let special = |char: char| char.is_whitespace() || char.is_control() || matches!(char, '"' | '=');
            if text.is_empty() || text.contains(special) {
                format!("{text:?}")
            } else {
                text.clone()
            }
        }
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_from_outside_stays_on_its_line() {
        assert_eq!(escaped("one line"), "one line");
        assert_eq!(escaped("two\nlines \u{1b}[2J ü"), "two\\nlines \\u{1b}[2J ü");
    }

    #[test]
    fn values_are_quoted_where_they_have_to_be() {
        let cases = [
            (Value::from("ro-1"), "ro-1"),
            (Value::from(""), "\"\""),
            (Value::from("not found"), "\"not found\""),
            (Value::from("a=\"b\"\n"), "\"a=\\\"b\\\"\\n\""),
            (Value::from(7), "7"),
            (Value::Null, "null"),
        ];
        for (value, shown) in cases {
            assert_eq!(plain(&value), shown);
        }
    }
}
