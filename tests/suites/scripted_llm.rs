//! The scripted LLM server: what it answers, how it fails, what it remembers, and that nothing of it is left.
//!
//! The client speaks plain HTTP over a socket, so that it sees each byte and each end of a connection.

use std::{collections::BTreeMap, time::Duration};

use lightning_core::testing::llm::{
    Fault, ReceivedRequest, Reply, Responder, Script, ScriptedLlm, ScriptedLlmError, When,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// What came back over the socket until its end.
#[derive(Debug, Default)]
struct Received {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
    /// Whether the body is all that its framing promised.
    is_complete: bool,
}

impl Received {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap().to_owned()
    }

    /// The data of a stream's events; the last has to be `[DONE]`.
    fn events(&self) -> Vec<Value> {
        let mut events: Vec<&str> = self.body.split_terminator("\n\n").collect();
        assert_eq!(events.pop(), Some("data: [DONE]"), "{self:?}");
        events
            .iter()
            .map(|event| serde_json::from_str(event.strip_prefix("data: ").unwrap()).unwrap())
            .collect()
    }
}

fn start(responder: impl Responder) -> ScriptedLlm {
    ScriptedLlm::start(responder).unwrap()
}

async fn connect(server: &ScriptedLlm) -> TcpStream {
    let url = server.base_url();
    let address = url.strip_prefix("http://").unwrap().strip_suffix("/v1").unwrap();
    TcpStream::connect(address).await.unwrap()
}

async fn send(server: &ScriptedLlm, head: &str, body: &str) -> TcpStream {
    let mut socket = connect(server).await;
    let length = body.len();
    let request = format!(
        "{head} HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer hush\r\nConnection: close\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    socket.write_all(request.as_bytes()).await.unwrap();
    socket
}

/// Everything until the other side closes the connection.
async fn read(mut socket: TcpStream) -> Received {
    let mut bytes = Vec::new();
    // A connection that is reset ends as well.
    let _ = socket.read_to_end(&mut bytes).await;
    parse(&String::from_utf8(bytes).unwrap())
}

fn parse(text: &str) -> Received {
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        assert_eq!(text, "", "half a head");
        return Received::default();
    };
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: BTreeMap<String, String> = lines
        .map(|line| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        })
        .collect();
    let (body, is_complete) = match headers.get("content-length") {
        Some(length) => (body.to_owned(), body.len() == length.parse::<usize>().unwrap()),
        None => unchunked(body),
    };
    Received {
        status,
        headers,
        body,
        is_complete,
    }
}

/// The content of a chunked body, and whether it is complete.
fn unchunked(mut rest: &str) -> (String, bool) {
    let mut body = String::new();
    loop {
        let Some((length, after)) = rest.split_once("\r\n") else {
            return (body, false);
        };
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return (body, true);
        }
        body.push_str(&after[..length]);
        rest = after[length..].strip_prefix("\r\n").unwrap();
    }
}

fn request(text: &str) -> Value {
    json!({"model": "small", "messages": [{"role": "user", "content": text}]})
}

fn streaming(text: &str) -> Value {
    json!({"model": "small", "stream": true, "messages": [{"role": "user", "content": text}]})
}

/// Fails instead of waiting forever.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), future)
        .await
        .expect("should not have to wait this long")
}

async fn post(server: &ScriptedLlm, body: &Value) -> Received {
    let socket = send(server, "POST /v1/chat/completions", &body.to_string()).await;
    soon(read(socket)).await
}

// ---- answers

#[tokio::test]
async fn a_plain_answer_has_the_shape_of_the_api() {
    let reply = Reply::text("It is four.")
        .prompt_token_ids([1, 2])
        .token_ids([3, 4, 5])
        .logprobs([("It is", -0.5), (" four.", -0.25)]);
    let server = start(Script::new().otherwise(reply));
    let received = post(&server, &request("2 + 2?")).await;
    assert_eq!(received.status, 200);
    assert_eq!(received.headers["content-type"], "application/json");
    assert_eq!(
        received.json(),
        json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "small",
            "prompt_token_ids": [1, 2],
            "choices": [{
                "index": 0,
                "message": {"role": "assistant", "content": "It is four."},
                "finish_reason": "stop",
                "token_ids": [3, 4, 5],
                "logprobs": {"content": [
                    {"token": "It is", "logprob": -0.5, "bytes": [73, 116, 32, 105, 115], "top_logprobs": []},
                    {"token": " four.", "logprob": -0.25, "bytes": [32, 102, 111, 117, 114, 46], "top_logprobs": []},
                ]},
            }],
            "usage": {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5},
        })
    );
}

