//! The folder of a run.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Serialize;

use super::RunError;
use crate::ids::{IdSource as _, RandomIds};

/// Where a run keeps its files: `run.json`, `metrics.jsonl`, the checkpoint, the report, and whatever the algorithm writes.
/// A clone is the same folder.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: Arc<Root>,
}

#[derive(Debug)]
struct Root {
    path: PathBuf,
    /// Whether it goes with the last handle.
    temporary: bool,
}

impl RunFolder {
    /// The file whose lock says that a run uses the folder.
    pub(crate) const LOCK: &str = ".lock";

    /// The folder at that path, which is made when something is first written.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            root: Arc::new(Root {
                path: path.into(),
                temporary: false,
            }),
        }
    }

    /// A folder among the system's temporary files, which goes with the last handle.
    pub fn temporary() -> Self {
        let path = std::env::temp_dir().join(format!("lightning-run-{}", RandomIds.hex(16)));
        Self {
            root: Arc::new(Root {
                path,
                temporary: true,
            }),
        }
    }

    /// Where it is, or will be.
    pub fn path(&self) -> &Path {
        &self.root.path
    }

    /// Whether it goes with the last handle.
    pub fn is_temporary(&self) -> bool {
        self.root.temporary
    }

    /// Makes the folder, unless it is there.
    ///
    /// # Errors
    ///
    /// [`RunError::Folder`], if it cannot be made.
    pub fn create(&self) -> Result<PathBuf, RunError> {
        fs::create_dir_all(self.path()).map_err(|source| RunError::Folder {
            action: "make the run folder",
            path: self.path().to_owned(),
            source,
        })?;
        Ok(self.path().to_owned())
    }

    /// Replaces the file of that name as a whole: whoever reads it, also after a crash, sees the old or the new contents.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`RunError::Folder`], if it cannot be written; the old contents are still there then.
    pub fn replace(&self, name: &str, contents: &[u8]) -> Result<PathBuf, RunError> {
        let path = self.create()?.join(name);
        replace(&path, contents).map_err(|source| RunError::Folder {
            action: "write",
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// Replaces the file of that name by a value as JSON, as [`replace`](Self::replace) does, off the runtime's threads.
    ///
    /// The value is read at once and not held on to.
    pub(crate) fn write_json<V: Serialize>(
        &self,
        name: &'static str,
        value: &V,
    ) -> impl Future<Output = Result<(), RunError>> + Send + use<V> {
        let contents = serde_json::to_vec_pretty(value).map_err(RunError::Unwritable);
        let folder = self.clone();
        async move {
            let contents = contents?;
            on_the_disk(move || folder.replace(name, &contents).map(drop)).await
        }
    }

    /// Claims the folder for a run, for as long as the lock lives. The end of the process, however it comes, ends it, too.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`RunError::InUse`], if another run has it, in this process or in another one on this machine, and
    /// [`RunError::Folder`], if it cannot be made.
    pub fn lock(&self) -> Result<RunLock, RunError> {
        let path = self.create()?.join(Self::LOCK);
        let failed = |source| RunError::Folder {
            action: "lock",
            path: path.clone(),
            source,
        };
        let file = fs::File::options()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(RunLock { _file: file }),
            Err(fs::TryLockError::WouldBlock) => Err(RunError::InUse {
                path: self.path().to_owned(),
            }),
            Err(fs::TryLockError::Error(source)) => Err(failed(source)),
        }
    }

    /// The contents of the file of that name, if there is one. Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`RunError::Folder`], if it is there but cannot be read.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>, RunError> {
        let path = self.path().join(name);
        match fs::read(&path) {
            Ok(contents) => Ok(Some(contents)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(RunError::Folder {
                action: "read",
                path,
                source,
            }),
        }
    }
}

/// A run's claim to its folder.
#[derive(Debug)]
#[must_use = "the folder is claimed for as long as this lives"]
pub struct RunLock {
    _file: fs::File,
}

/// Does something with a run's folder off the runtime's threads. Cancel safe: once begun it goes on to its end.
pub(crate) async fn on_the_disk<T: Send + 'static>(
    act: impl FnOnce() -> Result<T, RunError> + Send + 'static,
) -> Result<T, RunError> {
    tokio::task::spawn_blocking(act).await.unwrap_or_else(|failure| {
        Err(RunError::Folder {
            action: "use the run folder on a thread of its own",
            path: PathBuf::new(),
            source: io::Error::other(failure),
        })
    })
}

/// Writes aside, syncs, renames, and syncs the folder, so that the rename survives a loss of power, too.
fn replace(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}.tmp", RandomIds.hex(8)));
    let aside = PathBuf::from(aside);
    let written = write_synced(&aside, contents).and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        // It may not even be there; the error that counts is the first.
        let _ = fs::remove_file(&aside);
    }
    written?;
    match path.parent() {
        Some(folder) => fs::File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

fn write_synced(path: &Path, contents: &[u8]) -> io::Result<()> {
    let mut file = fs::File::create(path)?;
    io::Write::write_all(&mut file, contents)?;
    file.sync_all()
}

impl Drop for Root {
    fn drop(&mut self) {
        if self.temporary {
            // It was made only if something was written.
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_with_its_last_handle() {
        let folder = RunFolder::temporary();
        let path = folder.replace("a.txt", b"one").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one");
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn a_replaced_file_leaves_nothing_beside_it() {
        let folder = RunFolder::temporary();
        for contents in ["one", "two"] {
            folder.replace("a.txt", contents.as_bytes()).unwrap();
            assert_eq!(folder.read("a.txt").unwrap().unwrap(), contents.as_bytes());
        }
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn only_one_run_at_a_time_has_a_folder() {
        let folder = RunFolder::temporary();
        let lock = folder.lock().unwrap();
        let error = RunFolder::at(folder.path()).lock().unwrap_err();
        assert!(matches!(error, RunError::InUse { .. }), "{error}");
        drop(lock);
        drop(folder.lock().unwrap());
    }

    #[test]
    fn what_is_not_there_reads_as_nothing() {
        assert_eq!(RunFolder::temporary().read("none").unwrap(), None);
    }

    #[test]
    fn an_error_names_the_path() {
        let folder = RunFolder::temporary();
        let file = folder.replace("file", b"").unwrap();
        let error = RunFolder::at(file.join("below")).replace("a", b"").unwrap_err();
        assert!(error.to_string().contains("below"), "{error}");
    }
}
