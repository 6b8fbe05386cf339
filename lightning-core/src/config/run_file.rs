//! Reading a run file, and telling what it says.

use std::{ffi::OsString, fmt::Write as _, path::Path, sync::Arc};

use serde::Deserialize as _;
use serde_json::Value;

use super::{
    ConfigError, Origin, Overrides, Problem,
    node::{Node, NodeValue},
    parse::{Text, parse, parse_value},
    reference::{self, is_secret_name},
    said::{Format, Said},
    schema::{self, Checker},
};
use crate::{
    data::{DataError, FileFormat, read_text},
    functional::ParamError,
    llm_proxy::ProxyModel,
    logging::{LogFormat, Logging},
    registry::{Registry, RegistryError},
    run::StopWhen,
    store::lifecycle,
    terminal::Screen,
    types::{JsonObject, Resource, RolloutConfig, without_password},
};

const HIDDEN: &str = "[hidden]";

/// A run file that was read, held against the [schema](super::schema()), and found good.
#[derive(Clone)]
pub struct RunFile {
    path: Arc<Path>,
    /// All that was read: the run file, and a file of resources.
    files: Vec<Arc<Path>>,
    root: Node,
    pub(super) said: Said,
}

/// Only where it is: what it says may be secret.
impl std::fmt::Debug for RunFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunFile")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// What differs between two versions of a run file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The key.
    pub key: String,
    /// Its value in the earlier version, as JSON; `None` if it was not there. Secrets are hidden.
    pub before: Option<String>,
    /// Its value in the later version.
    pub after: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |value: &Option<String>| value.clone().unwrap_or_else(|| "(not set)".to_owned());
        write!(
            f,
            "{}: {} -> {}",
            self.key,
            shown(&self.before),
            shown(&self.after)
        )
    }
}

