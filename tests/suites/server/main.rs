//! The store's server, from the outside: bytes go in over TCP, and bytes come out.

mod access;
mod bad_input;
mod cuts;
mod exporter;
mod fields;
mod metrics;
mod openapi;
mod otlp;
mod raw;
mod roles;
mod routes;
mod stopping;
mod waiters;
