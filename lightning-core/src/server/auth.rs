//! Who may use the store.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::types::Secret;

/// The digest of a token. Digests are compared, so that neither the length nor the beginning of the token shows in the
/// time that the comparison takes.
#[derive(Clone, Debug)]
pub(super) struct TokenDigest([u8; 32]);

impl TokenDigest {
    pub(super) fn of(token: &Secret) -> Self {
        Self(Sha256::digest(token.expose()).into())
    }

    /// Whether the caller shows the token: as a bearer token, or as the password of basic authentication, which is what
    /// the Python client sends for `http://name:TOKEN@host`.
    pub(super) fn is_shown_in(&self, headers: &HeaderMap) -> bool {
        let shown = headers
            .get(header::AUTHORIZATION)
            .and_then(|value| shown_token(value.as_bytes()));
        shown.is_some_and(|token| bool::from(Sha256::digest(token).as_slice().ct_eq(&self.0)))
    }
}

fn shown_token(value: &[u8]) -> Option<Vec<u8>> {
    let space = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = (&value[..space], value[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") {
        Some(rest.to_vec())
    } else if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = BASE64_STANDARD.decode(rest).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        Some(pair[colon + 1..].to_vec())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_opens() {
        let digest = TokenDigest::of(&"se:cret".into());
        let opens = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            digest.is_shown_in(&headers)
        };
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        assert!(opens("Bearer se:cret") && opens("bearer  se:cret") && opens(&basic("x:se:cret")));
        for wrong in [
            "Bearer se:cre",
            "Bearer",
            "se:cret",
            "Bearer ",
            "Basic se:cret",
            "Digest se:cret",
        ] {
            assert!(!opens(wrong), "{wrong}");
        }
        assert!(!opens(&basic("se:cret")) && !opens(&basic("x:")));
        assert!(!digest.is_shown_in(&HeaderMap::new()));
    }
}