impl RunFile {
    /// Reads the run file at that path (`.yaml`, `.yml`, `.toml`, `.json`), lays `overrides` over it, and puts in what its
    /// references stand for. The algorithms and agents of `registry` are those that it may name.
    ///
    /// Blocks on the disk.
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`], if it cannot be read, and [`ConfigError::Invalid`] with every mistake that could be found.
    pub fn load(
        path: impl AsRef<Path>,
        overrides: &Overrides,
        registry: &Registry,
    ) -> Result<Self, ConfigError> {
        Self::load_with(path, overrides, registry, &reference::process_environment)
    }

    /// As [`load`](Self::load), with `variables` in the place of the environment.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn load_with(
        path: impl AsRef<Path>,
        overrides: &Overrides,
        registry: &Registry,
        variables: &dyn Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let path: Arc<Path> = path.as_ref().into();
        let mut root = read(&path)?;
        let mut problems = Vec::new();
        overrides.apply(&mut root, &mut problems);
        reference::resolve(&mut root, "", variables, &mut problems);
        let mut files = vec![Arc::clone(&path)];
        files.extend(include_resources(&mut root, variables, &mut problems));
        let schema = schema::for_registry(registry);
        let mut checker = Checker {
            root: &schema,
            problems: &mut problems,
        };
        checker.check(&schema, &mut root, "");
        if problems.is_empty() {
            check_meaning(&mut root, registry, &mut problems);
        }
        if !problems.is_empty() {
            problems.sort_by_key(|problem| match &problem.origin {
                Some(Origin::File {
                    path: of,
                    line,
                    column,
                }) if *of == path => (0, *line, *column),
                _ => (1, 0, 0),
            });
            // What has no value is of no type either.
            problems.dedup_by(|later, first| later.key == first.key && later.origin == first.origin);
            return Err(ConfigError::Invalid(problems));
        }
        let said = Said::deserialize(root.to_json())
            .map_err(|error| Problem::new(None, "", format!("{}: {error}", path.display())))?;
        Ok(Self {
            path,
            files,
            root,
            said,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All files that it was read from: itself, and the file of its resources, if they have one.
    pub fn files(&self) -> &[Arc<Path>] {
        &self.files
    }

    /// Every value with the place where it was written, one a line. Secrets are hidden.
    pub fn explain(&self) -> String {
        let mut rows = Vec::new();
        self.root.for_each_leaf("", &mut |key, node| {
            let mut origin = node.origin.to_string();
            if let Some(written) = node.written.as_deref().filter(|text| is_reference(text)) {
                let _ = write!(origin, ", from {written}");
            }
            rows.push((key.clone(), shown(&key, node), origin));
        });
        let width = |of: fn(&(String, String, String)) -> &str, most: usize| {
            rows.iter()
                .map(|row| of(row).chars().count())
                .max()
                .unwrap_or(0)
                .min(most)
        };
        let (keys, values) = (width(|row| &row.0, 48), width(|row| &row.1, 60));
        let mut text = String::new();
        for (key, value, origin) in &rows {
            let _ = writeln!(text, "{key:<keys$}  {value:<values$}  {origin}");
        }
        text
    }

    /// The values without the places. Secrets are hidden.
    pub fn to_json(&self) -> Value {
        without_secrets("", &self.root)
    }

    /// The logs as the file has them, but for what `environment` says: that goes before it.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Logging`], if the file for the logs cannot be opened.
    pub fn logging(&self, environment: Logging) -> Result<Logging, ConfigError> {
        let log = &self.said.log;
        let says = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let mut logging = environment;
        if let Some(levels) = &log.levels
            && !says("LIGHTNING_LOG")
        {
            let set = logging.levels(levels);
            logging = set.map_err(|error| ConfigError::Logging(error.to_string()))?;
        }
        if !says("LIGHTNING_LOG_FORMAT") {
            logging = logging.format(match log.format {
                Format::Text => LogFormat::Text,
                Format::Json => LogFormat::Json,
            });
        }
        if let Some(path) = &log.file {
            let file = std::fs::File::options().create(true).append(true).open(path);
            let file = file.map_err(|error| ConfigError::Logging(format!("{}: {error}", path.display())))?;
            logging = logging.screen(Screen::plain(file));
        }
        Ok(logging)
    }

    /// The value, or a problem at the place of the key.
    pub(super) fn keep<V, E: std::fmt::Display>(
        &self,
        key: &str,
        result: Result<V, E>,
        problems: &mut Vec<Problem>,
    ) -> Option<V> {
        let note = |error: &E| {
            let origin = self.root.at(key).map(|node| &node.origin);
            problems.push(Problem::new(origin, key, error.to_string()));
        };
        result.inspect_err(note).ok()
    }

    /// What a later version of it says otherwise, by key.
    pub fn changes(&self, later: &Self) -> Vec<Change> {
        let leaves = |file: &Self| {
            let mut leaves = std::collections::BTreeMap::new();
            file.root.for_each_leaf("", &mut |key, node| {
                let shown = shown(&key, node);
                leaves.insert(key, (node.to_json(), shown));
            });
            leaves
        };
        let (before, mut after) = (leaves(self), leaves(later));
        let mut changes = Vec::new();
        for (key, (value, text)) in before {
            let now = after.remove(&key);
            if now.as_ref().is_none_or(|(now, _)| *now != value) {
                changes.push(Change {
                    key,
                    before: Some(text),
                    after: now.map(|(_, text)| text),
                });
            }
        }
        changes.extend(after.into_iter().map(|(key, (_, text))| Change {
            key,
            before: None,
            after: Some(text),
        }));
        changes.sort_by(|a, b| a.key.cmp(&b.key));
        changes
    }
}

fn read(path: &Arc<Path>) -> Result<Node, ConfigError> {
    let format = FileFormat::of(path)?;
    if matches!(format, FileFormat::JsonLines | FileFormat::Csv) {
        let path = path.as_ref().to_owned();
        return Err(DataError::NotADocument { path }.into());
    }
    let text = read_text(path)?;
    let text = Text {
        path: Arc::clone(path),
        text: &text,
    };
    Ok(parse(&text, format)?)
}

