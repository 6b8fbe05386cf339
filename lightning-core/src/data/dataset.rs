//! Datasets from files, and parts of datasets.

use std::path::Path;

use rand::{SeedableRng as _, rngs::StdRng, seq::SliceRandom as _};
use serde::de::DeserializeOwned;

use super::{DataError, FileFormat, TaskFile};
use crate::types::Dataset;

macro_rules! formats {
    ($($(#[$doc:meta])* $name:ident $format:ident;)*) => {$(
        $(#[$doc])*
        ///
        /// # Errors
        ///
        /// Those of [`TaskFile::read`].
        pub fn $name(path: impl AsRef<Path>) -> Result<Self, DataError> {
            let file = TaskFile::new(path.as_ref()).format(FileFormat::$format);
            file.read().map(Self::from)
        }
    )*};
}

impl<T: DeserializeOwned> Dataset<T> {
    /// The tasks of a file, at least one, in the format that its extension names: `.jsonl`, `.json`, `.yaml`, `.toml`
    /// or `.csv`, as [`TaskFile`] describes them.
    ///
    /// # Errors
    ///
    /// Those of [`TaskFile::read`].
    pub fn from_file(path: impl AsRef<Path>) -> Result<Self, DataError> {
        TaskFile::new(path.as_ref()).read().map(Self::from)
    }

    formats! {
        /// The tasks of a JSONL file, whatever its extension.
        from_jsonl JsonLines;
        /// The tasks of a JSON file, whatever its extension.
        from_json Json;
        /// The tasks of a YAML file, whatever its extension.
        from_yaml Yaml;
        /// The tasks of a TOML file, whatever its extension.
        from_toml Toml;
        /// The tasks of a CSV file, whatever its extension.
        from_csv Csv;
    }
}

impl<T: Clone> Dataset<T> {
    /// Two datasets that share no task: the first has `share` of the tasks, rounded, drawn by `seed`; the second has the
    /// others. Both keep the order.
    ///
    /// # Errors
    ///
    /// [`DataError::Share`] if `share` is not between 0 and 1.
    pub fn split(&self, share: f64, seed: u64) -> Result<(Self, Self), DataError> {
        if !(0.0..=1.0).contains(&share) {
            return Err(DataError::Share(share));
        }
        let first = (self.len() as f64 * share).round() as usize;
        let mut in_first: Vec<bool> = (0..self.len()).map(|i| i < first).collect();
        in_first.shuffle(&mut StdRng::seed_from_u64(seed));
        let part = |wanted: bool| {
            let tasks = self.iter().zip(&in_first);
            tasks
                .filter(|(_, is_first)| **is_first == wanted)
                .map(|(task, _)| task.clone())
                .collect()
        };
        Ok((part(true), part(false)))
    }
}
