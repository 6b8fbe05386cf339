//! Format specifications: `[[fill]align][sign][z][#][0][width][grouping][.precision][type]`.

use std::{iter::Peekable, str::Chars};

use serde_json::{Number, Value};

use super::{float, kind, repr};
use crate::template::MAX_WIDTH;

/// Why a value could not be formatted.
#[derive(Debug)]
pub(super) enum SpecError {
    /// The width or precision is above its bound.
    TooLarge { what: &'static str, limit: usize },
    /// The specification is malformed, or is not for such values.
    Unfit(String),
}

fn unfit<T>(problem: impl Into<String>) -> Result<T, SpecError> {
    Err(SpecError::Unfit(problem.into()))
}

/// `format(value, spec)`.
pub(super) fn format(value: &Value, spec: &str) -> Result<String, SpecError> {
    if spec.is_empty() {
        return Ok(repr::str(value));
    }
    match value {
        Value::String(value) => text(value, &Spec::parse(spec, 's', '<')?),
        Value::Bool(value) => integer(false, u64::from(*value), &Spec::parse(spec, 'd', '>')?),
        Value::Number(value) => number(value, spec),
        Value::Null | Value::Array(_) | Value::Object(_) => unfit(format!(
            "only text and numbers take a format, and the value is {}; `!s` makes it text",
            kind(value)
        )),
    }
}

fn number(value: &Number, spec: &str) -> Result<String, SpecError> {
    if let Some(value) = value.as_u64() {
        integer(false, value, &Spec::parse(spec, 'd', '>')?)
    } else if let Some(value) = value.as_i64() {
        integer(value < 0, value.unsigned_abs(), &Spec::parse(spec, 'd', '>')?)
    } else {
        real(
            value.as_f64().unwrap_or(f64::NAN),
            &Spec::parse(spec, GENERAL, '>')?,
        )
    }
}

/// The type of a float whose specification names none.
const GENERAL: char = '\0';

#[derive(Clone, Copy, PartialEq, Eq)]
enum Grouping {
    None,
    Comma,
    Underscore,
}

struct Spec {
    fill: char,
    align: char,
    sign: Option<char>,
    /// A negative zero loses its sign.
    positive_zero: bool,
    alternate: bool,
    width: usize,
    grouping: Grouping,
    precision: Option<usize>,
    kind: char,
}

impl Spec {
    fn parse(text: &str, default_kind: char, default_align: char) -> Result<Self, SpecError> {
        let mut spec = Self {
            fill: ' ',
            align: default_align,
            sign: None,
            positive_zero: false,
            alternate: false,
            width: 0,
            grouping: Grouping::None,
            precision: None,
            kind: default_kind,
        };
        let is_align = |char: &char| matches!(char, '<' | '>' | '=' | '^');
        let mut chars = text.chars().peekable();
        let mut filled = false;
        let mut aligned = true;
        let mut ahead = text.chars();
        match (ahead.next(), ahead.next()) {
            (Some(fill), Some(align)) if is_align(&align) => {
                (spec.fill, spec.align, filled) = (fill, align, true);
                chars.next();
                chars.next();
            }
            (Some(align), _) if is_align(&align) => {
                spec.align = align;
                chars.next();
            }
            _ => aligned = false,
        }
        spec.sign = chars.next_if(|char| matches!(char, ' ' | '+' | '-'));
        spec.positive_zero = chars.next_if_eq(&'z').is_some();
        spec.alternate = chars.next_if_eq(&'#').is_some();
        if !filled && chars.next_if_eq(&'0').is_some() {
            spec.fill = '0';
            if !aligned && default_align == '>' {
                spec.align = '=';
            }
        }
        spec.width = digits(&mut chars, "the width")?.unwrap_or(0);
        if chars.next_if_eq(&',').is_some() {
            spec.grouping = Grouping::Comma;
        }
        if chars.next_if_eq(&'_').is_some() {
            if spec.grouping == Grouping::Comma {
                return unfit("`,` and `_` exclude each other");
            }
            spec.grouping = Grouping::Underscore;
        }
        if spec.grouping == Grouping::Underscore && chars.peek() == Some(&',') {
            return unfit("`,` and `_` exclude each other");
        }
        if chars.next_if_eq(&'.').is_some() {
            spec.precision = digits(&mut chars, "the precision")?;
            if spec.precision.is_none() {
                return unfit("a number is missing after `.`");
            }
        }
        if let Some(kind) = chars.next() {
            spec.kind = kind;
        }
        if chars.next().is_some() {
            return unfit("it does not read as `[[fill]align][sign][#][0][width][,][.precision][type]`");
        }
        match (spec.grouping, spec.kind) {
            (Grouping::None, _)
            | (_, 'd' | 'e' | 'f' | 'g' | 'E' | 'G' | '%' | 'F' | GENERAL)
            | (Grouping::Underscore, 'b' | 'o' | 'x' | 'X') => Ok(spec),
            (grouping, kind) => {
                let mark = if grouping == Grouping::Comma { ',' } else { '_' };
                unfit(format!("`{mark}` does not go with the type `{kind}`"))
            }
        }
    }

