//! The slots `train_dataset` and `val_dataset`: their parameters also say what the task type is.

use std::sync::Arc;

use super::{InjectError, Scope};
use crate::types::Dataset;

/// A type that a parameter `train_dataset` or `val_dataset` may have.
///
/// It is a trait of its own, not [`Inject`](super::Inject), since the macro reads the task type from it; so aliases of
/// a dataset's type work too.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot receive a dataset",
    label = "wrong type for a dataset",
    note = "write `Dataset<T>`, `&Dataset<T>`, `Arc<[T]>`, `&[T]`, or an `Option` of one of them"
)]
pub trait DatasetParam {
    /// The type of the tasks.
    type Task;
    /// The parameter's type with the lifetime of the scope. The trait is implemented for the `'static` form only.
    type At<'cx>;
    /// Takes the dataset out of the scope.
    ///
    /// Errors with [`InjectError::Absent`] if none was given and with [`InjectError::WrongType`] if its tasks have
    /// another type.
    fn take(scope: &Scope, slot: DatasetSlot) -> Result<Self::At<'_>, InjectError>;
}

/// Which of the two datasets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DatasetSlot {
    /// `train_dataset`
    Train,
    /// `val_dataset`
    Val,
}

impl DatasetSlot {
    fn take<T: 'static>(self, scope: &Scope) -> Result<&Dataset<T>, InjectError> {
        match self {
            Self::Train => scope.train_dataset(),
            Self::Val => scope.val_dataset(),
        }
    }
}

macro_rules! dataset_params {
    ($($ty:ty => $at:ty, |$dataset:ident| $convert:expr;)*) => {$(
        #[diagnostic::do_not_recommend]
        impl<T: Send + Sync + 'static> DatasetParam for $ty {
            type Task = T;
            type At<'cx> = $at;

            fn take(scope: &Scope, slot: DatasetSlot) -> Result<Self::At<'_>, InjectError> {
                slot.take(scope).map(|$dataset: &Dataset<T>| $convert)
            }
        }
    )*};
}

dataset_params! {
    Dataset<T> => Dataset<T>, |dataset| dataset.clone();
    &'static Dataset<T> => &'cx Dataset<T>, |dataset| dataset;
    Arc<[T]> => Arc<[T]>, |dataset| dataset.to_arc();
    &'static [T] => &'cx [T], |dataset| &**dataset;
}

#[diagnostic::do_not_recommend]
impl<P: DatasetParam> DatasetParam for Option<P> {
    type Task = P::Task;
    type At<'cx> = Option<P::At<'cx>>;

    fn take(scope: &Scope, slot: DatasetSlot) -> Result<Self::At<'_>, InjectError> {
        P::take(scope, slot)
            .map(Some)
            .or_else(InjectError::absent_as_none)
    }
}

/// Whether the tasks of both datasets of a function have one type, with a message for when they do not.
#[doc(hidden)]
#[diagnostic::on_unimplemented(
    message = "the two datasets of this function have tasks of different types, `{T}` and `{Self}`",
    label = "a dataset of `{Self}`",
    note = "training and validation are about the same tasks: give both datasets the same type"
)]
pub trait SameTask<T: ?Sized> {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized> SameTask<T> for T {}

/// Checks, for generated code, that the tasks of both datasets of a function have one type.
#[doc(hidden)]
pub const fn same_task<T: ?Sized, U: SameTask<T> + ?Sized>() {}
