//! Shows that the conformance suite guards the lifecycle: breaks `store::lifecycle` in each of the ways listed in
//! `tests/mutations/lifecycle.json` and checks that some case fails.
//!
//! `cargo run -p lightning-tests --bin mutations [PART OF A NAME]`. It works on a copy of the workspace below
//! `target/mutations` and takes about ten minutes on two cores. A mutation that compiles and that no case notices is an
//! error, and so is one that no longer applies.

use std::{
    error::Error,
    fs, io,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

/// One way to break the lifecycle.
#[derive(Deserialize)]
struct Mutation {
    /// What is wrong then, as a sentence.
    name: String,
    /// Occurs once in the source.
    find: String,
    replace: String,
}

/// What became of a mutation.
enum Outcome {
    /// A case failed, or the suite came to no end: as it should be.
    Noticed,
    Survived,
    DoesNotCompile,
}

/// How long the suite may take; it takes a second. A mutation may make a store go round in circles, which no case can
/// break off.
const PATIENCE: Duration = Duration::from_secs(60);
const LIST: &str = include_str!("../../mutations/lifecycle.json");
const SOURCE: &str = include_str!("../../../lightning-core/src/store/lifecycle.rs");
const SOURCE_PATH: &str = "lightning-core/src/store/lifecycle.rs";

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .ok_or("the tests crate has no workspace")?;
    let scratch = workspace.join("target/mutations/workspace");
    copy(workspace, &scratch)?;

    if !matches!(judge(&scratch)?, Outcome::Survived) {
        return Err("the conformance suite has to pass before anything is broken".into());
    }
    let mut failures = 0;
    for mutation in mutations()?
        .iter()
        .filter(|mutation| mutation.name.contains(&wanted))
    {
        fs::write(scratch.join(SOURCE_PATH), mutation.apply()?)?;
        let verdict = match judge(&scratch)? {
            Outcome::Noticed => "noticed",
            Outcome::Survived => "SURVIVED",
            Outcome::DoesNotCompile => "DOES NOT COMPILE",
        };
        failures += usize::from(verdict != "noticed");
        println!("{verdict:<17} {}", mutation.name);
    }
    println!("{failures} of the mutations were not noticed");
    Ok(if failures == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn mutations() -> Result<Vec<Mutation>, serde_json::Error> {
    serde_json::from_str(LIST)
}

impl Mutation {
    fn apply(&self) -> Result<String, String> {
        match SOURCE.matches(&self.find).count() {
            1 => Ok(SOURCE.replace(&self.find, &self.replace)),
            count => Err(format!(
                "the mutation `{}` has to apply once to {SOURCE_PATH}, but its text occurs {count} times: mend `find`",
                self.name
            )),
        }
    }
}

/// Builds and runs the conformance suite of the workspace at `root`.
fn judge(root: &Path) -> io::Result<Outcome> {
    let cargo = |run: &[&str]| {
        let mut command = Command::new(env!("CARGO"));
        command
            .args([
                "test",
                "--quiet",
                "--locked",
                "-p",
                "lightning-tests",
                "--test",
                "conformance",
            ])
            .args(run)
            .current_dir(root)
            .env("CARGO_TARGET_DIR", root.with_file_name("target"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    if !cargo(&["--no-run"]).status()?.success() {
        return Ok(Outcome::DoesNotCompile);
    }
    let mut suite = cargo(&[]).process_group(0).spawn()?;
    let began = Instant::now();
    loop {
        match suite.try_wait()? {
            Some(status) if status.success() => return Ok(Outcome::Survived),
            Some(_) => return Ok(Outcome::Noticed),
            None if began.elapsed() > PATIENCE => {
                // The suite is a child of cargo; both are of one group.
                Command::new("kill")
                    .args(["-KILL", "--", &format!("-{}", suite.id())])
                    .status()?;
                suite.wait()?;
                return Ok(Outcome::Noticed);
            }
            None => thread::park_timeout(Duration::from_millis(20)),
        }
    }
}

/// Copies a workspace without what was built from it.
fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_name() == "target" || entry.file_name() == ".git" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    #[test]
    fn every_mutation_applies_and_changes_something() {
        let mutations = super::mutations().unwrap();
        assert!(mutations.len() >= 25, "only {} mutations", mutations.len());
        let changed: BTreeSet<String> = mutations
            .iter()
            .map(|mutation| mutation.apply().unwrap())
            .collect();
        assert_eq!(
            changed.len(),
            mutations.len(),
            "two mutations break the same thing in the same way"
        );
        assert!(!changed.contains(super::SOURCE), "a mutation changes nothing");
    }
}
