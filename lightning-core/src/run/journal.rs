//! Steps that are done once, however often the process ends: what they came to is kept in the run's folder.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{Read as _, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use tokio::sync::OnceCell;

use super::{ModelUsage, RunError, RunFolder, folder::on_the_disk};

/// The file in the run's folder.
const FILE: &str = "steps.jsonl";

/// What a step came to, as JSON.
type Kept = Arc<OnceCell<Arc<str>>>;

/// What the steps of a run came to, in memory and in `steps.jsonl`.
#[derive(Debug)]
pub(super) struct Journal {
    shared: Arc<Shared>,
    /// What the steps of earlier processes used of models, once it has been read.
    before: OnceCell<()>,
    steps: Mutex<HashMap<String, Kept>>,
}

#[derive(Debug)]
struct Shared {
    folder: RunFolder,
    /// Whole lines that are not in the file yet.
    pending: Mutex<Vec<u8>>,
    file: Mutex<Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Up to here the file holds whole lines.
    length: u64,
}

#[derive(Serialize)]
struct Line<'a> {
    step: &'a str,
    value: &'a RawValue,
    #[serde(skip_serializing_if = "<[ModelUsage]>::is_empty")]
    usage: &'a [ModelUsage],
}

#[derive(Deserialize)]
struct ReadLine {
    step: String,
    value: Box<RawValue>,
    #[serde(default)]
    usage: Vec<ModelUsage>,
}

impl Journal {
    pub(super) fn new(folder: RunFolder) -> Self {
        Self {
            shared: Arc::new(Shared {
                folder,
                pending: Mutex::default(),
                file: Mutex::default(),
            }),
            before: OnceCell::new(),
            steps: Mutex::default(),
        }
    }

    /// Reads what earlier processes have left, the first time; `count` is told what their steps used of models.
    pub(super) async fn load(&self, count: impl Fn(ModelUsage)) -> Result<(), RunError> {
        let load = || async {
            if self.shared.folder.is_temporary() {
                return Ok(());
            }
            let shared = Arc::clone(&self.shared);
            for line in on_the_disk(move || shared.read()).await? {
                let value: Arc<str> = line.value.get().into();
                // A step that was broken off as it was written may be there twice: the later one was gone on with.
                self.steps()
                    .insert(line.step, Arc::new(OnceCell::new_with(Some(value))));
                line.usage.into_iter().for_each(&count);
            }
            Ok(())
        };
        self.before.get_or_try_init(load).await.map(drop)
    }

    /// What the step came to; makes it, if it is not known yet.
    pub(super) async fn step<V, E>(
        &self,
        name: String,
        count: impl Fn(ModelUsage),
        make: impl Future<Output = Result<(V, Vec<ModelUsage>), E>>,
    ) -> Result<V, E>
    where
        V: Serialize + DeserializeOwned,
        E: From<RunError>,
    {
        self.load(&count).await?;
        let kept = Arc::clone(self.steps().entry(name.clone()).or_default());
        let mut made = None;
        let make = || async {
            let (value, usage) = make.await?;
            let text = serde_json::value::to_raw_value(&value).map_err(RunError::Unwritable)?;
            self.shared.keep(&name, &text, &usage).await?;
            usage.into_iter().for_each(&count);
            made = Some(value);
            Ok::<Arc<str>, E>(text.get().into())
        };
        let text = kept.get_or_try_init(make).await?;
        if let Some(value) = made {
            return Ok(value);
        }
        serde_json::from_str(text).map_err(|source| {
            E::from(RunError::OtherStep {
                step: name.clone(),
                path: self.shared.folder.path().join(FILE),
                source,
            })
        })
    }

    fn steps(&self) -> MutexGuard<'_, HashMap<String, Kept>> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    /// Writes a line, and returns when it is on the disk.
    async fn keep(
        self: &Arc<Self>,
        step: &str,
        value: &RawValue,
        usage: &[ModelUsage],
    ) -> Result<(), RunError> {
        if self.folder.is_temporary() {
            return Ok(());
        }
        let mut line = serde_json::to_vec(&Line { step, value, usage }).map_err(RunError::Unwritable)?;
        line.push(b'\n');
        self.pending().extend(line);
        let shared = Arc::clone(self);
        // Whoever comes first writes for all that wait.
        on_the_disk(move || shared.flush()).await
    }

