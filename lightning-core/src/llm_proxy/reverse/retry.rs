//! Whether a call is tried again, and when. Pure.

use std::time::{Duration, UNIX_EPOCH};

use hyper::{
    HeaderMap, StatusCode,
    header::{HeaderName, RETRY_AFTER},
};

use crate::{llm_proxy::Retries, types::Timestamp};

/// Milliseconds instead of seconds, as OpenAI's and Azure's servers send them besides.
const RETRY_AFTER_MS: HeaderName = HeaderName::from_static("retry-after-ms");

/// Whether a status may be another one next time. What is wrong with a request stays wrong, so 400 is not among them: a
/// context that is too long does not get shorter.
pub(super) fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 409 | 429 | 500..=599)
}

/// Whether a status says that the backend is not well, and not only that it is busy.
pub(super) fn is_failure(status: StatusCode) -> bool {
    status.is_server_error()
}

/// What is known after a try that may be repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tried {
    /// How many tries there were.
    pub(super) tries: u32,
    /// When to come again, as far as the backend says so.
    pub(super) retry_after: Option<Duration>,
    /// Whether another backend is there that this call has not tried.
    pub(super) has_other: bool,
}

/// How long to wait before the next try, if there is to be one. `jitter` is a number from 0 to 1.
pub(super) fn decide(tried: Tried, policy: &Retries, jitter: f64) -> Option<Duration> {
    if tried.tries > policy.max {
        return None;
    }
    // Another backend did not ask for patience.
    if tried.has_other {
        return Some(Duration::ZERO);
    }
    if let Some(asked) = tried.retry_after {
        return (asked <= policy.max_delay).then_some(asked);
    }
    let doubled = policy
        .first_delay
        .saturating_mul(2_u32.saturating_pow(tried.tries.saturating_sub(1)));
    // Callers that failed together do not come again together.
    Some(doubled.min(policy.max_delay).mul_f64(1.0 - 0.5 * jitter))
}

/// What the headers say of when to come again.
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    let number = |text: &str| text.parse::<f64>().ok();
    if let Some(milliseconds) = text(RETRY_AFTER_MS).and_then(number) {
        return Duration::try_from_secs_f64(milliseconds / 1e3).ok();
    }
    let text = text(RETRY_AFTER)?;
    if let Some(seconds) = number(text) {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let date = Timestamp::from_secs_f64(date.duration_since(UNIX_EPOCH).ok()?.as_secs_f64());
    Some(date.saturating_since(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const POLICY: Retries = Retries {
        max: 3,
        first_delay: Duration::from_millis(100),
        max_delay: Duration::from_secs(2),
    };

    fn tried(tries: u32) -> Tried {
        Tried {
            tries,
            retry_after: None,
            has_other: false,
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        let passing: Vec<u16> = (100..=599)
            .filter(|code| may_pass(StatusCode::from_u16(*code).unwrap()))
            .collect();
        let expected: Vec<u16> = [408, 409, 429].into_iter().chain(500..=599).collect();
        assert_eq!(passing, expected);
    }

    #[test]
    fn pauses_double_and_end() {
        let pauses: Vec<_> = (1..=4).map(|tries| decide(tried(tries), &POLICY, 0.0)).collect();
        let milliseconds = |milliseconds| Some(Duration::from_millis(milliseconds));
        assert_eq!(
            pauses,
            [milliseconds(100), milliseconds(200), milliseconds(400), None]
        );
        assert_eq!(decide(tried(1), &POLICY, 1.0), milliseconds(50));
        assert_eq!(decide(tried(1), &Retries::never(), 0.0), None);
    }

    #[test]
    fn a_backend_that_asks_for_patience_gets_it_or_is_left() {
        let asks = |seconds| Tried {
            retry_after: Some(Duration::from_secs(seconds)),
            ..tried(1)
        };
        assert_eq!(decide(asks(2), &POLICY, 0.3), Some(Duration::from_secs(2)));
        assert_eq!(decide(asks(3), &POLICY, 0.3), None);
        let elsewhere = Tried {
            has_other: true,
            ..asks(3)
        };
        assert_eq!(decide(elsewhere, &POLICY, 0.3), Some(Duration::ZERO));
    }

    #[test]
    fn retry_after_is_read_as_seconds_and_as_a_date() {
        // Sun, 06 Nov 1994 08:49:37 GMT, the example of RFC 9110.
        let now = Timestamp::from_secs_f64(784_111_777.0);
        let read = |name: &'static str, value: &str| {
            retry_after(
                &HeaderMap::from_iter([(name.parse().unwrap(), value.parse().unwrap())]),
                now,
            )
        };
        let seconds = |seconds| Some(Duration::from_secs_f64(seconds));
        assert_eq!(read("retry-after", "7"), seconds(7.0));
        assert_eq!(read("retry-after", " 1.5 "), seconds(1.5));
        assert_eq!(read("retry-after-ms", "20"), seconds(0.02));
        assert_eq!(
            read("retry-after", "Sun, 06 Nov 1994 08:49:47 GMT"),
            seconds(10.0)
        );
        assert_eq!(read("retry-after", "Sun, 06 Nov 1994 08:49:17 GMT"), seconds(0.0));
        for wrong in ["", "soon", "-1", "NaN", "1e300", "Sun, 06 Nov 1694 08:49:37 GMT"] {
            assert_eq!(read("retry-after", wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_pause_is_longer_than_the_longest(tries in 0..10_u32, max in 0..10_u32, asked in prop::option::of(0..100_u64), other in any::<bool>(), jitter in 0.0..=1.0) {
            let policy = Retries { max, ..POLICY };
            let state = Tried { tries, retry_after: asked.map(Duration::from_secs), has_other: other };
            let pause = decide(state, &policy, jitter);
            prop_assert!(pause.is_none_or(|pause| pause <= policy.max_delay && tries <= max));
        }
    }
}
