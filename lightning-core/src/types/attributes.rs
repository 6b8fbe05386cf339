//! Nested JSON as the flat attributes of a span, and back.
//!
//! The rules are those of `agentlightning==0.3.0`: a path is written with dots, the items of a list are numbered, and a
//! list of scalars of one kind stays a list.

use serde_json::Value;

use super::JsonObject;

/// How many levels of nesting attributes may have; a key never has more segments than that. JSON text that is nested more
/// deeply is not read by `serde_json` either.
pub const MAX_ATTRIBUTE_DEPTH: usize = 127;

/// A value is nested more deeply than attributes can express.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the value is nested more than {MAX_ATTRIBUTE_DEPTH} levels deep; store the part that matters, or its JSON text"
)]
pub struct NestedTooDeep;

/// Flattens a nested value: `{"a": {"b": 1, "c": [2, 3]}}` becomes `{"a.b": 1, "a.c": [2, 3]}`.
///
/// Lists of scalars of one kind (texts, integers, other numbers, truth values) stay lists, except at the top. Other
/// lists are numbered: `{"a": [1, "x"]}` becomes `{"a.0": 1, "a.1": "x"}`. Empty objects and lists leave nothing behind.
/// Nulls stay.
///
/// ```
/// use lightning_core::types::flatten;
/// use serde_json::json;
///
/// let flat = flatten(json!({"user": {"name": "Ada", "tags": ["a", "b"]}})).unwrap();
/// assert_eq!(json!(flat), json!({"user.name": "Ada", "user.tags": ["a", "b"]}));
/// ```
///
/// # Errors
///
/// [`NestedTooDeep`] beyond [`MAX_ATTRIBUTE_DEPTH`] levels.
pub fn flatten(nested: Value) -> Result<JsonObject, NestedTooDeep> {
    let mut flat = JsonObject::new();
    flatten_into(&mut flat, String::new(), nested)?;
    Ok(flat)
}

/// Flattens `nested` into `flat`, every key under `prefix`.
pub(crate) fn flatten_into(
    flat: &mut JsonObject,
    prefix: String,
    nested: Value,
) -> Result<(), NestedTooDeep> {
    // A list of what is left to do instead of recursion: nesting comes from outside, and the stack is small. A value
    // that is too deep is taken apart to its end for the same reason: dropping it whole would recurse.
    let mut rest = vec![(prefix, nested, 0)];
    let mut too_deep = false;
    while let Some((key, value, depth)) = rest.pop() {
        too_deep |= depth > MAX_ATTRIBUTE_DEPTH;
        let from = rest.len();
        match value {
            Value::Object(object) => {
                let children = object.into_iter();
                rest.extend(children.map(|(name, value)| (under(&key, &name, too_deep), value, depth + 1)));
            }
            Value::Array(items) if key.is_empty() || !is_leaf_list(&items) => {
                let children = items.into_iter().enumerate();
                rest.extend(children.map(|(index, value)| {
                    let name = if too_deep {
                        String::new()
                    } else {
                        index.to_string()
                    };
                    (under(&key, &name, too_deep), value, depth + 1)
                }));
            }
            leaf => {
                if !too_deep {
                    flat.insert(key, leaf);
                }
            }
        }
        rest[from..].reverse();
    }
    if too_deep { Err(NestedTooDeep) } else { Ok(()) }
}

fn under(prefix: &str, name: &str, no_matter: bool) -> String {
    match (prefix, no_matter) {
        (_, true) => String::new(),
        ("", _) => name.to_owned(),
        _ => format!("{prefix}.{name}"),
    }
}

/// Whether the list is what one attribute can hold: scalars of one kind.
fn is_leaf_list(items: &[Value]) -> bool {
    #[derive(PartialEq)]
    enum Kind {
        Text,
        Integer,
        Float,
        Bool,
    }
    let kind = |item: &Value| match item {
        Value::String(_) => Some(Kind::Text),
        Value::Number(number) if number.is_f64() => Some(Kind::Float),
        Value::Number(_) => Some(Kind::Integer),
        Value::Bool(_) => Some(Kind::Bool),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    };
    match items.split_first() {
        None => false,
        Some((first, others)) => {
            let first = kind(first);
            first.is_some() && others.iter().all(|item| kind(item) == first)
        }
    }
}

/// The inverse of [`flatten`]: `{"a.b": 1, "a.c.0": 2, "a.c.1": 3}` becomes `{"a": {"b": 1, "c": [2, 3]}}`.
///
/// An object whose keys are exactly `0` to `n - 1` becomes a list. Where one key is the beginning of another (`a` and
/// `a.b`), the longer one wins. A key with more than [`MAX_ATTRIBUTE_DEPTH`] segments keeps the dots of its last ones.
///
/// What [`flatten`] made of an object comes back as it was, but for empty objects and lists, keys that are empty or
/// contain dots, and objects whose keys are numbers like those of a list.
pub fn unflatten(flat: JsonObject) -> Value {
    let mut root = JsonObject::new();
    for (key, value) in flat {
        place(&mut root, &key, value);
    }
    lists_found(Value::Object(root), MAX_ATTRIBUTE_DEPTH)
}

