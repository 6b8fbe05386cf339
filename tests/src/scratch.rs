//! Folders of tests, on a disk or in memory.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A folder of its own, which goes with everything in it when this is dropped.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// In memory where the system has a place for that (a sync costs nothing there), else where temporary files go.
    pub fn fast() -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        Self::within(&base)
    }

    /// Where temporary files go.
    pub fn on_disk() -> Self {
        Self::within(&std::env::temp_dir())
    }

    /// In a folder of the caller's choice.
    ///
    /// # Panics
    ///
    /// If the folder cannot be made.
    pub fn within(base: &Path) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = base.join(format!("lightning-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the test");
        Self(folder)
    }

    /// A file or folder in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of everything in it, sorted.
    ///
    /// # Panics
    ///
    /// If the folder cannot be read.
    pub fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder of the test");
        let names = entries.map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        });
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What is left over lies where the system cleans up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
