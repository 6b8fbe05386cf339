//! What the examples share.

pub mod invoices;
