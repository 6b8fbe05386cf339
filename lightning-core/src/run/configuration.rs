//! Which configurations a run used.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::{RunError, RunFolder};
use crate::types::Timestamp;

const FOLDER: &str = "config";
const INDEX: &str = "history.json";

/// The configurations that a run used, one after the other: in `run.json`, and each as a file of its own under `config/` of
/// the run's folder. A clone is the same history.
///
/// What a run had before it was resumed stays, and a version that does not differ from the last one is none.
#[derive(Clone, Debug, Default)]
pub struct ConfigurationHistory {
    shared: Arc<Mutex<History>>,
}

#[derive(Debug, Default)]
struct History {
    versions: Vec<ConfigurationVersion>,
    last: Option<Value>,
    /// What came before there was a folder.
    pending: Vec<(Value, Timestamp, Vec<String>)>,
    folder: Option<RunFolder>,
}

/// One configuration that a run used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ConfigurationVersion {
    /// Counts the versions, from 1.
    pub version: usize,
    /// When it was first used.
    pub time: Timestamp,
    /// Where it is, in the run's folder.
    pub file: String,
    /// What was changed, a line each; nothing for the first.
    pub changes: Vec<String>,
}

impl ConfigurationHistory {
    /// No configurations.
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes a configuration that is used from now on, and what is different in it. It should hold no secrets.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`RunError`], if it cannot be written.
    pub fn push(&self, configuration: Value, time: Timestamp, changes: Vec<String>) -> Result<(), RunError> {
        let mut history = self.lock();
        history.pending.push((configuration, time, changes));
        history.write()
    }

    /// The versions so far.
    pub fn versions(&self) -> Vec<ConfigurationVersion> {
        self.lock().versions.clone()
    }

    /// Goes on with what is in the folder, and writes there from now on. Blocks on the disk.
    pub(crate) fn keep_in(&self, folder: &RunFolder) -> Result<(), RunError> {
        let folder = RunFolder::at(folder.path().join(FOLDER));
        let mut history = self.lock();
        if let Some(index) = folder.read(INDEX)? {
            let path = folder.path().join(INDEX);
            history.versions =
                serde_json::from_slice(&index).map_err(|source| RunError::Unreadable { path, source })?;
            let last = history.versions.last().map(|version| name(version.version));
            // One that was lost is another than the next.
            let last = last.map(|name| folder.read(&name)).transpose()?.flatten();
            history.last = last.and_then(|contents| serde_json::from_slice(&contents).ok());
        }
        history.folder = Some(folder);
        history.write()
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(version: usize) -> String {
    format!("{version:04}.json")
}

impl History {
    fn write(&mut self) -> Result<(), RunError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(());
        };
        for (configuration, time, changes) in std::mem::take(&mut self.pending) {
            if self.last.as_ref() == Some(&configuration) {
                continue;
            }
            let version = self.versions.len() + 1;
            folder.replace(&name(version), &json(&configuration)?)?;
            self.versions.push(ConfigurationVersion {
                version,
                time,
                file: format!("{FOLDER}/{}", name(version)),
                changes,
            });
            folder.replace(INDEX, &json(&self.versions)?)?;
            self.last = Some(configuration);
        }
        Ok(())
    }
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, RunError> {
    serde_json::to_vec_pretty(value).map_err(RunError::Unwritable)
}

/// The versions.
impl Serialize for ConfigurationHistory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.lock().versions.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_version_is_kept_over_runs_and_none_twice() {
        let folder = RunFolder::temporary();
        let at = Timestamp::from_secs_f64;
        let first = ConfigurationHistory::new();
        first.push(json!({"seed": 1}), at(1.0), Vec::new()).unwrap();
        assert!(
            first.versions().is_empty(),
            "nothing is written before there is a folder"
        );
        first.keep_in(&folder).unwrap();
        first
            .push(json!({"seed": 2}), at(2.0), vec!["seed: 1 -> 2".to_owned()])
            .unwrap();

        let resumed = ConfigurationHistory::new();
        resumed.push(json!({"seed": 2}), at(3.0), Vec::new()).unwrap();
        resumed.keep_in(&folder).unwrap();
        assert_eq!(resumed.versions(), first.versions());
        resumed.push(json!({"seed": 1}), at(4.0), Vec::new()).unwrap();
        let numbers: Vec<usize> = resumed.versions().iter().map(|version| version.version).collect();
        assert_eq!(numbers, [1, 2, 3]);
        let kept = folder.read("config/0003.json").unwrap().unwrap();
        assert_eq!(
            serde_json::from_slice::<Value>(&kept).unwrap(),
            json!({"seed": 1})
        );
        assert_eq!(
            serde_json::to_value(&resumed).unwrap()[1]["changes"],
            json!(["seed: 1 -> 2"])
        );
    }
}
