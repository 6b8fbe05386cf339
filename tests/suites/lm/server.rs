//! The model server, spoken to in bytes.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use lightning_core::{
    lm::{Engine, EngineOptions},
    model_server::{ModelServer, ModelServerError},
    server::Tokens,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::counting::{Counting, babbling};

pub(crate) struct Running {
    pub(crate) engine: Arc<Engine>,
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

impl Running {
    pub(crate) async fn start(model: Counting) -> Self {
        Self::with(model, EngineOptions::default(), Tokens::new()).await
    }

    pub(crate) async fn with(model: Counting, options: EngineOptions, admins: Tokens) -> Self {
        Self::over(Arc::new(model), options, admins).await
    }

    pub(crate) async fn over(model: Arc<Counting>, options: EngineOptions, admins: Tokens) -> Self {
        let engine = Engine::start(babbling(0).with_model(model), options).unwrap();
        let engine = Arc::new(engine);
        let server = ModelServer::bind("127.0.0.1:0", Arc::clone(&engine), "small")
            .await
            .unwrap();
        let server = server.admin(admins);
        let (address, stop) = (server.address(), CancellationToken::new());
        let serving = tokio::spawn(server.serve(stop.clone()));
        Self {
            engine,
            address,
            stop,
            serving,
        }
    }

    async fn send(&self, method: &str, path: &str, kind: &str, body: &str) -> TcpStream {
        let headers = format!("Host: localhost\r\nContent-Type: {kind}\r\n");
        self.send_with(method, path, &headers, body).await
    }

    async fn send_with(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    }

    /// Status, head and body.
    async fn raw(&self, method: &str, path: &str, kind: &str, body: &str) -> (u16, String, String) {
        let headers = format!("Host: localhost\r\nContent-Type: {kind}\r\n");
        self.raw_with(method, path, &headers, body).await
    }

