//! `lightning serve-model`, from the outside.

use std::{
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use futures::future::join_all;
use lightning_core::{
    chat::{ChatModel as _, ChatRequest, HttpChat, Message},
    types::Llm,
};
use lightning_tests::{scratch::Scratch, tier};
use serde_json::{Value, json};

use crate::admin::{ADMIN, save};

/// The program, and where it listens.
struct Served {
    process: Child,
    url: String,
}

impl Served {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut process = program(folder, arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line.trim().split_once(" listens on ").map(|(_, url)| url);
        let url = url.unwrap_or_else(|| panic!("{line:?}")).to_owned();
        assert!(line.contains("model `small` of "), "{line}");
        Self { process, url }
    }

    fn chat(&self) -> HttpChat {
        let llm = Llm::new(&self.url, "small")
            .with_sampling_parameter("max_tokens", 12)
            .with_sampling_parameter("return_token_ids", true);
        HttpChat::new(llm).unwrap()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn program(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lightning_under_test"));
    command
        .args(["serve-model", "--port", "0", "--name", "small"])
        .args(arguments)
        .arg(folder)
        .env_remove("LIGHTNING_LOG")
        .stdin(Stdio::null());
    command
}

fn asked(text: &str, seed: u64) -> ChatRequest {
    ChatRequest::new([Message::user(text)])
        .temperature(0.9)
        .field("seed", seed)
}

#[tokio::test]
async fn our_chat_client_asks_it_plainly_in_pieces_and_many_at_once() {
    let folder = Scratch::fast();
    save(&folder.path("small"), 3);
    let served = Served::start(&folder.path("small"), &["--model-version", "7"]);
    let chat = served.chat();
    let alone = join_all((0..3).map(|seed| {
        let chat = &chat;
        async move { chat.ask(&asked("hi", seed)).await.unwrap() }
    }));
    let alone = alone.await;
    assert_eq!(alone[0].raw["model_version"], "7");
    assert!(
        alone
            .iter()
            .any(|answer| answer.raw["choices"][0]["token_ids"] != alone[0].raw["choices"][0]["token_ids"])
    );
    let many = join_all((0..40).map(|number| {
        let chat = &chat;
        async move { chat.ask(&asked("hi", number % 3)).await.unwrap() }
    }));
    for (number, answer) in many.await.into_iter().enumerate() {
        let same = &alone[number % 3].raw["choices"][0];
        assert_eq!(
            answer.raw["choices"][0]["token_ids"], same["token_ids"],
            "request {number}"
        );
    }
    let mut stream = chat.stream(&asked("hi", 1)).await.unwrap();
    let mut pieces = String::new();
    while let Some(piece) = stream.next().await.unwrap() {
        pieces.push_str(&piece.text);
    }
    assert_eq!(pieces, alone[1].text);
}

#[test]
fn openais_client_understands_it_and_an_admin_changes_its_model() {
    let Some(python) = tier::python() else { return };
    let folder = Scratch::fast();
    save(&folder.path("small"), 3);
    save(&folder.path("next"), 4);
    let tokens = folder.path("tokens");
    std::fs::write(&tokens, format!("admin {ADMIN} me\n")).unwrap();
    let served = Served::start(
        &folder.path("small"),
        &[
            "--model-version",
            "first",
            "--admin-token-file",
            tokens.to_str().unwrap(),
        ],
    );
    let mut command = python.script("model_server.py");
    let output = command
        .args([&served.url, ADMIN, folder.path("next").to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(said["models"], json!(["small"]));
    assert_eq!(said["versions"], json!(["first", "second"]));
    assert_eq!(said["plain"], said["streamed"], "the same seed, the same words");
    assert_eq!(said["plain"], said["again"]);
    assert_ne!(said["plain"], said["after"], "other weights");
    assert_eq!(said["finish"], "length");
    assert_eq!(said["token_ids"], 6);
    assert_eq!(said["prompt_token_ids"], json!([258, 104, 105, 256, 259]));
    assert_eq!(said["logprobs"], json!([6, 2]));
    assert_eq!(said["usage"], json!([5, 6]));
    assert_eq!(said["text"], said["text_streamed"]);
    assert_eq!(said["refused"], json!([404, "model_not_found"]));
    assert_eq!(said["too_long"], json!([400, "context_length_exceeded"]));
}

#[test]
fn what_it_cannot_serve_it_says() {
    let folder = Scratch::fast();
    save(&folder.path("small"), 3);
    let none = folder.path("none");
    let tokens = none.to_str().unwrap();
    for (path, arguments, needle) in [
        (folder.path("nowhere"), &[][..], "config.json"),
        (folder.path("small"), &["--host", "0.0.0.0"][..], "127.0.0.1"),
        (folder.path("small"), &["--admin-token-file", tokens][..], "none"),
    ] {
        let output = program(&path, arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(needle), "{said}");
    }
}

#[cfg(unix)]
#[test]
fn it_ends_when_it_is_asked_to() {
    let folder = Scratch::fast();
    save(&folder.path("small"), 3);
    for signal in ["-TERM", "-INT"] {
        let mut served = Served::start(&folder.path("small"), &[]);
        let id = served.process.id().to_string();
        assert!(
            Command::new("kill")
                .args([signal, &id])
                .status()
                .unwrap()
                .success()
        );
        assert!(served.process.wait().unwrap().success());
    }
}
