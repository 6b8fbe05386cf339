//! What the server is known to be able to do.

use std::sync::atomic::{AtomicU8, Ordering};

use crate::wire;

const KNOWN: u8 = 1;
const WAIT: u8 = 2;
const IDEMPOTENCY: u8 = 4;
const BATCH: u8 = 8;
const DURABLE: u8 = 16;
const RECORDS: u8 = 64;
const FLEET: u8 = 32;

/// What a server announced.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Features(u8);

impl Features {
    /// Those that a header names; none if there is no header, as with a server of Python's.
    pub(super) fn announced(header: Option<&str>) -> Self {
        let named = [
            (wire::WAIT, WAIT),
            (wire::IDEMPOTENCY, IDEMPOTENCY),
            (wire::BATCH, BATCH),
            (wire::DURABLE, DURABLE),
            (wire::RECORDS, RECORDS),
            (wire::FLEET, FLEET),
        ];
        let named = named
            .iter()
            .filter(|(name, _)| header.is_some_and(|header| wire::names_feature(header, name)));
        Self(named.fold(KNOWN, |bits, (_, bit)| bits | bit))
    }

    pub(super) fn waits(self) -> bool {
        self.0 & WAIT != 0
    }

    pub(super) fn keeps_keys(self) -> bool {
        self.0 & IDEMPOTENCY != 0
    }

    pub(super) fn batches(self) -> bool {
        self.0 & BATCH != 0
    }

    pub(super) fn knows_fleets(self) -> bool {
        self.0 & FLEET != 0
    }

    pub(super) fn takes_records(self) -> bool {
        self.0 & RECORDS != 0
    }

    pub(super) fn is_durable(self) -> bool {
        self.0 & DURABLE != 0
    }
}

/// The features of the server as its latest answer announced them.
#[derive(Debug, Default)]
pub(super) struct KnownFeatures(AtomicU8);

impl KnownFeatures {
    /// `None` before the first answer.
    pub(super) fn get(&self) -> Option<Features> {
        let bits = self.0.load(Ordering::Relaxed);
        (bits & KNOWN != 0).then_some(Features(bits))
    }

    pub(super) fn set(&self, features: Features) {
        self.0.store(features.0, Ordering::Relaxed);
    }
}
