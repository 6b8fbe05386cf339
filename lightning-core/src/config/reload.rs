//! A run file that changes while its run goes on.

use std::{convert::Infallible, path::Path, sync::Arc, time::Duration};

use serde_json::Value;
use tokio::{sync::mpsc, time::sleep};

use super::{
    Change, ConfigError, Overrides, RunFile, Setup,
    launch::{Ready, rollout_config},
};
use crate::{
    clock::{Clock as _, SystemClock},
    logging::{DEFAULT_LEVELS, LevelsHandle},
    run::ConfigurationHistory,
    trainer::{Controls, FitReport},
};

const TARGET: &str = "lightning::config";

/// How long a file must be left alone before it is read again: editors write in several steps.
const QUIET: Duration = Duration::from_millis(100);

/// What can change while a run goes on, by the first parts of its keys.
const CHANGEABLE: [&str; 5] = ["alerts", "log.levels", "n_runners", "rollout_config", "stop_when"];

/// Runs what a file says, and goes on with what it says when it changes.
///
/// When the file changes, it is read again in the same way. What can change while the run goes on does: `alerts` (but not
/// where they are sent), `log.levels`, `n_runners`, `rollout_config` and `stop_when`. Everything else, and a file with mistakes, changes nothing, and the log says so under the
/// target `lightning::config`. Each version that was used is kept in the run folder.
#[derive(Debug)]
pub struct Run<'a> {
    file: RunFile,
    setup: &'a Setup,
    overrides: Overrides,
    changes: Option<mpsc::Receiver<()>>,
    levels: Option<LevelsHandle>,
}

impl<'a> Run<'a> {
    /// The run of a file that was loaded with these overrides.
    pub fn new(file: RunFile, overrides: Overrides, setup: &'a Setup) -> Self {
        Self {
            file,
            setup,
            overrides,
            changes: None,
            levels: None,
        }
    }

    /// Reads the file again whenever something is received; see [`watch`].
    #[must_use]
    pub fn reload_on(mut self, changes: mpsc::Receiver<()>) -> Self {
        self.changes = Some(changes);
        self
    }

    /// What changes when `log.levels` does.
    #[must_use]
    pub fn levels(mut self, levels: LevelsHandle) -> Self {
        self.levels = Some(levels);
        self
    }

    /// Runs to the end of the algorithm. When the future is dropped, the run is aborted.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]; what can be found beforehand is found before anything starts.
    pub async fn run(self) -> Result<FitReport<Value>, ConfigError> {
        let (controls, history) = (Controls::new(), ConfigurationHistory::new());
        let ready = Ready::new(&self.file, self.setup, controls.clone(), &history).await?;
        let mut current = Current {
            used: self.file.to_json(),
            file: self.file,
            setup: self.setup,
            overrides: self.overrides,
            levels: self.levels,
            controls,
            history,
        };
        current.note(Vec::new()).await;
        let Ready {
            trainer,
            agent,
            train,
            val,
        } = ready;
        let fit = trainer.fit(agent, train, val);
        let reloading = async {
            if let Some(mut changes) = self.changes {
                while changes.recv().await.is_some() {
                    sleep(QUIET).await;
                    while changes.try_recv().is_ok() {}
                    current.reload().await;
                }
            }
            std::future::pending::<Infallible>().await
        };
        tokio::select! {
            biased;
            report = fit => Ok(report?),
            never = reloading => match never {},
        }
    }
}

/// The version that is in use.
struct Current<'a> {
    file: RunFile,
    /// What of it is in use, as it is kept.
    used: Value,
    setup: &'a Setup,
    overrides: Overrides,
    levels: Option<LevelsHandle>,
    controls: Controls,
    history: ConfigurationHistory,
}

