//! Who may call the proxy: those who show its token, and without one whoever is on this machine, but no web page.

use hyper::{HeaderMap, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use super::{headers::shown_key, refusal::Refusal};
use crate::{listening::is_local, types::Secret};

/// Lets callers in.
#[derive(Debug)]
pub(super) struct Access {
    /// Digests are compared, so that neither the length nor the beginning of the token shows in the time it takes.
    token: Option<[u8; 32]>,
    is_open: bool,
}

impl Access {
    pub(super) fn new(token: Option<&Secret>, is_open: bool) -> Self {
        Self {
            token: token.map(|token| Sha256::digest(token.expose()).into()),
            is_open,
        }
    }

    /// Whether somebody on another machine could be kept out, or is not to be.
    pub(super) fn suits_other_machines(&self) -> bool {
        self.token.is_some() || self.is_open
    }

    /// Lets a request in, or says why not.
    pub(super) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if let Some(token) = &self.token {
            let shown = shown_key(headers).map(Sha256::digest);
            if shown.is_some_and(|shown| bool::from(shown.as_slice().ct_eq(token))) {
                return Ok(());
            }
            let message = "a token is needed: give it to the client as its API key";
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, message).code("invalid_api_key"));
        }
        // A browser lets any page send simple requests to this machine, and names the page in `Origin`.
        if headers.contains_key(header::ORIGIN) {
            let message = "web pages may not use the models; run the proxy with a token";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        // A page can have its own name point to this machine, which then shows in `Host`.
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
        if !self.is_open && host.is_some_and(|host| !host.is_empty() && !is_local(host)) {
            let message =
                "called by a name: without a token the proxy answers to `localhost` and to IP addresses only";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(access: &Access, pairs: &[(&'static str, &'static str)]) -> u16 {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()));
        access
            .check(&headers.collect::<HeaderMap>())
            .map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[test]
    fn without_a_token_pages_and_names_are_kept_out() {
        let access = Access::new(None, false);
        for host in ["localhost", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8", "10.0.0.7"] {
            assert_eq!(status(&access, &[("host", host)]), 200, "{host}");
        }
        for host in [
            "evil.example",
            "localhost.evil.example:1",
            "127.0.0.1.nip.io",
            "x:y",
        ] {
            assert_eq!(status(&access, &[("host", host)]), 403, "{host}");
        }
        assert_eq!(status(&access, &[("host", "localhost"), ("origin", "null")]), 403);
        assert_eq!(status(&Access::new(None, true), &[("host", "gpu-box:4000")]), 200);
    }

    #[test]
    fn with_a_token_only_the_token_opens() {
        let access = Access::new(Some(&"s3".into()), false);
        for shown in [
            ("authorization", "Bearer s3"),
            ("x-api-key", "s3"),
            ("api-key", "s3"),
        ] {
            assert_eq!(status(&access, &[shown, ("host", "gpu-box")]), 200);
        }
        for shown in [
            ("authorization", "Bearer s"),
            ("authorization", "Basic s3"),
            ("x-api-key", ""),
        ] {
            assert_eq!(status(&access, &[shown]), 401);
        }
        assert_eq!(status(&access, &[]), 401);
    }
}