    fn flush(&self) -> Result<(), RunError> {
        let mut open = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = std::mem::take(&mut *self.pending());
        if lines.is_empty() {
            return Ok(());
        }
        let written = self.opened(&mut open).and_then(|open| {
            let written = open.file.write_all(&lines).and_then(|()| open.file.sync_data());
            if written.is_ok() {
                open.length += lines.len() as u64;
            } else {
                // What was begun is taken back as far as that goes; a torn line is cut off when the file is next opened.
                let _ = open.file.set_len(open.length);
            }
            written.map_err(|source| self.failed("write", source))
        });
        if written.is_err() {
            // Those who wait for these lines have to hear of it, too, so they try again.
            *open = None;
            let mut pending = self.pending();
            let newer = std::mem::replace(&mut *pending, lines);
            pending.extend(newer);
        }
        written
    }

    fn opened<'a>(&self, open: &'a mut Option<Open>) -> Result<&'a mut Open, RunError> {
        if open.is_none() {
            *open = Some(self.open()?.0);
        }
        open.as_mut()
            .ok_or_else(|| self.failed("open", std::io::ErrorKind::NotFound.into()))
    }

    fn read(&self) -> Result<Vec<ReadLine>, RunError> {
        let path = self.path();
        if !path.exists() {
            return Ok(Vec::new());
        }
        let mut open = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (opened, contents) = self.open()?;
        *open = Some(opened);
        let lines = contents.split(|byte| *byte == b'\n');
        let read = lines.enumerate().filter(|(_, line)| !line.is_empty());
        Ok(read
            .filter_map(|(index, line)| match serde_json::from_slice(line) {
                Ok(line) => Some(line),
                Err(error) => {
                    tracing::warn!(
                        target: "lightning::run",
                        path = %path.display(),
                        line = index + 1,
                        error = %error,
                        "a step that was kept cannot be read; it is done again"
                    );
                    None
                }
            })
            .collect())
    }

    /// Opens the file and reads it; a last line that was not written to its end is cut off.
    fn open(&self) -> Result<(Open, Vec<u8>), RunError> {
        self.folder.create()?;
        let path = self.path();
        let open = || {
            let mut file = OpenOptions::new()
                .create(true)
                .read(true)
                .append(true)
                .open(&path)?;
            let mut contents = Vec::new();
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut contents)?;
            let whole = contents
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map_or(0, |last| last + 1);
            if whole < contents.len() {
                contents.truncate(whole);
                file.set_len(whole as u64)?;
            }
            let length = whole as u64;
            Ok((Open { file, length }, contents))
        };
        open().map_err(|source| self.failed("open", source))
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join(FILE)
    }

    fn failed(&self, action: &'static str, source: std::io::Error) -> RunError {
        RunError::Folder {
            action,
            path: self.path(),
            source,
        }
    }

    fn pending(&self) -> MutexGuard<'_, Vec<u8>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    async fn step(journal: &Journal, name: &str, value: &str) -> Result<String, RunError> {
        let made = async { Ok((value.to_owned(), Vec::new())) };
        journal.step(name.to_owned(), |_| (), made).await
    }

    fn on_disk() -> (RunFolder, PathBuf) {
        let folder = RunFolder::temporary();
        folder.create().unwrap();
        let path = folder.path().to_owned();
        (folder, path)
    }

    #[tokio::test]
    async fn a_step_is_done_once_also_by_the_next_process() {
        let (_keep, path) = on_disk();
        let first = Journal::new(RunFolder::at(&path));
        assert_eq!(step(&first, "a", "one").await.unwrap(), "one");
        assert_eq!(step(&first, "a", "two").await.unwrap(), "one");
        assert_eq!(step(&first, "b\n\"ü", "three").await.unwrap(), "three");
        let second = Journal::new(RunFolder::at(&path));
        assert_eq!(step(&second, "a", "four").await.unwrap(), "one");
        assert_eq!(step(&second, "b\n\"ü", "four").await.unwrap(), "three");
        assert_eq!(step(&second, "c", "five").await.unwrap(), "five");
    }

    #[tokio::test]
    async fn a_torn_line_is_done_again_and_hurts_no_other() {
        let (_keep, path) = on_disk();
        let first = Journal::new(RunFolder::at(&path));
        for name in ["a", "b"] {
            step(&first, name, name).await.unwrap();
        }
        let file = path.join(FILE);
        let whole = std::fs::read(&file).unwrap();
        for cut in 0..=whole.len() {
            std::fs::write(&file, &whole[..cut]).unwrap();
            let next = Journal::new(RunFolder::at(&path));
            step(&next, "c", "c").await.unwrap();
            let lines = std::fs::read_to_string(&file).unwrap();
            let complete = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            assert_eq!(lines.lines().count(), complete + 1, "{cut}: {lines}");
        }
    }

    #[tokio::test]
    async fn what_fails_is_not_kept() {
        let (_keep, path) = on_disk();
        let journal = Journal::new(RunFolder::at(&path));
        let failed: Result<String, anyhow::Error> = journal
            .step("a".to_owned(), |_| (), async { anyhow::bail!("no") })
            .await;
        failed.unwrap_err();
        assert_eq!(step(&journal, "a", "two").await.unwrap(), "two");
    }

    #[tokio::test]
    async fn those_who_ask_at_the_same_time_share_one_step() {
        let (_keep, path) = on_disk();
        let journal = Journal::new(RunFolder::at(&path));
        let calls = AtomicU64::new(0);
        let ask = || {
            journal.step("a".to_owned(), |_| (), async {
                tokio::task::yield_now().await;
                Ok::<_, RunError>((calls.fetch_add(1, Ordering::Relaxed), Vec::new()))
            })
        };
        assert_eq!(futures::future::join_all((0..8).map(|_| ask())).await.len(), 8);
        assert_eq!(calls.into_inner(), 1);
    }

    #[tokio::test]
    async fn usage_of_earlier_processes_is_counted_once() {
        let (_keep, path) = on_disk();
        let usage = || ModelUsage::of_call("edit", Some("m"), Some(1), Some(2));
        let first = Journal::new(RunFolder::at(&path));
        let counted = Mutex::new(Vec::new());
        let count = |usage| counted.lock().unwrap().push(usage);
        let make = async { Ok::<_, RunError>((1, vec![usage()])) };
        first.step("a".to_owned(), count, make).await.unwrap();
        assert_eq!(counted.lock().unwrap().len(), 1);
        let second = Journal::new(RunFolder::at(&path));
        second.load(count).await.unwrap();
        second.load(count).await.unwrap();
        let make = async { Ok::<_, RunError>((2, vec![usage()])) };
        assert_eq!(second.step("a".to_owned(), count, make).await.unwrap(), 1);
        assert_eq!(*counted.lock().unwrap(), [usage(), usage()]);
    }

    #[tokio::test]
    async fn what_cannot_be_written_fails_and_can_be_tried_again() {
        let (_keep, path) = on_disk();
        let journal = Journal::new(RunFolder::at(path.join("below")));
        std::fs::write(path.join("below"), "in the way").unwrap();
        let error = step(&journal, "a", "one").await.unwrap_err();
        assert!(error.to_string().contains("below"), "{error}");
        std::fs::remove_file(path.join("below")).unwrap();
        assert_eq!(step(&journal, "a", "two").await.unwrap(), "two");
        let next = Journal::new(RunFolder::at(path.join("below")));
        assert_eq!(
            step(&next, "a", "three").await.unwrap(),
            "two",
            "the later one counts"
        );
    }

    #[tokio::test]
    async fn a_step_of_another_type_is_refused_with_its_name() {
        let (_keep, path) = on_disk();
        let journal = Journal::new(RunFolder::at(&path));
        step(&journal, "a", "one").await.unwrap();
        let other: Result<u64, RunError> = journal
            .step("a".to_owned(), |_| (), async { Ok((1, Vec::new())) })
            .await;
        let error = other.unwrap_err().to_string();
        assert!(error.contains("`a`") && error.contains("steps.jsonl"), "{error}");
    }
}
