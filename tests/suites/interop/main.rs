//! Ours and the reference's, each as the other's partner. Tier `python`.

mod client;
mod differential;
mod python;
