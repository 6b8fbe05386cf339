//! The JSON Schema of run files: what editors check by, and what we check by ourselves, so that the two cannot part.
//!
//! Only the part of JSON Schema is understood that `run_file.schema.json` uses. Of `format`, `path` and `store` mean that
//! relative paths begin at the folder of the file that names them, and `secret` that the value is never shown.

use std::sync::LazyLock;

use serde_json::{Value, json};

use super::{
    Problem,
    error::did_you_mean,
    node::{Node, NodeValue, join},
    parse::parse_value,
};
use crate::registry::{Described, Registry};

static TEXT: &str = include_str!("run_file.schema.json");

static GENERAL: LazyLock<Value> = LazyLock::new(|| serde_json::from_str(TEXT).unwrap_or_default());

/// The schema for a program with these algorithms and agents.
pub(super) fn for_registry(registry: &Registry) -> Value {
    let mut schema = GENERAL.clone();
    let algorithms: Vec<Described<'_>> = registry.algorithms().collect();
    let agents: Vec<Described<'_>> = registry.agents().collect();
    schema["properties"]["algorithm"]["anyOf"] = alternatives("algorithm", &algorithms).into();
    if let Some(Value::Array(of)) = schema.pointer_mut("/properties/agent/anyOf") {
        of.splice(0..0, alternatives("agent", &agents));
    }
    if agents.is_empty() {
        schema["properties"]["agent"]["x-hint"] =
            "this program has no agents of its own: give a `command`, or run the file with a program that has the agent".into();
    }
    schema
}

/// What may be written to choose one of these: the name, or a map.
fn alternatives(kind: &str, all: &[Described<'_>]) -> Vec<Value> {
    if all.is_empty() {
        return Vec::new();
    }
    let names: Vec<&str> = all.iter().map(|one| one.name).collect();
    let mut alternatives = vec![json!({"enum": names, "description": format!("The {kind} by its name.")})];
    alternatives.extend(all.iter().map(|one| {
        let parameters = one.parameters.iter().map(|(name, default)| {
            let property = default
                .as_ref()
                .map_or_else(|| json!({}), |default| json!({"default": default}));
            ((*name).to_owned(), property)
        });
        let parameters: serde_json::Map<String, Value> = parameters.collect();
        json!({
            "type": "object",
            "required": ["name"],
            "additionalProperties": false,
            "properties": {
                "name": {"const": one.name},
                "parameters": {
                    "type": "object",
                    "description": "Those that are left out have their defaults.",
                    "additionalProperties": false,
                    "properties": parameters,
                },
            },
        })
    }));
    alternatives
}

/// The schema as editors get it: a reference may stand wherever a number or a truth value may, and what is only ours is
/// left out.
pub(super) fn published(registry: &Registry) -> Value {
    let mut schema = for_registry(registry);
    publish(&mut schema);
    schema["$defs"]["reference"] = json!({
        "type": "string",
        "pattern": "^(\\$\\{|file:)",
        "description": "${VARIABLE}, ${VARIABLE:-else}, or file:PATH.",
    });
    schema
}

fn publish(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("x-hint");
            object.values_mut().for_each(publish);
            let is_plain = object
                .get("type")
                .and_then(Value::as_str)
                .is_some_and(|name| matches!(name, "integer" | "number" | "boolean"));
            if is_plain || object.contains_key("enum") {
                let mut kept = serde_json::Map::new();
                for name in ["description", "default"] {
                    kept.extend(object.remove(name).map(|value| (name.to_owned(), value)));
                }
                let inner = Value::Object(std::mem::take(object));
                kept.insert("anyOf".to_owned(), json!([inner, {"$ref": "#/$defs/reference"}]));
                *object = kept;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(publish),
        _ => {}
    }
}

/// Holds a value against a schema, notes all that is wrong, and puts paths where they belong.
pub(super) struct Checker<'a> {
    pub(super) root: &'a Value,
    pub(super) problems: &'a mut Vec<Problem>,
}

impl<'a> Checker<'a> {
    fn complain(&mut self, node: &Node, place: &str, message: String) {
        self.problems
            .push(Problem::new(Some(&node.origin), place, message));
    }

    fn target(&self, schema: &'a Value) -> &'a Value {
        match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self
                .root
                .pointer(reference.trim_start_matches('#'))
                .unwrap_or(schema),
            None => schema,
        }
    }

