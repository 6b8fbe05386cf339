//! Looking at a request's body, and changing no more of it than has to be.
//!
//! A body is never decoded and written anew: the fields that nobody here knows, their order and the digits of numbers go to
//! the backend as they came. What is looked at are the fields of the outermost object.

use std::{borrow::Cow, ops::Range};

use bytes::{Bytes, BytesMut};
use memchr::memchr2;

/// Where the fields of a body are.
#[derive(Debug)]
pub(super) struct Outline {
    fields: Vec<(String, Range<usize>)>,
    /// Where the last brace is.
    close: usize,
}

impl Outline {
    /// Finds the fields. Errors with what is wrong, if this is no JSON object.
    pub(super) fn of(body: &[u8]) -> Result<Self, &'static str> {
        let mut scan = Scan { body, at: 0 };
        scan.space();
        scan.expect(b'{', "the body is not a JSON object")?;
        let mut fields = Vec::with_capacity(8);
        scan.space();
        if scan.peek() != Some(b'}') {
            loop {
                scan.space();
                let name = scan.text()?;
                let name: Cow<'_, str> = match std::str::from_utf8(&body[name.start + 1..name.end - 1]) {
                    Ok(plain) if !plain.contains('\\') => Cow::Borrowed(plain),
                    _ => {
                        let name: String = serde_json::from_slice(&body[name])
                            .map_err(|_| "the name of a field in the body is no JSON text")?;
                        Cow::Owned(name)
                    }
                };
                scan.space();
                scan.expect(b':', "a field of the body has no value")?;
                scan.space();
                let value = scan.value()?;
                fields.push((name.into_owned(), value));
                scan.space();
                match scan.next() {
                    Some(b',') => {}
                    Some(b'}') => break,
                    _ => return Err("the body is no complete JSON object"),
                }
            }
        } else {
            scan.at += 1;
        }
        let close = scan.at - 1;
        scan.space();
        match scan.peek() {
            None => Ok(Self { fields, close }),
            Some(_) => Err("something follows the JSON object in the body"),
        }
    }

    /// Whether a field is there, also as `null`.
    pub(super) fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    /// The value of a field; the last one, if it is given twice, as nearly all who read JSON have it.
    fn value<'a>(&self, body: &'a [u8], name: &str) -> Option<&'a [u8]> {
        let found = self.fields.iter().rev().find(|(field, _)| field == name);
        found.map(|(_, range)| &body[range.clone()])
    }

    /// The text that a field holds.
    pub(super) fn text<'a>(&self, body: &'a [u8], name: &str) -> Option<Cow<'a, str>> {
        let value = self.value(body, name)?;
        let inside = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
        match std::str::from_utf8(inside) {
            Ok(plain) if !plain.contains('\\') => Some(Cow::Borrowed(plain)),
            _ => serde_json::from_slice(value).ok().map(Cow::Owned),
        }
    }

    /// Whether a field is `true`.
    pub(super) fn is_true(&self, body: &[u8], name: &str) -> bool {
        self.value(body, name) == Some(b"true")
    }

    /// The body with another value of `model` and with fields added at its end. `model` and the values are JSON. What is
    /// to be added and is there already stays as it is.
    pub(super) fn rewrite<'a>(
        &self,
        body: &Bytes,
        model: Option<&str>,
        additions: impl Iterator<Item = &'a (String, String)>,
    ) -> Bytes {
        let mut added: Vec<&(String, String)> = Vec::new();
        for addition in additions {
            if !self.has(&addition.0) && added.iter().all(|(name, _)| *name != addition.0) {
                added.push(addition);
            }
        }
        if model.is_none() && added.is_empty() {
            return body.clone();
        }
        let more: usize = added
            .iter()
            .map(|(name, value)| name.len() + value.len() + 8)
            .sum();
        let mut changed = BytesMut::with_capacity(body.len() + model.map_or(0, str::len) + more);
        let mut done = 0;
        if let Some(model) = model {
            for (_, range) in self.fields.iter().filter(|(name, _)| name == "model") {
                changed.extend_from_slice(&body[done..range.start]);
                changed.extend_from_slice(model.as_bytes());
                done = range.end;
            }
        }
        changed.extend_from_slice(&body[done..self.close]);
        for (at, (name, value)) in added.iter().enumerate() {
            if at > 0 || !self.fields.is_empty() {
                changed.extend_from_slice(b",");
            }
            changed.extend_from_slice(json_text(name).as_bytes());
            changed.extend_from_slice(b":");
            changed.extend_from_slice(value.as_bytes());
        }
        changed.extend_from_slice(&body[self.close..]);
        changed.freeze()
    }
}

/// Text as JSON.
pub(super) fn json_text(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct Scan<'a> {
    body: &'a [u8],
    at: usize,
}

