//! Ours and the reference's, each as the other's partner. Tier `python`.

mod agents;
mod client;
mod differences;
mod differential;
mod python;
