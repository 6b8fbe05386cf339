//! Time that is moved by hand.

use std::{future::Future, pin::Pin, time::Duration};

use tokio::sync::watch;

use crate::{clock::Clock, types::Timestamp};

/// A clock that stands still until it is told to go on. A clone is the same clock.
#[derive(Clone, Debug)]
pub struct ManualClock(watch::Sender<Timestamp>);

impl ManualClock {
    /// A clock that stands at `now`.
    pub fn starting_at(now: Timestamp) -> Self {
        Self(watch::Sender::new(now))
    }

    /// Moves the clock on and wakes those whose time has come.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = *now + by);
    }

    /// Moves the clock to a point that may also be in its past.
    pub fn set(&self, now: Timestamp) {
        self.0.send_replace(now);
    }
}

impl Default for ManualClock {
    /// A clock that stands at 1 000 000 seconds after the Unix epoch.
    fn default() -> Self {
        Self::starting_at(Timestamp::from_secs_f64(1e6))
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    fn sleep_past(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut ticks = self.0.subscribe();
        Box::pin(async move {
            // The sender is `self`, so the channel cannot close.
            let _ = ticks.wait_for(|now| *now > deadline).await;
        })
    }
}
