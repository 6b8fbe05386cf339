//! What an algorithm may return.

use serde::Serialize;

/// What an algorithm may return: anything that can be written to the report.
#[diagnostic::on_unimplemented(
    message = "an algorithm cannot return `{Self}`",
    label = "cannot be written to the report",
    note = "return `()` or a type with `#[derive(serde::Serialize)]`, or a `Result` of one of them, such as `anyhow::Result<f64>`"
)]
pub trait AlgoOutput: Serialize + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<O: Serialize + Send + 'static> AlgoOutput for O {}
