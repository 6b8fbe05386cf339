//! What the examples share.

pub mod exercises;
pub mod invoices;
#[cfg(feature = "model")]
pub mod model;
#[cfg(feature = "model")]
pub mod simulated;
