//! Another model over HTTP, while the server runs.

use std::{path::Path, sync::Arc};

use lightning_core::{
    lm::{Checkpoint, EngineOptions, ModelConfig, Training},
    server::{Role, Tokens},
};
use lightning_tests::scratch::Scratch;
use serde_json::{Value, json};

use crate::{
    counting::Counting,
    server::{Running, text},
};

pub(crate) const ADMIN: &str = "admin-admin-admin-admin";

fn admins() -> Tokens {
    Tokens::new()
        .with(Role::Admin, "me", ADMIN)
        .with(Role::Runner, "box", "runner-runner-runner")
}

/// A model that says anything, in a folder.
pub(crate) fn save(folder: &Path, seed: u64) {
    let config = ModelConfig::small(261, 16, 1, 2)
        .context(64)
        .initializer_range(0.3);
    let model = Training::from_scratch(config, seed).unwrap().model().unwrap();
    Checkpoint::of_bytes(model).save(folder).unwrap();
}

async fn change(server: &Running, token: &str, body: &Value) -> (u16, Value) {
    let headers =
        format!("Host: 127.0.0.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {token}\r\n");
    let (status, _, body) = server
        .raw_with("POST", "/admin/model", &headers, &body.to_string())
        .await;
    (status, serde_json::from_str(&body).unwrap())
}

#[tokio::test]
async fn an_admin_changes_the_model_between_requests() {
    let folder = Scratch::fast();
    save(&folder.path("one"), 1);
    save(&folder.path("two"), 2);
    let server = Running::with(Counting::new(), EngineOptions::default(), admins()).await;
    let asked = text("hello", json!({"max_tokens": 8, "return_token_ids": true}));
    let mut answers = Vec::new();
    for (name, version, before) in [
        ("one", "step-1", "v0"),
        ("two", "step-2", "step-1"),
        ("one", "3", "step-2"),
    ] {
        let body = json!({"folder": folder.path(name), "model_version": version});
        let (status, said) = change(&server, ADMIN, &body).await;
        assert_eq!(
            (status, said),
            (
                200,
                json!({"model": "small", "model_version": version, "previous_version": before, "max_model_len": 64})
            )
        );
        let (_, answer) = server.post("/v1/completions", &asked).await;
        assert_eq!(answer["model_version"], version);
        answers.push(answer["choices"][0]["token_ids"].clone());
    }
    assert_eq!(answers[0], answers[2], "the same weights");
    assert_ne!(answers[0], answers[1], "other weights");
    server.end().await;
}

#[tokio::test]
async fn an_answer_under_way_is_finished_by_the_weights_it_began_with() {
    let folder = Scratch::fast();
    save(&folder.path("next"), 1);
    let model = Arc::new(Counting::held_up());
    let server = Running::over(Arc::clone(&model), EngineOptions::default(), admins()).await;
    let asked = text("w", json!({}));
    let under_way = server.post("/v1/completions", &asked);
    let swapped = async {
        model.taken_up().await;
        let body = json!({"folder": folder.path("next"), "model_version": "next"});
        assert_eq!(change(&server, ADMIN, &body).await.0, 200);
        assert_eq!(server.engine.served().version, "next");
        model.let_go(10);
    };
    let ((_, answer), ()) = tokio::join!(under_way, swapped);
    assert_eq!(answer["choices"][0]["text"], "xyz");
    assert_eq!(answer["model_version"], "v0");
    server.end().await;
}

#[tokio::test]
async fn nobody_else_changes_it_and_what_is_wrong_changes_nothing() {
    let folder = Scratch::fast();
    save(&folder.path("good"), 1);
    save(&folder.path("bad"), 2);
    std::fs::write(folder.path("bad").join("model.safetensors"), "x").unwrap();
    let server = Running::with(Counting::new(), EngineOptions::default(), admins()).await;
    let good = json!({"folder": folder.path("good"), "model_version": "1"});
    for (token, body, status, needle) in [
        ("", good.clone(), 401, "Bearer"),
        ("wrong", good.clone(), 401, "Bearer"),
        ("runner-runner-runner", good.clone(), 403, "role"),
        (
            ADMIN,
            json!({"folder": folder.path("bad"), "model_version": "1"}),
            400,
            "model.safetensors",
        ),
        (
            ADMIN,
            json!({"folder": folder.path("none"), "model_version": "1"}),
            400,
            "config.json",
        ),
        (
            ADMIN,
            json!({"folder": folder.path("good")}),
            400,
            "model_version",
        ),
        (
            ADMIN,
            json!({"folder": folder.path("good"), "model_version": "1", "x": 1}),
            400,
            "x",
        ),
        (
            ADMIN,
            json!({"folder": folder.path("good"), "model_version": ""}),
            400,
            "model_version",
        ),
        (
            ADMIN,
            json!({"folder": folder.path("good"), "model_version": "a\nb: c"}),
            400,
            "model_version",
        ),
        (
            ADMIN,
            json!({"folder": folder.path("good"), "model_version": "é"}),
            400,
            "model_version",
        ),
        (ADMIN, json!([]), 400, "folder"),
    ] {
        let (code, said) = change(&server, token, &body).await;
        let message = said["error"]["message"].as_str().unwrap();
        assert!(
            code == status && message.contains(needle),
            "{code} {needle}: {message}"
        );
    }
    assert_eq!(server.engine.served().version, "v0");
    server.end().await;

    let closed = Running::start(Counting::new()).await;
    let (code, said) = change(&closed, ADMIN, &good).await;
    let message = said["error"]["message"].as_str().unwrap();
    assert!(code == 403 && message.contains("--admin-token-file"), "{message}");
    closed.end().await;
}

#[tokio::test]
async fn web_pages_are_kept_out() {
    let server = Running::start(Counting::new()).await;
    let body = text("x", json!({})).to_string();
    for (headers, status) in [
        ("Host: localhost:8000\r\n", 200),
        ("Host: 127.0.0.1\r\n", 200),
        ("Host: [::1]:1\r\n", 200),
        ("Host: evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: https://evil.example\r\n", 403),
        ("Host: localhost\r\nOrigin: null\r\n", 403),
    ] {
        let headers = format!("{headers}Content-Type: application/json\r\n");
        for path in ["/v1/completions", "/admin/model"] {
            let (code, _, said) = server.raw_with("POST", path, &headers, &body).await;
            let expected = if path == "/v1/completions" { status } else { 403 };
            assert_eq!(code, expected, "{headers}: {said}");
        }
    }
    server.end().await;
}
