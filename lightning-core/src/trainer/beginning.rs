//! Whether a run is a new one, or goes on with what an earlier process has left in the run folder.

use std::{fs, io, path::PathBuf, time::SystemTime};

use serde::{Deserialize, Serialize};

use super::{
    TrainerError,
    builder::Parts,
    record::{Digests, Earlier, FILE, Process},
};
use crate::{
    ids::{IdSource as _, RandomIds},
    report,
    run::{
        AlgorithmIdentity, RunError, RunFolder, RunLock, digest, digest_of_resources, on_the_disk,
        remove_temporary,
    },
    types::{Dataset, NamedResources, Task, Timestamp},
};

/// Where runs that were begun anew in the same folder leave what was there.
const EARLIER: &str = "earlier";

/// What to do with a run that was begun in the run folder before.
///
/// A run is the same if its algorithm, the version and the parameters of it, the seed, the datasets and the initial resources
/// are the same. How many runners there are, limits and stop conditions do not matter. Whether the agent is the same cannot be
/// seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Resume {
    /// Go on with it if it is the same, and refuse to begin otherwise, with what differs.
    #[default]
    IfUnchanged,
    /// Go on with it, also with other parameters: with more rounds, for example. What was evaluated before is found again as
    /// far as it is still asked for. An algorithm may refuse the state that another version of it has saved.
    EvenIfChanged,
    /// Go on with it if it is the same, and start over otherwise.
    OrStartOver,
    /// Start over. What is in the folder is moved to `earlier/<run id>` in it; nothing is deleted.
    Never,
}

/// How a run begins.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) run_id: String,
    /// When the first process of the run began; `None` if this is it.
    pub(super) began: Option<Timestamp>,
    /// What the earlier processes were.
    pub(super) processes: Vec<Process>,
    pub(super) digests: Digests,
    /// Whether other settings than before are accepted.
    pub(super) accepts_changes: bool,
    /// Holds the folder for the run.
    pub(super) _lock: Option<RunLock>,
}

impl Beginning {
    /// A run without a folder of its own. Its id begins with `kind`.
    pub(super) fn afresh(kind: &str) -> Self {
        Self {
            run_id: format!("{kind}-{}", RandomIds.hex(12)),
            began: None,
            processes: Vec::new(),
            digests: Digests::default(),
            accepts_changes: false,
            _lock: None,
        }
    }

    /// Claims the run folder, if there is one, and looks what is in it.
    pub(super) async fn of<T: Task>(
        parts: &Parts,
        algorithm: AlgorithmIdentity,
        datasets: (Option<Dataset<T>>, Option<Dataset<T>>),
    ) -> Result<Self, TrainerError> {
        let Some(path) = &parts.run_dir else {
            return Ok(Self::afresh("run"));
        };
        let folder = RunFolder::at(path);
        let (resume, seed, resources) = (parts.resume, parts.seed, parts.initial_resources.clone());
        let claim = move || {
            let lock = folder.lock()?;
            remove_temporary(&folder);
            let digests = Digests::of(&datasets, resources.as_ref())?;
            let mut beginning = Self {
                digests,
                _lock: Some(lock),
                ..Self::afresh("run")
            };
            if let Some(earlier) = earlier(&folder, resume)? {
                let differences = earlier.differences(&algorithm, seed, &beginning.digests);
                match resume {
                    _ if differences.is_empty() => beginning.go_on(earlier, &folder),
                    Resume::EvenIfChanged => {
                        beginning.accepts_changes = true;
                        beginning.go_on(earlier, &folder);
                    }
                    Resume::OrStartOver | Resume::Never => put_away(&folder, &earlier.run_id)?,
                    Resume::IfUnchanged => {
                        return Err(RunError::OtherSettings {
                            path: folder.path().join(FILE),
                            differences,
                        });
                    }
                }
            }
            Ok(beginning)
        };
        Ok(on_the_disk(claim).await?)
    }

    fn go_on(&mut self, earlier: Earlier, folder: &RunFolder) {
        self.run_id = earlier.run_id;
        self.began = Some(earlier.began);
        self.processes = earlier.processes;
        if let Some(last) = self.processes.last_mut()
            && last.ended.is_none()
        {
            // It was killed. What it wrote last says until when it lived.
            last.ended = last_written(folder).map(|time| time.max(last.began));
        }
    }

