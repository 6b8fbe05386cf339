//! Whether a backend is tried at all. A pure state machine: the time is handed in.

use crate::{llm_proxy::BreakerLimits, types::Timestamp};

/// Counts the failures of a backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Breaker {
    failures: u32,
    /// Until when nobody tries it; then one call does, and the next ones wait for as long again.
    closed_to_calls_until: Option<Timestamp>,
}

impl Breaker {
    /// Whether a call may try the backend. After a pause one may; if nothing is heard of that, another one after the next.
    pub(super) fn admits(&mut self, now: Timestamp, limits: &BreakerLimits) -> bool {
        match self.closed_to_calls_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.closed_to_calls_until = Some(now + limits.pause);
                true
            }
        }
    }

    /// When a call may try it again, if none may now.
    pub(super) fn next_try(&self, now: Timestamp) -> Option<Timestamp> {
        self.closed_to_calls_until.filter(|until| now < *until)
    }

    /// The backend answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// The backend did not do its part. Says whether this is why it is left alone from now on.
    pub(super) fn failed(&mut self, now: Timestamp, limits: &BreakerLimits) -> bool {
        self.failures = self.failures.saturating_add(1);
        if self.failures < limits.failures {
            return false;
        }
        let was_open = self.closed_to_calls_until.is_some();
        self.closed_to_calls_until = Some(now + limits.pause);
        !was_open
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    const LIMITS: BreakerLimits = BreakerLimits {
        failures: 3,
        pause: Duration::from_secs(10),
    };

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(1e6 + seconds)
    }

    #[test]
    fn it_opens_after_so_many_failures_and_lets_one_call_probe() {
        let mut breaker = Breaker::default();
        assert!(!breaker.failed(at(0.0), &LIMITS) && !breaker.failed(at(0.0), &LIMITS));
        assert!(breaker.admits(at(1.0), &LIMITS));
        assert!(breaker.failed(at(1.0), &LIMITS));
        assert!(!breaker.admits(at(10.9), &LIMITS));
        assert_eq!(breaker.next_try(at(10.9)), Some(at(11.0)));
        assert!(breaker.admits(at(11.0), &LIMITS), "one call tries it");
        assert!(!breaker.admits(at(11.0), &LIMITS), "and no second one");
        assert!(!breaker.failed(at(12.0), &LIMITS), "it was open before");
        assert!(!breaker.admits(at(21.9), &LIMITS));
        assert!(breaker.admits(at(22.0), &LIMITS));
        breaker.succeeded();
        assert_eq!(breaker, Breaker::default());
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_does_not_close_it_for_good() {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(at(0.0), &LIMITS);
        }
        assert!(breaker.admits(at(10.0), &LIMITS) && !breaker.admits(at(19.0), &LIMITS));
        assert!(breaker.admits(at(20.0), &LIMITS));
    }

    proptest! {
        #[test]
        fn it_always_lets_a_call_through_after_a_pause(events in prop::collection::vec((0..3_u8, 0.0..30.0), 0..60)) {
            let (mut breaker, mut now) = (Breaker::default(), at(0.0));
            let mut in_a_row = 0;
            for (event, after) in events {
                now = now + after;
                match event {
                    0 => { breaker.succeeded(); in_a_row = 0; }
                    1 => { breaker.failed(now, &LIMITS); in_a_row += 1; }
                    _ => { breaker.admits(now, &LIMITS); }
                }
                if in_a_row < LIMITS.failures {
                    prop_assert!(breaker.clone().admits(now, &LIMITS));
                }
                prop_assert!(breaker.clone().admits(now + LIMITS.pause, &LIMITS));
            }
        }
    }
}
