//! Values of the agent's as JSON, nested no deeper than a bound: a recursive type must not exhaust the stack.

use std::io;

use serde::Serialize;
use serde_json::{Value, ser::Formatter};

use super::EmitError;
use crate::types::{JsonObject, MAX_ATTRIBUTE_DEPTH, NestedTooDeep, flatten_into};

/// The value as JSON text. `what` names it in an error.
pub(super) fn text<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<String, EmitError> {
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, Bounded { depth: 0 });
    let written = value.serialize(&mut serializer);
    written.map_err(|source| {
        // Writing to memory does not fail but by the bound.
        if source.is_io() {
            EmitError::TooDeep(NestedTooDeep)
        } else {
            unserializable(what, source)
        }
    })?;
    // JSON text is UTF-8.
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The value as JSON that is nested no deeper than the bound. `what` names it in an error.
pub(super) fn value<T: Serialize + ?Sized>(value: &T, what: &str) -> Result<Value, EmitError> {
    let text = text(value, what)?;
    serde_json::from_str(&text).map_err(|source| unserializable(what, source))
}

/// Flattens a value into attributes under `key`.
pub(super) fn flatten<T: Serialize + ?Sized>(
    attributes: &mut JsonObject,
    key: String,
    value: &T,
) -> Result<(), EmitError> {
    let value = self::value(value, &key)?;
    flatten_value(attributes, key, value)
}

/// As [`flatten`], for what is JSON already.
pub(super) fn flatten_value(attributes: &mut JsonObject, key: String, value: Value) -> Result<(), EmitError> {
    let mut flat = JsonObject::new();
    flatten_into(&mut flat, key, value)?;
    // An attribute is a scalar or a list of scalars; the reference writes the word.
    for value in flat.values_mut().filter(|value| value.is_null()) {
        *value = "null".into();
    }
    attributes.extend(flat);
    Ok(())
}

fn unserializable(what: &str, source: serde_json::Error) -> EmitError {
    EmitError::Unserializable {
        what: what.to_owned(),
        source,
    }
}

/// Compact JSON that gives up beyond [`MAX_ATTRIBUTE_DEPTH`] levels.
struct Bounded {
    depth: usize,
}

impl Bounded {
    fn down(&mut self) -> io::Result<()> {
        self.depth += 1;
        if self.depth > MAX_ATTRIBUTE_DEPTH {
            return Err(io::Error::other(NestedTooDeep));
        }
        Ok(())
    }
}

impl Formatter for Bounded {
    fn begin_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.down()?;
        writer.write_all(b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"]")
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.down()?;
        writer.write_all(b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.depth -= 1;
        writer.write_all(b"}")
    }
}