#[tokio::test]
async fn where_the_script_gives_no_usage_words_are_counted() {
    let server = start(
        Script::new()
            .rule(When::any().call(2), Reply::text("four").usage(70, 7))
            .otherwise(Reply::text("It is four.")),
    );
    let usage = |received: Received| received.json()["usage"].clone();
    assert_eq!(
        usage(post(&server, &request("How much is it?")).await),
        json!({"prompt_tokens": 4, "completion_tokens": 3, "total_tokens": 7})
    );
    assert_eq!(
        usage(post(&server, &request("How much is it?")).await),
        json!({"prompt_tokens": 70, "completion_tokens": 7, "total_tokens": 77})
    );
}

#[tokio::test]
async fn tools_are_asked_for_with_their_arguments_as_text() {
    let reply = Reply::tool_call("weather", json!({"city": "Oslo"})).and_tool_call("stop", "now");
    let server = start(Script::new().otherwise(reply));
    let plain = post(&server, &request("weather?")).await.json();
    let expected = json!([
        {"id": "call_0", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Oslo\"}"}},
        {"id": "call_1", "type": "function", "function": {"name": "stop", "arguments": "now"}},
    ]);
    assert_eq!(plain["choices"][0]["message"]["tool_calls"], expected);
    assert_eq!(plain["choices"][0]["message"]["content"], Value::Null);
    assert_eq!(plain["choices"][0]["finish_reason"], "tool_calls");

    let events = post(&server, &streaming("weather?")).await.events();
    let mut calls: Vec<Value> = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["tool_calls"].as_array())
        .flatten()
        .cloned()
        .collect();
    for (index, call) in calls.iter_mut().enumerate() {
        assert_eq!(call.as_object_mut().unwrap().remove("index"), Some(json!(index)));
    }
    assert_eq!(Value::Array(calls), expected);
}

#[tokio::test]
async fn a_stream_carries_the_same_as_a_plain_answer() {
    let reply = Reply::text("one two three")
        .prompt_token_ids([1, 2])
        .token_ids([3, 4, 5, 6]);
    let server = start(Script::new().otherwise(reply));
    let received = post(&server, &streaming("count")).await;
    assert_eq!(received.headers["content-type"], "text/event-stream");
    let events = received.events();
    let text: String = events
        .iter()
        .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
        .collect();
    assert_eq!(text, "one two three");
    let ids: Vec<&Value> = events
        .iter()
        .filter_map(|event| event["choices"][0]["token_ids"].as_array())
        .flatten()
        .collect();
    assert_eq!(ids, [3, 4, 5, 6]);
    assert_eq!(events[0]["prompt_token_ids"], json!([1, 2]));
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let reasons: Vec<&Value> = events
        .iter()
        .map(|event| &event["choices"][0]["finish_reason"])
        .collect();
    assert_eq!(reasons.last(), Some(&&json!("stop")));
    assert!(reasons[..reasons.len() - 1].iter().all(|reason| reason.is_null()));
    assert!(
        events
            .iter()
            .all(|event| event["object"] == "chat.completion.chunk")
    );
    assert!(
        events.iter().all(|event| event["usage"].is_null()),
        "nobody asked for it"
    );

    let mut asking = streaming("count");
    asking["stream_options"] = json!({"include_usage": true});
    let events = post(&server, &asking).await.events();
    let last = events.last().unwrap();
    assert_eq!(last["choices"], json!([]));
    assert_eq!(last["usage"]["total_tokens"], 6);
}

#[tokio::test]
async fn a_stream_of_tokens_has_one_event_for_each_log_probability() {
    let reply = Reply::text("unused").logprobs([("Fo", -0.5), ("ur", -1.0)]);
    let server = start(Script::new().otherwise(reply));
    let events = post(&server, &streaming("?")).await.events();
    let tokens: Vec<(&str, f64)> = events
        .iter()
        .filter_map(|event| {
            let choice = &event["choices"][0];
            let token = &choice["logprobs"]["content"][0];
            Some((choice["delta"]["content"].as_str()?, token["logprob"].as_f64()?))
        })
        .collect();
    assert_eq!(tokens, [("Fo", -0.5), ("ur", -1.0)]);
}

