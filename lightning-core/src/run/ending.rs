//! What is cleaned up when a run ends, whatever its end is.

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{RunError, RunFolder};

/// The folder within the run's folder that goes with the run.
const TEMPORARY: &str = "tmp";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RunEnding {
    /// The algorithm returned a result.
    Succeeded,
    /// The run has no result, for this reason: an error, a panic, a second Ctrl-C.
    Failed(String),
    /// Nobody waits for the run any more: its future was dropped.
    Dropped,
}

type OnExit = Box<dyn FnOnce(&RunEnding) + Send>;

/// What is to be cleaned up.
#[derive(Default)]
pub(super) struct Exits(Mutex<State>);

#[derive(Default)]
struct State {
    ended: Option<RunEnding>,
    calls: Vec<OnExit>,
}

impl Exits {
    /// Calls it when the run ends; at once, if it has ended.
    pub(super) fn add(&self, call: OnExit) {
        let ended = {
            let mut state = self.state();
            match &state.ended {
                Some(ending) => ending.clone(),
                None => return state.calls.push(call),
            }
        };
        run(call, &ended);
    }

    /// Cleans up, the first time.
    pub(super) fn end(&self, folder: &RunFolder, ending: &RunEnding) {
        let calls = {
            let mut state = self.state();
            if state.ended.is_some() {
                return;
            }
            state.ended = Some(ending.clone());
            std::mem::take(&mut state.calls)
        };
        // What was made last may rest on what was made first.
        for call in calls.into_iter().rev() {
            run(call, ending);
        }
        remove_temporary(folder);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn run(call: OnExit, ending: &RunEnding) {
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| call(ending))) {
        let said = panic
            .downcast_ref::<&str>()
            .map(|said| (*said).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned());
        tracing::warn!(
            target: "lightning::run",
            error = said.as_deref().unwrap_or("something that is no text"),
            "what was to be done at the end of the run panicked"
        );
    }
}

/// Makes the folder that goes with the run.
pub(super) fn temporary(folder: &RunFolder) -> Result<PathBuf, RunError> {
    let path = folder.create()?.join(TEMPORARY);
    fs::create_dir_all(&path).map_err(|source| RunError::Folder {
        action: "make the temporary folder",
        path: path.clone(),
        source,
    })?;
    Ok(path)
}

/// Removes what a run, or one that was killed, has left of its temporary folder.
pub(crate) fn remove_temporary(folder: &RunFolder) {
    let path = folder.path().join(TEMPORARY);
    if let Err(error) = fs::remove_dir_all(&path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(
            target: "lightning::run",
            path = %path.display(),
            error = %error,
            "the temporary folder of the run could not be removed"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn all_is_called_once_the_last_first_and_a_panic_hurts_no_other() {
        let (exits, folder) = (Exits::default(), RunFolder::temporary());
        let said = Arc::new(Mutex::new(Vec::new()));
        let say = |text: &'static str| {
            let said = Arc::clone(&said);
            Box::new(move |ending: &RunEnding| said.lock().unwrap().push(format!("{text}: {ending:?}")))
        };
        exits.add(say("first"));
        exits.add(Box::new(|_| panic!("out of paper")));
        exits.add(say("last"));
        exits.end(&folder, &RunEnding::Failed("x".to_owned()));
        exits.end(&folder, &RunEnding::Succeeded);
        exits.add(say("late"));
        assert_eq!(
            *said.lock().unwrap(),
            [
                "last: Failed(\"x\")",
                "first: Failed(\"x\")",
                "late: Failed(\"x\")"
            ]
        );
    }

    #[test]
    fn the_temporary_folder_goes_with_the_run() {
        let folder = RunFolder::temporary();
        let path = temporary(&folder).unwrap();
        fs::write(path.join("large"), "x").unwrap();
        Exits::default().end(&folder, &RunEnding::Dropped);
        assert!(!path.exists() && folder.path().exists());
        Exits::default().end(&folder, &RunEnding::Dropped);
    }
}
