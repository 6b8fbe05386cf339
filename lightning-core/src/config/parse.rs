//! YAML, TOML and JSON as [`Node`]s. Messages never repeat the text around a mistake: it may hold a key.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Number, value::RawValue};
use serde_saphyr::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Origin, Problem, node::Node, node::NodeValue};
use crate::data::FileFormat;

/// How deep lists and maps may lie within each other.
const DEPTH: usize = 64;

/// The text of a file, and where lines begin.
pub(super) struct Text<'t> {
    pub(super) path: Arc<Path>,
    pub(super) text: &'t str,
}

impl Text<'_> {
    fn origin(&self, line: u64, column: u64) -> Origin {
        Origin::File {
            path: Arc::clone(&self.path),
            line: usize::try_from(line).unwrap_or(1).max(1),
            column: usize::try_from(column).unwrap_or(1).max(1),
        }
    }

    /// The place of a byte of the text.
    fn origin_of(&self, byte: usize) -> Origin {
        let before = self.text.get(..byte).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|char| *char != '\n').count() + 1;
        self.origin(line as u64, column as u64)
    }

    fn problem(&self, origin: &Origin, message: impl Into<String>) -> Problem {
        Problem::new(Some(origin), "", message)
    }
}

/// The value that the text holds; a map in every format but for YAML and JSON texts that hold something else.
pub(super) fn parse(text: &Text<'_>, format: FileFormat) -> Result<Node, Problem> {
    if text.text.trim().is_empty() {
        return Ok(Node::new(NodeValue::Map(BTreeMap::new()), text.origin(1, 1)));
    }
    match format {
        FileFormat::Toml => toml(text),
        FileFormat::Json => json(text, text.text, 0),
        _ => yaml(text),
    }
}

/// One value in YAML, as it is given in a variable or on the command line. It has no places of its own.
pub(super) fn parse_value(text: &str, origin: &Origin) -> Node {
    let nowhere = Text {
        path: Arc::from(Path::new("")),
        text,
    };
    let mut node = match yaml(&nowhere) {
        Ok(node) if !text.trim().is_empty() => node,
        // What is no YAML is text: `[]}` as well as `a: b: c`.
        _ => Node::new(NodeValue::Text(text.to_owned()), origin.clone()),
    };
    place(&mut node, origin);
    if !matches!(node.value, NodeValue::Text(_)) {
        node.written = Some(text.into());
    }
    node
}

fn place(node: &mut Node, origin: &Origin) {
    node.origin = origin.clone();
    match &mut node.value {
        NodeValue::List(items) => items.iter_mut().for_each(|item| place(item, origin)),
        NodeValue::Map(entries) => entries.values_mut().for_each(|entry| place(entry, origin)),
        _ => {}
    }
}

fn finite(number: f64) -> Option<NodeValue> {
    Number::from_f64(number).map(NodeValue::Number)
}

// --- YAML ---

fn yaml(text: &Text<'_>) -> Result<Node, Problem> {
    let options = serde_saphyr::options! { with_snippet: false };
    let read = serde_saphyr::from_str_with_options::<Spanned<Raw>>(text.text, options);
    let raw = read.map_err(|error| {
        let (line, column) = error
            .location()
            .map_or((1, 1), |location| (location.line(), location.column()));
        let message = error.without_snippet().to_string();
        let place = format!(" at line {line}, column {column}");
        let message = message.strip_suffix(&place).unwrap_or(&message);
        text.problem(&text.origin(line, column), message)
    })?;
    raw.value.node(text, &raw.referenced)
}

/// A value of YAML before its places are known in terms of the file.
enum Raw {
    Scalar(NodeValue),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(String, Spanned<Raw>)>),
}

impl Raw {
    fn node(self, text: &Text<'_>, location: &serde_saphyr::Location) -> Result<Node, Problem> {
        let origin = text.origin(location.line(), location.column());
        let value = match self {
            Self::Scalar(value) => value,
            Self::List(items) => {
                let nodes = items
                    .into_iter()
                    .map(|item| item.value.node(text, &item.referenced));
                NodeValue::List(nodes.collect::<Result<_, _>>()?)
            }
            Self::Map(entries) => {
                let mut map = BTreeMap::new();
                for (name, entry) in entries {
                    let node = entry.value.node(text, &entry.referenced)?;
                    if map.contains_key(&name) {
                        return Err(Problem::new(
                            Some(&node.origin),
                            name,
                            "this key stands here twice",
                        ));
                    }
                    map.insert(name, node);
                }
                NodeValue::Map(map)
            }
        };
        Ok(Node::new(value, origin))
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Raw;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true or false, a list or a map")
            }

