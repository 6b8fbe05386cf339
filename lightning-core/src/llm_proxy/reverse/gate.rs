//! How many calls a model or a backend is granted: at once, and a minute.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{clock::Clock, llm_proxy::CallLimits, types::Timestamp};

/// Lets calls through as the limits allow.
#[derive(Debug)]
pub(super) struct Gate {
    slots: Option<Arc<Semaphore>>,
    pace: Option<Mutex<Pace>>,
    max_wait: Duration,
}

/// A call that was let through, until it is dropped.
pub(super) type Permit = Option<OwnedSemaphorePermit>;

/// There is no room, and there will be none for so long.
#[derive(Debug, PartialEq)]
pub(super) struct Full {
    pub(super) retry_after: Duration,
}

impl Gate {
    pub(super) fn new(limits: &CallLimits) -> Self {
        let slots = limits.concurrency.map(|most| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
        });
        Self {
            slots,
            pace: limits.requests_per_minute.map(|rate| Mutex::new(Pace::new(rate))),
            max_wait: limits.max_wait,
        }
    }

    /// Waits in line. Cancel safe, but the place in the minute's count is spent.
    pub(super) async fn enter(&self, clock: &dyn Clock) -> Result<Permit, Full> {
        let permit = match &self.slots {
            None => None,
            Some(slots) => match Arc::clone(slots).try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let waited = tokio::time::timeout(self.max_wait, Arc::clone(slots).acquire_owned()).await;
                    let permit = waited.ok().and_then(Result::ok);
                    Some(permit.ok_or(Full {
                        retry_after: Duration::from_secs(1),
                    })?)
                }
            },
        };
        if let Some(pace) = &self.pace {
            let now = clock.now();
            let start = pace
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .reserve(now, self.max_wait);
            let start = start.map_err(|retry_after| Full { retry_after })?;
            if start > now {
                clock.sleep_past(start).await;
            }
        }
        Ok(permit)
    }
}

/// A pace: the generic cell rate algorithm, with bursts of a second's worth. Pure.
#[derive(Clone, Debug)]
struct Pace {
    /// Seconds from one call to the next.
    interval: f64,
    /// How many seconds ahead of its time a call may come.
    tolerance: f64,
    /// When the next call's time is.
    next: Option<Timestamp>,
}

impl Pace {
    fn new(per_minute: f64) -> Self {
        let interval = 60.0 / per_minute;
        Self {
            interval,
            tolerance: (1.0 - interval).max(0.0),
            next: None,
        }
    }

    /// When a call may begin, which is then spoken for; or after how long it should ask again.
    fn reserve(&mut self, now: Timestamp, max_wait: Duration) -> Result<Timestamp, Duration> {
        let due = self.next.map_or(now, |next| next.max(now));
        let start = (due + -self.tolerance).max(now);
        let wait = start.saturating_since(now);
        if wait > max_wait {
            return Err(wait - max_wait);
        }
        self.next = Some(due + self.interval);
        Ok(start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::ManualClock;
    use futures::FutureExt as _;
    use proptest::prelude::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_secs_f64(1e6 + seconds)
    }

    proptest! {
        #[test]
        fn no_minute_has_more_calls_than_granted(rate in 1.0..2_000.0, pauses in prop::collection::vec(0.0..2.0, 1..200)) {
            let mut pace = Pace::new(rate);
            let mut now = at(0.0);
            let mut starts = Vec::new();
            for pause in pauses {
                now = now + pause;
                starts.push(pace.reserve(now, Duration::from_secs(1 << 20)).unwrap());
            }
            for (place, start) in starts.iter().enumerate() {
                let within = starts[place..].iter().filter(|other| **other - *start < 60.0).count();
                prop_assert!(within as f64 <= rate + rate / 60.0 + 2.0, "{within} a minute at {rate}");
            }
            prop_assert!(starts.is_sorted());
        }
    }

    #[test]
    fn who_would_wait_too_long_takes_no_place() {
        let mut pace = Pace::new(60.0);
        let wait = Duration::from_millis(1500);
        assert_eq!(pace.reserve(at(0.0), wait), Ok(at(0.0)));
        assert_eq!(pace.reserve(at(0.0), wait), Ok(at(1.0)));
        assert_eq!(pace.reserve(at(0.0), wait), Err(Duration::from_millis(500)));
        assert_eq!(pace.reserve(at(0.5), wait), Ok(at(2.0)));
    }

    #[tokio::test]
    async fn calls_wait_for_a_slot_and_for_their_time() {
        let clock = ManualClock::default();
        let gate = Gate::new(&CallLimits {
            concurrency: Some(2),
            requests_per_minute: Some(60.0),
            max_wait: Duration::from_secs(5),
        });
        let first = gate.enter(&clock).now_or_never().unwrap().unwrap();
        let mut second = Box::pin(gate.enter(&clock));
        assert!((&mut second).now_or_never().is_none(), "its second has not come");
        clock.advance(Duration::from_secs(2));
        let _second = second.await.unwrap();
        let mut third = Box::pin(gate.enter(&clock));
        assert!((&mut third).now_or_never().is_none(), "there is no slot");
        drop(first);
        third.await.unwrap();
    }
}
