//! File < environment < command line.

use std::{collections::BTreeMap, ffi::OsString};

use super::{
    Origin, Problem,
    node::{Node, NodeValue, join},
    parse::parse_value,
};

/// What the names of variables begin with that set a value of the run file.
pub(super) const PREFIX: &str = "LIGHTNING_RUN__";

/// A value that goes before what the file says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Setting {
    /// Such as `algorithm.parameters.beam_width`.
    path: Vec<String>,
    node: Node,
}

/// What a run file is read with besides the file: settings of the environment and of the command line.
///
/// ```
/// use lightning_core::config::Overrides;
///
/// let overrides = Overrides::new().set("n_runners=8")?.flag("--seed", "seed", "7");
/// # drop(overrides);
/// # Ok::<_, lightning_core::config::Problem>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Overrides {
    environment: Vec<Setting>,
    flags: Vec<Setting>,
}

impl Overrides {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Every variable of the process that begins with `LIGHTNING_RUN__`, with `__` between the parts of a key:
    /// `LIGHTNING_RUN__ALGORITHM__PARAMETERS__BEAM_WIDTH=4`. Values are YAML.
    ///
    /// # Errors
    ///
    /// A [`Problem`] for a name or a value that cannot be understood.
    pub fn from_environment() -> Result<Self, Problem> {
        Self::new().variables(std::env::vars_os())
    }

    /// As [`from_environment`](Self::from_environment), from variables that are given.
    ///
    /// # Errors
    ///
    /// Those of [`from_environment`](Self::from_environment).
    pub fn variables(
        mut self,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Self, Problem> {
        for (name, value) in variables {
            let Some(name) = name.to_str().filter(|name| name.starts_with(PREFIX)) else {
                continue;
            };
            let origin = Origin::Variable(name.into());
            let refuse = |message: &str| Problem::new(Some(&origin), "", message);
            let value = value.to_str().ok_or_else(|| refuse("its value is no UTF-8"))?;
            let path: Vec<String> = name[PREFIX.len()..].split("__").map(str::to_owned).collect();
            if path.iter().any(String::is_empty) {
                return Err(refuse(
                    "it names no key; write LIGHTNING_RUN__ALGORITHM__NAME for `algorithm.name`",
                ));
            }
            let node = parse_value(value, &origin);
            self.environment.push(Setting { path, node });
        }
        // The order of an environment is nobody's choice. What goes deeper goes before what it lies in.
        self.environment.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(self)
    }

    /// `KEY=VALUE`, as it is given with `--set`; later ones go before earlier ones. The value is YAML.
    ///
    /// # Errors
    ///
    /// A [`Problem`], if there is no `=` or no key.
    pub fn set(mut self, assignment: &str) -> Result<Self, Problem> {
        let refuse = || {
            let origin = Origin::Flag("--set".into());
            Problem::new(
                Some(&origin),
                "",
                "write `--set KEY=VALUE`, such as `--set algorithm.parameters.beam_width=4`",
            )
        };
        let (key, value) = assignment.split_once('=').ok_or_else(refuse)?;
        let path: Vec<String> = key.trim().split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err(refuse());
        }
        let origin = Origin::Flag(format!("--set {}", key.trim()).into());
        let node = parse_value(value, &origin);
        self.flags.push(Setting { path, node });
        Ok(self)
    }

    /// The value of a flag that stands for a key.
    #[must_use]
    pub fn flag(mut self, flag: &str, key: &str, value: &str) -> Self {
        let node = parse_value(value, &Origin::Flag(flag.into()));
        let path = key.split('.').map(str::to_owned).collect();
        self.flags.push(Setting { path, node });
        self
    }

    /// Lays all of it over what the file says.
    pub(super) fn apply(&self, root: &mut Node, problems: &mut Vec<Problem>) {
        for setting in self.environment.iter().chain(&self.flags) {
            let is_variable = matches!(setting.node.origin, Origin::Variable(_));
            if let Err(problem) = put(root, &setting.path, "", setting.node.clone(), is_variable) {
                problems.push(problem);
            }
        }
    }
}

