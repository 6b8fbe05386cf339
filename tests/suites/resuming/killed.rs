//! A prompt search that is killed with SIGKILL at random moments ends as one that nobody disturbs.
//!
//! `LIGHTNING_RESUME_SEED` repeats the moments of an earlier test as far as the machine lets it, and `LIGHTNING_RESUME_KILLS`
//! sets how often each is killed (APO 20 times, the others 5 times, unless told).

use std::{
    collections::HashMap,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use lightning_core::{
    store::{SqliteStore, Store as _, sqlite},
    types::{AttemptQuery, AttemptStatus, RolloutQuery, RolloutStatus},
};
use lightning_tests::scratch::Scratch;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{json_of, metrics_of};

/// The seed of the search itself.
const SEED: u64 = 3;

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} has to be a number")),
    )
}

fn search(folder: &Path, n_runners: usize, algorithm: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resumable"));
    command
        .arg(folder)
        .arg(SEED.to_string())
        .arg(n_runners.to_string())
        .arg(algorithm)
        .stdout(Stdio::null());
    command
}

fn run(folder: &Path, n_runners: usize, algorithm: &str) {
    let output = search(folder, n_runners, algorithm).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// What has to be the same, however often the run was killed.
#[derive(Debug, PartialEq)]
struct Trajectory {
    output: Value,
    rollouts: Value,
    model_usage: Value,
    metrics: String,
    /// How many answers of models were kept.
    steps: usize,
    /// How many evaluations there were.
    evaluations: usize,
}

fn trajectory(folder: &Path) -> Trajectory {
    let report = json_of(folder, "report.json");
    let steps = steps(folder);
    Trajectory {
        output: report["output"].clone(),
        rollouts: json!([report["rollouts"]["succeeded"], report["rollouts"]["failed"]]),
        // What attempts have called that were broken off has been called, and counts.
        model_usage: report["model_usage"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|used| used["role"] != "agent")
            .cloned()
            .collect(),
        metrics: metrics_of(folder),
        steps: steps.len(),
        evaluations: evaluations(folder),
    }
}

/// The ids of the answers that were kept, by step. Errors if one was asked for although it was kept.
fn steps(folder: &Path) -> HashMap<String, String> {
    let mut steps = HashMap::new();
    let text = fs::read(folder.join("steps.jsonl")).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let line: Value = serde_json::from_str(line).unwrap();
        let id = line["value"]["raw"]["id"].as_str().unwrap().to_owned();
        let again = steps.insert(line["step"].as_str().unwrap().to_owned(), id);
        assert_eq!(again, None, "asked twice: {}", line["step"]);
    }
    steps
}

/// Counts what was evaluated. Errors if something was evaluated twice, or is left over.
fn evaluations(folder: &Path) -> usize {
    let path = folder.join("store.db");
    assert_eq!(sqlite::check(&path).unwrap(), Vec::<String>::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let store = SqliteStore::open(&path).unwrap();
    runtime.block_on(async {
        let mut evaluated = HashMap::new();
        let run_id = json_of(folder, "run.json")["run_id"].clone();
        for rollout in store.query_rollouts(RolloutQuery::default()).await.unwrap().items {
            let notes = rollout.metadata.clone().unwrap();
            assert_eq!(notes["run_id"], run_id);
            let before = evaluated.insert(notes["evaluation"].to_string(), rollout.rollout_id.clone());
            assert_eq!(before, None, "enqueued twice: {}", notes["evaluation"]);
            assert_eq!(rollout.status, RolloutStatus::Succeeded, "left over: {rollout:?}");
            let attempts = store.query_attempts(&rollout.rollout_id, AttemptQuery::default());
            let attempts = attempts.await.unwrap().items;
            let succeeded = attempts
                .iter()
                .filter(|attempt| attempt.status == AttemptStatus::Succeeded)
                .count();
            assert_eq!(succeeded, 1, "executed twice: {attempts:?}");
            for attempt in attempts {
                let is_over = attempt.status == AttemptStatus::Succeeded || attempt.was_interrupted();
                assert!(is_over, "{attempt:?}");
            }
        }
        evaluated.len()
    })
}

#[test]
fn a_search_that_is_killed_ends_as_one_that_nobody_disturbs() {
    let expected = killed_ends_as_undisturbed("apo", 20);
    assert!(expected.evaluations > 50 && expected.steps > 10, "{expected:?}");
}

#[test]
fn the_other_searches_that_are_killed_end_as_those_that_nobody_disturbs() {
    for (algorithm, steps) in [("few_shot", 0), ("random_search", 8), ("select_prompt", 0)] {
        let expected = killed_ends_as_undisturbed(algorithm, 5);
        assert!(
            expected.evaluations > 40 && expected.steps == steps,
            "{algorithm}: {expected:?}"
        );
    }
}

/// Kills a search so often, unless the environment says how often, and compares each folder that comes to its end with what an
/// undisturbed search leaves, which it gives.
fn killed_ends_as_undisturbed(algorithm: &str, kills: u64) -> Trajectory {
    let kills = setting("LIGHTNING_RESUME_KILLS").unwrap_or(kills);
    let seed = setting("LIGHTNING_RESUME_SEED").unwrap_or_else(|| rand::rng().random());
    println!("{algorithm}: LIGHTNING_RESUME_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);

    let scratch = Scratch::on_disk();
    let undisturbed = scratch.path("undisturbed");
    let began = Instant::now();
    run(&undisturbed, 4, algorithm);
    let took = began.elapsed();
    let expected = trajectory(&undisturbed);

    let (mut killed, mut lives) = (0, 0);
    for folder in 0.. {
        let folder = scratch.path(&format!("killed-{folder}"));
        loop {
            lives += 1;
            let mut child = search(&folder, random.random_range(1..=8), algorithm)
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            // From before it has begun to past a good part of it.
            let lifetime = Duration::from_millis(random.random_range(0..took.as_millis() as u64 / 2));
            std::thread::park_timeout(lifetime);
            if killed < kills && child.try_wait().unwrap().is_none() {
                let kept = steps(&folder);
                child.kill().unwrap();
                assert!(!child.wait().unwrap().success());
                killed += 1;
                let now = steps(&folder);
                for (step, id) in kept {
                    assert_eq!(now.get(&step), Some(&id), "{step} was asked for again");
                }
                continue;
            }
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "after {killed} kills: {said}");
            break;
        }
        assert_eq!(
            trajectory(&folder),
            expected,
            "after {killed} kills in {}",
            folder.display()
        );
        if killed == kills {
            break;
        }
    }
    println!("{algorithm}: {killed} kills in {lives} lives; undisturbed it takes {took:?}");
    expected
}

#[test]
fn the_number_of_runners_does_not_show_in_the_results() {
    let scratch = Scratch::on_disk();
    let (one, eight) = (scratch.path("one"), scratch.path("eight"));
    run(&one, 1, "apo");
    run(&eight, 8, "apo");
    assert_eq!(trajectory(&one), trajectory(&eight));
    assert!(metrics_of(&one).lines().count() > 2);
}

#[test]
fn a_folder_that_another_process_uses_is_refused() {
    let scratch = Scratch::on_disk();
    let folder = scratch.path("shared");
    run(&folder, 2, "apo");
    let lock = lightning_core::run::RunFolder::at(&folder).lock().unwrap();
    let output = search(&folder, 2, "apo").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(
        said.contains("is used by another run") && said.contains("shared"),
        "{said}"
    );
    drop(lock);
}
