//! Which headers go on, and which end here.

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

/// Headers of one connection, which no intermediary passes on (RFC 9110, section 7.6.1).
const OF_ONE_HOP: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What clients show to the proxy, or say of the body as they sent it.
const FOR_THE_PROXY: [HeaderName; 7] = [
    header::AUTHORIZATION,
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
    header::CONTENT_LENGTH,
    header::EXPECT,
    header::HOST,
    header::ORIGIN,
];

/// Takes off what belongs to one connection.
pub(super) fn without_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in OF_ONE_HOP {
        headers.remove(name);
    }
}

/// What goes on of a client's headers.
pub(super) fn for_upstream(mut headers: HeaderMap) -> HeaderMap {
    without_hop(&mut headers);
    for name in FOR_THE_PROXY {
        headers.remove(name);
    }
    headers
}

/// The key that a client shows: as a bearer token, or as Anthropic's and Azure's clients send it.
pub(super) fn shown_key(headers: &HeaderMap) -> Option<&[u8]> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|value| {
        let (scheme, key) = value.as_bytes().split_at_checked(7)?;
        scheme.eq_ignore_ascii_case(b"bearer ").then(|| key.trim_ascii())
    });
    bearer
        .or_else(|| headers.get("x-api-key").map(HeaderValue::as_bytes))
        .or_else(|| headers.get("api-key").map(HeaderValue::as_bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn what_belongs_to_a_connection_or_to_the_proxy_ends_here() {
        let given = headers(&[
            ("connection", "close, X-Private"),
            ("x-private", "1"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("proxy-authorization", "Basic x"),
            ("upgrade", "h2c"),
            ("keep-alive", "timeout=5"),
            ("authorization", "Bearer client"),
            ("x-api-key", "client"),
            ("content-length", "5"),
            ("host", "proxy"),
            ("expect", "100-continue"),
            ("accept-encoding", "gzip"),
            ("x-stainless-lang", "python"),
            ("anthropic-beta", "a"),
            ("anthropic-beta", "b"),
        ]);
        let expected = headers(&[("accept-encoding", "gzip"), ("x-stainless-lang", "python")]);
        let mut left = for_upstream(given);
        assert_eq!(left.get_all("anthropic-beta").iter().count(), 2);
        left.remove("anthropic-beta");
        assert_eq!(left, expected);
    }

    #[test]
    fn keys_are_found_where_clients_put_them() {
        for (name, value) in [
            ("authorization", "bearer  k"),
            ("x-api-key", "k"),
            ("api-key", "k"),
        ] {
            assert_eq!(shown_key(&headers(&[(name, value)])), Some(&b"k"[..]), "{name}");
        }
        assert_eq!(shown_key(&headers(&[("authorization", "Basic k")])), None);
    }
}
