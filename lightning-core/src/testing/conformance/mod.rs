//! The conformance suite: what every [`Store`] does, one behaviour a case.
//!
//! A backend is conforming if every case of [`cases`] passes on a fresh, empty store of its own that takes its time from
//! the fixture's clock, the limits of waits included. The cases use nothing but the trait, so they run against any
//! backend, and through a client as well. Time is moved by hand; a case that hangs fails after ten seconds.
//!
//! ```
//! use lightning_core::{store::MemoryStore, testing::{ManualClock, conformance::{self, Fixture}}};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! for case in conformance::cases() {
//!     let clock = ManualClock::default();
//!     let store = MemoryStore::builder().clock(clock.clone()).build();
//!     case.run(Fixture::new(store, clock)).await;
//! }
//! # }
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cloned_ref_to_slice_refs,
    reason = "a case of a test suite fails by panicking, and reads best in plain words"
)]

mod attempts;
mod deadlines;
mod draining;
mod errors;
mod fixture;
mod paging;
mod queries;
mod queue;
mod records;
mod request_keys;
mod resources;
mod rollouts;
mod spans;
mod waits;
mod workers;

use std::{fmt, future::Future, pin::Pin, time::Duration};

pub use fixture::Fixture;

#[expect(unused_imports, reason = "the documentation links to it")]
use crate::store::Store;

type CaseFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// One behaviour of a store.
#[derive(Clone, Copy)]
pub struct Case {
    area: &'static str,
    name: &'static str,
    run: fn(Fixture) -> CaseFuture,
}

impl Case {
    /// What the case is about, such as `queue`.
    pub fn area(&self) -> &'static str {
        self.area
    }

    /// The behaviour, as a sentence in snake case.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Tries the behaviour.
    ///
    /// # Panics
    ///
    /// If the store behaves otherwise, or has not answered after thirty seconds.
    pub async fn run(&self, fixture: Fixture) {
        let finished = tokio::time::timeout(Duration::from_secs(30), (self.run)(fixture)).await;
        assert!(finished.is_ok(), "`{}` did not come to an end", self.name);
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}::{}", self.area, self.name)
    }
}

/// Every case.
pub fn cases() -> impl Iterator<Item = Case> {
    let areas = [
        attempts::CASES,
        deadlines::CASES,
        draining::CASES,
        errors::CASES,
        paging::CASES,
        queries::CASES,
        queue::CASES,
        records::CASES,
        request_keys::CASES,
        resources::CASES,
        rollouts::CASES,
        spans::CASES,
        waits::CASES,
        workers::CASES,
    ];
    areas.into_iter().flatten().copied()
}

/// Defines the cases of an area and lists them, so that none can be forgotten.
macro_rules! area {
    ($area:literal; $(async fn $name:ident($fixture:ident) $body:block)*) => {
        pub(super) const CASES: &[super::Case] = &[$(super::Case {
            area: $area,
            name: stringify!($name),
            run: |fixture| Box::pin($name(fixture)),
        }),*];
        $(async fn $name($fixture: super::Fixture) $body)*
    };
}
use area;