    /// Fills up to the width. `head` is what comes before the padding of `=`.
    fn pad(&self, head: &str, body: &str) -> String {
        let length = head.chars().count() + body.chars().count();
        let padding = self.width.saturating_sub(length);
        let (left, inner, right) = match self.align {
            '<' => (0, 0, padding),
            '^' => (padding / 2, 0, padding - padding / 2),
            '=' => (0, padding, 0),
            _ => (padding, 0, 0),
        };
        let fill = |count| std::iter::repeat_n(self.fill, count);
        let mut out = String::with_capacity(head.len() + body.len() + padding * self.fill.len_utf8());
        out.extend(fill(left));
        out.push_str(head);
        out.extend(fill(inner));
        out.push_str(body);
        out.extend(fill(right));
        out
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.sign) {
            (true, _) => "-",
            (false, Some('+')) => "+",
            (false, Some(' ')) => " ",
            (false, _) => "",
        }
    }

    /// A number of its parts: sign and prefix, digits to be grouped, and the rest.
    fn number(&self, head: &str, digits: &str, rest: &str) -> String {
        let size = if matches!(self.kind, 'b' | 'o' | 'x' | 'X') {
            4
        } else {
            3
        };
        let separator = match self.grouping {
            Grouping::None => None,
            Grouping::Comma => Some(','),
            Grouping::Underscore => Some('_'),
        };
        // Zeros that fill a number are grouped with it.
        let least = if self.fill == '0' && self.align == '=' {
            self.width.saturating_sub(head.len() + rest.len())
        } else {
            0
        };
        let digits = match separator {
            None => digits.to_owned(),
            Some(separator) => group(digits, separator, size, least),
        };
        self.pad(head, &format!("{digits}{rest}"))
    }
}

/// The number that comes next; nothing if there is no digit.
fn digits(chars: &mut Peekable<Chars<'_>>, what: &'static str) -> Result<Option<usize>, SpecError> {
    let mut value = None;
    while let Some(digit) = chars.peek().and_then(|char| char.to_digit(10)) {
        chars.next();
        let next = value.unwrap_or(0_usize) * 10 + digit as usize;
        if next > MAX_WIDTH {
            return Err(SpecError::TooLarge {
                what,
                limit: MAX_WIDTH,
            });
        }
        value = Some(next);
    }
    Ok(value)
}

/// Separates the digits, and puts zeros before them until there are `least` characters.
fn group(digits: &str, separator: char, size: usize, least: usize) -> String {
    let mut reversed = String::new();
    let mut source = digits.bytes().rev().map(char::from);
    let mut count = 0;
    loop {
        let digit = source.next();
        if digit.is_none() && reversed.len() >= least {
            break;
        }
        if count > 0 && count % size == 0 {
            reversed.push(separator);
        }
        reversed.push(digit.unwrap_or('0'));
        count += 1;
    }
    reversed.chars().rev().collect()
}

