//! Injection: how the parameters of an `#[algo]` or `#[rollout]` function get their values.
//!
//! The name of a parameter picks a *slot*, the type of the parameter says in which form the value is wanted, and
//! [`Inject`] brings the two together: `Arc<dyn Store>: Inject<'_, slots::Store>`. What there is to inject lies in a
//! [`Scope`], which the trainer fills for the algorithm and the runner fills for each rollout.
//!
//! Only [`InjectError::Absent`] turns an `Option` into `None`. Anything else, such as an adapter of another type, is an
//! error, whether the parameter is optional or not.
//!
//! # Values of your own
//!
//! A type of yours is injected by its type, once it says so; the value comes from the trainer (`extension`):
//!
//! ```
//! use lightning_core::inject::{Inject, Injectable, Scope, slots};
//!
//! #[derive(Clone, Debug, PartialEq)]
//! struct Budget(u32);
//! impl Injectable for Budget {}
//!
//! let scope = Scope::new().with_extension(Budget(3));
//! let budget = <Budget as Inject<'_, slots::ByType>>::inject(&scope)?;
//! assert_eq!(budget, Budget(3));
//! # Ok::<(), lightning_core::inject::InjectError>(())
//! ```
//!
//! For somebody else's type, or for a trait object, declare a slot: any type of yours, which is then named in
//! `#[inject(Judge)]`.
//!
//! ```
//! use std::sync::Arc;
//! use lightning_core::inject::{Inject, InjectError, Scope};
//!
//! trait JudgeModel: Send + Sync { fn score(&self, answer: &str) -> f64; }
//!
//! struct Judge;
//! impl<'cx> Inject<'cx, Judge> for Arc<dyn JudgeModel> {
//!     fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
//!         scope.extension::<Self>().cloned()
//!     }
//! }
//! ```

mod datasets;
mod error;
mod fits;
mod given;
mod requirement;
mod scope;
pub mod slots;

pub use datasets::{DatasetParam, DatasetSlot};
pub use error::{InjectError, InjectErrors};
pub use requirement::Requirement;
pub use scope::Scope;

#[doc(hidden)]
pub use datasets::{SameTask, same_task};
#[doc(hidden)]
pub use fits::{
    FitsAdapter, FitsByType, FitsInitialResources, FitsLlm, FitsLlmProxy, FitsPromptTemplate, FitsResources,
    FitsRollout, FitsRun, FitsSlot, FitsStore,
};

/// A value of this type can be handed to a parameter of the slot `Slot`.
///
/// Implement it to add a slot of your own; see the [module](self). For the slots of this crate see [`slots`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be injected into the slot `{Slot}`",
    label = "cannot be injected here",
    note = "write `impl<'cx> Inject<'cx, {Slot}> for {Self}` to make it fit"
)]
pub trait Inject<'cx, Slot>: Sized {
    /// Takes the value out of the scope.
    ///
    /// Errors with [`InjectError::Absent`] if nobody gave one, which `Option` turns into `None`, and with any other
    /// [`InjectError`] if one was given that is of no use.
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError>;
}

/// Every slot is optional for who writes `Option`.
impl<'cx, Slot, V: Inject<'cx, Slot>> Inject<'cx, Slot> for Option<V> {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        V::inject(scope).map(Some).or_else(InjectError::absent_as_none)
    }
}

/// A type that may be injected by its type alone, with `#[inject]`. `#[derive(Inject)]` implements it.
///
/// It is opt-in: if every type could be injected, a misspelled slot would go unnoticed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be injected by its type",
    label = "no such injectable",
    note = "for a type of your own write `#[derive(Clone, Inject)]`; for another type declare a slot and write `#[inject(MySlot)]`"
)]
pub trait Injectable: Clone + Send + Sync + 'static {}
