//! The file as the operating system sees it: who holds it, and whether it is still there.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::failure::Failure;
use crate::store::StoreError;

/// Keeps other processes, and other stores of this process, from opening the same file.
///
/// The lock is the operating system's and ends with the process, however it ends. It lies on a file of its own beside
/// the database, since SQLite would lose its own locks whenever this process closed the database file.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
    path: PathBuf,
}

impl Lock {
    pub(super) fn acquire(database: &Path) -> Result<Self, StoreError> {
        let path = beside(database, "-lock");
        loop {
            let failed = |error| unavailable(&path, "cannot be opened; look at its folder", error);
            let mut file = private(OpenOptions::new().read(true).write(true).create(true))
                .open(&path)
                .map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let mut holder = String::new();
                    let known = file.read_to_string(&mut holder).is_ok() && !holder.is_empty();
                    let holder = if known { holder.trim() } else { "another process" };
                    return Err(StoreError::Unavailable {
                        reason: format!(
                            "{} is in use by {holder}; close it there, or share it over HTTP",
                            database.display()
                        ),
                        source: None,
                    });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Whoever held the lock before may have removed the file between our opening and locking it.
            if Identity::of_file(&file) == Identity::of(&path) {
                let program = std::env::current_exe().ok();
                let program = program.as_deref().and_then(Path::file_name).unwrap_or_default();
                let holder = format!("process {} ({})", std::process::id(), program.display());
                file.set_len(0)
                    .and_then(|()| file.rewind())
                    .and_then(|()| file.write_all(holder.as_bytes()))
                    .map_err(failed)?;
                return Ok(Self { _file: file, path });
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock is still held, so this is our own file. Were it to stay, nothing but its sight would be wrong.
        let _ = fs::remove_file(&self.path);
    }
}

/// The full name of a file that need not be there yet; its folder has to.
pub(super) fn locate(path: &Path) -> Result<PathBuf, StoreError> {
    if path.exists() {
        return existing(path);
    }
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().ok_or_else(|| {
        StoreError::invalid(
            "path",
            format!("`{}` names no file; write one, such as `run.db`", path.display()),
        )
    })?;
    let folder = fs::canonicalize(folder)
        .map_err(|error| unavailable(folder, "cannot be found; make this folder first", error))?;
    Ok(folder.join(name))
}

/// The full name of a file that has to be there already.
pub(super) fn existing(path: &Path) -> Result<PathBuf, StoreError> {
    fs::canonicalize(path).map_err(|error| unavailable(path, "cannot be found", error))
}

/// Refuses what cannot be a store, or cannot be written to. Whether there is anything yet.
pub(super) fn is_there(path: &Path) -> Result<bool, StoreError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(unavailable(path, "cannot be looked at", error)),
    };
    let display = path.display();
    if !metadata.is_file() {
        return Err(StoreError::invalid(
            "path",
            format!("{display} is not a file; name a file for the store"),
        ));
    }
    if metadata.permissions().readonly() {
        return Err(StoreError::Unavailable {
            reason: format!("{display} is read-only; make it writable, or name another file"),
            source: None,
        });
    }
    if metadata.len() == 0 {
        // A store is made under another name, so it is never empty: this one has lost what it held.
        return Err(StoreError::Internal {
            reason: format!(
                "{display} is empty, which a store never is; restore it from a copy, or remove it to begin anew"
            ),
            source: None,
        });
    }
    Ok(true)
}

/// Has `make` write a new file, which gets its name when it is whole. It is readable for its owner only: resources carry
/// API keys.
pub(super) fn create(path: &Path, make: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<(), Failure> {
    let unnamed = beside(path, "-new");
    let failed = |error| unavailable(&unnamed, "cannot be written; look at its folder", error);
    // A journal left over from an attempt that was cut off would be played back into the new file.
    match fs::remove_file(beside(&unnamed, "-journal")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error).into()),
        _ => {}
    }
    private(OpenOptions::new().write(true).create(true).truncate(true))
        .open(&unnamed)
        .map_err(failed)?;
    make(&unnamed)?;
    fs::rename(&unnamed, path).map_err(failed)?;
    if let Some(folder) = path.parent() {
        // The name has to be on the disk before anything is acknowledged. Where folders cannot be synced, they need not be.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
    Ok(())
}

/// Tells whether what was written still belongs to the names that it was written to.
///
/// A file that was deleted or replaced goes on taking writes on most systems, and loses them when it is closed.
#[derive(Debug)]
pub(super) struct Presence {
    database: PathBuf,
    database_identity: Option<Identity>,
    log: PathBuf,
    /// Of the write-ahead log, once it was seen.
    log_identity: Option<Identity>,
}

impl Presence {
    pub(super) fn of(database: &Path) -> Self {
        Self {
            database_identity: Identity::of(database),
            database: database.to_owned(),
            log: beside(database, "-wal"),
            log_identity: None,
        }
    }

    pub(super) fn check(&mut self) -> Result<(), StoreError> {
        let gone = |path: &Path| StoreError::Unavailable {
            reason: format!(
                "{} has vanished or was replaced; put it back, or close the store and open it anew",
                path.display()
            ),
            source: None,
        };
        if Identity::of(&self.database) != self.database_identity {
            return Err(gone(&self.database));
        }
        let log = Identity::of(&self.log);
        if self.log_identity.is_none() {
            self.log_identity = log;
        } else if self.log_identity != log {
            return Err(gone(&self.log));
        }
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.database
    }
}

/// What makes a file the same one under any name; on systems that do not tell, only that it is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Identity(u64, u64);

impl Identity {
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().as_ref().map(Self::from_metadata)
    }

    fn of_file(file: &File) -> Option<Self> {
        file.metadata().ok().as_ref().map(Self::from_metadata)
    }

    #[cfg(unix)]
    fn from_metadata(metadata: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self(metadata.dev(), metadata.ino())
    }

    #[cfg(not(unix))]
    fn from_metadata(_: &fs::Metadata) -> Self {
        Self(0, 0)
    }
}

#[cfg(unix)]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt as _;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// The file of SQLite's, or of ours, that belongs to a database.
fn beside(database: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(database);
    name.push(ending);
    name.into()
}

fn unavailable(path: &Path, what: &str, error: io::Error) -> StoreError {
    StoreError::Unavailable {
        reason: format!("{} {what}: {error}", path.display()),
        source: Some(Arc::new(error)),
    }
}
