//! The copy of an answer's body, as it can be read.

use std::{borrow::Cow, io::Read};

use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// How much an answer may grow when it is inflated.
pub(super) const MAX_INFLATED: u64 = 64 << 20;

/// A body without its encoding.
#[derive(Debug, PartialEq)]
pub(super) struct Plain<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Whether that is not all of it.
    pub(super) cut: bool,
}

/// Takes the encoding off, as far as the copy goes and up to `limit` bytes. `None` for an encoding that is not known.
pub(super) fn plain<'a>(body: &'a [u8], encoding: Option<&str>, limit: u64) -> Option<Plain<'a>> {
    let encoding = encoding.unwrap_or_default().trim();
    if encoding.is_empty() || encoding.eq_ignore_ascii_case("identity") {
        let bytes = Cow::Borrowed(body);
        return Some(Plain { bytes, cut: false });
    }
    if encoding.eq_ignore_ascii_case("gzip") || encoding.eq_ignore_ascii_case("x-gzip") {
        Some(inflated(MultiGzDecoder::new(body), limit))
    } else if encoding.eq_ignore_ascii_case("deflate") {
        Some(inflated(ZlibDecoder::new(body), limit))
    } else {
        None
    }
}

fn inflated<'a>(mut decoder: impl Read, limit: u64) -> Plain<'a> {
    let mut bytes = Vec::new();
    let read = decoder.by_ref().take(limit).read_to_end(&mut bytes);
    // What was read before an error stays: a copy that breaks off is worth as much as there is of it.
    let mut more = || matches!(decoder.read(&mut [0]), Ok(1..));
    let cut = read.is_err() || (bytes.len() as u64 == limit && more());
    Plain {
        bytes: Cow::Owned(bytes),
        cut,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn the_encoding_comes_off_up_to_a_limit() {
        let packed = gzip(&[b'a'; 1_000_000]);
        let whole = plain(&packed, Some("GZIP "), 1_000_000).unwrap();
        assert_eq!((whole.bytes.len(), whole.cut), (1_000_000, false));
        let cut = plain(&packed, Some("gzip"), 1000).unwrap();
        assert_eq!((cut.bytes.len(), cut.cut), (1000, true));
        let broken = plain(&packed[..packed.len() - 20], Some("gzip"), 2_000_000).unwrap();
        assert!(broken.cut);
        assert_eq!(&*plain(b"a", None, 10).unwrap().bytes, b"a");
        assert_eq!(&*plain(b"a", Some("identity"), 10).unwrap().bytes, b"a");
        assert_eq!(plain(b"a", Some("br"), 10), None);
        assert!(plain(b"no gzip", Some("gzip"), 10).unwrap().cut);
    }
}
