//! Request keys in a header. A key may be any text; a header may not.

#[cfg(feature = "client")]
use std::fmt::Write as _;

/// Marks a key that is written in percent encoding, as RFC 8187 marks such values.
const ENCODED: &str = "utf-8''";

/// The key as a header's value: as it is, if it can stand there.
#[cfg(feature = "client")]
pub(crate) fn encode_key(key: &str) -> String {
    let plain =
        !key.is_empty() && !key.starts_with(ENCODED) && key.bytes().all(|byte| byte.is_ascii_graphic());
    if plain {
        return key.to_owned();
    }
    let mut encoded = ENCODED.to_owned();
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            // Writing to a text does not fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

/// The key that a header's value stands for; `None` if it is no text.
#[cfg(feature = "server")]
pub(crate) fn decode_key(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    match text.strip_prefix(ENCODED) {
        None => Some(text.to_owned()),
        Some(encoded) => {
            let decoded = percent_encoding::percent_decode_str(encoded).decode_utf8();
            decoded.ok().map(std::borrow::Cow::into_owned)
        }
    }
}

#[cfg(all(test, feature = "client", feature = "server"))]
mod tests {
    use super::*;

    #[test]
    fn any_text_comes_through_and_plain_text_as_it_is() {
        for key in [
            "a",
            "",
            " ",
            "a b",
            "100%25",
            "%41",
            "utf-8''x",
            "ключ\u{1f511}",
            "\n",
            "a\"b",
        ] {
            let encoded = encode_key(key);
            assert!(!encoded.is_empty() && encoded.bytes().all(|byte| byte.is_ascii_graphic()));
            assert_eq!(decode_key(encoded.as_bytes()).as_deref(), Some(key));
        }
        assert_eq!(encode_key("550e8400-e29b"), "550e8400-e29b");
        assert_eq!(decode_key(b"%41").as_deref(), Some("%41"));
        assert_eq!(decode_key(b"\xff"), None);
        assert_eq!(decode_key(b"utf-8''%FF"), None);
    }
}
