//! Words, numbers and columns for people.

use std::borrow::Cow;

use console::{measure_text_width, truncate_str};

/// The text on one line: what could move the cursor or change colours is left out or becomes a blank.
pub(super) fn one_line(text: &str) -> Cow<'_, str> {
    if !text.contains(char::is_control) {
        return Cow::Borrowed(text);
    }
    let words = text
        .split(char::is_control)
        .map(str::trim)
        .filter(|word| !word.is_empty());
    Cow::Owned(words.collect::<Vec<_>>().join(" "))
}

/// The text on one line of at most so many columns; `…` stands for what does not fit.
pub(super) fn clip(text: &str, columns: usize) -> Cow<'_, str> {
    match one_line(text) {
        Cow::Borrowed(line) => truncate_str(line, columns, "…"),
        Cow::Owned(line) => Cow::Owned(truncate_str(&line, columns, "…").into_owned()),
    }
}

/// The text with blanks after it, so that it takes at least so many columns.
pub(super) fn pad(text: &str, columns: usize) -> String {
    let blanks = columns.saturating_sub(measure_text_width(text));
    format!("{text}{}", " ".repeat(blanks))
}

/// A title, and below it lines of a name and a value, the values in one column.
pub(crate) struct Rows {
    text: String,
    columns: usize,
}

impl Rows {
    pub(crate) fn new(title: &str, columns: usize) -> Self {
        let text = format!("{}\n", clip(title, columns));
        Self { text, columns }
    }

    /// Adds a line, which is cut at the last column. Without a value there is none.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            let line = Self::line(name, value);
            self.text.push_str(clip(&line, self.columns).trim_end());
            self.text.push('\n');
        }
    }

    /// Adds a line that is not cut, because somebody will want to copy its value.
    pub(crate) fn add_whole(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.text.push_str(Self::line(name, value).trim_end());
            self.text.push('\n');
        }
    }

    fn line(name: &str, value: &str) -> String {
        const NAME: usize = 14;
        format!("  {}{}", pad(&clip(name, NAME - 1), NAME), one_line(value))
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Digits in groups of three.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 rollout`, `2 rollouts`.
pub(crate) fn counted(number: u64, singular: &str) -> String {
    format!(
        "{} {singular}{}",
        count(number),
        if number == 1 { "" } else { "s" }
    )
}

/// How long something takes, with as much precision as says something.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "?".to_owned();
    }
    let seconds = seconds.max(0.0);
    if seconds < 0.0995 {
        return format!("{:.0} ms", seconds * 1000.0);
    }
    if seconds < 9.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, 0) => format!("{minutes} min"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, 0, _) => format!("{} h", count(hours)),
        (hours, minutes, _) => format!("{} h {minutes} min", count(hours)),
    }
}

/// How often something happens each second; by the minute where that is less than once. `None` where nothing can be said.
pub(super) fn rate(rate: f64) -> Option<String> {
    if !rate.is_finite() || rate <= 0.0 {
        return None;
    }
    Some(if rate >= 100.0 {
        format!("{}/s", count(rate.round() as u64))
    } else if rate >= 1.0 {
        format!("{rate:.1}/s")
    } else {
        format!("{:.1}/min", rate * 60.0)
    })
}

/// A number that a person compares with others.
pub(crate) fn number(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() || (0.001..100_000.0).contains(&size) {
        let text = format!("{value:.4}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
            false => text,
        }
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_several_lines_becomes_one_and_loses_what_moves_the_cursor() {
        assert_eq!(one_line("plain"), "plain");
        assert_eq!(one_line("two\r\nlines\t"), "two lines");
        assert_eq!(one_line("one \u{1b}[2Jtwo"), "one [2Jtwo");
    }

    #[test]
    fn columns_are_counted_as_a_terminal_shows_them() {
        assert_eq!(clip("abcdef", 6), "abcdef");
        assert_eq!(clip("abcdefg", 6), "abcde…");
        // Each takes two columns.
        assert_eq!(clip("日本語の", 6), "日本…");
        assert_eq!(pad("日本", 6), "日本  ");
        assert_eq!(pad("too long", 3), "too long");
    }

    #[test]
    fn numbers_are_written_for_people() {
        let counts = [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")];
        for (given, shown) in counts {
            assert_eq!(count(given), shown);
        }
        let durations = [
            (0.0, "0 ms"),
            (0.0004, "0 ms"),
            (0.042, "42 ms"),
            (0.0996, "0.1 s"),
            (9.94, "9.9 s"),
            (9.96, "10 s"),
            (59.6, "1 min"),
            (61.0, "1 min 1 s"),
            (3599.9, "1 h"),
            (3660.0, "1 h 1 min"),
            (-1.0, "0 ms"),
            (f64::INFINITY, "?"),
            (f64::NAN, "?"),
        ];
        for (given, shown) in durations {
            assert_eq!(duration(given), shown, "{given}");
        }
        let rates = [
            (0.0, None),
            (5.0 / 0.0, None),
            (1.0 / 60.0, Some("1.0/min")),
            (1.2, Some("1.2/s")),
            (2428.4, Some("2,428/s")),
        ];
        for (given, shown) in rates {
            assert_eq!(rate(given).as_deref(), shown, "{given}");
        }
        let numbers = [
            (0.0, "0"),
            (0.93, "0.93"),
            (1.0 / 3.0, "0.3333"),
            (1e-9, "1.000e-9"),
            (100.0, "100"),
            (1e300, "1.000e300"),
            (f64::NAN, "NaN"),
        ];
        for (given, shown) in numbers {
            assert_eq!(number(given), shown);
        }
    }

    #[test]
    fn values_stand_in_one_column_and_long_ones_are_cut() {
        let mut rows = Rows::new("a title that is too long for it", 24);
        rows.add("seed", "7");
        rows.add("nothing", "");
        rows.add("stops at", &"x".repeat(99));
        rows.add_whole("run folder", &"y".repeat(12));
        let text = rows.into_text();
        assert_eq!(
            text,
            "a title that is too lon…\n  seed          7\n  stops at      xxxxxxx…\n  run folder    yyyyyyyyyyyy\n"
        );
    }
}
