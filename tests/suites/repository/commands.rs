//! The two commands of the README exist, and continuous integration runs what they promise.

use std::process::Command;

use serde::Deserialize;

use crate::tree::{self, Complaint};

/// The lines of the first block of code.
fn commands(readme: &str) -> Vec<&str> {
    readme
        .lines()
        .skip_while(|line| !line.starts_with("```"))
        .skip(1)
        .take_while(|line| !line.starts_with("```"))
        .collect()
}

fn wrong(readme: &str, ci: &str, manifest_of: impl Fn(&str) -> Option<String>) -> Vec<Complaint> {
    let complain = |what: String| vec![Complaint::at("README.md", what)];
    let commands = commands(readme);
    let [main, test] = commands[..] else {
        return complain(format!(
            "the first block of code holds two commands, the main job and the tests, and not {}",
            commands.len()
        ));
    };
    if !test.starts_with("cargo test ") {
        return complain(format!(
            "the second command runs the tests with `cargo test …`, and not `{test}`"
        ));
    }
    let runs_tests = ci
        .lines()
        .any(|line| !line.trim_start().starts_with('#') && line.contains(test));
    if !runs_tests {
        return vec![Complaint::at(
            ".ci/run",
            format!("it does not run the README's `{test}`: call it with these words"),
        )];
    }
    let words: Vec<&str> = main.split_whitespace().collect();
    let after = |flag: &str| {
        words
            .iter()
            .position(|word| *word == flag)
            .and_then(|at| words.get(at + 1))
    };
    let package = after("-p").copied().unwrap_or_default();
    let kind_and_name = ["example", "bench", "bin"]
        .iter()
        .find_map(|kind| after(&format!("--{kind}")).map(|name| (*kind, *name)));
    let (Some((kind, name)), Some(manifest)) = (kind_and_name, manifest_of(package)) else {
        return complain(format!(
            "the main job names its target, as in `cargo run -p PACKAGE --example NAME`, and not `{main}`"
        ));
    };
    if targets(&manifest, kind).iter().any(|target| target == name) {
        Vec::new()
    } else {
        complain(format!(
            "the main job `{main}`: `{package}` has no {kind} `{name}`; mend the command"
        ))
    }
}

#[derive(Deserialize)]
struct Manifest {
    #[serde(default)]
    example: Vec<Target>,
    #[serde(default)]
    bench: Vec<Target>,
    #[serde(default)]
    bin: Vec<Target>,
    #[serde(default)]
    test: Vec<Target>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    path: Option<String>,
}

fn targets(manifest: &str, kind: &str) -> Vec<String> {
    let manifest: Manifest = toml::from_str(manifest).unwrap();
    let targets = match kind {
        "example" => manifest.example,
        "bench" => manifest.bench,
        _ => manifest.bin,
    };
    targets.into_iter().map(|target| target.name).collect()
}

fn manifest_of(package: &str) -> Option<String> {
    let folder = match package {
        "lightning-examples" => "examples",
        "lightning-tests" => "tests",
        "lightning-core" => "lightning-core",
        _ => return None,
    };
    Some(tree::read(&format!("{folder}/Cargo.toml")))
}

#[test]
fn the_readmes_two_commands_exist_and_ci_runs_the_tests() {
    tree::expect_none(&wrong(
        &tree::read("README.md"),
        &tree::read(".ci/run"),
        manifest_of,
    ));
}

#[test]
fn ci_runs_every_example_and_builds_every_feature() {
    let examples = targets(&tree::read("examples/Cargo.toml"), "example");
    assert_eq!(
        ci_list("--list-examples"),
        examples,
        "`.ci/run` reads `[[example]]` entries of examples/Cargo.toml, each with a `name` and then a `path`"
    );
    let core: toml::Table = tree::read("lightning-core/Cargo.toml").parse().unwrap();
    let mut features: Vec<String> = core["features"].as_table().unwrap().keys().cloned().collect();
    features.retain(|feature| !["default", "full", "lm-cuda"].contains(&feature.as_str()));
    let mut built = ci_list("--list-features");
    built.sort();
    features.sort();
    assert_eq!(
        built, features,
        "`.ci/run` builds each feature of lightning-core alone"
    );
}

