//! The files of the repository, and how a check reports on them.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

/// Something that is against the rules, with the remedy.
#[derive(Debug)]
pub struct Complaint(String);

impl Complaint {
    /// `place` is a path in the repository, with a line where there is one.
    pub fn at(place: impl fmt::Display, what: impl fmt::Display) -> Self {
        Self(format!("{place}: {what}"))
    }
}

/// Fails with all complaints, if there are any.
#[track_caller]
pub fn expect_none(complaints: &[Complaint]) {
    assert!(
        complaints.is_empty(),
        "the repository breaks its own rules:\n{}",
        listed(complaints)
    );
}

/// Fails unless there is exactly one complaint and it contains all of `parts`.
#[track_caller]
pub fn expect_one(complaints: &[Complaint], parts: &[&str]) {
    let [Complaint(text)] = complaints else {
        panic!(
            "expected one complaint, got {}:\n{}",
            complaints.len(),
            listed(complaints)
        );
    };
    for part in parts {
        assert!(
            text.contains(part),
            "the complaint should contain `{part}`: {text}"
        );
    }
}

fn listed(complaints: &[Complaint]) -> String {
    complaints
        .iter()
        .map(|Complaint(text)| format!("  - {text}\n"))
        .collect()
}

/// The folder that the workspace lies in.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The text of a file, by its path in the repository.
#[track_caller]
pub fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every file whose name ends in `ending`, by its path in the repository, in order. Folders that hold what was built or
/// downloaded are passed over.
pub fn files(ending: &str) -> Vec<String> {
    let mut found = Vec::new();
    collect(root(), ending, &mut found);
    found.sort();
    assert!(
        !found.is_empty(),
        "no file ends in `{ending}`: the walk is broken"
    );
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            let built = path.join("CACHEDIR.TAG").exists() || name == "target";
            let foreign = name.starts_with('.') || name == "node_modules" || name == "lightning-runs";
            if !built && !foreign {
                collect(&path, ending, found);
            }
        } else if name.ends_with(ending) {
            found.push(in_repository(&path));
        }
    }
}

fn in_repository(path: &Path) -> String {
    let parts: Vec<_> = path
        .strip_prefix(root())
        .unwrap()
        .iter()
        .map(|part| part.to_string_lossy())
        .collect();
    parts.join("/")
}

/// `path` without `.` and `..`; `None` if it leaves the folder that it is relative to.
pub fn normal(path: &Path) -> Option<PathBuf> {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                if !normal.pop() {
                    return None;
                }
            }
            part => normal.push(part),
        }
    }
    Some(normal)
}
