//! `${NAME}`, `${NAME:-else}` and `file:PATH` within values.

use std::{env, ffi::OsString, fs, path::PathBuf};

use super::{
    Origin, Problem,
    node::{Node, NodeValue, join},
};

/// The endings of names whose values are not shown.
const SECRETS: [&str; 8] = [
    "key",
    "token",
    "secret",
    "password",
    "credential",
    "credentials",
    "authorization",
    "passwd",
];

/// How much a file may hold that stands for a value.
const LARGEST: u64 = 1 << 20;

/// Whether what is called so is probably a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.to_lowercase();
    SECRETS.iter().any(|secret| name.ends_with(secret))
}

/// Where the values of variables come from.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Puts what they stand for in the place of all references in all texts below `node`.
pub(super) fn resolve(node: &mut Node, place: &str, variables: Variables<'_>, problems: &mut Vec<Problem>) {
    match &mut node.value {
        NodeValue::Map(entries) => {
            for (name, entry) in entries {
                resolve(entry, &join(place, name), variables, problems);
            }
        }
        NodeValue::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                resolve(item, &format!("{place}[{index}]"), variables, problems);
            }
        }
        NodeValue::Text(text) if text.contains("${") || text.starts_with("file:") => {
            match resolved(text, &node.origin, variables) {
                Ok(found) => {
                    node.written = Some(text.as_str().into());
                    node.is_secret = found.is_secret;
                    *text = found.text;
                }
                Err(message) => problems.push(Problem::new(Some(&node.origin), place, message)),
            }
        }
        _ => {}
    }
}

struct Resolved {
    text: String,
    is_secret: bool,
}

fn resolved(text: &str, origin: &Origin, variables: Variables<'_>) -> Result<Resolved, String> {
    let Some(path) = text.strip_prefix("file:") else {
        return expand(text, variables);
    };
    let mut path = PathBuf::from(expand(path, variables)?.text);
    if let Some(folder) = origin.folder() {
        path = folder.join(path);
    }
    let failed = |problem: String| format!("{}: {problem}", path.display());
    let file = fs::File::open(&path).map_err(|error| failed(error.to_string()))?;
    let mut contents = String::new();
    let read = std::io::Read::read_to_string(&mut std::io::Read::take(file, LARGEST + 1), &mut contents);
    read.map_err(|error| failed(error.to_string()))?;
    if contents.len() as u64 > LARGEST {
        return Err(failed("it holds more than 1 MiB, which is no value".to_owned()));
    }
    // Editors end files with a line feed, which is no part of a key.
    let text = contents.trim_end().to_owned();
    Ok(Resolved {
        text,
        is_secret: true,
    })
}

/// Puts the values of variables in their places. `$${` stands for `${` itself.
fn expand(text: &str, variables: Variables<'_>) -> Result<Resolved, String> {
    let mut out = String::with_capacity(text.len());
    let mut is_secret = false;
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &from[2..];
            continue;
        }
        out.push_str(before);
        let (inner, after) = from[2..]
            .split_once('}')
            .ok_or("a reference begins with `${` and never ends with `}`; write `$${` for the text `${`")?;
        let (name, otherwise) = match inner.split_once(":-") {
            Some((name, otherwise)) => (name, Some(otherwise)),
            None => (inner, None),
        };
        let is_name = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if !is_name(name) {
            return Err(format!(
                "`${{{name}}}` names no variable; write `${{NAME}}` or `${{NAME:-else}}`, and `$${{` for the text `${{`"
            ));
        }
        is_secret |= is_secret_name(name);
        match variables(name).filter(|value| !value.is_empty()) {
            Some(value) => out.push_str(
                value
                    .to_str()
                    .ok_or_else(|| format!("the variable {name} is no UTF-8"))?,
            ),
            None => out.push_str(otherwise.ok_or_else(|| {
                format!("the variable {name} is not set; set it, or write `${{{name}:-else}}`")
            })?),
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(Resolved { text: out, is_secret })
}

/// The environment of the process.
pub(super) fn process_environment(name: &str) -> Option<OsString> {
    env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        let variables = |name: &str| match name {
            "HOST" => Some("x.org".into()),
            "SLY" => Some("${HOST}".into()),
            "EMPTY" => Some("".into()),
            _ => None,
        };
        expand(text, &variables).map(|resolved| resolved.text)
    }

    #[test]
    fn references_are_replaced_once() {
        for (text, value) in [
            ("http://${HOST}/v1", "http://x.org/v1"),
            ("${HOST}${HOST}", "x.orgx.org"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${EMPTY:-else}", "else"),
            ("${NONE:-}", ""),
            ("${SLY}", "${HOST}"),
            ("$${HOST} costs 5$", "${HOST} costs 5$"),
            ("${NONE:-file:}x", "file:x"),
            ("ü$", "ü$"),
        ] {
            assert_eq!(expanded(text).unwrap(), value, "{text}");
        }
    }

    #[test]
    fn what_has_no_value_is_named() {
        for (text, part) in [
            (
                "${NONE}",
                "the variable NONE is not set; set it, or write `${NONE:-else}`",
            ),
            ("${EMPTY}", "the variable EMPTY is not set"),
            ("a ${HOST", "never ends"),
            ("${}", "names no variable"),
            ("${a b}", "names no variable"),
            ("${1}", "names no variable"),
        ] {
            let error = expanded(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn names_of_secrets_are_known() {
        for name in [
            "api_key",
            "OPENAI_API_KEY",
            "token",
            "Authorization",
            "db_password",
        ] {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["tokens_left", "keys", "model", ""] {
            assert!(!is_secret_name(name), "{name}");
        }
    }
}