/// What `.ci/run` prints with this flag.
fn ci_list(flag: &str) -> Vec<String> {
    let output = Command::new(tree::root().join(".ci/run"))
        .arg(flag)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listing = String::from_utf8(output.stdout).unwrap();
    listing.lines().map(str::to_owned).collect()
}

/// Suites and benchmarks that no entry of the manifest names, and that Cargo therefore passes over.
fn forgotten(manifest: &str, files: &[String]) -> Vec<Complaint> {
    let manifest: Manifest = toml::from_str(manifest).unwrap();
    let named: Vec<String> = manifest
        .test
        .into_iter()
        .chain(manifest.bench)
        .filter_map(|target| target.path)
        .collect();
    files
        .iter()
        .filter_map(|file| file.strip_prefix("tests/"))
        .filter(|file| {
            let is_root = file.matches('/').count() == 1 || file.ends_with("/main.rs");
            is_root && (file.starts_with("suites/") || file.starts_with("benches/"))
        })
        .filter(|file| !named.iter().any(|path| path == file))
        .map(|file| {
            Complaint::at(
                format!("tests/{file}"),
                "nobody runs the file: add an entry with its `name` and `path` to tests/Cargo.toml",
            )
        })
        .collect()
}

#[test]
fn every_suite_and_benchmark_has_an_entry() {
    tree::expect_none(&forgotten(&tree::read("tests/Cargo.toml"), &tree::files(".rs")));
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "[package]\nname = \"x\"\n[[example]]\nname = \"quickstart\"\npath = \"q.rs\"\n";

    fn judge(readme: &str, ci: &str) -> Vec<Complaint> {
        wrong(readme, ci, |package| {
            (package == "examples").then(|| MANIFEST.to_owned())
        })
    }

    fn readme(main: &str, test: &str) -> String {
        format!("# X\n\n```sh\n{main}\n{test}\n```\n\n```sh\nother\n```\n")
    }

    const MAIN: &str = "cargo run -p examples --example quickstart";
    const TEST: &str = "cargo test --workspace";

    #[test]
    fn commands_that_do_not_exist_are_refused() {
        let ci = "step tests cargo test --workspace --locked";
        tree::expect_none(&judge(&readme(MAIN, TEST), ci));
        tree::expect_one(&judge("# X\n\nNo block.", ci), &["two commands"]);
        tree::expect_one(&judge(&readme(MAIN, "make test"), ci), &["cargo test"]);
        tree::expect_one(
            &judge(&readme("cargo run -p examples --example quick", TEST), ci),
            &["no example `quick`"],
        );
        tree::expect_one(
            &judge(&readme("cargo run -p examples --bench quickstart", TEST), ci),
            &["no bench"],
        );
        tree::expect_one(&judge(&readme("make", TEST), ci), &["names its target"]);
    }

    #[test]
    fn a_suite_without_an_entry_is_refused() {
        let files = [
            "tests/suites/a.rs",
            "tests/suites/b/main.rs",
            "tests/suites/b/part.rs",
            "tests/src/lib.rs",
        ];
        let files: Vec<String> = files.map(str::to_owned).into();
        let entry = |name: &str, path: &str| format!("[[test]]\nname = \"{name}\"\npath = \"{path}\"\n");
        let both = entry("a", "suites/a.rs") + &entry("b", "suites/b/main.rs");
        tree::expect_none(&forgotten(&both, &files));
        tree::expect_one(
            &forgotten(&entry("b", "suites/b/main.rs"), &files),
            &["tests/suites/a.rs"],
        );
        tree::expect_one(
            &forgotten(&entry("a", "suites/a.rs"), &files),
            &["tests/suites/b/main.rs"],
        );
    }

    #[test]
    fn a_ci_that_does_not_run_the_tests_is_refused() {
        for ci in ["step tests cargo nextest run", "# cargo test --workspace", ""] {
            tree::expect_one(&judge(&readme(MAIN, TEST), ci), &[".ci/run", TEST]);
        }
    }
}