#[tokio::test]
async fn the_models_of_the_script_are_listed() {
    async fn listed(server: &ScriptedLlm) -> Vec<Value> {
        let received = soon(read(send(server, "GET /v1/models", "").await)).await.json();
        assert_eq!(received["object"], "list");
        let models = received["data"].as_array().unwrap();
        models.iter().map(|model| model["id"].clone()).collect()
    }
    let named = start(Script::new().model("small").model("large"));
    assert_eq!(listed(&named).await, ["small", "large"]);
    assert_eq!(listed(&start(Script::new())).await, ["scripted"]);
    assert_eq!(
        listed(&start(|_: &ReceivedRequest| Reply::text(""))).await,
        ["scripted"]
    );
}

// ---- scripts

async fn text_of(server: &ScriptedLlm, body: &Value) -> String {
    let answer = post(server, body).await.json();
    answer["choices"][0]["message"]["content"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[tokio::test]
async fn the_first_rule_that_fits_gives_the_reply() {
    let script = Script::from_json(
        r#"{
            "models": ["small"],
            "rules": [
                {"when": {"model": "large", "contains": "weather"}, "reply": {"text": "large and weather"}},
                {"when": {"contains": "weather"}, "reply": {"text": "weather"}},
                {"when": {"matches": "^\\d+ \\+"}, "reply": {"text": "sum"}},
                {"when": {"call": 4}, "reply": {"text": "fourth"}}
            ],
            "default": {"text": "default"}
        }"#,
    )
    .unwrap();
    let server = start(script);
    let mut large = request("weather?");
    large["model"] = json!("large");
    assert_eq!(text_of(&server, &large).await, "large and weather");
    assert_eq!(text_of(&server, &request("weather?")).await, "weather");
    assert_eq!(text_of(&server, &request("2 + 2")).await, "sum");
    assert_eq!(text_of(&server, &request("is 2 + 2 a sum?")).await, "fourth");
    assert_eq!(text_of(&server, &request("is 2 + 2 a sum?")).await, "default");
    let parts = json!({"model": "small", "messages": [
        {"role": "user", "content": "weather"},
        {"role": "user", "content": [{"type": "text", "text": "2 + "}, {"type": "text", "text": "2"}]},
    ]});
    assert_eq!(
        text_of(&server, &parts).await,
        "sum",
        "the last message counts, its parts together"
    );
}

#[tokio::test]
async fn a_request_that_no_rule_fits_is_told_so() {
    let server = start(Script::new().rule(When::any().model("large"), Reply::text("hello")));
    let received = post(&server, &request("hi")).await;
    assert_eq!(received.status, 400);
    assert_eq!(
        received.message(),
        "no rule of the script fits call 1, model `small`, last message \"hi\": add a rule or a default"
    );
}

#[tokio::test]
async fn a_closure_answers_what_it_is_asked() {
    let server = start(|request: &ReceivedRequest| Reply::text(request.last_message().to_uppercase()));
    assert_eq!(text_of(&server, &request("loud")).await, "LOUD");
}

#[tokio::test]
async fn a_closure_that_panics_is_an_error_of_the_server_and_no_more() {
    let server = start(|request: &ReceivedRequest| {
        assert_ne!(request.last_message(), "bad");
        Reply::text("good")
    });
    let received = post(&server, &request("bad")).await;
    assert_eq!(
        (received.status, received.message().contains("panicked")),
        (500, true)
    );
    assert_eq!(text_of(&server, &request("good")).await, "good");
}

#[test]
fn a_script_that_is_wrong_says_where() {
    for (json, expected) in [
        (
            r#"{"rules": [{"reply": {"txt": "4"}}]}"#,
            "the script of the LLM server, at `rules[0].reply.txt`: unknown field `txt`",
        ),
        (
            r#"{"rules": [{"when": {"matches": "("}, "reply": {}}]}"#,
            "at `rules[0].when.matches`: regex parse error",
        ),
        (
            r#"{"rules": [{"when": {}}]}"#,
            "at `rules[0]`: missing field `reply`",
        ),
        (
            r#"{"default": {"fault": "explode"}}"#,
            "unknown variant `explode`",
        ),
        ("{} {}", "trailing characters"),
    ] {
        let error = Script::from_json(json).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = When::any().matches("(").unwrap_err();
    assert!(matches!(error, ScriptedLlmError::Script { .. }), "{error}");
    let error = Script::from_file("no/such/script.json").unwrap_err();
    assert_eq!(error.to_string(), "the script no/such/script.json cannot be read");
}

// ---- faults

async fn plain_with(fault: Fault) -> Received {
    let server = start(Script::new().otherwise(Reply::text("one two three four").with_fault(fault)));
    post(&server, &request("?")).await
}

async fn streamed_with(fault: Fault) -> Received {
    let server = start(Script::new().otherwise(Reply::text("one two three four").with_fault(fault)));
    post(&server, &streaming("?")).await
}

#[tokio::test]
async fn a_status_comes_with_an_error_of_its_kind() {
    for (code, status, kind) in [
        (503, 503, "server_error"),
        (401, 401, "invalid_request_error"),
        (7, 500, "server_error"),
    ] {
        let received = plain_with(Fault::Status(code)).await;
        assert_eq!(received.status, status);
        assert_eq!(received.json()["error"]["type"], kind);
        assert_eq!(streamed_with(Fault::Status(code)).await.status, status);
    }
}

#[tokio::test]
async fn a_rate_limit_says_when_to_come_back() {
    let received = plain_with(Fault::RateLimit {
        retry_after_seconds: 7,
    })
    .await;
    assert_eq!(received.status, 429);
    assert_eq!(received.headers["retry-after"], "7");
    assert_eq!(received.json()["error"]["type"], "rate_limit_error");
}

#[tokio::test]
async fn connections_are_cut_where_the_script_says() {
    for streams in [false, true] {
        let with = async |fault| {
            if streams {
                streamed_with(fault).await
            } else {
                plain_with(fault).await
            }
        };
        let before = with(Fault::CutBeforeHeaders).await;
        assert_eq!((before.status, before.headers.len()), (0, 0), "{before:?}");

        let after = with(Fault::CutAfterHeaders).await;
        assert_eq!(
            (after.status, after.body.as_str(), after.is_complete),
            (200, "", false),
            "{after:?}"
        );

        let middle = with(Fault::CutMidBody).await;
        assert_eq!((middle.status, middle.is_complete), (200, false), "{middle:?}");
        let whole = with(Fault::SlowBytes {
            bytes: 1000,
            pause_ms: 0,
        })
        .await;
        assert!(
            whole.is_complete && whole.body.starts_with(&middle.body),
            "{middle:?}"
        );
        assert!(middle.body.len() > whole.body.len() / 3 && middle.body.len() < whole.body.len());
    }
}

#[tokio::test]
async fn an_answer_that_hangs_keeps_the_connection_until_the_server_goes() {
    for (fault, status) in [(Fault::Hang, 0), (Fault::HangMidBody, 200)] {
        let server = start(Script::new().otherwise(Reply::text("one two").with_fault(fault)));
        let mut socket = send(&server, "POST /v1/chat/completions", &streaming("?").to_string()).await;
        soon(server.received(1)).await;
        let mut begun = Vec::new();
        while status == 200 && !String::from_utf8_lossy(&begun).contains("assistant") {
            soon(socket.read_buf(&mut begun)).await.unwrap();
        }
        drop(server);
        let _ = soon(socket.read_to_end(&mut begun)).await;
        let received = parse(&String::from_utf8(begun).unwrap());
        assert_eq!((received.status, received.is_complete), (status, false));
    }
}

#[tokio::test]
async fn malformed_json_comes_in_an_answer_that_is_complete() {
    let plain = plain_with(Fault::MalformedJson).await;
    assert_eq!((plain.status, plain.is_complete), (200, true));
    assert!(serde_json::from_str::<Value>(&plain.body).is_err(), "{plain:?}");

    let streamed = streamed_with(Fault::MalformedJson).await;
    assert_eq!((streamed.status, streamed.is_complete), (200, true));
    let broken = streamed
        .body
        .split_terminator("\n\n")
        .filter(|event| serde_json::from_str::<Value>(event.strip_prefix("data: ").unwrap()).is_err());
    assert_eq!(
        broken.count(),
        2,
        "one event, and the end of the stream: {streamed:?}"
    );
}

#[tokio::test]
async fn slow_bytes_arrive_in_the_end() {
    let received = streamed_with(Fault::SlowBytes {
        bytes: 100,
        pause_ms: 1,
    })
    .await;
    assert!(received.is_complete);
    assert_eq!(received.events().len(), 6);
    let never_zero = plain_with(Fault::SlowBytes {
        bytes: 0,
        pause_ms: 0,
    })
    .await;
    assert_eq!(
        never_zero.json()["choices"][0]["message"]["content"],
        "one two three four"
    );
}

#[tokio::test]
async fn faults_on_demand_go_before_the_script() {
    let server = start(Script::new().otherwise(Reply::text("well")));
    server.fail_next(2, Fault::Status(503));
    server.fail_next(0, Fault::Status(500));
    server.fail_next(1, Fault::Status(429));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(post(&server, &request("?")).await.status);
    }
    assert_eq!(statuses, [503, 503, 429, 200]);
}

/// The time of the caller's runtime stands still; that of the server does not.
#[tokio::test(start_paused = true)]
async fn a_delay_is_the_servers_own() {
    let began = std::time::Instant::now();
    let server = start(Script::new().otherwise(Reply::text("late").delay(Duration::from_millis(20))));
    let socket = send(&server, "POST /v1/chat/completions", &request("?").to_string()).await;
    assert_eq!(read(socket).await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(20));
}

// ---- what it remembers

#[tokio::test]
async fn every_request_is_kept() {
    let server = start(Script::new().otherwise(Reply::text("hello")));
    soon(read(send(&server, "GET /v1/models", "").await)).await;
    post(&server, &request("first")).await;
    let unknown = soon(read(send(&server, "POST /v1/embeddings", "{}").await)).await;
    let no_json = soon(read(send(&server, "POST /v1/chat/completions", "hello").await)).await;
    let path = "POST /rollout/ro-1/attempt/at-1/v1/chat/completions";
    let behind = soon(read(send(&server, path, &streaming("second").to_string()).await)).await;
    assert_eq!((unknown.status, no_json.status, behind.status), (404, 400, 200));
    assert_eq!(
        unknown.message(),
        "POST /v1/embeddings is nothing that the scripted server knows"
    );

    let requests = server.requests();
    let told: Vec<(Option<u64>, &str, &str)> = requests
        .iter()
        .map(|request| (request.call, request.method.as_str(), request.path.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            (None, "GET", "/v1/models"),
            (Some(1), "POST", "/v1/chat/completions"),
            (None, "POST", "/v1/embeddings"),
            (None, "POST", "/v1/chat/completions"),
            (Some(2), "POST", "/rollout/ro-1/attempt/at-1/v1/chat/completions"),
        ]
    );
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(calls[1].body, streaming("second"));
    assert_eq!(
        (calls[1].model(), calls[1].last_message().as_str()),
        ("small", "second")
    );
    assert_eq!((calls[0].streams(), calls[1].streams()), (false, true));
    assert_eq!(calls[0].messages().len(), 1);
    assert_eq!(calls[0].header("authorization"), Some("Bearer hush"));
    assert_eq!(calls[0].header("x-other"), None);
    assert!(!format!("{calls:?}").contains("hush"));
}

#[tokio::test]
async fn who_waits_for_requests_is_woken() {
    let server = start(Script::new().otherwise(Reply::text("hello")));
    let asking = async {
        post(&server, &request("1")).await;
        post(&server, &request("2")).await;
    };
    soon(async { tokio::join!(asking, server.received(2)) }).await;
    assert_eq!(server.calls().len(), 2);
}

// ---- its end

#[tokio::test]
async fn nothing_is_left_of_a_server_that_is_dropped() {
    let held = std::sync::Arc::new(());
    let inside = std::sync::Arc::downgrade(&held);
    let server = start(move |_: &ReceivedRequest| {
        let _held = &held;
        Reply::fault(Fault::Hang)
    });
    let mut idle = connect(&server).await;
    let hanging = send(&server, "POST /v1/chat/completions", &request("?").to_string()).await;
    soon(server.received(1)).await;
    drop(server);
    assert!(inside.upgrade().is_none(), "no task holds the responder");
    assert_eq!(soon(idle.read(&mut [0])).await.unwrap_or(0), 0);
    assert_eq!(soon(read(hanging)).await.status, 0);
}

#[test]
fn a_program_without_a_runtime_can_have_one() {
    let server = start(Script::new());
    assert!(server.base_url().starts_with("http://127.0.0.1:"));
    let llm = server.llm("small");
    assert_eq!((llm.endpoint, llm.model.as_str()), (server.base_url(), "small"));
}
