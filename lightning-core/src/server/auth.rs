//! Who may use the store: callers by their token, web pages by their origin.

use axum::http::{HeaderMap, header};
use base64::{Engine as _, prelude::BASE64_STANDARD};

#[cfg(feature = "lm")]
use super::tokens::Role;
use super::{
    ServerOptions,
    tokens::{Bearer, Tokens},
};
use crate::listening::is_local;

/// What a request shows.
pub(super) enum Shown {
    /// No token, or none that could be read.
    Nothing,
    /// A token that is not known.
    Unknown,
    /// A token of somebody's.
    Known(Bearer),
}

/// Whose token a request shows: as a bearer token, or as the password of basic authentication, which is what the Python
/// client sends for `http://name:TOKEN@host`.
pub(super) fn shown_in(headers: &HeaderMap, tokens: &Tokens) -> Shown {
    let token = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| shown_token(value.as_bytes()));
    match token {
        None => Shown::Nothing,
        Some(token) => tokens.bearer(&token).map_or(Shown::Unknown, Shown::Known),
    }
}

/// The role that a request shows a token of, if it does.
#[cfg(feature = "lm")]
pub(crate) fn shown_role(headers: &HeaderMap, tokens: &Tokens) -> Option<Role> {
    match shown_in(headers, tokens) {
        Shown::Known(bearer) => Some(bearer.role),
        Shown::Nothing | Shown::Unknown => None,
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
/// one on the user's own machine, and names the page in `Origin`; and a page can have its own name point to this machine.
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
            any_host: options.insecure || !options.tokens.is_empty(),
        }
    }

    /// Why the request is not let in, if it is not: in a word, and as it is told.
    pub(super) fn refuse(&self, headers: &HeaderMap) -> Option<(&'static str, String)> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let host = text(header::HOST).unwrap_or_default();
        if !self.any_host && !host.is_empty() && !is_local(host) {
            let detail = format!(
                "the store was called as `{host}`: without a token it answers to `localhost` and to IP addresses only"
            );
            return Some(("host", detail));
        }
        let origin = text(header::ORIGIN)?;
        let own = origin.split_once("://").is_some_and(|(_, named)| named == host);
        let named = self.origins.iter().any(|known| known == "*" || known == origin);
        (!own && !named).then(|| {
            let detail = format!("web pages of {origin} may not use the store: see --cors-origin");
            ("origin", detail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Secret;

    #[test]
    fn tokens_are_found_in_both_forms() {
        let tokens = Tokens::from(Secret::from("se:cret"));
        let shown = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            match shown_in(&headers, &tokens) {
                Shown::Known(bearer) => bearer.role.as_str(),
                Shown::Unknown => "unknown",
                Shown::Nothing => "nothing",
            }
        };
        let basic = |pair: &str| format!("Basic {}", BASE64_STANDARD.encode(pair));
        for right in [
            "Bearer se:cret",
            "bearer  se:cret",
            &basic("x:se:cret"),
            &basic(":se:cret"),
        ] {
            assert_eq!(shown(right), "admin", "{right}");
        }
        for wrong in [
            "Bearer se:cre",
            "Bearer ",
            "bearer se:cret2",
            &basic("se:cret"),
            &basic("x:"),
        ] {
            assert_eq!(shown(wrong), "unknown", "{wrong}");
        }
        for none in [
            "Bearer",
            "se:cret",
            "Basic se:cret",
            "Digest se:cret",
            "",
            &basic("secret"),
        ] {
            assert_eq!(shown(none), "nothing", "{none}");
        }
        assert!(matches!(shown_in(&HeaderMap::new(), &tokens), Shown::Nothing));
    }
}
