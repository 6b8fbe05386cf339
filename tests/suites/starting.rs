//! `lightning new`, and what it makes. The made program is compiled as the binary `starter` of this crate.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use lightning_tests::scratch::Scratch;
use serde_json::Value;

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

fn quiet(mut command: Command) -> Command {
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LIGHTNING_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::null());
    command
}

fn new(scratch: &Scratch, arguments: &[&str]) -> Output {
    let mut command = quiet(Command::new(env!("CARGO_BIN_EXE_lightning_under_test")));
    command.current_dir(scratch.path("")).arg("new").args(arguments);
    command.output().unwrap()
}

fn told(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_new_project_runs_to_a_report() {
    let scratch = Scratch::on_disk();
    let shown = told(&new(&scratch, &["demo-1"]));
    assert!(
        shown.contains("cd demo-1") && shown.contains("cargo run -- run run.yaml"),
        "{shown}"
    );
    let project = scratch.path("demo-1");
    let starter = |arguments: &[&str]| {
        let mut command = quiet(Command::new(env!("CARGO_BIN_EXE_starter")));
        command.current_dir(&project).args(arguments).output().unwrap()
    };
    told(&starter(&["run", "run.yaml", "--check"]));
    told(&starter(&["run", "run.yaml", "--dev"]));
    let found: Value = serde_json::from_str(&told(&starter(&["run", "run.yaml"]))).unwrap();
    assert_eq!(found["score"], 1.0);
    assert!(
        found["best"]["template"]
            .as_str()
            .unwrap()
            .contains("step by step, then")
    );
    let report = told(&starter(&["report", "runs/first"]));
    assert!(
        report.contains("succeeded") && report.contains("best_prompt trains answer"),
        "{report}"
    );
    let page = fs::read_to_string(project.join("runs/first/report.html")).unwrap();
    assert_eq!(page.matches("<tr class=\"best\">").count(), 1);
    // Begun again, it is over at once, and nothing is evaluated twice.
    told(&starter(&["run", "run.yaml"]));
    let report: Value =
        serde_json::from_slice(&fs::read(project.join("runs/first/report.json")).unwrap()).unwrap();
    assert_eq!(
        (&report["rollouts"]["succeeded"], &report["resumed"]),
        (&108.into(), &1.into())
    );
}

#[test]
fn a_new_project_is_the_template_under_its_own_name() {
    let scratch = Scratch::on_disk();
    told(&new(&scratch, &["my_agent"]));
    let template = root().join("lightning-core/templates/starter");
    for name in [
        "README.md",
        "run.yaml",
        "data/train.jsonl",
        "src/agent.rs",
        "src/algorithm.rs",
        "src/main.rs",
    ] {
        let made = fs::read_to_string(scratch.path("my_agent").join(name)).unwrap();
        let meant = fs::read_to_string(template.join(name))
            .unwrap()
            .replace("lightning-starter", "my_agent");
        assert_eq!(made, meant, "{name}");
    }
    assert_eq!(
        fs::read_to_string(scratch.path("my_agent/.gitignore")).unwrap(),
        "/runs\n/target\n"
    );
}

/// The crates that a build on this machine takes, with their versions, as Cargo sees it without a network.
fn tree(project: &Path) -> Vec<String> {
    let mut command = quiet(Command::new(env!("CARGO")));
    command
        .args(["tree", "--offline", "--prefix", "none", "--manifest-path"])
        .arg(project.join("Cargo.toml"));
    let lines = told(&command.output().unwrap());
    let crates = lines.lines().map(|line| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        words.join(" ")
    });
    crates.collect()
}

#[test]
fn the_project_depends_on_the_checkout_with_the_versions_that_are_tested() {
    let scratch = Scratch::on_disk();
    let checkout = root().canonicalize().unwrap();
    told(&new(&scratch, &["demo", "--path", checkout.to_str().unwrap()]));
    let project = scratch.path("demo");
    let manifest = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    let line = format!(
        "lightning-core = {{ path = \"{}\", features = [\"cli\"] }}",
        checkout.join("lightning-core").display()
    );
    assert!(manifest.contains(&line), "{manifest}");

    let lock = fs::read_to_string(checkout.join("Cargo.lock")).unwrap();
    let tested = |name_and_version: &str| {
        let (name, version) = name_and_version.split_once(" v").unwrap();
        lock.contains(&format!("name = \"{name}\"\nversion = \"{version}\"\n"))
    };
    let tree = tree(&project);
    assert!(
        tree.iter().any(|one| one.starts_with("lightning-core v")) && tree.len() > 50,
        "{tree:?}"
    );
    let others: Vec<&String> = tree
        .iter()
        .filter(|one| *one != "demo v0.1.0" && one.contains(" v") && !tested(one))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn a_git_repository_will_do_in_place_of_a_checkout() {
    let scratch = Scratch::on_disk();
    told(&new(
        &scratch,
        &[
            "demo",
            "--git",
            "https://example.org/lightning.git",
            "--rev",
            "abc",
        ],
    ));
    let manifest = fs::read_to_string(scratch.path("demo/Cargo.toml")).unwrap();
    let line = "lightning-core = { git = \"https://example.org/lightning.git\", rev = \"abc\", features = [\"cli\"] }";
    assert!(manifest.contains(line), "{manifest}");
    assert!(!scratch.path("demo/Cargo.lock").exists());
}

#[test]
fn what_is_there_is_never_overwritten_and_mistakes_come_with_a_remedy() {
    let scratch = Scratch::on_disk();
    fs::create_dir_all(scratch.path("full")).unwrap();
    fs::write(scratch.path("full/notes.txt"), "mine").unwrap();
    let complaint = refused(&new(&scratch, &["full"]));
    assert!(
        complaint.contains("`notes.txt`") && complaint.contains("another folder"),
        "{complaint}"
    );
    assert_eq!(fs::read_dir(scratch.path("full")).unwrap().count(), 1);

    fs::create_dir_all(scratch.path("begun/.git")).unwrap();
    told(&new(&scratch, &["begun"]));

    for (arguments, part) in [
        (&["9 lives"][..], "`lives` would do"),
        (&["serde"], "`serde-agent` would do"),
        (&[".."], "`demo` would do"),
        (&["demo", "--path", "/nowhere"], "no checkout of Lightning"),
    ] {
        let complaint = refused(&new(&scratch, arguments));
        assert!(complaint.contains(part), "{arguments:?}: {complaint}");
    }
    assert!(!scratch.path("demo").exists());
    fs::write(scratch.path("file"), "").unwrap();
    assert!(refused(&new(&scratch, &["file"])).contains("cannot make file"));
}
