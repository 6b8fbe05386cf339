//! From what a function returns to its output and its error.
//!
//! A macro sees only tokens, so it cannot always tell whether a function returns a `Result`: the return type may be an
//! alias. Generated code therefore asks [`Probe`], and names the answer as the constant argument of [`Returned`].

use std::marker::PhantomData;

/// Takes a return type apart. Implemented for every type and without bounds: each bound on the parts is checked in one
/// place, so that each mistake is reported once.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `core::result::Result`",
    label = "is called `Result`, but is another type",
    note = "return `core::result::Result`, or give this type another name"
)]
pub trait Returned<const IS_RESULT: bool> {
    /// What is returned when all is well.
    type Output;
    /// What is returned otherwise.
    type Error;
    /// Which of the two it is.
    fn split(self) -> Result<Self::Output, Self::Error>;
}

impl<T> Returned<false> for T {
    type Output = T;
    type Error = std::convert::Infallible;

    fn split(self) -> Result<T, Self::Error> {
        Ok(self)
    }
}

impl<T, E> Returned<true> for Result<T, E> {
    type Output = T;
    type Error = E;

    fn split(self) -> Self {
        self
    }
}

/// Tells whether `T` is a `Result`: `Probe::<T>::IS_RESULT`, with [`NotResult`] in scope.
#[derive(Debug)]
pub struct Probe<T>(PhantomData<fn() -> T>);

impl<T, E> Probe<Result<T, E>> {
    /// It is. A constant of the type itself is preferred to that of a trait.
    pub const IS_RESULT: bool = true;
}

/// The answer of [`Probe`] for everything else.
pub trait NotResult {
    /// It is not.
    const IS_RESULT: bool = false;
}

impl<T> NotResult for Probe<T> {}

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

/// Lets a generated type name the type parameters of its function without holding or bounding them.
pub struct Ghost<T: ?Sized>(PhantomData<fn() -> T>);

impl<T: ?Sized> Ghost<T> {
    /// The only value.
    pub const NEW: Self = Self(PhantomData);
}

impl<T: ?Sized> std::fmt::Debug for Ghost<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ghost")
    }
}