    pub(super) fn check(&mut self, schema: &'a Value, node: &mut Node, place: &str) {
        let schema = self.target(schema);
        let Some(alternatives) = schema.get("anyOf").and_then(Value::as_array) else {
            return self.check_one(schema, node, place);
        };
        let alternatives: Vec<&'a Value> = alternatives.iter().map(|one| self.target(one)).collect();
        let fitting: Vec<&'a Value> = alternatives
            .iter()
            .copied()
            .filter(|one| fits(one, node))
            .collect();
        let chosen = fitting.iter().find(|one| is_meant(one, node)).or(fitting.last());
        let hint = schema.get("x-hint").and_then(Value::as_str);
        match chosen {
            Some(chosen) if is_meant(chosen, node) || hint.is_none() => {
                // Where several could be meant, the name says which; all names are known only here.
                let names = || {
                    fitting
                        .iter()
                        .filter_map(|one| one.pointer("/properties/name/const")?.as_str())
                };
                let name = node
                    .get("name")
                    .and_then(|name| Some((name.text()?.to_owned(), name.clone())));
                match name {
                    Some((name, at)) if !is_meant(chosen, node) && names().next().is_some() => {
                        let message = not_among(&name, names());
                        self.complain(&at, &join(place, "name"), message);
                    }
                    _ => self.check_one(chosen, node, place),
                }
            }
            _ => {
                let mut wanted: Vec<&str> = alternatives.iter().map(|one| wanted(one)).collect();
                wanted.dedup();
                let message = match hint {
                    Some(hint) => hint.to_owned(),
                    None => format!("expected {}, found {}", wanted.join(" or "), node.kind()),
                };
                self.complain(node, place, message);
            }
        }
    }

    fn check_one(&mut self, schema: &'a Value, node: &mut Node, place: &str) {
        coerce(schema, node);
        if let Some(of) = schema.get("enum").and_then(Value::as_array) {
            let known = of.iter().filter_map(Value::as_str);
            match node.text() {
                Some(text) if known.clone().any(|known| known == text) => {}
                Some(text) => {
                    let message = not_among(text, known);
                    self.complain(node, place, message);
                }
                None => {
                    let message = format!("expected one of {}", listed(known));
                    self.complain(node, place, message);
                }
            }
            return;
        }
        if !fits(schema, node) {
            let hint = match (&node.value, wanted(schema)) {
                (NodeValue::Number(_) | NodeValue::Bool(_), "text") => "; put it in quotes",
                _ => "",
            };
            let message = format!("expected {}, found {}{hint}", wanted(schema), node.kind());
            return self.complain(node, place, message);
        }
        self.check_number(schema, node, place);
        format(schema, node);
        match &mut node.value {
            NodeValue::Map(_) => self.check_map(schema, node, place),
            NodeValue::List(items) => {
                let least = schema.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                if (items.len() as u64) < least {
                    let message = "this list is empty; give at least one entry".to_owned();
                    return self.complain(node, place, message);
                }
                if let Some(schema) = schema.get("items") {
                    for (index, item) in items.iter_mut().enumerate() {
                        self.check(schema, item, &format!("{place}[{index}]"));
                    }
                }
            }
            _ => {}
        }
    }

    fn check_number(&mut self, schema: &Value, node: &Node, place: &str) {
        let NodeValue::Number(number) = &node.value else {
            return;
        };
        let Some(value) = number.as_f64() else { return };
        let limit = |name| schema.get(name).and_then(Value::as_f64);
        let message = match (limit("minimum"), limit("exclusiveMinimum"), limit("maximum")) {
            (Some(least), ..) if value < least => {
                format!("{number} is too small; it must be at least {least}")
            }
            (_, Some(bound), _) if value <= bound => {
                format!("{number} is too small; it must be above {bound}")
            }
            (.., Some(most)) if value > most => format!("{number} is too large; it must be at most {most}"),
            _ => return,
        };
        self.complain(node, place, message);
    }

    fn check_map(&mut self, schema: &'a Value, node: &mut Node, place: &str) {
        let origin = node.origin.clone();
        let NodeValue::Map(entries) = &mut node.value else {
            return;
        };
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        if others.is_some() && place != "algorithm.parameters" && place != "agent.parameters" {
            // A key with nothing after it, as a section whose lines are all commented out, is none.
            entries.retain(|_, entry| entry.value != NodeValue::Null);
        }
        for name in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let name = name.as_str().unwrap_or_default();
            if !entries.contains_key(name) {
                let key = if place.is_empty() {
                    "the run file".to_owned()
                } else {
                    format!("`{place}`")
                };
                let message = format!("{key} needs `{name}`, which is missing");
                self.problems.push(Problem::new(Some(&origin), place, message));
            }
        }
        for (name, entry) in entries.iter_mut() {
            let within = join(place, name);
            match (properties.and_then(|known| known.get(name)), others) {
                (Some(schema), _) => self.check(schema, entry, &within),
                (None, Some(Value::Bool(false))) => {
                    let known = || {
                        let names = properties.into_iter().flat_map(|known| known.keys());
                        names.map(String::as_str).filter(|known| *known != "$schema")
                    };
                    let close = did_you_mean(name, known());
                    let message = match known().next() {
                        Some(_) => format!("there is no such key{close}; there are {}", listed(known())),
                        None => "there is no such key; there are none here".to_owned(),
                    };
                    self.problems
                        .push(Problem::new(Some(&entry.origin), within, message));
                }
                (None, Some(schema @ Value::Object(_))) => self.check(schema, entry, &within),
                (None, _) => {}
            }
        }
    }
}

fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    names.join(", ")
}

fn not_among<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    format!(
        "there is no `{name}`{}; there are {}",
        did_you_mean(name, known.clone()),
        listed(known)
    )
}

/// The values' type in words.
fn wanted(schema: &Value) -> &'static str {
    match schema.get("type").and_then(Value::as_str) {
        Some("string") => "text",
        Some("integer") => "a whole number",
        Some("number") => "a number",
        Some("boolean") => "true or false",
        Some("array") => "a list",
        Some("object") => "a map",
        _ => "text",
    }
}

/// Whether the value is of the schema's type.
fn fits(schema: &Value, node: &Node) -> bool {
    let kind = match schema.get("type").and_then(Value::as_str) {
        Some(kind) => kind,
        None if schema.get("enum").is_some() => "string",
        None => return true,
    };
    let is_written = node.written.is_some();
    match (&node.value, kind) {
        (NodeValue::Null, "null")
        | (NodeValue::Bool(_), "boolean")
        | (NodeValue::Number(_), "number")
        | (NodeValue::Text(_), "string")
        | (NodeValue::List(_), "array")
        | (NodeValue::Map(_), "object") => true,
        (NodeValue::Number(number), "integer") => number.is_u64() || number.is_i64(),
        // Flags and variables are read as YAML, but where text is wanted, what was written is the text.
        (NodeValue::Number(_) | NodeValue::Bool(_) | NodeValue::Null, "string") => is_written,
        _ => false,
    }
}

/// Whether the alternative has all that the value says and asks for no more than it has.
fn is_meant(schema: &Value, node: &Node) -> bool {
    let required = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let has_all = required
        .filter_map(Value::as_str)
        .all(|name| node.get(name).is_some());
    let constant = schema.pointer("/properties/name/const").and_then(Value::as_str);
    has_all && constant.is_none_or(|name| node.get("name").and_then(Node::text) == Some(name))
}

/// Text that came from a reference is read as a number or a truth value where one is wanted; what was written in a flag or
/// a variable, and read as one of these, is text where that is wanted.
fn coerce(schema: &Value, node: &mut Node) {
    let Some(written) = node.written.clone() else {
        return;
    };
    let kind = match schema.get("type").and_then(Value::as_str) {
        Some(kind) => kind,
        None if schema.get("enum").is_some() => "string",
        None => return,
    };
    match (&node.value, kind) {
        (NodeValue::Text(text), "integer" | "number" | "boolean") => {
            let read = parse_value(text.trim(), &node.origin);
            if fits(
                schema,
                &Node {
                    written: None,
                    ..read.clone()
                },
            ) {
                node.value = read.value;
            }
        }
        (NodeValue::Number(_) | NodeValue::Bool(_) | NodeValue::Null, "string") => {
            node.value = NodeValue::Text(written.as_ref().to_owned());
        }
        _ => {}
    }
}

fn format(schema: &Value, node: &mut Node) {
    let Some(format) = schema.get("format").and_then(Value::as_str) else {
        return;
    };
    node.is_secret |= format == "secret";
    let folder = node.origin.folder().map(std::path::Path::to_owned);
    let (NodeValue::Text(text), Some(folder)) = (&mut node.value, folder) else {
        return;
    };
    let based = |path: &str| folder.join(path).display().to_string();
    match format {
        "path" if !text.is_empty() => *text = based(text),
        "store" => {
            if let Some(path) = text.strip_prefix("sqlite:")
                && !path.starts_with("//")
                && !path.is_empty()
            {
                *text = format!("sqlite:{}", based(path));
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_is_well_formed_and_every_property_is_described() {
        assert!(GENERAL.is_object());
        let undescribed: Vec<&String> = GENERAL["properties"]
            .as_object()
            .unwrap()
            .iter()
            .filter(|(_, property)| property.get("description").is_none() && property.get("$ref").is_none())
            .map(|(name, _)| name)
            .collect();
        assert_eq!(undescribed, Vec::<&String>::new());
    }
}
