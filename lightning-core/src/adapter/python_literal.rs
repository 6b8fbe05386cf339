//! Python's notation of values, in which LiteLLM records what it has no attribute for: `[{'token_ids': [1, 2], 'x': None}]`.

use serde_json::{Map, Number, Value};

/// Deeper nesting is not read.
const MAX_DEPTH: usize = 64;

/// The value that a text denotes in JSON, or else in Python's notation; `None` if it denotes none. Tuples become lists;
/// keys that are no text become what they are written as.
pub(super) fn read(text: &str) -> Option<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return Some(value);
    }
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.skip_space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{c}']);
    }

    fn take(&mut self, token: &str) -> bool {
        self.skip_space();
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.skip_space();
        match self.rest.chars().next()? {
            '[' => self.items('[', "]", depth).map(|(items, _)| Value::Array(items)),
            '(' => {
                let (mut items, ends_with_comma) = self.items('(', ")", depth)?;
                // Brackets around one value alone only group.
                if items.len() == 1 && !ends_with_comma {
                    items.pop()
                } else {
                    Some(Value::Array(items))
                }
            }
            '{' => self.dict(depth),
            '\'' | '"' => self.strings(),
            'r' | 'R' | 'u' | 'U' | 'b' | 'B' if self.prefix().is_some() => self.strings(),
            '-' | '+' | '.' | '0'..='9' => self.number(),
            _ => self.name(),
        }
    }

    /// What stands between brackets, and whether a comma ends it.
    fn items(&mut self, open: char, close: &str, depth: usize) -> Option<(Vec<Value>, bool)> {
        self.rest = self.rest.strip_prefix(open)?;
        let (mut items, mut comma) = (Vec::new(), true);
        loop {
            if self.take(close) {
                return Some((items, comma));
            }
            if !comma {
                return None;
            }
            items.push(self.value(depth + 1)?);
            comma = self.take(",");
        }
    }

    fn dict(&mut self, depth: usize) -> Option<Value> {
        self.rest = self.rest.strip_prefix('{')?;
        let (mut object, mut comma) = (Map::new(), true);
        loop {
            if self.take("}") {
                return Some(Value::Object(object));
            }
            if !comma {
                return None;
            }
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                other => other.to_string(),
            };
            if !self.take(":") {
                return None;
            }
            object.insert(key, self.value(depth + 1)?);
            comma = self.take(",");
        }
    }

    fn name(&mut self) -> Option<Value> {
        let end = self
            .rest
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        match name {
            "None" => Some(Value::Null),
            "True" => Some(Value::Bool(true)),
            "False" => Some(Value::Bool(false)),
            _ => None,
        }
    }

    fn number(&mut self) -> Option<Value> {
        let mut negative = false;
        while let Some(rest) = self.rest.strip_prefix(['-', '+']) {
            negative ^= self.rest.starts_with('-');
            self.rest = rest.trim_start_matches(' ');
        }
        let mut before = ' ';
        let end = self.rest.find(|c: char| {
            let belongs =
                c.is_ascii_alphanumeric() || "._".contains(c) || ("+-".contains(c) && "eE".contains(before));
            before = c;
            !belongs
        });
        let (digits, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        self.rest = rest;
        let digits = digits.replace('_', "").to_ascii_lowercase();
        let radix = [("0x", 16), ("0o", 8), ("0b", 2)];
        let based = radix
            .iter()
            .find_map(|(prefix, radix)| Some((digits.strip_prefix(prefix)?, *radix)));
        if let Some((digits, radix)) = based {
            let value = i128::from_str_radix(digits, radix).ok()?;
            return integer(if negative { -value } else { value });
        }
        if !digits.contains(['.', 'e']) {
            let value: i128 = digits.parse().ok()?;
            return integer(if negative { -value } else { value });
        }
        let value: f64 = digits.parse().ok()?;
        // An infinity, written as 1e999, has no number in JSON.
        Some(Number::from_f64(if negative { -value } else { value }).map_or(Value::Null, Value::Number))
    }

    /// The letters before a text, and how long they are.
    fn prefix(&self) -> Option<(bool, usize)> {
        let quote = self.rest.find(['\'', '"'])?;
        let letters = self.rest.get(..quote)?.to_ascii_lowercase();
        let known = ["", "r", "u", "b", "br", "rb"].contains(&letters.as_str());
        known.then(|| (letters.contains('r'), quote))
    }

    /// Texts that stand one after the other are one.
    fn strings(&mut self) -> Option<Value> {
        let mut text = String::new();
        loop {
            let (raw, letters) = self.prefix()?;
            self.rest = &self.rest[letters..];
            self.string(raw, &mut text)?;
            self.skip_space();
            if self.prefix().is_none() {
                return Some(Value::String(text));
            }
        }
    }

    fn string(&mut self, raw: bool, text: &mut String) -> Option<()> {
        let quote = ["'''", "\"\"\"", "'", "\""]
            .into_iter()
            .find(|quote| self.rest.starts_with(quote))?;
        self.rest = &self.rest[quote.len()..];
        loop {
            if let Some(rest) = self.rest.strip_prefix(quote) {
                self.rest = rest;
                return Some(());
            }
            let next = self.next_char()?;
            match next {
                '\\' if raw => text.extend(['\\', self.next_char()?]),
                '\\' => self.escape(text)?,
                '\n' if quote.len() == 1 => return None,
                other => text.push(other),
            }
        }
    }

    fn next_char(&mut self) -> Option<char> {
        let mut chars = self.rest.chars();
        let next = chars.next()?;
        self.rest = chars.as_str();
        Some(next)
    }

    fn escape(&mut self, text: &mut String) -> Option<()> {
        if self.rest.starts_with(|c: char| c.is_digit(8)) {
            text.push(self.code(1, 3, 8)?);
            return Some(());
        }
        let next = self.next_char()?;
        let plain = match next {
            '\n' => return Some(()),
            'a' => '\u{7}',
            'b' => '\u{8}',
            'f' => '\u{c}',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\u{b}',
            '\\' | '\'' | '"' => next,
            'x' => self.code(2, 2, 16)?,
            'u' => self.code(4, 4, 16)?,
            'U' => self.code(8, 8, 16)?,
            other => {
                text.extend(['\\', other]);
                return Some(());
            }
        };
        text.push(plain);
        Some(())
    }

    fn code(&mut self, least: usize, most: usize, radix: u32) -> Option<char> {
        let digits = self
            .rest
            .bytes()
            .take(most)
            .take_while(|byte| char::from(*byte).is_digit(radix))
            .count();
        if digits < least {
            return None;
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        // Half of a pair has no character of its own.
        Some(char::from_u32(u32::from_str_radix(number, radix).ok()?).unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

fn integer(value: i128) -> Option<Value> {
    let number = u64::try_from(value)
        .map(Number::from)
        .or_else(|_| i64::try_from(value).map(Number::from));
    // What is larger is a number all the same.
    number
        .ok()
        .or_else(|| Number::from_f64(value as f64))
        .map(Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_read_in_both_notations() {
        for (text, expected) in [
            ("[1, 2]", json!([1, 2])),
            (" [1, 2, ] ", json!([1, 2])),
            ("[[1], [2]]", json!([[1], [2]])),
            (
                "{'token_ids': [1, 2], 'x': None, \"y\": True}",
                json!({"token_ids": [1, 2], "x": null, "y": true}),
            ),
            (r#"[{"a": null}]"#, json!([{"a": null}])),
            ("()", json!([])),
            ("(1,)", json!([1])),
            ("(1)", json!(1)),
            ("(1, 2)", json!([1, 2])),
            ("{1: 'a'}", json!({"1": "a"})),
            ("-5", json!(-5)),
            (
                "[1_000, 0x1f, 1.5e3, -2.5, .5]",
                json!([1000, 31, 1500.0, -2.5, 0.5]),
            ),
            (r"'it\'s \x41\u00e9\n\101 \q'", json!("it's A\u{e9}\nA \\q")),
            ("'a' \"b\" u'c'", json!("abc")),
            (r"r'\n'", json!("\\n")),
            ("'''a\n'b'''", json!("a\n'b")),
            (
                r"'a\
b'",
                json!("ab"),
            ),
            ("1e999", json!(null)),
        ] {
            assert_eq!(read(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_value_is_none() {
        for text in [
            "", "[", "[1", "[1 2]", "[,]", "{'a'}", "{'a': }", "f(1)", "null", "'a", "'a\nb'", "[1] x",
            "1 + 2", "nan", r"'\x4'", "{'a' 1}", "--", "0xzz",
        ] {
            assert_eq!(read(text), serde_json::from_str(text).ok(), "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(read(&deep), None);
    }
}