/// Replaces what is at the path. `any_case`: variables are written in capitals.
fn put(root: &mut Node, path: &[String], place: &str, node: Node, any_case: bool) -> Result<(), Problem> {
    let Some((first, rest)) = path.split_first() else {
        *root = node;
        return Ok(());
    };
    if matches!(root.value, NodeValue::Null)
        || (root.text().is_some() && matches!(place, "agent" | "algorithm"))
    {
        // Both may be written as their names alone; who sets something within means the map.
        let name = std::mem::replace(&mut root.value, NodeValue::Map(BTreeMap::new()));
        if let (NodeValue::Text(_), NodeValue::Map(entries)) = (&name, &mut root.value) {
            entries.insert("name".to_owned(), Node::new(name, root.origin.clone()));
        }
    }
    let origin = node.origin.clone();
    let kind = root.kind();
    let NodeValue::Map(entries) = &mut root.value else {
        let message = format!("`{place}` is {kind}, which has no `{first}`; set all of it");
        return Err(Problem::new(Some(&origin), join(place, first), message));
    };
    let name = match any_case {
        false => first.clone(),
        true => entries
            .keys()
            .find(|name| name.eq_ignore_ascii_case(first))
            .cloned()
            .unwrap_or_else(|| first.to_ascii_lowercase()),
    };
    let within = join(place, &name);
    let entry = entries
        .entry(name)
        .or_insert_with(|| Node::new(NodeValue::Null, origin));
    put(entry, rest, &within, node, any_case)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn laid_over(file: &str, overrides: &Overrides) -> Result<serde_json::Value, String> {
        let mut root = parse_value(file, &Origin::Flag("test".into()));
        let mut problems = Vec::new();
        overrides.apply(&mut root, &mut problems);
        match problems.first() {
            None => Ok(root.to_json()),
            Some(problem) => Err(problem.to_string()),
        }
    }

    fn environment(variables: &[(&str, &str)]) -> Result<Overrides, Problem> {
        Overrides::new().variables(variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
        let overrides = environment(&[
            ("LIGHTNING_RUN__SEED", "2"),
            ("LIGHTNING_RUN__N_RUNNERS", "2"),
            ("LIGHTNING_RUN__RESOURCES__MAIN", "2"),
            ("LIGHTNING_RUN__ALGORITHM__PARAMETERS__BEAM_WIDTH", "[1, 2]"),
            ("LIGHTNING_RUNNER", "x"),
        ]);
        let overrides = overrides
            .unwrap()
            .set("seed=3")
            .unwrap()
            .flag("--seed", "seed", "4");
        let file = "{seed: 1, n_runners: 1, max_rollouts: 1, resources: {Main: 1}}";
        let expected = json!({
            "seed": 4, "n_runners": 2, "max_rollouts": 1, "resources": {"Main": 2},
            "algorithm": {"parameters": {"beam_width": [1, 2]}}
        });
        assert_eq!(laid_over(file, &overrides).unwrap(), expected);
    }

    #[test]
    fn what_lies_within_something_else_than_a_map_cannot_be_set() {
        let overrides = Overrides::new().set("seed.x=3").unwrap();
        assert_eq!(
            laid_over("{seed: 1}", &overrides).unwrap_err(),
            "--set seed.x, `seed.x`: `seed` is a number, which has no `x`; set all of it"
        );
    }

    #[test]
    fn settings_that_name_no_key_are_refused() {
        for assignment in ["seed", "=3", "a..b=1", ".=1"] {
            assert!(Overrides::new().set(assignment).is_err(), "{assignment}");
        }
        assert!(environment(&[("LIGHTNING_RUN__", "1")]).is_err());
        assert!(environment(&[("LIGHTNING_RUN__A____B", "1")]).is_err());
    }
}
