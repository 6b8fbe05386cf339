//! Where ids come from, so that tests can foresee them.

use std::fmt;

use rand::RngExt as _;

/// A source of the digits of ids.
pub trait IdSource: fmt::Debug + Send + Sync + 'static {
    /// `digits` (at most 16) lower-case hexadecimal digits. They need not be unique: who takes them as an id checks.
    fn hex(&self, digits: usize) -> String;
}

/// Random digits.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn hex(&self, digits: usize) -> String {
        let bits: u64 = rand::rng().random();
        let mut text = format!("{bits:016x}");
        text.truncate(digits);
        text
    }
}