/// Puts the resources of a file of their own where its path stands, and gives the path.
fn include_resources(
    root: &mut Node,
    variables: reference::Variables<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Path>> {
    let NodeValue::Map(entries) = &mut root.value else {
        return None;
    };
    let resources = entries.get_mut("resources")?;
    let path = resources.text()?;
    let path: Arc<Path> = match resources.origin.folder() {
        Some(folder) => folder.join(path).into(),
        None => Path::new(path).into(),
    };
    match read(&path) {
        Ok(mut node) => {
            reference::resolve(&mut node, "resources", variables, problems);
            *resources = node;
        }
        Err(ConfigError::Invalid(found)) => problems.extend(found),
        Err(error) => {
            let origin = resources.origin.clone();
            problems.push(Problem::new(Some(&origin), "resources", error.to_string()));
            // Another mistake in the same place would only hide this one.
            entries.remove("resources");
        }
    }
    Some(path)
}

/// What no schema can say.
fn check_meaning(root: &mut Node, registry: &Registry, problems: &mut Vec<Problem>) {
    let algorithm = |name: &str, parameters| registry.build_algorithm(name, parameters).map(drop);
    check_parameters(root, "algorithm", &algorithm, problems);
    if root.at("agent.command").is_none() {
        let agent = |name: &str, parameters| registry.build_agent(name, parameters).map(drop);
        check_parameters(root, "agent", &agent, problems);
    }
    if let Some(Node {
        value: NodeValue::Map(resources),
        ..
    }) = root.get("resources")
    {
        for (name, node) in resources {
            if let Err(error) = Resource::deserialize(node.to_json()) {
                problems.push(Problem::new(
                    Some(&node.origin),
                    format!("resources.{name}"),
                    error.to_string(),
                ));
            }
        }
    }
    let mut refuse = |key: &str, message: String| {
        let origin = root.at(key).map(|node| &node.origin);
        problems.push(Problem::new(origin, key, message));
    };
    if let Some(levels) = root.at("log.levels").and_then(Node::text)
        && let Err(error) = Logging::new().levels(levels)
    {
        refuse("log.levels", error.to_string());
    }
    if let Some(limits) = root.get("rollout_config") {
        let config = RolloutConfig::deserialize(limits.to_json());
        if let Err(error) = config
            .map_err(|error| error.to_string())
            .and_then(|config| lifecycle::check_config(&config).map_err(|error| error.to_string()))
        {
            refuse("rollout_config", error);
        }
    }
    if root.at("prices").is_none() {
        let stop_when = root.get("stop_when").map(Node::to_json);
        let condition = stop_when.and_then(|stop_when| StopWhen::deserialize(stop_when).ok());
        if condition.is_some_and(|condition| condition.needs_prices()) {
            refuse(
                "stop_when",
                "`cost` needs to know what models cost; add `prices`".to_owned(),
            );
        }
    }
    if let Some(models) = root.at("proxy.models")
        && let Err(error) = Vec::<ProxyModel>::deserialize(models.to_json())
    {
        refuse("proxy.models", error.to_string());
    }
    let spread = root.at("strategy.name").and_then(Node::text) == Some("client_server");
    if spread && root.at("agent.command").is_some() {
        let message =
            "an agent that is a program is in processes of its own already; leave `client_server` out";
        refuse("strategy.name", message.to_owned());
    }
    if !spread {
        for key in [
            "role",
            "host",
            "port",
            "runners_per_process",
            "restarts",
            "keep_runners",
        ] {
            let key = format!("strategy.{key}");
            if root.at(&key).is_some() {
                refuse(&key, "this needs the strategy `client_server`".to_owned());
            }
        }
    }
    let command = root.at("agent.command").map(|node| &node.value);
    if let Some(NodeValue::List(words)) = command
        && words.first().and_then(Node::text).is_some_and(str::is_empty)
    {
        refuse("agent.command", "the program's name is empty".to_owned());
    }
    if command.is_some() && root.at("max_rollouts").is_some() {
        let message = "a program decides by itself when it has done enough; leave this out";
        refuse("max_rollouts", message.to_owned());
    }
}

/// Builds what is named, to see whether its parameters fit, and again without each that does not, to see all of them.
fn check_parameters(
    root: &mut Node,
    kind: &str,
    build: &dyn Fn(&str, JsonObject) -> Result<(), RegistryError>,
    problems: &mut Vec<Problem>,
) {
    let NodeValue::Map(entries) = &mut root.value else {
        return;
    };
    let Some(chosen) = entries.get_mut(kind) else {
        return;
    };
    let name = chosen.text().or_else(|| chosen.get("name")?.text());
    let Some(name) = name.map(str::to_owned) else {
        return;
    };
    let mut nothing = std::collections::BTreeMap::new();
    let origin = chosen.origin.clone();
    let nodes = match &mut chosen.value {
        NodeValue::Map(chosen) => match chosen.get_mut("parameters") {
            Some(Node {
                value: NodeValue::Map(nodes),
                ..
            }) => nodes,
            _ => &mut nothing,
        },
        _ => &mut nothing,
    };
    let mut left_out = Vec::new();
    loop {
        let given = nodes.iter().filter(|(name, _)| !left_out.contains(*name));
        let parameters = given.map(|(name, node)| (name.clone(), node.to_json())).collect();
        let (parameter, message) = match build(&name, parameters) {
            Ok(()) => return,
            Err(RegistryError::Param(ParamError::Invalid {
                parameter, source, ..
            })) => (parameter.to_owned(), source.to_string()),
            Err(RegistryError::Param(error @ ParamError::Unknown { .. })) => {
                let ParamError::Unknown { parameter, .. } = &error else {
                    return;
                };
                (parameter.clone(), error.to_string())
            }
            Err(error) => return problems.push(Problem::new(Some(&origin), kind, error.to_string())),
        };
        let Some(node) = nodes.get_mut(&parameter) else {
            return problems.push(Problem::new(Some(&origin), kind, message));
        };
        // What a reference gives is text; where text does not fit, it may be the number that it looks like.
        if let (NodeValue::Text(text), Some(written)) = (&node.value, &node.written)
            && is_reference(written)
        {
            let read = parse_value(text, &node.origin);
            if !matches!(read.value, NodeValue::Text(_)) {
                node.value = read.value;
                continue;
            }
        }
        let message = match node.is_secret || is_secret_name(&parameter) {
            true => "the value does not fit".to_owned(),
            false => message,
        };
        problems.push(Problem::new(
            Some(&node.origin),
            format!("{kind}.parameters.{parameter}"),
            message,
        ));
        left_out.push(parameter);
    }
}

fn is_reference(written: &str) -> bool {
    written.contains("${") || written.starts_with("file:")
}

fn is_hidden(key: &str, node: &Node) -> bool {
    let parts = key.split('.').map(|part| part.split('[').next().unwrap_or(part));
    node.is_secret || parts.into_iter().any(is_secret_name)
}

/// The value as it may be shown.
fn shown(key: &str, node: &Node) -> String {
    match (&node.value, is_hidden(key, node)) {
        (NodeValue::Null, _) => "null".to_owned(),
        (_, true) => HIDDEN.to_owned(),
        (NodeValue::Text(text), _) => Value::from(without_password(text)).to_string(),
        _ => node.to_json().to_string(),
    }
}

fn without_secrets(key: &str, node: &Node) -> Value {
    match &node.value {
        NodeValue::Map(entries) => entries
            .iter()
            .map(|(name, node)| (name.clone(), without_secrets(&super::node::join(key, name), node)))
            .collect(),
        NodeValue::List(items) => items.iter().map(|item| without_secrets(key, item)).collect(),
        NodeValue::Null => Value::Null,
        _ if is_hidden(key, node) => HIDDEN.into(),
        NodeValue::Text(text) => without_password(text).into(),
        _ => node.to_json(),
    }
}
