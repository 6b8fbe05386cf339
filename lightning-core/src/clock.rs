//! Where time comes from, so that tests can move it by hand.

use std::{fmt, future::Future, pin::Pin};

use tokio::time::Instant;

use crate::types::Timestamp;

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;

    /// Resolves once [`now`](Self::now) is later than `deadline`. Dropping the future gives the wait up.
    fn sleep_past(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// The machine's time, read once and then counted on by its monotonic clock, so that setting the machine's time
/// neither ends every attempt nor keeps any from ending.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    origin: Timestamp,
    anchor: std::time::Instant,
}

impl SystemClock {
    /// Reads the machine's time.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place where the machine's time comes in"
    )]
    pub fn new() -> Self {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            origin: Timestamp::from_secs_f64(since_epoch.as_secs_f64()),
            anchor: std::time::Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        self.origin + self.anchor.elapsed()
    }

    fn sleep_past(&self, deadline: Timestamp) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let now = self.now();
                if now > deadline {
                    return;
                }
                // Tokio's timer has a resolution of a millisecond and never fires early.
                let rest = deadline.saturating_since(now) + std::time::Duration::from_millis(1);
                match Instant::now().checked_add(rest) {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            }
        })
    }
}
