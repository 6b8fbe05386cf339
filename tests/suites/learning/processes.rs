//! Processes that train.

use std::{
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::Duration,
};

use lightning_core::{
    lm::{Sample, TrainOptions},
    train_process::{TrainError, TrainJob, TrainProgram, carry_out, digest_of_weights},
};
use lightning_tests::{learning::ignorant_model, scratch::Scratch};

use super::trains;

const LONG: Duration = Duration::from_secs(120);

/// A training on a few samples.
fn job(scratch: &Scratch, epochs: u64) -> TrainJob {
    let (model, samples) = (scratch.path("model"), scratch.path("samples.jsonl"));
    ignorant_model(&model);
    let rows: Vec<String> = (0..8)
        .map(|token| serde_json::to_string(&Sample::new(&[token], &[65, 256])).unwrap() + "\n")
        .collect();
    std::fs::write(&samples, rows.concat()).unwrap();
    let mut options = TrainOptions::default();
    options.epochs = epochs;
    TrainJob {
        model,
        samples,
        into: scratch.path("trained"),
        options,
    }
}

fn shell(script: &str) -> TrainProgram {
    TrainProgram::command("sh", ["-c", script])
}

#[tokio::test]
async fn a_process_trains_as_this_one_would_and_tells_each_step() {
    let scratch = Scratch::fast();
    let job = job(&scratch, 5);
    let mut steps = Vec::new();
    let trained = trains()
        .train(&job, LONG, |step| steps.push(step.step))
        .await
        .unwrap();
    assert_eq!(steps, (0..trained.steps).collect::<Vec<_>>());
    assert_eq!(trained.sha256, digest_of_weights(&job.into).unwrap());
    assert_ne!(trained.sha256, digest_of_weights(&job.model).unwrap());
    assert!(trained.loss < 6.0 && trained.tokens == 5 * 8 * 3, "{trained:?}");

    let here = TrainJob {
        into: scratch.path("here"),
        ..job
    };
    let same = carry_out(&here, |_| true).unwrap();
    assert_eq!((same.sha256, same.loss), (trained.sha256, trained.loss));
}

#[tokio::test]
async fn a_training_that_takes_too_long_is_killed() {
    let scratch = Scratch::fast();
    let job = job(&scratch, 1);
    let limit = Duration::from_millis(200);
    let error = shell("exec sleep 1000")
        .train(&job, limit, |_| ())
        .await
        .unwrap_err();
    assert!(
        matches!(error, TrainError::TimeLimit { step: None, .. }),
        "{error}"
    );
    assert!(error.to_string().contains("0.2 s"), "{error}");
    assert!(!job.into.exists());
}

#[tokio::test]
async fn what_a_process_died_of_is_told() {
    let scratch = Scratch::fast();
    let job = job(&scratch, 1);
    let fails = async |script: &str| {
        shell(script)
            .train(&job, LONG, |_| ())
            .await
            .unwrap_err()
            .to_string()
    };
    let said = fails("head -c 100000 /dev/zero >&2; echo; echo no room >&2; exit 3").await;
    assert!(
        said.contains("exit status: 3") && said.ends_with("no room"),
        "{said}"
    );
    assert!(said.len() < 6000, "{}", said.len());
    let said = fails("kill -9 $$").await;
    assert!(said.contains("signal: 9"), "{said}");
    let said = fails("echo hello; exit 0").await;
    assert!(said.contains("without a result"), "{said}");
    let said = fails("echo '{\"failed\": \"the moon\"}'").await;
    assert!(said.contains("the training failed: the moon"), "{said}");
    let missing = TrainProgram::command(PathBuf::from("/no/such/program"), [""; 0]);
    let said = missing.train(&job, LONG, |_| ()).await.unwrap_err().to_string();
    assert!(said.contains("cannot start `/no/such/program`"), "{said}");
}

#[tokio::test]
async fn a_training_that_cannot_be_done_says_why() {
    let scratch = Scratch::fast();
    let mut job = job(&scratch, 1);
    job.options.row_tokens = 2;
    let error = trains().train(&job, LONG, |_| ()).await.unwrap_err();
    assert!(matches!(error, TrainError::Failed { .. }), "{error}");
    assert!(
        error.to_string().contains("3 tokens are more than the 2"),
        "{error}"
    );
    std::fs::write(&job.samples, "{\"tokens\":[1],\"weights\":[0]}\nnonsense\n").unwrap();
    let said = trains().train(&job, LONG, |_| ()).await.unwrap_err().to_string();
    assert!(said.contains("line 2"), "{said}");
    std::fs::remove_file(&job.samples).unwrap();
    let said = trains().train(&job, LONG, |_| ()).await.unwrap_err().to_string();
    assert!(said.contains("samples.jsonl"), "{said}");
}

#[tokio::test]
async fn a_program_that_does_not_look_is_not_started_again() {
    let scratch = Scratch::fast();
    let error = TrainProgram::this()
        .train(&job(&scratch, 1), LONG, |_| ())
        .await
        .unwrap_err();
    assert!(matches!(error, TrainError::NotPrepared), "{error}");
}

#[test]
fn a_process_that_trains_ends_with_whoever_started_it() {
    let scratch = Scratch::fast();
    let job = job(&scratch, 1_000_000);
    let mut child = Command::new(env!("CARGO_BIN_EXE_learning"))
        .env("LIGHTNING_TRAIN_PROCESS", serde_json::to_string(&job).unwrap())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(70));
    assert!(!job.into.exists());
}

#[test]
fn a_job_that_is_none_is_refused() {
    let output = Command::new(env!("CARGO_BIN_EXE_learning"))
        .env("LIGHTNING_TRAIN_PROCESS", "{}")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = output.unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.contains("it is not for people to set"), "{line}");
    assert!(!child.wait().unwrap().success());
}
