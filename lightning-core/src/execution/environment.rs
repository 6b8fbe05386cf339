//! What the environment says of where things are. Our variables win over those of `agentlightning==0.3.0`.

use std::env::{self, VarError};

use super::Role;

/// A variable of the environment that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the environment variable {variable}={value:?} {problem}")]
pub struct EnvironmentError {
    /// Its name.
    pub variable: String,
    /// What it is set to.
    pub value: String,
    /// What is wrong with it, and what would be right.
    pub problem: String,
}

/// What the environment says; `None` where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Environment {
    pub(crate) role: Option<Role>,
    pub(crate) store_url: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) managed_store: Option<bool>,
}

impl Environment {
    pub(crate) fn of_process() -> Result<Self, EnvironmentError> {
        Self::read(|name| match env::var(name) {
            Ok(value) => Some(value),
            Err(VarError::NotPresent) => None,
            // It is complained of where it is read.
            Err(VarError::NotUnicode(value)) => Some(value.to_string_lossy().into_owned()),
        })
    }

    fn read(lookup: impl Fn(&str) -> Option<String>) -> Result<Self, EnvironmentError> {
        let first = |names: [&str; 2]| {
            names.into_iter().find_map(|name| {
                let value = lookup(name).filter(|value| !value.trim().is_empty())?;
                Some((name.to_owned(), value.trim().to_owned()))
            })
        };
        Ok(Self {
            role: parsed(first(["LIGHTNING_ROLE", "AGL_CURRENT_ROLE"]), str::parse)?,
            store_url: first(["LIGHTNING_STORE_URL", ""]).map(|(_, url)| url),
            host: first(["LIGHTNING_SERVER_HOST", "AGL_SERVER_HOST"]).map(|(_, host)| host),
            port: parsed(first(["LIGHTNING_SERVER_PORT", "AGL_SERVER_PORT"]), |port| {
                port.parse()
                    .map_err(|_| "is no port; write a number from 0 to 65535".to_owned())
            })?,
            managed_store: parsed(first(["LIGHTNING_MANAGED_STORE", "AGL_MANAGED_STORE"]), truth)?,
        })
    }
}

fn parsed<T>(
    found: Option<(String, String)>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, EnvironmentError> {
    found
        .map(|(variable, value)| {
            parse(&value).map_err(|problem| EnvironmentError {
                variable,
                value,
                problem,
            })
        })
        .transpose()
}

/// As `agentlightning==0.3.0` reads it.
fn truth(text: &str) -> Result<bool, String> {
    match text.to_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("is neither true nor false; write `1` or `0`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Environment, EnvironmentError> {
        Environment::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn ours_win_and_theirs_are_understood() {
        let theirs = [
            ("AGL_CURRENT_ROLE", "runner"),
            ("AGL_SERVER_HOST", "10.0.0.1"),
            ("AGL_SERVER_PORT", "4000"),
            ("AGL_MANAGED_STORE", "No"),
        ];
        let read_theirs = read(&theirs).unwrap();
        assert_eq!(
            read_theirs,
            Environment {
                role: Some(Role::Runner),
                store_url: None,
                host: Some("10.0.0.1".to_owned()),
                port: Some(4000),
                managed_store: Some(false),
            }
        );
        let ours = [
            ("LIGHTNING_ROLE", " algorithm "),
            ("LIGHTNING_SERVER_HOST", "10.0.0.2"),
            ("LIGHTNING_SERVER_PORT", "5000"),
            ("LIGHTNING_MANAGED_STORE", "on"),
            ("LIGHTNING_STORE_URL", "http://h:1"),
        ];
        let both = read(&[&theirs[..], &ours[..]].concat()).unwrap();
        assert_eq!(
            both,
            Environment {
                role: Some(Role::Algorithm),
                store_url: Some("http://h:1".to_owned()),
                host: Some("10.0.0.2".to_owned()),
                port: Some(5000),
                managed_store: Some(true),
            }
        );
    }

    #[test]
    fn what_is_empty_says_nothing() {
        assert_eq!(
            read(&[("LIGHTNING_ROLE", ""), ("LIGHTNING_STORE_URL", " ")]),
            Ok(Environment::default())
        );
        let fallen_back = read(&[("LIGHTNING_ROLE", ""), ("AGL_CURRENT_ROLE", "both")]).unwrap();
        assert_eq!(fallen_back.role, Some(Role::Both));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_by_name() {
        for (name, value, remedy) in [
            ("LIGHTNING_ROLE", "worker", "`runner`"),
            ("LIGHTNING_SERVER_PORT", "70000", "65535"),
            ("AGL_SERVER_PORT", "-1", "65535"),
            ("AGL_MANAGED_STORE", "maybe", "`1` or `0`"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(
                error.contains(name) && error.contains(value) && error.contains(remedy),
                "{error}"
            );
        }
    }
}
