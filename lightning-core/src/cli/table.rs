//! Tables for people.

use console::measure_text_width;

use crate::types::Timestamp;

/// Rows under headings, each column as wide as its widest entry.
#[derive(Debug)]
pub(super) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<const N: usize>(headings: [&str; N]) -> Self {
        Self {
            rows: vec![headings.map(str::to_owned).into()],
        }
    }

    pub(super) fn row<const N: usize>(&mut self, entries: [String; N]) {
        self.rows
            .push(entries.into_iter().map(|entry| printable(&entry)).collect());
    }

    pub(super) fn text(&self) -> String {
        let columns = self.rows.first().map_or(0, Vec::len);
        let widths: Vec<usize> = (0..columns)
            .map(|column| {
                let widths = self
                    .rows
                    .iter()
                    .filter_map(|row| row.get(column))
                    .map(|entry| measure_text_width(entry));
                widths.max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (entry, width) in row.iter().zip(&widths) {
                line += entry;
                line += &" ".repeat(width + 2 - measure_text_width(entry).min(*width));
            }
            text += line.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Text from a store, without what would move the cursor or colour the screen.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// Text of at most so many columns.
pub(super) fn shortened(text: &str, columns: usize) -> String {
    console::truncate_str(text, columns, "…").into_owned()
}

/// How long ago something was.
pub(super) fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    time.map_or_else(|| "-".to_owned(), |time| duration((now - time).max(0.0)))
}

/// A duration in its two greatest units.
pub(super) fn duration(seconds: f64) -> String {
    // Durations of thousands of years are as good as any.
    let whole = seconds as u64;
    match whole {
        0..=9 => format!("{seconds:.1} s"),
        10..=59 => format!("{whole} s"),
        60..=3_599 => format!("{} min {} s", whole / 60, whole % 60),
        3_600..=86_399 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        _ => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_nothing_moves_the_cursor() {
        let mut table = Table::new(["ID", "NAME"]);
        table.row(["ro-1".to_owned(), "ü".to_owned()]);
        table.row(["x".to_owned(), "a\u{1b}[2Jb".to_owned()]);
        assert_eq!(table.text(), "ID    NAME\nro-1  ü\nx     a\u{fffd}[2Jb\n");
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, text) in [
            (0.25, "0.2 s"),
            (59.9, "59 s"),
            (61.0, "1 min 1 s"),
            (7_260.0, "2 h 1 min"),
            (90_000.0, "1 d 1 h"),
            (f64::MAX, "213503982334601 d 7 h"),
        ] {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(ago(None, Timestamp::from_secs_f64(1.0)), "-");
        assert_eq!(
            ago(Some(Timestamp::from_secs_f64(9.0)), Timestamp::from_secs_f64(1.0)),
            "0.0 s"
        );
    }
}
