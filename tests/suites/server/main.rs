//! The store's server, from the outside: bytes go in over TCP, and bytes come out.

mod bad_input;
mod cuts;
mod limits;
mod otlp;
mod queries;
mod raw;
mod routes;
mod waiters;
