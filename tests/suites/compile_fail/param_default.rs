//! The default of a hyper-parameter.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

#[algo]
async fn text_for_a_number(#[param(default = "3")] n: usize) {}

#[algo]
async fn number_for_a_text(#[param(default = 3)] name: String) {}

#[algo]
async fn misspelled(#[param(defualt = 3)] n: usize) {}

#[algo]
async fn bare_value(#[param(3)] n: usize) {}

fn main() {}
