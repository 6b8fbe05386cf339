//! State of an algorithm that survives the end of the process.

use std::{fmt, marker::PhantomData, sync::Arc};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::{AlgorithmIdentity, RunError, RunFolder, folder, identity::difference};
use crate::types::JsonObject;

/// The file in the run's folder.
const FILE: &str = "checkpoint.json";
/// The form of the file, raised when it changes.
const FORMAT: u32 = 1;

/// The state `S` of an algorithm, kept in `checkpoint.json` of the run's folder.
///
/// The file is replaced as a whole, so a crash at any moment leaves the old state or the new one. It names the algorithm,
/// its version and its parameters; with others it is refused.
///
/// ```
/// use lightning_core::run::RunContext;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), lightning_core::run::RunError> {
/// let run = RunContext::for_test();
/// let checkpoint = run.checkpoint::<Vec<String>>();
/// assert_eq!(checkpoint.load().await?, None);
/// checkpoint.save(&vec!["best so far".to_owned()]).await?;
/// assert_eq!(checkpoint.load().await?, Some(vec!["best so far".to_owned()]));
/// # Ok(())
/// # }
/// ```
pub struct Checkpoint<S> {
    folder: RunFolder,
    algorithm: Arc<AlgorithmIdentity>,
    /// Whether a state that was saved with other settings is taken.
    accepts_changes: bool,
    state: PhantomData<fn() -> S>,
}

#[derive(Serialize, Deserialize)]
struct Contents<S> {
    format: u32,
    algorithm: String,
    version: String,
    parameters: JsonObject,
    state: S,
}

impl<S> Checkpoint<S> {
    pub(super) fn new(folder: RunFolder, algorithm: AlgorithmIdentity, accepts_changes: bool) -> Self {
        Self {
            folder,
            algorithm: Arc::new(algorithm),
            accepts_changes,
            state: PhantomData,
        }
    }
}

impl<S: Serialize> Checkpoint<S> {
    /// Saves the state in place of the one before. When this returns, the state is on the disk.
    ///
    /// Cancel safe: once begun it goes on to its end.
    ///
    /// # Errors
    ///
    /// [`RunError::Unwritable`], if the state cannot be written as JSON, and [`RunError::Folder`], if the disk does not
    /// take it. The state before is still there then.
    pub async fn save(&self, state: &S) -> Result<(), RunError> {
        let contents = Contents {
            format: FORMAT,
            algorithm: self.algorithm.name.clone(),
            version: self.algorithm.version.clone(),
            parameters: self.algorithm.parameters.clone(),
            state,
        };
        self.folder.write_json(FILE, &contents).await
    }
}

impl<S: DeserializeOwned> Checkpoint<S> {
    /// The state that was saved last, if any was.
    ///
    /// # Errors
    ///
    /// [`RunError::OtherSettings`], if it was saved by another algorithm or with other parameters,
    /// [`RunError::Unreadable`], if it does not hold an `S`, and [`RunError::Folder`], if the disk does not give it.
    pub async fn load(&self) -> Result<Option<S>, RunError> {
        let folder = self.folder.clone();
        let Some(bytes) = folder::on_the_disk(move || folder.read(FILE)).await? else {
            return Ok(None);
        };
        let path = || self.folder.path().join(FILE);
        let unreadable = |source| RunError::Unreadable { path: path(), source };
        // The settings are compared first: the state of another algorithm need not fit the type.
        let contents: Contents<Value> = serde_json::from_slice(&bytes).map_err(unreadable)?;
        let differences = differences(&contents, &self.algorithm);
        if contents.format != FORMAT || !(differences.is_empty() || self.accepts_changes) {
            return Err(RunError::OtherSettings {
                path: path(),
                differences,
            });
        }
        serde_json::from_value(contents.state)
            .map(Some)
            .map_err(unreadable)
    }
}

/// The state that was saved last, whatever it is.
pub(super) async fn saved(folder: &RunFolder) -> Result<Option<Value>, RunError> {
    let path = folder.path().join(FILE);
    let folder = folder.clone();
    let Some(bytes) = folder::on_the_disk(move || folder.read(FILE)).await? else {
        return Ok(None);
    };
    let contents = serde_json::from_slice::<Contents<Value>>(&bytes);
    contents
        .map(|contents| Some(contents.state))
        .map_err(|source| RunError::Unreadable { path, source })
}

impl<S> fmt::Debug for Checkpoint<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checkpoint")
            .field("path", &self.folder.path().join(FILE))
            .finish_non_exhaustive()
    }
}

/// One line for each setting that differs.
fn differences(saved: &Contents<Value>, now: &AlgorithmIdentity) -> Vec<String> {
    let before = AlgorithmIdentity {
        name: saved.algorithm.clone(),
        version: saved.version.clone(),
        parameters: saved.parameters.clone(),
    };
    let mut lines = now.differences(&before);
    lines.extend(difference("format", &saved.format.into(), &FORMAT.into()));
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn identity(parameters: &Value) -> AlgorithmIdentity {
        let parameters = parameters.as_object().cloned().unwrap_or_default();
        AlgorithmIdentity {
            name: "beam".to_owned(),
            version: "1".to_owned(),
            parameters,
        }
    }

    #[tokio::test]
    async fn other_settings_are_refused_and_shown() {
        let folder = RunFolder::temporary();
        let saved = Checkpoint::new(folder.clone(), identity(&json!({"width": 4, "depth": 2})), false);
        saved.save(&7).await.unwrap();
        let mut other = identity(&json!({"width": 8, "seed": 1, "depth": 2}));
        other.version = "2".to_owned();
        let error = Checkpoint::<i32>::new(folder.clone(), other.clone(), false)
            .load()
            .await
            .unwrap_err();
        let RunError::OtherSettings { differences, .. } = error else {
            panic!("{error}")
        };
        assert_eq!(
            differences,
            [
                "  version: \"1\" before, \"2\" now",
                "  seed: not set before, 1 now",
                "  width: 4 before, 8 now",
            ]
        );
        let willing = Checkpoint::<i32>::new(folder, other, true);
        assert_eq!(willing.load().await.unwrap(), Some(7));
    }

    #[tokio::test]
    async fn a_state_of_another_type_is_refused_with_the_file() {
        let folder = RunFolder::temporary();
        Checkpoint::new(folder.clone(), identity(&Value::Null), false)
            .save(&"text")
            .await
            .unwrap();
        let error = Checkpoint::<i32>::new(folder, identity(&Value::Null), false)
            .load()
            .await
            .unwrap_err();
        assert!(error.to_string().contains("checkpoint.json"), "{error}");
        assert!(matches!(error, RunError::Unreadable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_damaged_file_is_refused() {
        let folder = RunFolder::temporary();
        folder.replace(FILE, b"{\"format\": 1, \"alg").unwrap();
        let error = Checkpoint::<i32>::new(folder, identity(&Value::Null), false)
            .load()
            .await
            .unwrap_err();
        assert!(matches!(error, RunError::Unreadable { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_written_leaves_the_one_before() {
        let folder = RunFolder::temporary();
        let numbers = Checkpoint::new(folder.clone(), identity(&Value::Null), false);
        numbers.save(&1).await.unwrap();
        let odd = Checkpoint::new(folder, identity(&Value::Null), false);
        let map = std::collections::HashMap::from([(vec![1], 1)]);
        assert!(matches!(odd.save(&map).await, Err(RunError::Unwritable(_))));
        assert_eq!(numbers.load().await.unwrap(), Some(1));
    }
}