    /// How long the earlier processes took, in seconds.
    pub(super) fn seconds_before(&self) -> f64 {
        let lived = self
            .processes
            .iter()
            .filter_map(|process| Some(process.ended? - process.began));
        lived.map(|seconds| seconds.max(0.0)).sum()
    }
}

impl Digests {
    fn of<T: Task>(
        (train, val): &(Option<Dataset<T>>, Option<Dataset<T>>),
        resources: Option<&NamedResources>,
    ) -> Result<Self, RunError> {
        let of_tasks = |tasks: &Option<Dataset<T>>| {
            let tasks = tasks.as_ref().map(digest_of_tasks).transpose();
            tasks.map_err(RunError::Unwritable)
        };
        let each = resources.iter().flat_map(|all| all.iter());
        let initial_resources = each
            .map(|(name, resource)| {
                let alone = NamedResources::new().with(name, resource.clone());
                Ok((name.to_owned(), digest_of_resources(&alone)?))
            })
            .collect::<serde_json::Result<_>>()
            .map_err(RunError::Unwritable)?;
        Ok(Self {
            train_dataset: of_tasks(train)?,
            val_dataset: of_tasks(val)?,
            initial_resources,
        })
    }
}

/// Of the tasks one by one, so that no second copy of a large dataset is held.
fn digest_of_tasks<T: Task>(tasks: &Dataset<T>) -> serde_json::Result<String> {
    let each: Vec<String> = tasks.iter().map(digest).collect::<serde_json::Result<_>>()?;
    digest(&each)
}

/// What an earlier process has written down. If the run is to start over, it is put away.
fn earlier(folder: &RunFolder, resume: Resume) -> Result<Option<Earlier>, RunError> {
    let Some(bytes) = folder.read(FILE)? else {
        return Ok(None);
    };
    let read: Result<Earlier, _> = serde_json::from_slice(&bytes);
    match (read, resume) {
        (Ok(earlier), Resume::Never) => put_away(folder, &earlier.run_id).map(|()| None),
        (Ok(earlier), _) => Ok(Some(earlier)),
        (Err(_), Resume::Never | Resume::OrStartOver) => put_away(folder, "unreadable").map(|()| None),
        (Err(source), _) => Err(RunError::Unreadable {
            path: folder.path().join(FILE),
            source,
        }),
    }
}

/// Moves what an earlier run has left aside.
fn put_away(folder: &RunFolder, run_id: &str) -> Result<(), RunError> {
    let failed = |action, path: PathBuf| move |source: io::Error| RunError::Folder { action, path, source };
    let root = folder.path();
    let shelf = root.join(EARLIER);
    // An id is text from a file, and must not lead elsewhere.
    let name: String = run_id
        .chars()
        .map(|char| if char.is_ascii_alphanumeric() { char } else { '-' })
        .collect();
    let mut place = shelf.join(&name);
    while place.exists() {
        place = shelf.join(format!("{name}-{}", RandomIds.hex(4)));
    }
    fs::create_dir_all(&place).map_err(failed("make", place.clone()))?;
    let entries = fs::read_dir(root).map_err(failed("read", root.to_owned()))?;
    for entry in entries {
        let entry = entry.map_err(failed("read", root.to_owned()))?;
        let name = entry.file_name();
        if name == EARLIER || name == RunFolder::LOCK {
            continue;
        }
        let path = entry.path();
        fs::rename(&path, place.join(name)).map_err(failed("move", path.clone()))?;
    }
    Ok(())
}

/// When the run last wrote to the folder. The page may be newer: whoever looks at the run makes it anew.
fn last_written(folder: &RunFolder) -> Option<Timestamp> {
    let entries = fs::read_dir(folder.path()).ok()?;
    let written = |entry: io::Result<fs::DirEntry>| {
        let entry = entry.ok().filter(|entry| entry.file_name() != report::PAGE)?;
        entry.metadata().ok()?.modified().ok()
    };
    let times = entries.filter_map(written);
    let since_epoch = times.max()?.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Some(Timestamp::from_secs_f64(since_epoch.as_secs_f64()))
}
