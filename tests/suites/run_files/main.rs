//! Run files: what they say, how mistakes are told, and that they run.

mod reload;
mod schema;
mod sections;

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
};

use lightning_tests::{scratch::Scratch, tier};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_lightning_with_agents");

const TASKS: &str = "{\"text\": \"1 + 1?\", \"answer\": 2}\n{\"text\": \"2 + 2?\", \"answer\": 4}\n";

const RUN: &str = "\
algorithm:
  name: add_up
  parameters: {times: 2}
agent: answer
datasets: {train: tasks.jsonl}
resources:
  prompt: {resource_type: prompt_template, template: 'Answer exactly: {text}'}
run_dir: out
n_runners: 2
";

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("LIGHTNING_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).stdin(Stdio::null());
    command
}

/// A folder with a run file and tasks.
struct Project(Scratch);

impl Project {
    fn new(run_file: &str) -> Self {
        let project = Self(Scratch::fast());
        project.write("tasks.jsonl", TASKS);
        project.write("run.yaml", run_file);
        project
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.path(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn path(&self, name: &str) -> String {
        self.0.path(name).display().to_string()
    }

    /// `run run.yaml` with these arguments besides.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = program(&["run", &self.path("run.yaml")]);
        command.args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.0.path(name)).unwrap()).unwrap()
    }
}

