//! What will happen.

use std::path::PathBuf;

use serde_json::Value;

use super::text::{self, Rows};
use crate::{
    run::{AlgorithmIdentity, StopWhen},
    types::{JsonObject, NamedResources, Resource, RolloutConfig, without_password},
};

/// The endings of names whose values are not shown.
const SECRETS: [&str; 6] = ["key", "token", "secret", "password", "credential", "credentials"];

/// What a run is going to do, for those who start it. Whoever knows it fills it in.
///
/// ```
/// use lightning_core::terminal::Banner;
///
/// let mut banner = Banner::default();
/// banner.run_id = "run-1".to_owned();
/// banner.n_runners = Some(8);
/// assert!(banner.text(80).contains("runners       8"));
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Banner {
    /// What tells this run from all others.
    pub run_id: String,
    /// The algorithm, with its version and parameters.
    pub algorithm: AlgorithmIdentity,
    /// The agent.
    pub agent: String,
    /// How many tasks there are to train on, if a dataset was given.
    pub train_tasks: Option<u64>,
    /// How many tasks there are to validate on, if a dataset was given.
    pub val_tasks: Option<u64>,
    /// What is tuned, as it is at the beginning.
    pub resources: NamedResources,
    /// What the trace adapter makes of what; empty if there is none.
    pub adapter: String,
    /// How many runners there are; `None` where they run elsewhere.
    pub n_runners: Option<usize>,
    /// How many rollouts each runner executes at most.
    pub max_rollouts: Option<u64>,
    /// Time limits and retries of a rollout.
    pub rollout_config: RolloutConfig,
    /// When the run stops by itself.
    pub stop_when: StopWhen,
    /// What decides the random choices.
    pub seed: u64,
    /// Where the store is: `memory`, a path, an address.
    pub store: String,
    /// The run folder; `None` if it is temporary.
    pub run_dir: Option<PathBuf>,
    /// The address of the dashboard, if there is one.
    pub dashboard: Option<String>,
}

impl Banner {
    /// The banner as lines of at most so many columns; what does not fit is cut, but for paths and addresses. Lines that
    /// would say nothing are left out.
    ///
    /// Secrets are not shown: of a model, only its name; parameters whose names end with `key`, `token`, `secret`,
    /// `password` or `credentials` as `[redacted]`.
    pub fn text(&self, columns: usize) -> String {
        let title = format!("Lightning {} · {}", env!("CARGO_PKG_VERSION"), self.run_id);
        let mut rows = Rows::new(&title, columns);
        rows.add("algorithm", &self.algorithm());
        let set = self
            .algorithm
            .parameters
            .iter()
            .filter(|(_, value)| !value.is_null());
        for (name, value) in set {
            rows.add("", &parameter(name, value));
        }
        rows.add("agent", &self.agent);
        rows.add("tasks", &self.tasks());
        let mut name = "resources";
        for (resource, value) in self.resources.iter() {
            rows.add(
                std::mem::take(&mut name),
                &format!("{resource} ({})", kind(value)),
            );
        }
        rows.add("adapter", &self.adapter);
        rows.add("runners", &self.runners());
        rows.add("rollouts", &self.limits());
        if self.stop_when != StopWhen::never() {
            rows.add("stops at", &self.stop_when.to_string());
        }
        rows.add("seed", &self.seed.to_string());
        rows.add_whole("store", &self.store);
        match &self.run_dir {
            Some(path) => rows.add_whole("run folder", &path.display().to_string()),
            None => rows.add("run folder", "temporary"),
        }
        rows.add_whole("dashboard", self.dashboard.as_deref().unwrap_or_default());
        rows.into_text()
    }

    fn algorithm(&self) -> String {
        let AlgorithmIdentity { name, version, .. } = &self.algorithm;
        if version.is_empty() {
            name.clone()
        } else {
            format!("{name}, version {version}")
        }
    }

    fn tasks(&self) -> String {
        let parts = [
            (self.train_tasks, "to train on"),
            (self.val_tasks, "to validate on"),
        ];
        let parts = parts.into_iter().filter_map(|(tasks, what)| {
            let tasks = text::count(tasks?);
            Some(format!("{tasks} {what}"))
        });
        parts.collect::<Vec<_>>().join(", ")
    }

    fn runners(&self) -> String {
        let runners = match self.n_runners {
            Some(runners) => text::count(runners as u64),
            None => "elsewhere".to_owned(),
        };
        match self.max_rollouts {
            Some(limit) => format!("{runners}, at most {} each", text::counted(limit, "rollout")),
            None => runners,
        }
    }

    fn limits(&self) -> String {
        let config = &self.rollout_config;
        let mut parts = vec![text::counted(config.max_attempts.into(), "attempt")];
        if config.max_attempts > 1 {
            let conditions = config.retry_condition.iter().map(|status| status.as_str());
            let conditions: Vec<_> = conditions.collect();
            match conditions.is_empty() {
                true => parts.push("never retried".to_owned()),
                false => parts.push(format!("retried when {}", conditions.join(", "))),
            }
        }
        parts.push(match config.timeout_seconds {
            Some(seconds) => format!("at most {}", text::duration(seconds)),
            None => "no time limit".to_owned(),
        });
        if let Some(seconds) = config.unresponsive_seconds {
            parts.push(format!("given up after {} of silence", text::duration(seconds)));
        }
        parts.join(", ")
    }
}

/// What a resource is, without anything that could be a secret.
fn kind(resource: &Resource) -> String {
    match resource {
        Resource::Llm(llm) => format!("{}, {}", resource.kind(), llm.model),
        Resource::ProxyLlm(llm) => format!("{}, {}", resource.kind(), llm.model),
        _ => resource.kind().to_owned(),
    }
}

fn parameter(name: &str, value: &Value) -> String {
    format!("{name} = {}", shown(name, value))
}

/// The value with the secrets left out.
fn shown(name: &str, value: &Value) -> Value {
    let name = name.to_lowercase();
    match value {
        Value::String(_) if SECRETS.iter().any(|secret| name.ends_with(secret)) => Value::from("[redacted]"),
        Value::String(text) if text.contains("://") => Value::from(without_password(text)),
        Value::Array(values) => values.iter().map(|value| shown(&name, value)).collect(),
        Value::Object(values) => {
            let values = values.iter();
            let shown = values.map(|(name, value)| (name.clone(), shown(name, value)));
            Value::Object(shown.collect::<JsonObject>())
        }
        _ => value.clone(),
    }
}
