//! Why a parameter got no value.

use std::fmt;

/// Why one parameter got no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InjectError {
    /// Nobody gave a value. The only error that makes an `Option` be `None`.
    #[error("no `{slot}` was given: {remedy}")]
    Absent {
        /// The slot, or the type.
        slot: &'static str,
        /// How to give one.
        remedy: String,
    },

    /// A value was given, but of another type.
    #[error("the `{slot}` that was given is a `{given}`, but a `{wanted}` is needed")]
    WrongType {
        /// The slot.
        slot: &'static str,
        /// The type of the parameter.
        wanted: &'static str,
        /// The type of what was given.
        given: &'static str,
    },

    /// A value was given, but cannot be used.
    #[error("{0:#}")]
    Unusable(anyhow::Error),
}

impl InjectError {
    /// Nobody gave a value for `slot`; `remedy` says how to.
    pub fn absent(slot: &'static str, remedy: impl Into<String>) -> Self {
        Self::Absent {
            slot,
            remedy: remedy.into(),
        }
    }

    /// A value was given, but cannot be used.
    pub fn unusable(reason: impl Into<anyhow::Error>) -> Self {
        Self::Unusable(reason.into())
    }

    pub(super) fn absent_as_none<V>(self) -> Result<Option<V>, Self> {
        match self {
            Self::Absent { .. } => Ok(None),
            other => Err(other),
        }
    }
}

/// Everything that is wrong with the parameters of one function. It is never empty.
#[derive(Debug, Default)]
pub struct InjectErrors(Vec<(&'static str, InjectError)>);

impl InjectErrors {
    /// Only this error, of that parameter.
    pub fn one(parameter: &'static str, error: InjectError) -> Self {
        Self(vec![(parameter, error)])
    }

    /// Each error with its parameter, in the order of the parameters.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &InjectError)> {
        self.0.iter().map(|(parameter, error)| (*parameter, error))
    }

    /// Collects, for generated code: keeps the value or notes the error.
    #[doc(hidden)]
    pub fn keep<V>(&mut self, parameter: &'static str, injected: Result<V, InjectError>) -> Option<V> {
        injected.map_err(|error| self.0.push((parameter, error))).ok()
    }

    /// Collects, for generated code: the errors, if there are any that `matter`.
    #[doc(hidden)]
    pub fn into_result(mut self, matter: impl Fn(&InjectError) -> bool) -> Result<(), Self> {
        self.0.retain(|(_, error)| matter(error));
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for InjectErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (parameter, error)) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "parameter `{parameter}`: {error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for InjectErrors {}
