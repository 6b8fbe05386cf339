//! Who may use the store: callers by their token, web pages by their origin.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::ServerOptions;
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

/// Keeps web pages out that have no business here. A browser lets any page send simple requests to any address, also to
/// one on the user's own machine, and names the page in `Origin`; and a page can have its own name point to this machine
/// (DNS rebinding), which then shows in `Host`.
#[derive(Clone, Debug)]
pub(super) struct Visitors {
    origins: Vec<String>,
    any_host: bool,
}

impl Visitors {
    /// Who shows a token may call the server by any name: no page has the token.
    pub(super) fn new(options: &ServerOptions) -> Self {
        Self {
            origins: options.cors_origins.clone(),
            any_host: options.token.is_some(),
        }
    }

    /// Why the request is not let in, if it is not.
    pub(super) fn refuse(&self, headers: &HeaderMap) -> Option<String> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.any_host && !host.is_empty() && !is_local(host) {
            return Some(format!(
                "the store was called as `{host}`: without a token it answers to `localhost` and to IP addresses only"
            ));
        }
        let origin = text(header::ORIGIN)?;
        let own = origin.split_once("://").is_some_and(|(_, named)| named == host);
        let named = self.origins.iter().any(|known| known == "*" || known == origin);
        (!own && !named).then(|| format!("web pages of {origin} may not use the store: see --cors-origin"))
    }
}

/// Whether a `Host` is one that nobody else can have point here.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_others_can_point_here_are_told_apart() {
        for local in [
            "localhost",
            "LocalHost:4747",
            "127.0.0.1",
            "127.0.0.1:80",
            "[::1]:4747",
            "[::1]",
            "10.0.0.7:1",
        ] {
            assert!(is_local(local), "{local}");
        }
        for foreign in [
            "evil.example",
            "evil.example:4747",
            "localhost.evil.example",
            "127.0.0.1.nip.io:4747",
            "x:y",
        ] {
            assert!(!is_local(foreign), "{foreign}");
        }
    }

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
