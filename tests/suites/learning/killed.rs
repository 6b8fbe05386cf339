//! A run that is killed with SIGKILL at every stage ends as one that nobody disturbs.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use lightning_core::run::Metric;
use lightning_tests::{learning::ignorant_model, scratch::Scratch};
use serde_json::Value;

/// All stages, in the order in which a run comes to them: measuring, collecting, training, serving, measuring what was trained.
const PLACES: [&str; 9] = [
    "serve:0",
    "rollout:3",
    "rollout:20",
    "training:0001",
    "serve:1",
    "rollout:5",
    "training:0002",
    "serve:2",
    "serve:3",
];

fn run(model: &Path, folder: &Path, place: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_learning"));
    command.arg(model).arg(folder).env("LIGHTNING_TEST_DIE_AT", place);
    command.output().unwrap()
}

/// What has to be the same: the metrics but for speeds, and the weights.
fn came_to(folder: &Path) -> (Vec<(String, u64, f64)>, Value) {
    let text = fs::read_to_string(folder.join("metrics.jsonl")).unwrap();
    let metrics = text
        .lines()
        .map(|line| serde_json::from_str::<Metric>(line).unwrap());
    let metrics = metrics
        .filter(|metric| !metric.name.ends_with("_per_second"))
        .map(|metric| (metric.name, metric.step, metric.value));
    let report: Value = serde_json::from_slice(&fs::read(folder.join("report.json")).unwrap()).unwrap();
    (metrics.collect(), report["output"]["sha256"].clone())
}

#[test]
fn a_run_that_is_killed_at_every_stage_ends_as_one_that_nobody_disturbs() {
    let scratch = Scratch::on_disk();
    let (model, calm, killed) = (
        scratch.path("model"),
        scratch.path("calm"),
        scratch.path("killed"),
    );
    ignorant_model(&model);
    let output = run(&model, &calm, "never");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let expected = came_to(&calm);
    let names: Vec<&str> = expected.0.iter().map(|(name, ..)| name.as_str()).collect();
    assert!(
        names.contains(&"test_pass_at_1") && names.contains(&"loss"),
        "{names:?}"
    );

    for place in PLACES {
        let output = run(&model, &killed, place);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_none(), "not killed at {place}: {said}");
    }
    let output = run(&model, &killed, "never");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(came_to(&killed), expected);
}

#[test]
fn another_model_to_begin_with_is_refused_when_a_run_goes_on() {
    let scratch = Scratch::on_disk();
    let (model, folder) = (scratch.path("model"), scratch.path("run"));
    ignorant_model(&model);
    assert!(run(&model, &folder, "serve:1").status.code().is_none());
    let weights = model.join("model.safetensors");
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    let output = run(&model, &folder, "never");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("are not those that the run began with"), "{said}");
}
