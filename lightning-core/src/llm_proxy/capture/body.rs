//! The copy of an answer's body, as it can be read.

use std::{borrow::Cow, io::Read};

use brotli_decompressor::Decompressor as BrotliDecoder;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder as ZstdDecoder;

/// How much an answer may grow when it is inflated.
pub(super) const MAX_INFLATED: u64 = 64 << 20;
/// How many encodings may lie within one another.
const MAX_LAYERS: usize = 3;

/// A body without its encoding.
#[derive(Debug, PartialEq)]
pub(super) struct Plain<'a> {
    pub(super) bytes: Cow<'a, [u8]>,
    /// Whether that is not all of it.
    pub(super) cut: bool,
}

/// Takes the encoding off, as far as the copy goes and up to `limit` bytes. `None` for an encoding that is not known.
pub(super) fn plain<'a>(body: &'a [u8], encoding: Option<&str>, limit: u64) -> Option<Plain<'a>> {
    let layers: Vec<&str> = encoding
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|layer| !layer.is_empty() && !layer.eq_ignore_ascii_case("identity"))
        .collect();
    if layers.is_empty() {
        let bytes = Cow::Borrowed(body);
        return Some(Plain { bytes, cut: false });
    }
    if layers.len() > MAX_LAYERS {
        return None;
    }
    // They are named in the order in which they were put on.
    let mut reader: Box<dyn Read + 'a> = Box::new(body);
    for layer in layers.into_iter().rev() {
        reader = match layer.to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => Box::new(MultiGzDecoder::new(reader)),
            "deflate" => Box::new(ZlibDecoder::new(reader)),
            "br" => Box::new(BrotliDecoder::new(reader, 4096)),
            "zstd" => match ZstdDecoder::new(reader) {
                Ok(decoder) => Box::new(decoder),
                // Too little of it came, or it is none.
                Err(_) => {
                    let bytes = Cow::Borrowed(&[][..]);
                    return Some(Plain { bytes, cut: true });
                }
            },
            _ => return None,
        };
    }
    Some(inflated(reader, limit))
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
    use proptest::prelude::*;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        compress_to_vec(bytes, CompressionLevel::Fastest)
    }

    /// Brotli's format without its art: uncompressed blocks of at most 64 KiB.
    fn brotli(bytes: &[u8]) -> Vec<u8> {
        let mut bits = Bits::default();
        // A window of 16 bits.
        bits.put(0, 1);
        for block in bytes.chunks(1 << 16) {
            // Not the last one, four nibbles of length, its bytes as they are.
            bits.put(0, 1);
            bits.put(0, 2);
            bits.put(block.len() as u64 - 1, 16);
            bits.put(1, 1);
            bits.align();
            bits.bytes.extend(block);
        }
        // The last one, and empty.
        bits.put(3, 2);
        bits.align();
        bits.bytes
    }

    #[derive(Default)]
    struct Bits {
        bytes: Vec<u8>,
        held: u64,
        count: u32,
    }

    impl Bits {
        fn put(&mut self, value: u64, count: u32) {
            self.held |= value << self.count;
            self.count += count;
            while self.count >= 8 {
                self.bytes.push(self.held as u8);
                self.held >>= 8;
                self.count -= 8;
            }
        }

        fn align(&mut self) {
            if self.count > 0 {
                self.put(0, 8 - self.count);
            }
        }
    }

    #[test]
    fn the_encoding_comes_off_up_to_a_limit() {
        let large = [b'a'; 1_000_000];
        for (packed, name) in [
            (gzip(&large), "GZIP "),
            (zstd(&large), "zstd"),
            (brotli(&large), "br"),
            (brotli(&zstd(&gzip(&large))), "gzip, zstd,BR"),
        ] {
            let whole = plain(&packed, Some(name), 1_000_000).unwrap();
            assert_eq!((whole.bytes.len(), whole.cut), (1_000_000, false), "{name}");
            assert_eq!(*whole.bytes, large, "{name}");
            let cut = plain(&packed, Some(name), 1000).unwrap();
            assert_eq!((cut.bytes.len(), cut.cut), (1000, true), "{name}");
            let broken = plain(&packed[..packed.len() - 20], Some(name), 2_000_000).unwrap();
            assert!(broken.cut, "{name}");
            assert!(
                plain(b"nothing of the kind", Some(name), 10).unwrap().cut,
                "{name}"
            );
            assert!(plain(b"", Some(name), 10).unwrap().bytes.is_empty(), "{name}");
        }
        assert_eq!(&*plain(b"a", None, 10).unwrap().bytes, b"a");
        assert_eq!(&*plain(b"a", Some("identity"), 10).unwrap().bytes, b"a");
        assert_eq!(plain(b"a", Some("compress"), 10), None);
        assert_eq!(plain(b"a", Some("gzip,gzip,gzip,gzip"), 10), None);
    }

    /// A few megabytes that would become a gigabyte, and the same packed once more.
    #[test]
    fn a_bomb_goes_off_as_far_as_the_limit() {
        let bomb = gzip(&[b'0'; 1 << 20]).repeat(1 << 10);
        assert!(bomb.len() < 8 << 20);
        for (packed, name) in [(gzip(&bomb), "gzip, gzip"), (bomb, "gzip")] {
            let found = plain(&packed, Some(name), MAX_INFLATED).unwrap();
            assert_eq!((found.bytes.len() as u64, found.cut), (MAX_INFLATED, true));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), name in "gzip|deflate|br|zstd", place in 0..200_usize) {
            plain(&bytes, Some(&name), 1000).unwrap();
            // And what is almost right.
            let mut packed = match name.as_str() {
                "br" => brotli(&bytes),
                "zstd" => zstd(&bytes),
                _ => gzip(&bytes),
            };
            let at = place % packed.len();
            packed[at] ^= bytes.pop().unwrap_or(1);
            plain(&packed, Some(&name), 1000).unwrap();
        }
    }
}
