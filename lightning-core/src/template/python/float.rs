//! Floating-point numbers as Python writes them, without their sign.

use std::fmt::Write as _;

/// No `f64` has more digits than these, before or behind its point; all further ones are zeros. The formatter of the
/// standard library refuses precisions above 65 535.
const MAX_DIGITS: usize = 1100;

/// `repr(value)`.
pub(super) fn repr(value: f64) -> String {
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{}", shortest(value.abs(), false))
}

/// `value` with `precision` digits behind the point.
pub(super) fn fixed(value: f64, precision: usize, alternate: bool) -> String {
    let shown = precision.min(MAX_DIGITS);
    let mut out = format!("{value:.shown$}");
    zeros(&mut out, precision - shown);
    if alternate && precision == 0 {
        out.push('.');
    }
    out
}

/// `value` with one digit before the point and `precision` behind it, and an exponent.
pub(super) fn exponential(value: f64, precision: usize, alternate: bool) -> String {
    let shown = precision.min(MAX_DIGITS);
    let text = format!("{value:.shown$e}");
    let (mantissa, exponent) = split(&text);
    let mut out = mantissa.to_owned();
    zeros(&mut out, precision - shown);
    if alternate && precision == 0 {
        out.push('.');
    }
    push_exponent(&mut out, exponent);
    out
}

/// `value` with `precision` digits in all, in whichever of the two forms suits it.
///
/// With `point`, the number keeps a digit behind its point, so that it reads as a float.
pub(super) fn general(value: f64, precision: usize, alternate: bool, point: bool) -> String {
    let precision = precision.max(1);
    let shown = (precision - 1).min(MAX_DIGITS);
    let text = format!("{value:.shown$e}");
    let (mantissa, exponent) = split(&text);
    let digits: String = mantissa.chars().filter(|char| *char != '.').collect();
    let whole = i64::try_from(precision).unwrap_or(i64::MAX) - i64::from(point);
    let scientific = exponent < -4 || exponent >= whole;
    layout(&Layout {
        digits: &digits,
        exponent,
        scientific,
        significant: alternate.then_some(precision),
        bare_point: alternate,
        point,
    })
}

/// The fewest digits that read back as `value`; small and large numbers with an exponent.
pub(super) fn shortest(value: f64, alternate: bool) -> String {
    let text = format!("{value:e}");
    let (mantissa, exponent) = split(&text);
    let digits: String = mantissa.chars().filter(|char| *char != '.').collect();
    layout(&Layout {
        digits: &digits,
        exponent,
        scientific: !(-4..16).contains(&exponent),
        significant: None,
        bare_point: alternate,
        point: true,
    })
}

struct Layout<'a> {
    digits: &'a str,
    /// Of ten, for a point behind the first digit.
    exponent: i64,
    scientific: bool,
    /// Fill up with zeros to so many digits.
    significant: Option<usize>,
    /// Keep a point that nothing follows.
    bare_point: bool,
    /// Keep a digit behind the point, unless there is an exponent.
    point: bool,
}

fn layout(layout: &Layout<'_>) -> String {
    let digits = match layout.digits.trim_end_matches('0') {
        "" => "0",
        digits => digits,
    };
    let mut out = String::new();
    // How many digits stand before the point; the exponent of an `f64` fits every integer.
    let before = if layout.scientific { 1 } else { layout.exponent + 1 };
    let (behind, skipped) = match usize::try_from(before) {
        Ok(before) if before > 0 => {
            let split = before.min(digits.len());
            out.push_str(&digits[..split]);
            zeros(&mut out, before - split);
            (digits[split..].to_owned(), before)
        }
        _ => {
            out.push('0');
            let mut behind = String::new();
            zeros(&mut behind, usize::try_from(-before).unwrap_or(0));
            behind.push_str(digits);
            (behind, 0)
        }
    };
    let mut behind = behind;
    if let Some(significant) = layout.significant {
        let leading = usize::try_from(-before).unwrap_or(0);
        let wanted = (significant + leading).saturating_sub(skipped);
        let missing = wanted.saturating_sub(behind.len());
        zeros(&mut behind, missing);
    }
    if behind.is_empty() && layout.point && !layout.scientific {
        behind.push('0');
    }
    if !behind.is_empty() || layout.bare_point {
        out.push('.');
        out.push_str(&behind);
    }
    if layout.scientific {
        push_exponent(&mut out, layout.exponent);
    }
    out
}

fn split(text: &str) -> (&str, i64) {
    match text.split_once('e') {
        Some((mantissa, exponent)) => (mantissa, exponent.parse().unwrap_or(0)),
        None => (text, 0),
    }
}

fn push_exponent(out: &mut String, exponent: i64) {
    let sign = if exponent < 0 { '-' } else { '+' };
    // Writing to a string cannot fail.
    let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
}

fn zeros(out: &mut String, count: usize) {
    out.extend(std::iter::repeat_n('0', count));
}
