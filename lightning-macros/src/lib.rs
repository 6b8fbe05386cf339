//! The attribute macros of `lightning-core`, which re-exports them; depend on that crate, not on this one.