#[track_caller]
fn output(output: &Output) -> Value {
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn refused(output: &Output) -> String {
    assert_eq!(
        output.status.code(),
        Some(2),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_run_file_runs_an_algorithm_and_an_agent_of_the_program() {
    let project = Project::new(RUN);
    let run = project.run(&[]);
    assert_eq!(output(&run), json!({"sum": 12.0, "rounds": 2, "label": null}));
    let report = project.json("out/report.json");
    assert_eq!(report["rollouts"]["succeeded"], 4);
    assert_eq!(report["parameters"], json!({"times": 2, "label": null}));
    let shown = String::from_utf8_lossy(&run.stderr).into_owned();
    assert!(
        shown.contains("add_up, version 1") && shown.contains("runners       2"),
        "{shown}"
    );
}

#[test]
fn a_run_that_produced_nothing_says_so_by_its_status() {
    let project = Project::new(RUN);
    project.write("tasks.jsonl", "{\"text\": \"broken\", \"answer\": 2}\n");
    let run = project.run(&["--set", "algorithm.parameters.times=1"]);
    assert_eq!(
        run.status.code(),
        Some(3),
        "{}",
        String::from_utf8_lossy(&run.stderr)
    );
    let sum: Value = serde_json::from_slice(&run.stdout).unwrap();
    assert_eq!(sum["sum"], 0.0, "what came of it is told all the same");
    assert_eq!(
        project.json("out/report.json")["alerts"][0]["rule"],
        "no_reward_at_all"
    );
}

#[test]
fn the_same_in_toml_and_json_with_paths_from_the_folder_of_the_file() {
    let toml = "
        agent = {name = 'answer', parameters = {error = 1.0}}
        resources = 'prompts.toml'
        run_dir = 'out'
        [algorithm]
        name = 'add_up'
        [datasets.train]
        file = 'tasks.txt'
        format = 'jsonl'
        first = 1
    ";
    let json = r#"{"agent": {"name": "answer", "parameters": {"error": 1.0}}, "resources": "prompts.toml", "run_dir": "out",
        "algorithm": "add_up", "datasets": {"train": {"file": "tasks.txt", "format": "jsonl", "first": 1}}}"#;
    for (name, text) in [("run.toml", toml), ("run.json", json)] {
        let project = Project::new("");
        project.write("tasks.txt", TASKS);
        project.write(
            "prompts.toml",
            "prompt = {resource_type = 'prompt_template', template = 'exactly'}",
        );
        let file = project.write(name, text);
        let run = program(&["run", &file]).current_dir("/").output().unwrap();
        assert_eq!(output(&run)["sum"], 1.0);
        assert_eq!(project.json("out/run.json")["state"], "succeeded");
    }
}

#[test]
fn flags_go_before_the_environment_and_that_before_the_file() {
    let project = Project::new(RUN);
    let mut run = project.command(&[
        "--set",
        "algorithm.parameters.label=${WHO:-nobody}",
        "--seed",
        "9",
    ]);
    run.env("LIGHTNING_RUN__ALGORITHM__PARAMETERS__TIMES", "3")
        .env("LIGHTNING_RUN__SEED", "8")
        .env("WHO", "007");
    assert_eq!(
        output(&run.output().unwrap()),
        json!({"sum": 18.0, "rounds": 3, "label": "007"})
    );
    assert_eq!(project.json("out/run.json")["seed"], 9);

    let explained = run.arg("--explain").output().unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    let line = |key: &str| {
        let line = explained
            .lines()
            .find(|line| line.split_whitespace().next() == Some(key));
        line.unwrap_or_else(|| panic!("{key} in {explained}"))
            .split_whitespace()
            .skip(1)
            .collect::<Vec<_>>()
            .join(" ")
    };
    let file = project.path("run.yaml");
    assert_eq!(line("seed"), "9 --seed");
    assert_eq!(line("n_runners"), format!("2 {file}:9:12"));
    assert_eq!(
        line("algorithm.parameters.label"),
        "\"007\" --set algorithm.parameters.label, from ${WHO:-nobody}"
    );
    assert_eq!(
        line("algorithm.parameters.times"),
        "3 the variable LIGHTNING_RUN__ALGORITHM__PARAMETERS__TIMES"
    );
}

#[test]
fn every_mistake_is_told_at_once_with_its_place_and_what_was_probably_meant() {
    let project = Project::new(
        "algorithm:
  name: add_up
  parameters: {tims: 2}
agnet: answer
n_runners: 0
datasets:
  train: {file: tasks.jsonl, first: many}
resources:
  prompt: {resource_type: prompt_template, template: 7}
stop_when: {score: '${NO_SUCH_VARIABLE}'}
rollout_config: {retry_condition: [failed, timeouts]}
",
    );
    let complaint = refused(&project.run(&["--check"]));
    let file = project.path("run.yaml");
    for part in [
        "run.yaml:1:1: the run file needs `agent`, which is missing",
        ":3:22, `algorithm.parameters.tims`: there is no such key, did you mean `times`?; there are `label`, `times`",
        ":4:8, `agnet`: there is no such key, did you mean `agent`?",
        ":5:12, `n_runners`: 0 is too small; it must be at least 1",
        ":7:37, `datasets.train.first`: expected a whole number, found text",
        ":9:54, `resources.prompt.template`: expected text, found a number; put it in quotes",
        ":10:20, `stop_when.score`: the variable NO_SUCH_VARIABLE is not set",
        ":11:44, `rollout_config.retry_condition[1]`: there is no `timeouts`, did you mean `timeout`?",
    ] {
        assert!(complaint.contains(part), "{part}\n{complaint}");
    }
    assert_eq!(complaint.matches(&file).count(), 8, "{complaint}");
}

#[test]
fn what_does_not_fit_the_program_is_told_before_anything_starts() {
    let cases = [
        (
            "algorithm: ad_up\nagent: answer",
            "1:12, `algorithm`: there is no `ad_up`, did you mean `add_up`?",
        ),
        (
            "algorithm: {name: apoo}\nagent: answer",
            "1:19, `algorithm.name`: there is no `apoo`, did you mean `apo`?",
        ),
        (
            "algorithm: add_up\nagent: [a]",
            "`agent`: expected text or a map, found a list",
        ),
        (
            "algorithm: {name: add_up, parameters: {times: -1}}\nagent: answer",
            "`algorithm.parameters.times`: invalid value: integer `-1`",
        ),
        (
            "algorithm: add_up\nagent: answer\ndatasets: {train: none.jsonl}",
            "3:19, `datasets.train`: there is no file",
        ),
        (
            "algorithm: add_up\nagent: answer\nresources: none.yaml",
            "3:12, `resources`: there is no file",
        ),
        (
            "algorithm: add_up\nagent: answer\nstore: postgres://x",
            "3:8, `store`:",
        ),
        (
            "algorithm: add_up\nagent: answer\nlog: {levels: loud}",
            "3:15, `log.levels`: `loud`: no level",
        ),
        ("algorithm: add_up\nagent: answer\nseed: 1\nseed: 2", "4:1"),
        ("algorithm: [", "run.yaml:"),
    ];
    for (run_file, message) in cases {
        let project = Project::new(run_file);
        let complaint = refused(&project.run(&["--run-dir", &project.path("out")]));
        assert!(complaint.contains(message), "{run_file}\n{complaint}");
        assert!(!Path::new(&project.path("out")).exists(), "nothing was begun");
    }
}

#[test]
fn a_run_in_the_same_folder_goes_on_or_is_refused_or_starts_over() {
    let project = Project::new(RUN);
    output(&project.run(&[]));
    let id = project.json("out/run.json")["run_id"].clone();
    output(&project.run(&["--runners", "1"]));
    assert_eq!(project.json("out/run.json")["run_id"], id);
    let versions = project.json("out/run.json")["configuration"].clone();
    assert_eq!(versions.as_array().map(Vec::len), Some(2), "{versions}");

    let other = project.run(&["--seed", "5"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&other.stderr).contains("seed"),
        "{other:?}"
    );
    output(&project.run(&["--seed", "5", "--resume", "never"]));
    assert_ne!(project.json("out/run.json")["run_id"], id);
}

#[test]
fn secrets_are_read_from_variables_and_files_and_never_shown() {
    let project = Project::new(&format!(
        "{RUN}\
model: {{endpoint: 'http://user:sk-0@127.0.0.1:1/v1', model: m, api_key: '${{MODEL_KEY}}'}}
store: {{url: 'http://127.0.0.1:1', token: 'file:token.txt'}}
stop_when: {{rollouts: '${{MAX_KEY:-7}}'}}
"
    ));
    project.write("token.txt", "sk-2\n");
    let mut command = project.command(&["--explain"]);
    let explained = command.env("MODEL_KEY", "sk-1").output().unwrap();
    let text = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.status.success() && !text.contains("sk-"), "{text}");
    assert_eq!(text.matches("[hidden]").count(), 3, "{text}");

    let complaint = refused(&project.command(&[]).env("MODEL_KEY", "").output().unwrap());
    assert!(
        complaint.contains("`model.api_key`: the variable MODEL_KEY is not set"),
        "{complaint}"
    );
    let complaint = refused(
        &project
            .command(&["--set", "model.api_key=[sk-9]"])
            .output()
            .unwrap(),
    );
    assert!(
        complaint.contains("expected text, found a list") && !complaint.contains("sk-9"),
        "{complaint}"
    );
}

#[test]
fn the_dry_run_shows_every_trace() {
    let project = Project::new(RUN);
    let dev = project.run(&["--dev"]);
    let shown = String::from_utf8_lossy(&dev.stderr);
    assert!(dev.status.success() && shown.contains("1 + 1?"), "{shown}");
    assert!(!Path::new(&project.path("out")).exists());
}

fn with_program(command: &str) -> Project {
    Project::new(&RUN.replace(
        "agent: answer",
        &format!("agent: {{command: {command}, environment: {{GREETING: good day}}}}"),
    ))
}

#[test]
fn an_agent_may_be_a_program_that_is_a_runner() {
    let project = with_program(&format!("['{PROGRAM}', work]"));
    let run = project.run(&[]);
    assert_eq!(
        output(&run),
        json!({"sum": 16.0, "rounds": 2, "label": null}),
        "with the program's bonus of 1"
    );
    let report = project.json("out/report.json");
    assert_eq!(report["rollouts"]["succeeded"], 4);
    assert_eq!(report["rollouts"]["mean_reward"], 4.0);
    let shown = String::from_utf8_lossy(&run.stderr);
    for line in [
        "agent-0 | worker 0 begins, good day",
        "agent-1 | worker 1 begins, good day",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
}

#[test]
fn a_failing_attempt_of_a_program_is_counted() {
    let project = with_program(&format!("['{PROGRAM}', work]"));
    project.write(
        "tasks.jsonl",
        "{\"text\": \"broken\", \"answer\": 2}\n{\"text\": \"2 + 2?\", \"answer\": 4}\n",
    );
    assert_eq!(output(&project.run(&[]))["sum"], 10.0);
    let counts = &project.json("out/report.json")["rollouts"];
    assert_eq!((&counts["succeeded"], &counts["failed"]), (&json!(2), &json!(2)));
}

#[test]
fn a_program_that_cannot_work_ends_the_run_with_the_reason() {
    let cases = [
        ("['/no/such/program']", "`/no/such/program` cannot be started"),
        (&format!("['{PROGRAM}', quit]"), "ended by itself"),
        (
            &format!("['{PROGRAM}', fail]"),
            "exit status: 3; the last it wrote:\n  the model is not there",
        ),
    ];
    for (command, message) in cases {
        let run = with_program(command).run(&[]);
        let complaint = String::from_utf8_lossy(&run.stderr);
        assert_eq!(run.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains(message), "{complaint}");
    }
}

#[test]
fn the_programs_end_with_the_run() {
    let project = with_program("[sh, -c, 'echo $$ > worker-$LIGHTNING_WORKER; exec sleep 1000']");
    let run = project.run(&["--set", "algorithm.parameters.times=0"]);
    assert_eq!(output(&run)["rounds"], 0);
    for worker in ["worker-0", "worker-1"] {
        // One that was ended before it could say who it is, or while it did, is not to be found by its id.
        let id = fs::read_to_string(project.0.path(worker)).unwrap_or_default();
        if !id.ends_with('\n') {
            continue;
        }
        assert!(
            !Path::new(&format!("/proc/{}", id.trim())).exists(),
            "{worker} is still there"
        );
    }
}

#[test]
fn a_python_runner_is_an_agent() {
    let Some(python) = tier::python() else { return };
    let mut script = python.script("run_file_agent.py");
    let words: Vec<String> = std::iter::once(script.get_program())
        .chain(script.get_args())
        .map(|word| format!("'{}'", word.to_string_lossy()))
        .collect();
    let project = with_program(&format!("[{}]", words.join(", ")));
    let mut command = project.command(&["--runners", "2"]);
    command.envs(script.get_envs().filter_map(|(name, value)| Some((name, value?))));
    script.stdin(Stdio::null());
    assert_eq!(output(&command.output().unwrap())["sum"], 12.0);
    let counts = &project.json("out/report.json")["rollouts"];
    assert_eq!(
        (&counts["succeeded"], &counts["mean_reward"]),
        (&json!(4), &json!(3.0))
    );
}