impl Current<'_> {
    async fn reload(&mut self) {
        let (path, overrides) = (self.file.path().to_owned(), self.overrides.clone());
        let registry = self.setup.shared_registry();
        let load = move || RunFile::load(path, &overrides, &registry);
        let loaded = match tokio::task::spawn_blocking(load).await {
            Ok(Ok(file)) => file,
            Ok(Err(error)) => return self.refuse(&error.to_string()),
            Err(error) => return self.refuse(&error.to_string()),
        };
        let changes = self.file.changes(&loaded);
        let (now, later): (Vec<Change>, Vec<Change>) =
            changes.into_iter().partition(|change| is_changeable(&change.key));
        for change in &later {
            tracing::warn!(
                target: TARGET,
                key = %change.key,
                before = change.before.as_deref().unwrap_or("-"),
                after = change.after.as_deref().unwrap_or("-"),
                "the run file changed in what a run cannot change while it goes on; it counts from the next run on"
            );
        }
        for change in &now {
            tracing::info!(
                target: TARGET,
                key = %change.key,
                before = change.before.as_deref().unwrap_or("-"),
                after = change.after.as_deref().unwrap_or("-"),
                "the run file changed"
            );
        }
        self.file = loaded;
        if now.is_empty() {
            return;
        }
        let new = self.file.to_json();
        for key in CHANGEABLE {
            replace(&mut self.used, &new, key);
        }
        // First, because what changes may be that the run ends.
        self.note(now.iter().map(ToString::to_string).collect()).await;
        self.apply(&now);
    }

    fn refuse(&self, error: &str) {
        tracing::warn!(
            target: TARGET,
            path = %self.file.path().display(),
            error,
            "the run file changed and cannot be used; the run goes on with the last version that could"
        );
    }

    /// Does what the file says now, where it says something else than before.
    fn apply(&self, changes: &[Change]) {
        let said = &self.file.said;
        let concerns = |key: &str| changes.iter().any(|change| is_below(&change.key, key));
        if concerns("n_runners") {
            self.controls.set_n_runners(said.n_runners.unwrap_or(1));
        }
        if concerns("stop_when") {
            self.controls.set_stop_when(said.stop_when.clone());
        }
        if concerns("alerts") {
            self.controls.set_alerts(said.alerts.alerts());
        }
        if concerns("rollout_config") {
            self.controls.set_rollout_config(rollout_config(said));
        }
        if concerns("log.levels")
            && let Some(levels) = &self.levels
        {
            // The file was found good, so this does not fail.
            let _ = levels.set(said.log.levels.as_deref().unwrap_or(DEFAULT_LEVELS));
        }
    }

    async fn note(&self, changes: Vec<String>) {
        let (history, used) = (self.history.clone(), self.used.clone());
        let time = SystemClock::new().now();
        let noted = tokio::task::spawn_blocking(move || history.push(used, time, changes)).await;
        if let Ok(Err(error)) = noted {
            tracing::warn!(target: TARGET, %error, "the configuration cannot be kept in the run folder");
        }
    }
}

fn is_below(key: &str, of: &str) -> bool {
    key.strip_prefix(of)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

fn is_changeable(key: &str) -> bool {
    key != "alerts.webhook" && CHANGEABLE.iter().any(|changeable| is_below(key, changeable))
}

/// Puts what `from` has at the key into `to`.
fn replace(to: &mut Value, from: &Value, key: &str) {
    let (first, rest) = key
        .split_once('.')
        .map_or((key, None), |(first, rest)| (first, Some(rest)));
    let value = from.get(first);
    let Value::Object(object) = to else { return };
    match (rest, value) {
        (None, Some(value)) => {
            object.insert(first.to_owned(), value.clone());
        }
        (None, None) => {
            object.remove(first);
        }
        (Some(rest), value) => {
            let within = object
                .entry(first)
                .or_insert_with(|| Value::Object(serde_json::Map::new()));
            replace(within, value.unwrap_or(&Value::Null), rest);
            if within.as_object().is_some_and(serde_json::Map::is_empty) {
                object.remove(first);
            }
        }
    }
}

/// Watches a file that was read from disk: something is received soon after it, or a file that its folder links to, has
/// changed. It ends with this value.
pub struct Watch {
    _watcher: notify::RecommendedWatcher,
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

/// Watches the folder of a run file: editors replace files, and what replaces a file is another one.
///
/// Works as long as the first part of what is returned lives.
///
/// # Errors
///
/// [`ConfigError::Watch`], if the system does not let us.
pub fn watch(file: &RunFile) -> Result<(Watch, mpsc::Receiver<()>), ConfigError> {
    let failed = |error: notify::Error| ConfigError::Watch(error.to_string());
    // One place is enough: whoever reads looks at all that has happened.
    let (sender, changes) = mpsc::channel(1);
    let folder = match file.path().parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let names: Arc<[_]> = file
        .files()
        .iter()
        .filter_map(|path| path.file_name().map(ToOwned::to_owned))
        .collect();
    let concerned = move |event: &notify::Event| {
        !event.kind.is_access()
            // Where files are links (as in mounted configurations), what they lead to changes under another name.
            && event.paths.iter().any(|path| {
                path.file_name().is_none_or(|name| names.iter().any(|known| known == name))
                    || path.is_symlink()
            })
    };
    let handler = move |event: notify::Result<notify::Event>| {
        // Of what could not be told, it is better to look.
        if event.as_ref().map_or(true, &concerned) {
            let _ = sender.try_send(());
        }
    };
    let mut watcher = notify::recommended_watcher(handler).map_err(failed)?;
    notify::Watcher::watch(&mut watcher, folder, notify::RecursiveMode::NonRecursive).map_err(failed)?;
    Ok((Watch { _watcher: watcher }, changes))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_what_is_named_is_taken_over() {
        let new = json!({"seed": 2, "n_runners": 3, "log": {"levels": "debug", "format": "json"}});
        let mut used = json!({"seed": 1, "stop_when": {"rollouts": 1}});
        for key in CHANGEABLE {
            replace(&mut used, &new, key);
        }
        assert_eq!(
            used,
            json!({"seed": 1, "n_runners": 3, "log": {"levels": "debug"}})
        );
        replace(&mut used, &json!({}), "log.levels");
        assert_eq!(used, json!({"seed": 1, "n_runners": 3}));
    }

    #[test]
    fn keys_below_another_are_told_from_those_that_begin_alike() {
        assert!(is_changeable("stop_when.any[0].rollouts") && is_changeable("n_runners"));
        assert!(!is_changeable("n_runners_max") && !is_changeable("log.format"));
    }
}