fn text(value: &str, spec: &Spec) -> Result<String, SpecError> {
    if spec.sign.is_some() {
        return unfit("text takes no sign");
    }
    if spec.positive_zero {
        return unfit("text takes no `z`");
    }
    if spec.alternate {
        return unfit("text takes no `#`");
    }
    if spec.align == '=' {
        return unfit("text takes no `=`");
    }
    if spec.kind != 's' {
        return unfit(format!("text takes the type `s`, not `{}`", spec.kind));
    }
    match spec.precision {
        None => Ok(spec.pad(value, "")),
        Some(precision) => {
            let end = value
                .char_indices()
                .nth(precision)
                .map_or(value.len(), |(at, _)| at);
            Ok(spec.pad(&value[..end], ""))
        }
    }
}

fn integer(negative: bool, magnitude: u64, spec: &Spec) -> Result<String, SpecError> {
    let (prefix, digits) = match spec.kind {
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' | '%' => {
            let value = magnitude as f64;
            return real(if negative { -value } else { value }, spec);
        }
        'd' | 'n' => ("", magnitude.to_string()),
        'b' => ("0b", format!("{magnitude:b}")),
        'o' => ("0o", format!("{magnitude:o}")),
        'x' => ("0x", format!("{magnitude:x}")),
        'X' => ("0X", format!("{magnitude:X}")),
        'c' => ("", String::new()),
        other => {
            return unfit(format!(
                "an integer takes the types d n b o x X c e E f F g G %, not `{other}`"
            ));
        }
    };
    if spec.positive_zero {
        return unfit("an integer takes no `z`");
    }
    if spec.precision.is_some() {
        return unfit("an integer takes no precision, unless its type is one of e E f F g G %");
    }
    if spec.kind == 'c' {
        if spec.sign.is_some() || spec.alternate {
            return unfit("the type `c` takes neither a sign nor `#`");
        }
        let char = u32::try_from(magnitude)
            .ok()
            .filter(|_| !negative)
            .and_then(char::from_u32);
        return match char {
            Some(char) => Ok(spec.pad("", char.encode_utf8(&mut [0; 4]))),
            None => unfit("the number is not that of a character"),
        };
    }
    let prefix = if spec.alternate { prefix } else { "" };
    Ok(spec.number(&format!("{}{prefix}", spec.sign(negative)), &digits, ""))
}

fn real(value: f64, spec: &Spec) -> Result<String, SpecError> {
    let magnitude = value.abs();
    let precision = spec.precision.unwrap_or(6);
    let alternate = spec.alternate;
    let text = match (spec.kind, spec.precision) {
        ('e', _) => float::exponential(magnitude, precision, alternate),
        ('E', _) => float::exponential(magnitude, precision, alternate).to_uppercase(),
        ('f' | 'F', _) => float::fixed(magnitude, precision, alternate),
        ('%', _) => float::fixed(magnitude * 100.0, precision, alternate) + "%",
        ('g' | 'n', _) => float::general(magnitude, precision, alternate, false),
        ('G', _) => float::general(magnitude, precision, alternate, false).to_uppercase(),
        (GENERAL, None) => float::shortest(magnitude, alternate),
        (GENERAL, Some(precision)) => float::general(magnitude, precision, alternate, true),
        (other, _) => return unfit(format!("a float takes the types e E f F g G n %, not `{other}`")),
    };
    let mantissa = text.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.bytes().any(|byte| (b'1'..=b'9').contains(&byte));
    let negative = value.is_sign_negative() && !(spec.positive_zero && is_zero);
    let end = text
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(text.len());
    Ok(spec.number(spec.sign(negative), &text[..end], &text[end..]))
}
