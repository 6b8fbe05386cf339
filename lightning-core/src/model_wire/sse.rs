//! Server-sent events out of bytes that come in pieces.

/// One event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// The lines of its data.
    pub(crate) data: &'a str,
}

/// Finds events in a stream of bytes, wherever that is split. Lines end with LF, CRLF or CR; what is no UTF-8 is replaced.
#[derive(Debug)]
pub(crate) struct Events {
    limit: usize,
    line: Vec<u8>,
    data: String,
    has_data: bool,
    /// A line ended with the last byte, which was a CR: a LF that follows belongs to it.
    after_cr: bool,
    begun: bool,
    too_long: bool,
}

impl Events {
    /// `limit` is how many bytes of one event are kept; one that is longer ends the reading.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            data: String::new(),
            has_data: false,
            after_cr: false,
            begun: false,
            too_long: false,
        }
    }

    /// Whether an event was longer than the limit. Nothing is read any more then.
    #[cfg(feature = "client")]
    pub(crate) fn is_too_long(&self) -> bool {
        self.too_long
    }

    /// Takes the next bytes and hands out the events that end in them.
    pub(crate) fn push(&mut self, bytes: &[u8], mut each: impl FnMut(Event<'_>)) {
        if self.too_long {
            return;
        }
        let mut rest = bytes;
        if std::mem::take(&mut self.after_cr) {
            match rest {
                [b'\n', after @ ..] => rest = after,
                [] => self.after_cr = true,
                _ => {}
            }
        }
        while let Some(at) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            if !self.keep(&rest[..at]) {
                return;
            }
            let end = rest[at];
            rest = &rest[at + 1..];
            if end == b'\r' {
                match rest {
                    [b'\n', after @ ..] => rest = after,
                    [] => self.after_cr = true,
                    _ => {}
                }
            }
            self.end_line(&mut each);
        }
        self.keep(rest);
    }

    /// Hands out an event that the stream broke off after.
    pub(crate) fn finish(mut self, mut each: impl FnMut(Event<'_>)) {
        if self.too_long {
            return;
        }
        if !self.line.is_empty() {
            self.end_line(&mut each);
        }
        self.dispatch(&mut each);
    }

    fn keep(&mut self, bytes: &[u8]) -> bool {
        self.too_long |= self.line.len() + self.data.len() + bytes.len() > self.limit;
        if !self.too_long {
            self.line.extend_from_slice(bytes);
        }
        !self.too_long
    }

    fn end_line(&mut self, each: &mut impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        let text = String::from_utf8_lossy(&line);
        let mut text = &*text;
        if !std::mem::replace(&mut self.begun, true) {
            text = text.strip_prefix('\u{feff}').unwrap_or(text);
        }
        if text.is_empty() {
            self.dispatch(each);
        } else {
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            // A comment is a field without a name.
            if field == "data" {
                if std::mem::replace(&mut self.has_data, true) {
                    self.data.push('\n');
                }
                self.data.push_str(value.strip_prefix(' ').unwrap_or(value));
            }
        }
        self.line = line;
        self.line.clear();
    }

    fn dispatch(&mut self, each: &mut impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.has_data) {
            each(Event { data: &self.data });
        }
        self.data.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, limit: usize) -> (Vec<String>, bool) {
        let mut found = Vec::new();
        let mut events = Events::new(limit);
        for piece in pieces {
            events.push(piece, |event| found.push(event.data.to_owned()));
        }
        let too_long = events.too_long;
        events.finish(|event| found.push(event.data.to_owned()));
        (found, too_long)
    }

    #[test]
    fn lines_end_in_three_ways_and_data_has_several() {
        let stream = "\u{feff}data: a\n\ndata:b\r\ndata:  c\r\n\r\n: ping\revent: x\rid: 1\rdata\rdata: d\r\rretry: 3\n\ndata: e";
        let expected = ["a", "b\n c", "\nd", "e"];
        assert_eq!(read([stream.as_bytes()], usize::MAX).0, expected);
        for at in 0..stream.len() {
            let (a, b) = stream.as_bytes().split_at(at);
            assert_eq!(read([a, b], usize::MAX).0, expected, "split at {at}");
        }
        let bytes = stream.as_bytes().chunks(1);
        assert_eq!(read(bytes, usize::MAX).0, expected);
    }

    #[test]
    fn a_character_may_be_split_and_what_is_none_is_replaced() {
        let stream = "data: grüße 🌩\n\n".as_bytes();
        assert_eq!(read(stream.chunks(1), usize::MAX).0, ["grüße 🌩"]);
        assert_eq!(
            read([&b"data: a\xff\xc3\n\n"[..]], usize::MAX).0,
            ["a\u{fffd}\u{fffd}"]
        );
    }

    #[test]
    fn an_event_is_as_long_as_it_may_be() {
        let (found, too_long) = read([&b"data: ok\n\ndata: too "[..], b"long\n\ndata: no\n\n"], 12);
        assert_eq!((found, too_long), (vec!["ok".to_owned()], true));
    }
}
