//! What the test suites share.

#[cfg(doctest)]
mod book;
pub mod crash;
pub mod instant;
#[cfg(feature = "full")]
pub mod learning;
pub mod model;
pub mod scratch;
pub mod tier;
pub mod traces;
