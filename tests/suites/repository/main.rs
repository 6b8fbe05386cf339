//! The repository against its own rules: who may use whom, what may come in, names, sizes, links, commands.
//!
//! Each check is a function from text to complaints. One test runs it on the repository, another on a snippet that it
//! has to refuse: a check that cannot fail is a defect. A complaint says what to do about it.

mod commands;
mod crates;
mod diagnostics;
mod errors;
mod files;
mod links;
mod modules;
mod source;
mod statuses;
mod tasks;
mod tree;
