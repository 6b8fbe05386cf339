//! From what a function returns to what the runtime expects.

/// An error that becomes an `anyhow::Error`, with a message of its own for those that do not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the error of this function",
    label = "does not become an `anyhow::Error`",
    note = "return `anyhow::Result<_>`, or an error type that implements `std::error::Error + Send + Sync`"
)]
pub trait IntoError {
    /// The error.
    fn into_error(self) -> anyhow::Error;
}

#[diagnostic::do_not_recommend]
impl<E: Into<anyhow::Error>> IntoError for E {
    fn into_error(self) -> anyhow::Error {
        self.into()
    }
}
