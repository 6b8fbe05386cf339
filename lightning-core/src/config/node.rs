//! Values of a run file, each with the place where it was written.

use std::{collections::BTreeMap, fmt, path::Path, sync::Arc};

use serde_json::{Number, Value};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// In a file, at this line and column, both from 1.
    File {
        /// The file.
        path: Arc<Path>,
        /// The line.
        line: usize,
        /// The column.
        column: usize,
    },
    /// In this variable of the environment.
    Variable(Arc<str>),
    /// On the command line, as this flag.
    Flag(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Variable(name) => write!(f, "the variable {name}"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

impl Origin {
    /// What relative paths that are written there start from; `None` stands for the working folder of the process.
    pub(super) fn folder(&self) -> Option<&Path> {
        match self {
            Self::File { path, .. } => path.parent(),
            Self::Variable(_) | Self::Flag(_) => None,
        }
    }
}

/// A value, and where it was written.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) value: NodeValue,
    pub(super) origin: Origin,
    /// The text as it was written, where that is not the value: it held references, or was read as something else than
    /// text although it stood where everything is text.
    pub(super) written: Option<Arc<str>>,
    /// Whether the value came from a file of its own, or from a variable whose name says that it is secret.
    pub(super) is_secret: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum NodeValue {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn new(value: NodeValue, origin: Origin) -> Self {
        Self {
            value,
            origin,
            written: None,
            is_secret: false,
        }
    }

    /// What it is, for people.
    pub(super) fn kind(&self) -> &'static str {
        match self.value {
            NodeValue::Null => "nothing",
            NodeValue::Bool(_) => "true or false",
            NodeValue::Number(_) => "a number",
            NodeValue::Text(_) => "text",
            NodeValue::List(_) => "a list",
            NodeValue::Map(_) => "a map",
        }
    }

    /// The entry of that name, if this is a map that has one.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.value {
            NodeValue::Map(entries) => entries.get(name),
            _ => None,
        }
    }

    /// What stands at that place, such as `algorithm.name`.
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |node, name| node.get(name))
    }

    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            NodeValue::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value without the places.
    pub(super) fn to_json(&self) -> Value {
        match &self.value {
            NodeValue::Null => Value::Null,
            NodeValue::Bool(value) => (*value).into(),
            NodeValue::Number(number) => Value::Number(number.clone()),
            NodeValue::Text(text) => text.as_str().into(),
            NodeValue::List(items) => items.iter().map(Self::to_json).collect(),
            NodeValue::Map(entries) => entries
                .iter()
                .map(|(name, node)| (name.clone(), node.to_json()))
                .collect(),
        }
    }

    /// Calls the function for each value that is neither a list nor a map, and for each that is an empty one, with its
    /// place, in the order of the places.
    pub(super) fn for_each_leaf<'a>(&'a self, place: &str, visit: &mut impl FnMut(String, &'a Self)) {
        match &self.value {
            NodeValue::Map(entries) if !entries.is_empty() => {
                for (name, node) in entries {
                    node.for_each_leaf(&join(place, name), visit);
                }
            }
            NodeValue::List(items) if !items.is_empty() => {
                for (index, node) in items.iter().enumerate() {
                    node.for_each_leaf(&format!("{place}[{index}]"), visit);
                }
            }
            _ => visit(place.to_owned(), self),
        }
    }
}

/// The place of an entry within the one at `place`.
pub(super) fn join(place: &str, name: &str) -> String {
    if place.is_empty() {
        name.to_owned()
    } else {
        format!("{place}.{name}")
    }
}
