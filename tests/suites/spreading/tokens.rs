//! A store of `fit` that asks for tokens, and who gets to see them.

use std::path::Path;

use lightning_tests::scratch::Scratch;
use serde_json::json;

use crate::program::{SIGINT, start, start_logged};

const RUNNER: &str = "the-token-of-the-runners";
const ADMIN: &str = "the-token-of-the-administrator";

fn assert_hides(place: &str, bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    for token in [RUNNER, ADMIN, "stolen-from-somebody"] {
        assert!(!text.contains(token), "{place} shows {token}: {text}");
    }
}

/// Every file below.
fn assert_folder_hides(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            assert_folder_hides(&path);
        } else {
            assert_hides(&path.display().to_string(), &std::fs::read(&path).unwrap());
        }
    }
}

#[test]
fn runners_show_their_token_and_nobody_else_sees_it() {
    let scratch = Scratch::fast();
    std::fs::write(scratch.path("tokens"), format!("{RUNNER}\n{ADMIN}\n")).unwrap();
    let log = scratch.path("log");
    let settings = json!({
        "tasks": 4, "takes": null, "then": "wait", "tokens": scratch.path("tokens"), "run_dir": scratch.path("run"),
    });
    let mut program = start_logged(&settings, &log);
    let mut processes: Vec<u32> = (0..4).map(|_| program.until_begun().2).collect();
    processes.push(program.id());
    // What `ps` shows, and what those inherit that agents start.
    for process in processes {
        for file in ["cmdline", "environ"] {
            let path = format!("/proc/{process}/{file}");
            assert_hides(&path, &std::fs::read(&path).unwrap());
        }
    }
    program.send(SIGINT);
    let ended = program.end();
    assert!(ended.status.success(), "{:#?}", ended.said);
    ended.nothing_is_left();
    let logged = std::fs::read(&log).unwrap();
    assert!(!logged.is_empty(), "everything was logged");
    assert_hides("the log", &logged);
    assert_hides("the output", ended.said.join("\n").as_bytes());
    assert_folder_hides(&scratch.path("run"));
}

#[test]
fn runners_with_a_wrong_token_are_not_started() {
    let scratch = Scratch::fast();
    std::fs::write(scratch.path("tokens"), format!("{RUNNER}\n{ADMIN}\n")).unwrap();
    for wrong in ["stolen-from-somebody", ""] {
        let ended = start(&json!({"tokens": scratch.path("tokens"), "shows": wrong})).end();
        let error = ended.line("error: ");
        assert!(error.contains("runner_token"), "{error}");
        assert!(
            !ended.said.iter().any(|line| line.starts_with("role runner")),
            "{:#?}",
            ended.said
        );
        assert_hides("the error", ended.said.join("\n").as_bytes());
        ended.nothing_is_left();
    }
}

/// Somebody with another token comes by himself.
#[test]
fn a_runner_that_is_not_let_in_says_so_without_its_token() {
    let scratch = Scratch::fast();
    std::fs::write(scratch.path("tokens"), format!("{RUNNER}\n{ADMIN}\n")).unwrap();
    let settings = json!({
        "role": "algorithm", "port": 0, "tasks": 1, "then": "wait", "tokens": scratch.path("tokens"),
    });
    let mut program = start_logged(&settings, &scratch.path("log"));
    let url = format!(
        "http://x:stolen-from-somebody@127.0.0.1:{}",
        program.until("serves ")
    );
    program.until("enqueued");
    // The address is shown by `ps`, for it is what was typed; what the program says is not to hold it.
    let mut only = start_logged(
        &json!({"role": "only", "url": url, "patience": 500}),
        &scratch.path("other-log"),
    );
    let error = only.until("error: ");
    assert!(error.contains("token"), "{error}");
    let ended = only.end();
    assert!(!ended.status.success());
    assert_hides("the error", ended.said.join("\n").as_bytes());
    assert_hides("the log", &std::fs::read(scratch.path("other-log")).unwrap());
    program.send(SIGINT);
    program.end();
    assert_hides("the store's log", &std::fs::read(scratch.path("log")).unwrap());
}
