//! The two commands of the README exist, and continuous integration runs what they promise.

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
}

#[derive(Deserialize)]
struct Target {
    name: String,
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
fn the_example_that_ci_runs_are_all_there_are() {
    let listed: Vec<String> = targets(&tree::read("examples/Cargo.toml"), "example");
    let found: Vec<String> = cargo_examples();
    assert_eq!(
        listed, found,
        "each example has an `[[example]]` entry in examples/Cargo.toml, with a `name` and a `path`"
    );
}

/// The examples as `.ci/run` reads them from the manifest.
fn cargo_examples() -> Vec<String> {
    let output = std::process::Command::new(tree::root().join(".ci/run"))
        .arg("--list-examples")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
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
    fn a_ci_that_does_not_run_the_tests_is_refused() {
        for ci in ["step tests cargo nextest run", "# cargo test --workspace", ""] {
            tree::expect_one(&judge(&readme(MAIN, TEST), ci), &[".ci/run", TEST]);
        }
    }
}
