//! A terminal, as far as bars need one.

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

/// What a terminal shows. A clone is the same terminal.
#[derive(Clone)]
pub(crate) struct Tty(Arc<Mutex<State>>);

struct State {
    columns: usize,
    /// Each cell is a character and those that stand on it; the second cell of a wide one is empty.
    rows: Vec<Vec<String>>,
    row: usize,
    column: usize,
    /// The beginning of something that is not complete.
    pending: Vec<u8>,
}

impl Tty {
    pub(crate) fn new(columns: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            columns,
            rows: vec![Vec::new()],
            row: 0,
            column: 0,
            pending: Vec::new(),
        })))
    }

    /// What can be read on it, without blanks at the ends of lines and without empty lines at the end.
    pub(crate) fn shows(&self) -> Vec<String> {
        let state = self.0.lock().unwrap();
        let rows = state.rows.iter().map(|row| row.concat().trim_end().to_owned());
        let mut rows: Vec<String> = rows.collect();
        while rows.last().is_some_and(String::is_empty) {
            rows.pop();
        }
        rows
    }
}

impl State {
    fn put(&mut self, char: char) {
        let width = console::measure_text_width(char.encode_utf8(&mut [0; 4]));
        if width == 0 {
            if let Some(cell) = self.rows[self.row][..self.column].last_mut() {
                cell.push(char);
            }
            return;
        }
        // The cursor stays behind the last column until something has to stand there.
        if self.column + width > self.columns {
            self.line_feed();
        }
        let row = &mut self.rows[self.row];
        row.resize(row.len().max(self.column + width), " ".to_owned());
        row[self.column] = char.to_string();
        (1..width).for_each(|next| row[self.column + next].clear());
        self.column += width;
    }

    fn line_feed(&mut self) {
        self.go_to(self.row + 1);
        self.column = 0;
    }

    fn go_to(&mut self, row: usize) {
        self.row = row;
        let rows = self.rows.len().max(row + 1);
        self.rows.resize(rows, Vec::new());
    }

    /// Carries out what is complete in `pending`.
    fn digest(&mut self) {
        let bytes = std::mem::take(&mut self.pending);
        let valid = match std::str::from_utf8(&bytes) {
            Ok(text) => text.len(),
            Err(error) => error.valid_up_to(),
        };
        let text = std::str::from_utf8(&bytes[..valid]).unwrap();
        let mut chars = text.char_indices();
        while let Some((at, char)) = chars.next() {
            match char {
                '\n' => self.line_feed(),
                '\r' => self.column = 0,
                '\u{1b}' => {
                    let sequence = &text[at..];
                    let Some(end) = sequence.find(|char: char| char.is_ascii_alphabetic()) else {
                        self.pending = bytes[at..].to_owned();
                        return;
                    };
                    self.control(&sequence[..=end]);
                    chars.by_ref().take(end).for_each(drop);
                }
                char => self.put(char),
            }
        }
        self.pending = bytes[valid..].to_owned();
    }

    fn control(&mut self, sequence: &str) {
        let (parameters, command) = sequence.split_at(sequence.len() - 1);
        let parameters = parameters.strip_prefix("\u{1b}[").unwrap();
        let count = parameters.parse().unwrap_or(1);
        match command {
            "A" => {
                self.row = self
                    .row
                    .checked_sub(count)
                    .expect("the cursor leaves what was written");
            }
            "B" => self.go_to(self.row + count),
            "K" => self.rows[self.row].clear(),
            "m" => {}
            _ => panic!("{sequence:?} is not understood"),
        }
    }
}

impl Write for Tty {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut state = self.0.lock().unwrap();
        state.pending.extend_from_slice(text);
        state.digest();
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_terminal_of_these_tests_does_what_terminals_do() {
    let mut tty = Tty::new(4);
    write!(tty, "abcd").unwrap();
    assert_eq!(tty.shows(), ["abcd"], "the line feed waits");
    write!(tty, "e日\u{1b}[").unwrap();
    write!(tty, "1Ax\n\r\u{1b}[2Ké").unwrap();
    assert_eq!(tty.shows(), ["abcx", "é"]);
}