/// What stands under `prefix`, [unflattened](unflatten), without the prefix; `None` if nothing does.
///
/// If there is an attribute called just `prefix`, and nothing below it, that is the answer.
///
/// ```
/// use lightning_core::types::unflatten_under;
/// use serde_json::json;
///
/// let attributes = json!({"input.query": "rust", "input.k": 3, "output": true});
/// let attributes = attributes.as_object().unwrap();
/// assert_eq!(unflatten_under(attributes, "input"), Some(json!({"query": "rust", "k": 3})));
/// assert_eq!(unflatten_under(attributes, "output"), Some(json!(true)));
/// assert_eq!(unflatten_under(attributes, "in"), None);
/// ```
pub fn unflatten_under(attributes: &JsonObject, prefix: &str) -> Option<Value> {
    let mut root = JsonObject::new();
    for (key, value) in attributes {
        let rest = key.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('.'));
        if let Some(rest) = rest {
            place(&mut root, rest, value.clone());
        }
    }
    if root.is_empty() {
        attributes.get(prefix).cloned()
    } else {
        Some(lists_found(Value::Object(root), MAX_ATTRIBUTE_DEPTH))
    }
}

fn place(root: &mut JsonObject, key: &str, value: Value) {
    let mut node = root;
    let mut segments = key.splitn(MAX_ATTRIBUTE_DEPTH, '.').peekable();
    while let Some(segment) = segments.next() {
        if segments.peek().is_none() {
            // An object is there if a longer key came first.
            if !node.get(segment).is_some_and(Value::is_object) {
                node.insert(segment.to_owned(), value);
            }
            return;
        }
        let child = node.entry(segment).or_insert(Value::Null);
        if !child.is_object() {
            *child = Value::Object(JsonObject::new());
        }
        match child {
            Value::Object(child) => node = child,
            _ => return,
        }
    }
}

/// Turns objects that are numbered like lists into lists, down to `depth` levels, which is as far as keys reach.
fn lists_found(value: Value, depth: usize) -> Value {
    let Value::Object(object) = value else {
        return value;
    };
    if depth == 0 {
        return Value::Object(object);
    }
    let mut object: JsonObject = object
        .into_iter()
        .map(|(key, value)| (key, lists_found(value, depth - 1)))
        .collect();
    let is_list =
        !object.is_empty() && (0..object.len()).all(|index| object.contains_key(&index.to_string()));
    if is_list {
        let items = (0..object.len()).filter_map(|index| object.remove(&index.to_string()));
        Value::Array(items.collect())
    } else {
        Value::Object(object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn nested(levels: usize) -> Value {
        (0..levels).fold(json!(1), |inner, _| json!({"a": inner}))
    }

    #[test]
    fn lists_of_one_kind_stay_and_others_are_numbered() {
        let flat = flatten(json!({
            "texts": ["a", "b"], "mixed": [1, "a"], "numbers": [1, 2.5], "empty": [], "none": {},
            "null": null, "objects": [{"x": 1}, {"x": [true, false]}],
        }));
        assert_eq!(
            json!(flat.unwrap()),
            json!({
                "texts": ["a", "b"], "mixed.0": 1, "mixed.1": "a", "numbers.0": 1, "numbers.1": 2.5, "null": null,
                "objects.0.x": 1, "objects.1.x": [true, false],
            })
        );
    }

    #[test]
    fn a_list_at_the_top_is_numbered() {
        assert_eq!(
            json!(flatten(json!(["a", "b"])).unwrap()),
            json!({"0": "a", "1": "b"})
        );
    }

    #[test]
    fn nesting_is_bounded() {
        assert_eq!(flatten(nested(MAX_ATTRIBUTE_DEPTH)).unwrap().len(), 1);
        assert_eq!(flatten(nested(MAX_ATTRIBUTE_DEPTH + 1)), Err(NestedTooDeep));
        // Far beyond what recursion would survive, be it in taking the value apart or in dropping it.
        let mut deep = json!(1);
        for level in 0..1_000_000 {
            deep = if level % 2 == 0 {
                Value::Array(vec![deep])
            } else {
                Value::Object([("a".to_owned(), deep)].into_iter().collect())
            };
        }
        assert_eq!(flatten(deep), Err(NestedTooDeep));
    }

    #[test]
    fn a_key_of_a_million_dots_is_no_deep_value() {
        let key = ".".repeat(1_000_000);
        let flat = JsonObject::from_iter([(key, json!(1))]);
        let mut value = unflatten(flat);
        let mut levels = 0;
        while let Value::Object(mut object) = value {
            assert_eq!(object.len(), 1);
            levels += 1;
            value = object.values_mut().next().unwrap().take();
        }
        assert_eq!((levels, value), (MAX_ATTRIBUTE_DEPTH, json!(1)));
    }

    #[test]
    fn only_complete_numberings_are_lists() {
        let flat = json!({"a.0": 1, "a.1": 2, "b.1": 1, "b.2": 2, "c.00": 1, "c.1": 2, "d.0.e": 1});
        assert_eq!(
            unflatten(flat.as_object().unwrap().clone()),
            json!({"a": [1, 2], "b": {"1": 1, "2": 2}, "c": {"00": 1, "1": 2}, "d": [{"e": 1}]})
        );
    }

    #[test]
    fn the_longer_of_two_keys_wins() {
        let flat = json!({"a": 1, "a.b": 2, "a.b.c": 3});
        assert_eq!(
            unflatten(flat.as_object().unwrap().clone()),
            json!({"a": {"b": {"c": 3}}})
        );
    }
}
