//! The published schema, as another validator reads it. Tier `python`.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::Stdio,
};

use lightning_core::{
    config::{self, ConfigError, Overrides, Problem, RunFile},
    registry::Registry,
};
use lightning_tests::{scratch::Scratch, tier};
use serde_json::{Value, json};

/// Every run file of the examples.
fn examples() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/run_files");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.to_string_lossy().contains(".run."))
        .collect();
    files.sort();
    files
}

/// Every value that an environment could have.
fn some_environment(name: &str) -> Option<std::ffi::OsString> {
    Some(name.to_lowercase().into())
}

fn load(path: &Path) -> Result<RunFile, ConfigError> {
    RunFile::load_with(path, &Overrides::new(), &Registry::shipped(), &some_environment)
}

#[test]
fn every_example_is_in_order() {
    assert!(examples().len() >= 3);
    for path in examples() {
        load(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// A run file that says everything that can be said.
fn whole() -> Value {
    json!({
        "$schema": "schema.json",
        "algorithm": {"name": "apo", "parameters": {"beam_width": 2}},
        "agent": {"command": ["python", "agent.py"], "environment": {"A": "b"}, "name": "mine"},
        "model": {"endpoint": "http://127.0.0.1:1/v1", "model": "m", "api_key": "${KEY}", "sampling_parameters": {"temperature": 0.5},
            "timeout_seconds": 5.5, "retries": 0, "in_flight": 1},
        "datasets": {"train": [{"q": 1}], "val": {"file": "x.csv", "format": "csv", "first": 3}},
        "resources": {"prompt": {"resource_type": "prompt_template", "template": "x", "engine": "jinja"}},
        "store": {"url": "sqlite:run.db", "token": "t"},
        "run_dir": "out",
        "resume": "never",
        "seed": 1,
        "n_runners": 2,
        "rollout_config": {"timeout_seconds": 1, "unresponsive_seconds": 2.5, "max_attempts": 2, "retry_condition": ["failed", "timeout"]},
        "stop_when": {"rollouts": 1, "model_calls": 1, "tokens": 1, "seconds": 0.5, "score": -1, "rounds_without_improvement": 1, "file": "stop"},
        "stop_grace_seconds": 0,
        "abort_grace_seconds": 0.5,
        "store_patience_seconds": 1,
        "heartbeat_seconds": 1,
        "log": {"levels": "info", "format": "json", "file": "log.txt"},
        "quiet": true
    })
}

/// The value with one thing changed, wherever that can be done.
fn mutants(value: &Value) -> Vec<Value> {
    let mut mutants = Vec::new();
    let mut pointers = Vec::new();
    collect("", value, &mut pointers);
    for pointer in pointers {
        let at = value.pointer(&pointer).unwrap();
        let mut change = |to: Value| {
            let mut mutant = value.clone();
            *mutant.pointer_mut(&pointer).unwrap() = to;
            mutants.push(mutant);
        };
        if let Value::Object(object) = at {
            let mut more = object.clone();
            more.insert("unheard_of".to_owned(), json!(1));
            change(Value::Object(more));
            for name in object.keys() {
                let mut fewer = object.clone();
                fewer.remove(name);
                change(Value::Object(fewer));
            }
        }
        for other in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!("text"),
            json!(true),
            json!([]),
            json!({"a": 1}),
        ] {
            change(other);
        }
    }
    mutants
}

fn collect(pointer: &str, value: &Value, pointers: &mut Vec<String>) {
    pointers.push(pointer.to_owned());
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                collect(&format!("{pointer}/{name}"), value, pointers);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(&format!("{pointer}/{index}"), item, pointers);
            }
        }
        _ => {}
    }
}

#[test]
fn another_validator_agrees_with_us() {
    let Some(python) = tier::python() else { return };
    let mut values = vec![whole()];
    values.extend(mutants(&whole()));
    let in_examples = examples()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|of| of == "json"));
    let first_example = values.len();
    values.extend(in_examples.map(|path| serde_json::from_slice(&fs::read(path).unwrap()).unwrap()));

    let mut script = python.script("validate.py");
    let mut process = script
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let given = json!({"schema": config::schema(&Registry::shipped()), "values": values});
    process
        .stdin
        .take()
        .unwrap()
        .write_all(given.to_string().as_bytes())
        .unwrap();
    let theirs: Vec<bool> = serde_json::from_slice(&process.wait_with_output().unwrap().stdout).unwrap();
    assert!(theirs[0] && theirs[first_example..].iter().all(|valid| *valid));

    let scratch = Scratch::fast();
    let path = scratch.path("run.json");
    let mut disagreements = Vec::new();
    for (value, theirs) in values[..first_example].iter().zip(theirs) {
        fs::write(&path, value.to_string()).unwrap();
        let ours = match load(&path) {
            Ok(_) => true,
            // What only we look at: whether parameters fit, files are there, levels are levels.
            Err(ConfigError::Invalid(problems)) => problems.iter().all(is_beyond_schemas),
            Err(error) => panic!("{value:#}: {error}"),
        };
        if ours != theirs {
            disagreements.push(format!("theirs {theirs}, ours {:?}: {value}", load(&path).err()));
        }
    }
    assert!(disagreements.is_empty(), "{}", disagreements.join("\n"));
}

fn is_beyond_schemas(problem: &Problem) -> bool {
    let told = |parts: &[&str]| parts.iter().any(|part| problem.message.contains(part));
    match problem.key.as_str() {
        "log.levels" => told(&["no level"]),
        "resources.prompt" => told(&["prompt_template: ", "prompt_template, field"]),
        "resources" => told(&["there is no file", "cannot tell what"]),
        key => key.starts_with("algorithm.parameters.beam_width") && !told(&["no such key"]),
    }
}