            fn visit_bool<E: de::Error>(self, value: bool) -> Result<Raw, E> {
                Ok(Raw::Scalar(NodeValue::Bool(value)))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Raw, E> {
                Ok(Raw::Scalar(NodeValue::Number(value.into())))
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Raw, E> {
                Ok(Raw::Scalar(NodeValue::Number(value.into())))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Raw, E> {
                let value = finite(value).ok_or_else(|| E::custom("this number is not finite"))?;
                Ok(Raw::Scalar(value))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Raw, E> {
                Ok(Raw::Scalar(NodeValue::Text(value.to_owned())))
            }

            fn visit_unit<E: de::Error>(self) -> Result<Raw, E> {
                Ok(Raw::Scalar(NodeValue::Null))
            }

            fn visit_none<E: de::Error>(self) -> Result<Raw, E> {
                self.visit_unit()
            }

            fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Raw, D::Error> {
                Raw::deserialize(deserializer)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Raw, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = list.next_element()? {
                    items.push(item);
                }
                Ok(Raw::List(items))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<String, Spanned<Raw>>()? {
                    entries.push(entry);
                }
                Ok(Raw::Map(entries))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

// --- TOML ---

fn toml(text: &Text<'_>) -> Result<Node, Problem> {
    let table = DeTable::parse(text.text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        text.problem(&text.origin_of(start), error.message())
    })?;
    toml_table(text, table.into_inner(), text.origin(1, 1))
}

fn toml_table(text: &Text<'_>, table: DeTable<'_>, origin: Origin) -> Result<Node, Problem> {
    let mut map = BTreeMap::new();
    for (name, value) in table {
        let at = value.span().start;
        map.insert(
            name.into_inner().into_owned(),
            toml_value(text, value.into_inner(), at)?,
        );
    }
    Ok(Node::new(NodeValue::Map(map), origin))
}

fn toml_value(text: &Text<'_>, value: DeValue<'_>, at: usize) -> Result<Node, Problem> {
    let origin = text.origin_of(at);
    let not_finite = || text.problem(&origin, "this number is not finite, or too large");
    let value = match value {
        DeValue::String(string) => NodeValue::Text(string.into_owned()),
        DeValue::Boolean(value) => NodeValue::Bool(value),
        DeValue::Integer(integer) => {
            let number = i64::from_str_radix(integer.as_str(), integer.radix());
            NodeValue::Number(number.map_err(|_| not_finite())?.into())
        }
        DeValue::Float(float) => {
            let number: f64 = float.as_str().parse().map_err(|_| not_finite())?;
            finite(number).ok_or_else(not_finite)?
        }
        DeValue::Datetime(_) => {
            return Err(text.problem(
                &origin,
                "dates and times are written as text here: put it in quotes",
            ));
        }
        DeValue::Array(items) => {
            let nodes = items.into_iter().map(|item| {
                let at = item.span().start;
                toml_value(text, item.into_inner(), at)
            });
            NodeValue::List(nodes.collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => return toml_table(text, table, origin),
    };
    Ok(Node::new(value, origin))
}

// --- JSON ---

/// What `part` of the text holds. Its place is that of `part` within the text.
fn json(text: &Text<'_>, part: &str, depth: usize) -> Result<Node, Problem> {
    let blanks = part.len() - part.trim_start().len();
    let begin = (part.as_ptr() as usize).saturating_sub(text.text.as_ptr() as usize) + blanks;
    let origin = text.origin_of(begin);
    if depth > DEPTH {
        return Err(text.problem(&origin, "lists and maps lie too deep within each other"));
    }
    let failed = |error: serde_json::Error| {
        let message = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = message.strip_suffix(&place).unwrap_or(&message);
        // Within the whole text its own place is the right one; parts of it were well-formed.
        let origin = if depth == 0 {
            text.origin(error.line() as u64, error.column() as u64)
        } else {
            origin.clone()
        };
        text.problem(&origin, message)
    };
    let value = match part.trim_start().as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(part).map_err(failed)?;
            let mut map = BTreeMap::new();
            for (name, raw) in entries {
                let node = json(text, raw.get(), depth + 1)?;
                if map.contains_key(&name) {
                    return Err(Problem::new(
                        Some(&node.origin),
                        name,
                        "this key stands here twice",
                    ));
                }
                map.insert(name, node);
            }
            NodeValue::Map(map)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(part).map_err(failed)?;
            let nodes = items.into_iter().map(|raw| json(text, raw.get(), depth + 1));
            NodeValue::List(nodes.collect::<Result<_, _>>()?)
        }
        _ => match serde_json::from_str(part).map_err(failed)? {
            serde_json::Value::Bool(value) => NodeValue::Bool(value),
            serde_json::Value::Number(number) => NodeValue::Number(number),
            serde_json::Value::String(string) => NodeValue::Text(string),
            _ => NodeValue::Null,
        },
    };
    Ok(Node::new(value, origin))
}

/// The entries of an object in their order, so that none is lost.
struct Entries<'de>(Vec<(String, &'de RawValue)>);

impl<'de> Deserialize<'de> for Entries<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Entries<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entries<'de>, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry::<String, &'de RawValue>()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(format: FileFormat, text: &str) -> Result<Node, Problem> {
        let path = Arc::from(Path::new("run"));
        parse(&Text { path, text }, format)
    }

    #[track_caller]
    fn refused(format: FileFormat, text: &str, message: &str) {
        assert_eq!(read(format, text).unwrap_err().to_string(), message);
    }

    #[test]
    fn the_three_formats_say_the_same_each_with_its_places() {
        let yaml = "seed: 7\nalgorithm:\n  name: apo\n  on: true\n  list: [1.5, null, ü]\n";
        let toml = "seed = 7\n[algorithm]\nname = \"apo\"\non = true\nlist = [1.5, \"ü\"]\n";
        let json = "{\n \"seed\": 7,\n \"algorithm\": {\"name\": \"apo\",\n   \"on\": true, \"list\": [1.5, null, \"\\u00fc\"]}\n}";
        let expected = json!({"seed": 7, "algorithm": {"name": "apo", "on": true, "list": [1.5, null, "ü"]}});
        let without_null = json!({"seed": 7, "algorithm": {"name": "apo", "on": true, "list": [1.5, "ü"]}});
        for (format, text, expected, places) in [
            (
                FileFormat::Yaml,
                yaml,
                &expected,
                ["run:1:7", "run:3:9", "run:4:7"],
            ),
            (
                FileFormat::Toml,
                toml,
                &without_null,
                ["run:1:8", "run:3:8", "run:4:6"],
            ),
            (
                FileFormat::Json,
                json,
                &expected,
                ["run:2:10", "run:3:24", "run:4:10"],
            ),
        ] {
            let node = read(format, text).unwrap();
            assert_eq!(&node.to_json(), expected, "{format:?}");
            let found = ["seed", "algorithm.name", "algorithm.on"];
            let found = found.map(|place| node.at(place).unwrap().origin.to_string());
            assert_eq!(found, places, "{format:?}");
        }
    }

    #[test]
    fn mistakes_have_a_place_and_do_not_show_what_stands_around() {
        refused(
            FileFormat::Json,
            "{\"api_key\": \"sk-1\",\n  }",
            "run:2:3: trailing comma",
        );
        refused(
            FileFormat::Json,
            "{\"a\": 1, \"a\": 2}",
            "run:1:15, `a`: this key stands here twice",
        );
        refused(
            FileFormat::Toml,
            "a = 1979-05-27\n",
            "run:1:5: dates and times are written as text here: put it in quotes",
        );
        refused(
            FileFormat::Toml,
            "a = inf\n",
            "run:1:5: this number is not finite, or too large",
        );
        let not_a_number = read(FileFormat::Yaml, "a:\n  b: .nan\n").unwrap_err();
        assert!(
            not_a_number.to_string().starts_with("run:2:6: non-finite"),
            "{not_a_number}"
        );
        for (format, text) in [
            (FileFormat::Yaml, "api_key: 'sk-1\nb: 2"),
            (FileFormat::Yaml, "a: 1\na: sk-1"),
            (FileFormat::Toml, "api_key = \"sk-1\nb = 2"),
            (FileFormat::Toml, "a = 1\na = \"sk-1\""),
        ] {
            let problem = read(format, text).unwrap_err();
            assert!(
                problem.origin.is_some() && !problem.message.contains("sk-1"),
                "{problem}"
            );
        }
    }

    #[test]
    fn deep_nesting_is_refused_and_nothing_is_an_empty_map() {
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        for format in [FileFormat::Json, FileFormat::Yaml] {
            assert!(read(format, &deep).is_err());
        }
        assert!(read(FileFormat::Toml, &format!("a = {deep}")).is_err());
        for format in [FileFormat::Json, FileFormat::Yaml, FileFormat::Toml] {
            assert_eq!(read(format, " \n").unwrap().to_json(), json!({}));
        }
    }

    #[test]
    fn a_value_of_a_flag_is_yaml_and_else_text() {
        let origin = Origin::Flag("--set a".into());
        for (text, value) in [
            ("3", json!(3)),
            ("true", json!(true)),
            ("[a, 2]", json!(["a", 2])),
            ("{a: 1}", json!({"a": 1})),
            ("apo", json!("apo")),
            ("'3'", json!("3")),
            ("", json!("")),
            ("a: b: c", json!("a: b: c")),
            ("http://127.0.0.1:4747", json!("http://127.0.0.1:4747")),
        ] {
            let node = parse_value(text, &origin);
            assert_eq!((node.to_json(), node.origin), (value, origin.clone()), "{text}");
        }
    }
}
