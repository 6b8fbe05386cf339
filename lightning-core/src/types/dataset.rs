//! Datasets: the tasks that an algorithm learns from, shared and never changed.

use std::{fmt, ops::Deref, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};

/// What a rollout is about: a question, an invoice, a game to play. Any serde type is one.
///
/// There is nothing to implement; derive `Clone`, `Serialize` and `Deserialize` for the type.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a task",
    label = "not a task type",
    note = "a task travels through the store as JSON: write `#[derive(Clone, serde::Serialize, serde::Deserialize)]` on its type",
    note = "in a generic function, write the bound `: Task`"
)]
pub trait Task: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> Task for T {}

/// What generated code does with a task of type `T`. It names the type through [`task_type`] alone, so that a type which
/// is no task is reported once.
#[doc(hidden)]
pub struct TaskType<T> {
    clone: fn(&T) -> T,
}

/// What generated code does with a task of type `T`.
#[doc(hidden)]
pub const fn task_type<T: Task>() -> TaskType<T> {
    TaskType { clone: T::clone }
}

impl<T> TaskType<T> {
    /// A copy of the task.
    pub fn copy(&self, task: &T) -> T {
        (self.clone)(task)
    }
}

impl<T> fmt::Debug for TaskType<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::any::type_name::<Self>())
    }
}

/// Tasks in an order. A clone shares them.
///
/// ```
/// use lightning_core::types::Dataset;
///
/// let questions = Dataset::from(vec!["2 + 2?", "3 + 3?"]);
/// assert_eq!(questions.len(), 2);
/// assert_eq!(questions[0], "2 + 2?");
/// assert!(questions.iter().all(|question| question.ends_with('?')));
/// ```
pub struct Dataset<T>(Arc<[T]>);

impl<T> Dataset<T> {
    /// How many tasks there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tasks, in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The tasks as a shared slice, without copying them.
    pub fn to_arc(&self) -> Arc<[T]> {
        Arc::clone(&self.0)
    }
}

impl<T> Deref for Dataset<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T> Clone for Dataset<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Dataset<T> {
    fn default() -> Self {
        Self(Arc::from([]))
    }
}

/// Only how many tasks there are: they may be many, and private.
impl<T> fmt::Debug for Dataset<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dataset({} tasks)", self.len())
    }
}

impl<T: PartialEq> PartialEq for Dataset<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl<T> From<Vec<T>> for Dataset<T> {
    fn from(tasks: Vec<T>) -> Self {
        Self(tasks.into())
    }
}

impl<T, const N: usize> From<[T; N]> for Dataset<T> {
    fn from(tasks: [T; N]) -> Self {
        Self(Arc::from(tasks))
    }
}

impl<T> From<Arc<[T]>> for Dataset<T> {
    fn from(tasks: Arc<[T]>) -> Self {
        Self(tasks)
    }
}

impl<T> FromIterator<T> for Dataset<T> {
    fn from_iter<I: IntoIterator<Item = T>>(tasks: I) -> Self {
        Self(tasks.into_iter().collect())
    }
}

impl<'a, T> IntoIterator for &'a Dataset<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// What may be given where a dataset of `T` is asked for: `Dataset<T>`, `&Dataset<T>`, `Vec<T>`,
/// `Option<Dataset<T>>`, and so a plain `None`.
///
/// It is not `Into<Option<Dataset<T>>>`, for which `None` could be many things.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a dataset of `{T}`",
    label = "expected a dataset of `{T}`",
    note = "the agent, the algorithm and both datasets of one `fit` have the same task type",
    note = "what fits: `Dataset<T>`, `&Dataset<T>`, `Vec<T>`, `Option<Dataset<T>>`, `None`"
)]
pub trait IntoDataset<T> {
    /// The dataset, if one was given.
    fn into_dataset(self) -> Option<Dataset<T>>;
}

impl<T> IntoDataset<T> for Dataset<T> {
    fn into_dataset(self) -> Option<Dataset<T>> {
        Some(self)
    }
}

impl<T> IntoDataset<T> for &Dataset<T> {
    fn into_dataset(self) -> Option<Dataset<T>> {
        Some(self.clone())
    }
}

impl<T> IntoDataset<T> for Vec<T> {
    fn into_dataset(self) -> Option<Dataset<T>> {
        Some(self.into())
    }
}

impl<T> IntoDataset<T> for Option<Dataset<T>> {
    fn into_dataset(self) -> Option<Dataset<T>> {
        self
    }
}
