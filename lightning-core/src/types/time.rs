//! Points in time.

use std::{
    cmp::Ordering,
    fmt,
    ops::{Add, Sub},
    time::Duration,
};

use serde::{Deserialize, Serialize};

/// Seconds since the Unix epoch, as the wire format has them.
///
/// Ordered totally, so that it can key a deadline queue. The arithmetic is that of `f64`: around today's dates a step
/// is about 240 nanoseconds.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(f64);

impl Timestamp {
    /// The point `seconds` after the Unix epoch.
    pub const fn from_secs_f64(seconds: f64) -> Self {
        Self(seconds)
    }

    /// Seconds since the Unix epoch.
    pub const fn as_secs_f64(self) -> f64 {
        self.0
    }

    /// How long after `earlier` this is; zero if it is not later or either is not finite.
    pub fn saturating_since(self, earlier: Self) -> Duration {
        Duration::try_from_secs_f64(self.0 - earlier.0).unwrap_or_default()
    }
}

impl PartialEq for Timestamp {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Timestamp {}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl Add<f64> for Timestamp {
    type Output = Self;

    /// `seconds` later.
    fn add(self, seconds: f64) -> Self {
        Self(self.0 + seconds)
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        self + duration.as_secs_f64()
    }
}

impl Sub for Timestamp {
    type Output = f64;

    /// Seconds from `earlier` to `self`, negative if it is later.
    fn sub(self, earlier: Self) -> f64 {
        self.0 - earlier.0
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
