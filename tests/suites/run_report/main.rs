//! The report of a run, read from its folder: as text, as a page, and the page in a browser.

mod browser;
mod devtools;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use lightning_core::{
    algorithm::SelectPrompt,
    emitter::emit_reward,
    prelude::*,
    report::{ReportError, RunReport, RunState},
    run::{FailurePolicy, Prices},
};
use lightning_tests::scratch::Scratch;
use serde_json::{Value, json};

/// What must neither be run nor asked for, however it gets into a page.
pub const HOSTILE: &str = "</title></td></pre><script>window.hacked=1</script><img src=http://127.0.0.1:9/x \
                           onerror=window.hacked=2>'\"&lt;\u{202e}ü日本\u{0}";

/// A file of the run folder.
pub fn json_of(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// Fails on every third task, has no reward for every fifth.
#[rollout]
async fn agent(task: &usize, prompt_template: &PromptTemplate) -> anyhow::Result<()> {
    anyhow::ensure!(!task.is_multiple_of(3), "no network for {HOSTILE}");
    if !task.is_multiple_of(5) {
        emit_reward(1.0 / (prompt_template.template.len() + task) as f64)?;
    }
    Ok(())
}

/// A run of [`SelectPrompt`] over hostile prompts.
pub async fn a_run(folder: &Path) {
    let candidates = ["short {x}".to_owned(), format!("long {{x}} {HOSTILE}")];
    let candidates = candidates.map(PromptTemplate::new).to_vec();
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(SelectPrompt::algorithm(candidates))
        .n_runners(2)
        .prices(Prices::new("EUR").model("*", 1.0, 1.0))
        .run_dir(folder)
        .build()
        .unwrap();
    let tasks: Vec<usize> = (0..20).collect();
    trainer.fit(agent::agent(), tasks.clone(), tasks).await.unwrap();
}

/// Evaluates and notes a figure in each round, and fails at last.
#[algo]
async fn rounds(run: RunContext, train_dataset: Dataset<usize>, #[param] note: String) -> anyhow::Result<()> {
    for round in 0..3 {
        let evaluation = run
            .evaluator()
            .resource("prompt", PromptTemplate::new("{x}"))
            .tasks(&train_dataset)
            .named(round.to_string())
            .label(format!("{HOSTILE} {round}"))
            .on_failure(FailurePolicy {
                retries: 0,
                abort_above: 1.0,
            })
            .evaluate()
            .await?;
        run.report_score(evaluation.mean()?);
        run.log_metric(HOSTILE, round, round as f64);
    }
    anyhow::bail!("that is enough: {note}")
}

/// A run of [`rounds`] that ends with an error.
pub async fn a_failed_run(folder: &Path) {
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(rounds::algorithm(HOSTILE.to_owned()))
        .run_dir(folder)
        .build()
        .unwrap();
    let tasks: Vec<usize> = (0..20).collect();
    trainer.fit(agent::agent(), tasks, None).await.unwrap_err();
}

/// Makes a run one that was killed: nobody wrote down its end, and the last lines are torn.
pub fn break_off(folder: &Path) {
    let mut record = json_of(folder, "run.json");
    record["state"] = json!("running");
    for key in ["totals", "error", "ended", "cost"] {
        record[key] = Value::Null;
    }
    record["alerts"] = json!([]);
    fs::write(folder.join("run.json"), record.to_string()).unwrap();
    for name in ["metrics.jsonl", "evaluations.jsonl"] {
        let text = fs::read(folder.join(name)).unwrap();
        fs::write(folder.join(name), &text[..text.len() - 7]).unwrap();
    }
}

/// The values of the page's figures, by where they are in `report.json`.
fn figures(page: &str) -> Vec<(String, f64)> {
    let parts = page.split("<data value=\"").skip(1);
    parts
        .map(|part| {
            let (value, rest) = part.split_once("\" data-at=\"").unwrap();
            (rest.split_once('"').unwrap().0.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Whether every figure of the page is what the report has there; gives how many there are.
pub fn assert_figures(figures: &[(String, f64)], report: &Value) -> usize {
    let mut seen = 0;
    for (at, value) in figures {
        if at == "best score" {
            continue;
        }
        let there = report
            .pointer(at)
            .unwrap_or_else(|| panic!("{at} is not in the report"));
        assert_eq!(there.as_f64(), Some(*value), "{at}");
        seen += 1;
    }
    seen
}

#[tokio::test]
async fn fit_leaves_a_page_with_the_figures_of_its_report() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    a_run(&folder).await;
    let page = fs::read_to_string(folder.join("report.html")).unwrap();
    let report = json_of(&folder, "report.json");
    assert!(assert_figures(&figures(&page), &report) >= 10, "{page}");
    assert_eq!(report["rollouts"]["failed"], 28);
    let sections: Vec<&str> = page
        .split("<section id=\"")
        .skip(1)
        .map(|part| part.split_once('"').unwrap().0)
        .collect();
    assert_eq!(
        sections,
        [
            "curves",
            "candidates",
            "failures",
            "evaluations",
            "figures",
            "parameters",
            "settings",
            "output"
        ]
    );
    assert_eq!(RunReport::read(&folder).unwrap().state(), RunState::Succeeded);
    assert_eq!(
        RunReport::read(&folder).unwrap().to_html(),
        page,
        "from the folder alone"
    );
    assert!(page.contains("SelectPrompt") || page.contains("select_prompt"));
    assert!(page.contains("best</strong> <bdi>short {x}"), "{page}");
}

#[tokio::test]
async fn nothing_that_a_run_says_gets_out_of_its_place_in_the_page() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    a_failed_run(&folder).await;
    let pages = [fs::read_to_string(folder.join("report.html")).unwrap(), {
        break_off(&folder);
        RunReport::read(&folder).unwrap().to_html()
    }];
    for page in pages {
        for mark in ["<script", "<img", "</title></td>"] {
            assert!(!page.contains(mark), "{mark} in {page}");
        }
        assert!(page.matches("&lt;script&gt;").count() >= 4, "{page}");
        assert!(!page.contains("src=") || page.contains("src=http://127.0.0.1:9/x onerror"));
        assert!(!page.contains('\u{0}'));
    }
}

#[tokio::test]
async fn a_run_that_failed_says_why_and_has_its_figures() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    a_failed_run(&folder).await;
    let report = RunReport::read(&folder).unwrap();
    assert_eq!(report.state(), RunState::Failed);
    let text = report.to_text(100);
    for part in [
        "failed",
        "that is enough",
        "3 evaluations",
        "21 failed: no network",
        "score",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let totals = json_of(&folder, "run.json")["totals"].clone();
    assert!(assert_figures(&figures(&report.to_html()), &totals) >= 4);
    assert_eq!(totals["rollouts"]["failed"], 21);
}

#[tokio::test]
async fn a_run_that_was_killed_shows_what_its_evaluations_came_to() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    a_failed_run(&folder).await;
    break_off(&folder);
    let report = RunReport::read(&folder).unwrap();
    assert_eq!(report.state(), RunState::BrokenOff);
    let page = report.to_html();
    let of = |at: &str| {
        figures(&page)
            .into_iter()
            .find(|(place, _)| place == at)
            .map(|(_, value)| value)
    };
    // Two of three evaluations are whole.
    assert_eq!(of("/rollouts/failed"), Some(14.0), "{page}");
    assert_eq!(of("/rollouts/succeeded"), Some(26.0));
    assert!(page.contains("evaluations.jsonl: 1 lines") && page.contains("goes on from here"));
}

#[test]
fn a_run_that_goes_on_is_told_from_one_that_was_killed() {
    let scratch = Scratch::fast();
    let folder = scratch.path("");
    fs::write(
        folder.join("run.json"),
        "{\"state\": \"running\", \"run_id\": \"run-1\"}",
    )
    .unwrap();
    let state = || RunReport::read(&folder).unwrap().state();
    assert_eq!(state(), RunState::BrokenOff);
    let lock = lightning_core::run::RunFolder::at(&folder).lock().unwrap();
    assert_eq!(state(), RunState::GoingOn);
    drop(lock);
    assert_eq!(state(), RunState::BrokenOff);
}

#[test]
fn runs_of_which_next_to_nothing_is_known_have_a_page_too() {
    let scratch = Scratch::fast();
    let folder = scratch.path("");
    let record = folder.join("run.json");
    fs::write(&record, "{}").unwrap();
    let report = RunReport::read(&folder).unwrap();
    assert!(report.to_html().ends_with("</html>\n"));
    assert!(report.to_text(80).contains("broken off"));
    for name in ["metrics.jsonl", "evaluations.jsonl", "checkpoint.json"] {
        fs::write(folder.join(name), b"\xff\x00{").unwrap();
    }
    let page = RunReport::read(&folder).unwrap().to_html();
    assert_eq!(page.matches("cannot be read: ").count(), 3, "{page}");

    fs::write(&record, "{\"alerts\": 3}").unwrap();
    let error = RunReport::read(&folder).unwrap_err();
    assert!(
        matches!(error, ReportError::NotARecord { .. }) && error.to_string().contains("run.json"),
        "{error}"
    );
    for path in [scratch.path("nowhere"), record] {
        let error = RunReport::read(&path).unwrap_err().to_string();
        assert!(
            error.contains("no run.json") && error.contains("run_dir"),
            "{error}"
        );
    }
}

fn lightning(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightning_under_test"));
    command.args(arguments).stdin(Stdio::null()).env_remove("BROWSER");
    command
}

fn told(output: &Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[tokio::test]
async fn the_program_prints_the_report_and_opens_the_page() {
    let scratch = Scratch::on_disk();
    let folder = scratch.path("run ü");
    a_run(&folder).await;
    let name = folder.to_str().unwrap();
    fs::remove_file(folder.join("report.html")).unwrap();
    let text = told(&lightning(&["report", name]).output().unwrap());
    assert!(
        text.contains("state         succeeded") && text.contains("28 failed"),
        "{text}"
    );
    assert!(
        text.contains("failures      ") && text.contains("report.html"),
        "{text}"
    );
    assert!(!text.contains('\u{0}') && !text.contains('\u{1b}'));
    assert!(folder.join("report.html").exists());

    let elsewhere = scratch.path("page.html");
    let opened = scratch.path("opened");
    let browser = scratch.path("browser");
    fs::write(
        &browser,
        format!("#!/bin/sh\nprintf %s \"$1\" > '{}'\n", opened.display()),
    )
    .unwrap();
    Command::new("chmod")
        .args(["+x", browser.to_str().unwrap()])
        .status()
        .unwrap();
    let mut command = lightning(&["report", name, "--output", elsewhere.to_str().unwrap(), "--open"]);
    told(&command.env("BROWSER", &browser).output().unwrap());
    let page = fs::read_to_string(&opened).unwrap();
    assert_eq!(PathBuf::from(page), elsewhere.canonicalize().unwrap());

    let mut command = lightning(&["report", name, "--open"]);
    let output = command.env("BROWSER", "/nowhere/browser").output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && complaint.contains("BROWSER"),
        "{complaint}"
    );

    let output = lightning(&["report", scratch.path("other").to_str().unwrap()])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && complaint.contains("no run.json"),
        "{complaint}"
    );
}
