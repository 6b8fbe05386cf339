//! Text within a page.

use std::fmt::{self, Write as _};

use crate::types::Timestamp;

/// Text as it has to be written within a page, in elements and in attributes. What browsers would not take is replaced.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                '\n' | '\t' => f.write_char(c)?,
                '\r' => {}
                c if c.is_control() => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// A figure: what it is, what people see of it, and where it is in `report.json`.
pub(super) struct Figure<'a> {
    pub(super) at: &'a str,
    pub(super) value: f64,
    pub(super) shown: &'a str,
}

impl fmt::Display for Figure<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "<data value=\"{}\" data-at=\"{}\">{}</data>",
            self.value,
            Escaped(self.at),
            Escaped(self.shown)
        )
    }
}

/// Text of the run's, which must not move what stands beside it, whichever direction it is written in.
pub(super) struct Said<'a>(pub(super) &'a str);

impl fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<bdi>{}</bdi>", Escaped(self.0))
    }
}

/// Long text: its beginning, and all of it on a click.
pub(super) struct Long<'a>(pub(super) &'a str);

/// How much of a text is shown at once.
const BEGINNING: usize = 160;
/// How much of a text is shown at all.
const MOST: usize = 20_000;

impl fmt::Display for Long<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.0.lines().next().unwrap_or_default();
        let short = cut(first, BEGINNING);
        if short.len() == self.0.len() {
            return write!(f, "{}", Said(self.0));
        }
        let whole = cut(self.0, MOST);
        let more = if whole.len() < self.0.len() { "…" } else { "" };
        write!(
            f,
            "<details><summary>{}…</summary><pre>{}{more}</pre></details>",
            Said(short),
            Escaped(whole)
        )
    }
}

/// At most so many characters of the text.
pub(super) fn cut(text: &str, characters: usize) -> &str {
    match text.char_indices().nth(characters) {
        Some((end, _)) => &text[..end],
        None => text,
    }
}

/// The point in time for people, in UTC.
pub(super) fn time(time: Timestamp) -> String {
    let seconds = time.as_secs_f64();
    // Years of four digits.
    if !(0.0..253_402_300_800.0).contains(&seconds) {
        return format!("{seconds} s");
    }
    let seconds = seconds as u64;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // The days are counted from 1 March of the year 0, in eras of 400 years, so that leap days come last.
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02} UTC",
        of_day / 3_600,
        of_day / 60 % 60,
        of_day % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_to_a_browser_is_escaped() {
        let hostile = "</td><script>alert('1')</script>&amp;\"\u{0}\u{1b}\r\n";
        assert_eq!(
            Escaped(hostile).to_string(),
            "&lt;/td&gt;&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;amp;&quot;\u{fffd}\u{fffd}\n"
        );
    }

    #[test]
    fn long_text_begins_short_and_ends_somewhere() {
        assert_eq!(Long("short").to_string(), "<bdi>short</bdi>");
        let long = format!("first\n{}", "ü".repeat(MOST));
        let shown = Long(&long).to_string();
        assert!(
            shown.starts_with("<details><summary><bdi>first</bdi>…"),
            "{}",
            &shown[..60]
        );
        assert!(shown.ends_with("ü…</pre></details>"));
    }

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, shown) in [
            (0.0, "1970-01-01 00:00:00 UTC"),
            (951_827_696.0, "2000-02-29 12:34:56 UTC"),
            (1_767_225_599.9, "2025-12-31 23:59:59 UTC"),
            (4_107_542_400.0, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799.0, "9999-12-31 23:59:59 UTC"),
            (-1.0, "-1 s"),
            (f64::NAN, "NaN s"),
        ] {
            assert_eq!(time(Timestamp::from_secs_f64(seconds)), shown);
        }
    }
}