impl Scan<'_> {
    fn peek(&self) -> Option<u8> {
        self.body.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, wanted: u8, problem: &'static str) -> Result<(), &'static str> {
        match self.next() {
            Some(byte) if byte == wanted => Ok(()),
            _ => Err(problem),
        }
    }

    /// Passes over a text, with its quotes.
    fn text(&mut self) -> Result<Range<usize>, &'static str> {
        let start = self.at;
        self.expect(b'"', "the name of a field in the body has no quotes")?;
        loop {
            let rest = self.body.get(self.at..).unwrap_or_default();
            let found = memchr2(b'"', b'\\', rest).ok_or("a text in the body has no end")?;
            self.at += found + 1;
            match rest[found] {
                b'"' => return Ok(start..self.at),
                // What a backslash is followed by is a part of the text.
                _ => self.at += 1,
            }
        }
    }

    /// Passes over a value. Only where it ends is looked at, not whether it is sound within.
    fn value(&mut self) -> Result<Range<usize>, &'static str> {
        let start = self.at;
        let mut depth = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.text()?;
                    if depth == 0 {
                        return Ok(start..self.at);
                    }
                    continue;
                }
                Some(b'{' | b'[') => depth += 1,
                Some(b'}' | b']') if depth > 0 => {
                    depth -= 1;
                    if depth == 0 {
                        self.at += 1;
                        return Ok(start..self.at);
                    }
                }
                Some(b',' | b'}' | b']' | b' ' | b'\t' | b'\n' | b'\r') if depth == 0 => {
                    return if self.at > start {
                        Ok(start..self.at)
                    } else {
                        Err("a field of the body has no value")
                    };
                }
                Some(_) => {}
                None => return Err("the body is no complete JSON object"),
            }
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn rewritten(body: &str, model: Option<&str>, additions: &[(&str, &str)]) -> String {
        let body = Bytes::copy_from_slice(body.as_bytes());
        let additions: Vec<_> = additions
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let outline = Outline::of(&body).unwrap();
        let changed = outline.rewrite(&body, model, additions.iter());
        String::from_utf8(changed.to_vec()).unwrap()
    }

    #[test]
    fn only_what_must_change_changes() {
        let body = r#" { "x_new": [1e400, 0.10, {"model":"no"}] ,"model" : "a\"b", "n":1.00, "t":null } "#;
        assert_eq!(
            rewritten(
                body,
                Some(r#""up""#),
                &[("t", "0.5"), ("seed", "7"), ("seed", "8")]
            ),
            r#" { "x_new": [1e400, 0.10, {"model":"no"}] ,"model" : "up", "n":1.00, "t":null ,"seed":7} "#
        );
        assert_eq!(rewritten(body, None, &[("n", "2")]), body);
        assert_eq!(rewritten("{}", None, &[("n", "2")]), r#"{"n":2}"#);
        assert_eq!(
            rewritten(r#"{"model":1,"model":"b"}"#, Some("0"), &[]),
            r#"{"model":0,"model":0}"#
        );
    }

    #[test]
    fn the_model_is_read_however_it_is_written() {
        let read = |body: &str| {
            let outline = Outline::of(body.as_bytes()).unwrap();
            outline.text(body.as_bytes(), "model").map(Cow::into_owned)
        };
        assert_eq!(read(r#"{"mod\u0065l":"\u00fc"}"#).as_deref(), Some("ü"));
        assert_eq!(read(r#"{"model":"a","model":"b"}"#).as_deref(), Some("b"));
        assert_eq!(read(r#"{"model":7}"#), None);
        assert_eq!(read(r#"{"messages":{"model":"x"}}"#), None);
        let body = b"{\"x\":\"\xff\xfe\",\"model\":\"m\"}";
        assert_eq!(
            Outline::of(body).unwrap().text(body, "model").as_deref(),
            Some("m")
        );
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for wrong in [
            "",
            " ",
            "null",
            "[]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":}",
            "{\"a\":1",
            "{\"a\":1,}",
            "{\"a\":\"",
            "{a:1}",
            "{\"a\":1}x",
            "{\"a\":1}{}",
            "{\"a\":[1}",
            "{\"a\\",
            "{\"\\q\":1}",
            "{,}",
            "\"{}\"",
        ] {
            assert!(Outline::of(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn rewriting_is_what_decoding_and_encoding_would_do(
            fields in prop::collection::btree_map("model|stream|.{0,6}", json(), 0..6),
            added in prop::collection::btree_map("model|stream|.{1,6}", json(), 0..4),
            pretty in any::<bool>(),
        ) {
            let object: Map<String, Value> = fields.into_iter().collect();
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) };
            let body = Bytes::from(text.unwrap());
            let outline = Outline::of(&body).unwrap();
            let model = object.get("model").and_then(Value::as_str);
            let found = outline.text(&body, "model");
            prop_assert_eq!(found.as_deref(), model);
            let additions: Vec<_> = added.iter().map(|(name, value)| (name.clone(), value.to_string())).collect();
            let changed = outline.rewrite(&body, Some("\"new\""), additions.iter());
            let mut expected = object.clone();
            for (name, value) in added {
                expected.entry(name).or_insert(value);
            }
            if object.contains_key("model") {
                expected.insert("model".to_owned(), "new".into());
            }
            prop_assert_eq!(serde_json::from_slice::<Value>(&changed).unwrap(), Value::Object(expected));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(prop_oneof![Just(b'{'), Just(b'"'), Just(b'\\'), Just(b':'), Just(b','), Just(b'}'), any::<u8>()], 0..40)) {
            if let Ok(outline) = Outline::of(&bytes) {
                let body = Bytes::from(bytes);
                outline.rewrite(&body, Some("1"), [("a".to_owned(), "2".to_owned())].iter());
            }
        }
    }
}