    /// The same with these headers.
    pub(crate) async fn raw_with(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, String, String) {
        let mut answer = Vec::new();
        self.send_with(method, path, headers, body)
            .await
            .read_to_end(&mut answer)
            .await
            .unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head[9..12].parse().unwrap();
        let body = if head.contains("chunked") {
            unchunked(body)
        } else {
            body.to_owned()
        };
        (status, head.to_owned(), body)
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> (u16, Value) {
        let (status, _, body) = self
            .raw("POST", path, "application/json", &body.to_string())
            .await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn events(&self, path: &str, body: &Value) -> Vec<Value> {
        let (status, head, body) = self
            .raw("POST", path, "application/json", &body.to_string())
            .await;
        assert_eq!(status, 200, "{body}");
        assert!(head.contains("text/event-stream"), "{head}");
        let events = body.strip_suffix("data: [DONE]\n\n").unwrap();
        let events = events
            .split_terminator("\n\n")
            .map(|event| event.strip_prefix("data: ").unwrap());
        events.map(|event| serde_json::from_str(event).unwrap()).collect()
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.serving.await.unwrap();
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        whole.push_str(&rest[..size]);
        body = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

fn chat(more: Value) -> Value {
    let mut body =
        json!({"model": "small", "temperature": 0, "messages": [{"role": "user", "content": "hi"}]});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

pub(crate) fn text(prompt: &str, more: Value) -> Value {
    let mut body = json!({"model": "small", "temperature": 0, "prompt": prompt});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn texts_are_completed() {
    let server = Running::start(Counting::new()).await;
    let asked = text("ux", json!({"return_token_ids": true, "logprobs": 2, "n": 2}));
    let (status, answer) = server.post("/v1/completions", &asked).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["object"], "text_completion");
    assert_eq!(
        (&answer["model"], &answer["model_version"]),
        (&json!("small"), &json!("v0"))
    );
    assert_eq!(
        answer["usage"],
        json!({"prompt_tokens": 2, "completion_tokens": 6, "total_tokens": 8})
    );
    for (index, choice) in answer["choices"].as_array().unwrap().iter().enumerate() {
        assert_eq!(choice["index"], index);
        assert_eq!(
            (&choice["text"], &choice["finish_reason"]),
            (&json!("yz"), &json!("stop"))
        );
        assert_eq!(choice["prompt_token_ids"], json!([117, 120]));
        assert_eq!(choice["token_ids"], json!([121, 122, 256]));
        assert_eq!(choice["logprobs"]["tokens"], json!(["y", "z", "<|end|>"]));
        assert_eq!(choice["logprobs"]["text_offset"], json!([0, 1, 2]));
        assert_eq!(
            choice["logprobs"]["top_logprobs"][0].as_object().unwrap().len(),
            2
        );
    }
    let tokens = json!({"prompt": [120], "max_tokens": 1, "temperature": 0});
    let (_, answer) = server.post("/v1/completions", &tokens).await;
    assert_eq!(answer["choices"][0]["text"], "y");
    assert_eq!(answer["choices"][0]["finish_reason"], "length");
    assert!(answer["choices"][0].get("token_ids").is_none());
    server.end().await;
}

#[tokio::test]
async fn conversations_are_answered_whole_and_streamed_alike() {
    let server = Running::start(Counting::new()).await;
    // After the token that begins an answer, the counting model goes on to the next token, which is special.
    let wanted = json!({"return_token_ids": true, "logprobs": true, "top_logprobs": 1, "max_tokens": 1});
    let (status, whole) = server.post("/v1/chat/completions", &chat(wanted.clone())).await;
    assert_eq!(status, 200, "{whole}");
    assert_eq!(whole["object"], "chat.completion");
    assert_eq!(whole["prompt_token_ids"], json!([258, 104, 105, 256, 259]));
    let choice = &whole["choices"][0];
    assert_eq!(choice["message"], json!({"role": "assistant", "content": ""}));
    assert_eq!(choice["token_ids"], json!([260]));
    assert_eq!(choice["logprobs"]["content"][0]["token"], "<|tool|>");
    assert_eq!(
        choice["logprobs"]["content"][0]["top_logprobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );

    let mut streamed = chat(wanted);
    streamed["stream"] = json!(true);
    streamed["stream_options"] = json!({"include_usage": true});
    let events = server.events("/v1/chat/completions", &streamed).await;
    assert_eq!(events.len(), 4, "{events:?}");
    assert_eq!(events[0]["choices"][0]["delta"], json!({"role": "assistant"}));
    assert_eq!(events[0]["prompt_token_ids"], whole["prompt_token_ids"]);
    assert_eq!(events[1]["choices"][0]["token_ids"], choice["token_ids"]);
    assert_eq!(events[1]["choices"][0]["logprobs"], choice["logprobs"]);
    assert_eq!(events[2]["choices"][0]["finish_reason"], "length");
    assert_eq!(events[3]["usage"], whole["usage"]);
    assert_eq!(events[3]["choices"], json!([]));
    assert!(
        events
            .iter()
            .all(|event| event["id"] == events[0]["id"] && event["model_version"] == "v0")
    );

    let streamed = text(
        "s",
        json!({"stream": true, "stop": "xy", "n": 2, "return_token_ids": true}),
    );
    let events = server.events("/v1/completions", &streamed).await;
    for index in 0..2 {
        let of_choice = events
            .iter()
            .map(|event| &event["choices"][0])
            .filter(|choice| choice["index"] == index);
        let of_choice: Vec<&Value> = of_choice.collect();
        let text: String = of_choice
            .iter()
            .map(|choice| choice["text"].as_str().unwrap())
            .collect();
        assert_eq!(text, "tuvw");
        assert_eq!(of_choice.last().unwrap()["finish_reason"], "stop");
    }
    server.end().await;
}

#[tokio::test]
async fn the_version_of_the_weights_is_told() {
    let server = Running::start(Counting::new()).await;
    let version = async || server.raw("GET", "/health", "", "").await;
    assert!(version().await.1.contains("lightning-model-version: v0"));
    server.engine.swap(babbling(4));
    let (status, head, body) = version().await;
    assert!(
        status == 200 && head.contains("lightning-model-version: v4") && body.contains("\"v4\""),
        "{head}{body}"
    );
    let (_, models) = (0, server.raw("GET", "/v1/models", "", "").await.2);
    let models: Value = serde_json::from_str(&models).unwrap();
    assert_eq!(
        (&models["data"][0]["id"], &models["data"][0]["max_model_len"]),
        (&json!("small"), &json!(64))
    );
    let asked = chat(json!({"max_tokens": 4, "temperature": 1.5, "seed": 5}));
    let (_, first) = server.post("/v1/chat/completions", &asked).await;
    let (_, again) = server.post("/v1/chat/completions", &asked).await;
    assert_eq!(
        (&first["choices"], &first["model_version"]),
        (&again["choices"], &json!("v4"))
    );
    server.end().await;
}

#[tokio::test]
async fn what_cannot_be_done_is_refused_as_openai_does() {
    let server = Running::start(Counting::new()).await;
    let long = "a".repeat(300);
    for (path, body, status, needle) in [
        ("chat/completions", chat(json!({"messages": []})), 400, "messages"),
        (
            "chat/completions",
            chat(json!({"messages": [{"role": "judge", "content": "x"}]})),
            400,
            "role",
        ),
        (
            "chat/completions",
            chat(json!({"messages": "hi"})),
            400,
            "`messages`",
        ),
        (
            "chat/completions",
            chat(json!({"temperature": -1})),
            400,
            "temperature",
        ),
        (
            "chat/completions",
            chat(json!({"temperature": "hot"})),
            400,
            "temperature",
        ),
        ("chat/completions", chat(json!({"top_p": 1.5})), 400, "top_p"),
        ("chat/completions", chat(json!({"n": 0})), 400, "`n`"),
        ("chat/completions", chat(json!({"stop": ["", "a"]})), 400, "stop"),
        (
            "chat/completions",
            chat(json!({"logprobs": true, "top_logprobs": 21})),
            400,
            "log-probabilities",
        ),
        (
            "chat/completions",
            chat(json!({"model": "large"})),
            404,
            "`small`",
        ),
        ("completions", text(&long, json!({})), 400, "200"),
        ("completions", text("", json!({})), 400, "prompt"),
        ("completions", json!({"prompt": [1, 261]}), 400, "261"),
        ("completions", json!({"prompt": {"a": 1}}), 400, "prompt"),
        ("completions", json!({}), 400, "prompt"),
        ("completions", json!([]), 400, "object"),
        ("completions", text("!", json!({})), 500, "token"),
        ("nothing", json!({}), 404, "address"),
    ] {
        let (code, answer) = server.post(&format!("/v1/{path}"), &body).await;
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(
            code == status && message.contains(needle),
            "{code} {needle}: {message}"
        );
        assert!(answer["error"]["type"].is_string());
    }
    for (method, kind, body, status) in [
        ("POST", "text/plain", "{}", 415),
        ("POST", "application/json", "{", 400),
        ("POST", "application/json", "", 400),
        ("GET", "application/json", "", 405),
    ] {
        let (code, _, answer) = server.raw(method, "/v1/completions", kind, body).await;
        assert!(code == status && answer.contains("\"error\""), "{code} {answer}");
    }
    let open = ModelServer::bind("0.0.0.0:0", Arc::clone(&server.engine), "small").await;
    assert!(matches!(open, Err(ModelServerError::Open { .. })));
    server.end().await;
}

/// One request is answered at a time, so the second has its turn only when the first, which would go on for minutes, is
/// given up.
#[tokio::test]
async fn who_leaves_is_answered_no_further() {
    let mut options = EngineOptions::default();
    options.batch = 1;
    let server = Running::with(Counting::endless(), options, Tokens::new()).await;
    let streamed = text("~", json!({"stream": true})).to_string();
    for body in [streamed, text("~", json!({})).to_string()] {
        let mut leaving = server
            .send("POST", "/v1/completions", "application/json", &body)
            .await;
        if body.contains("stream") {
            let mut part = [0; 2048];
            assert!(leaving.read(&mut part).await.unwrap() > 0);
        }
        drop(leaving);
        let asked = text("x", json!({}));
        let next = server.post("/v1/completions", &asked);
        let (_, answer) = tokio::time::timeout(Duration::from_secs(60), next).await.unwrap();
        assert_eq!(answer["choices"][0]["text"], "yz");
    }
    server.end().await;
}
