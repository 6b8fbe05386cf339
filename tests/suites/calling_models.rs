//! The client that an agent calls the model among its resources with: what is sent, what comes back, and who records it.

use std::{sync::Arc, time::Duration};

use lightning_core::{
    adapter::ProxyToTriplets,
    chat::{ChatError, ChatModel as _, ChatRequest, HttpChat, Message},
    emitter::model_call,
    llm_proxy::{ControlProxy as _, ProxyModel, ReverseProxy},
    prelude::*,
    runner::{Runner, StepOptions},
    semconv,
    store::MemoryStore,
    testing::{
        ManualClock, SequentialIds, assert_step,
        llm::{Fault, ReceivedRequest, Reply, Script, ScriptedLlm, When},
    },
    tracer::{Recording, RecordingOptions},
    types::{ProxyLlm, Span, SpanQuery, SpanStatusCode, model_calls},
};
use serde_json::{Value, json};

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

fn server(script: Script) -> ScriptedLlm {
    ScriptedLlm::start(script).unwrap()
}

fn ask(text: &str) -> ChatRequest {
    ChatRequest::new([Message::user(text)])
}

/// With delays that a test can wait for.
fn quick(llm: Llm) -> HttpChat {
    patient(llm, Duration::from_secs(30))
}

fn patient(llm: Llm, timeout: Duration) -> HttpChat {
    let builder = HttpChat::builder(llm).delays(Duration::from_millis(1), Duration::from_secs(5));
    builder.timeout(timeout).retries(2).build().unwrap()
}

/// What `act` gives, and the spans that it records.
async fn recorded<T>(act: impl Future<Output = T>) -> (T, Vec<Span>) {
    let recording = Recording::start(
        "ro-1".into(),
        "at-1".into(),
        Arc::new(ManualClock::default()),
        Arc::new(SequentialIds::default()),
        RecordingOptions::default(),
    );
    let given = soon(recording.scope(act)).await;
    (given, recording.drain())
}

#[track_caller]
fn only(spans: &[Span]) -> &Span {
    let [span] = spans else {
        panic!("there should be one span: {spans:?}")
    };
    span
}

#[tokio::test]
async fn a_call_is_recorded_as_it_was_sent() {
    let server = server(Script::new().otherwise(Reply::text("4").prompt_token_ids([1, 2]).token_ids([3])));
    let llm = server.llm("small").with_sampling_parameter("temperature", 0.25);
    let (answer, spans) = recorded(async { llm.chat().unwrap().ask(&ask("2 + 2?")).await.unwrap() }).await;
    assert_eq!(answer.text, "4");
    let span = only(&spans);
    assert_eq!(span.name, semconv::CHAT_COMPLETION);
    for (key, value) in [
        (semconv::GEN_AI_REQUEST_MODEL, json!("small")),
        ("gen_ai.request.temperature", json!(0.25)),
        ("gen_ai.prompt.0.content", json!("2 + 2?")),
        ("prompt_token_ids", json!([1, 2])),
        ("response_token_ids", json!([3])),
    ] {
        assert_eq!(span.attributes.get(key), Some(&value), "{key}");
    }
    // Outside of a rollout nobody records, and the call is made all the same.
    assert_eq!(llm.chat().unwrap().ask(&ask("again")).await.unwrap().text, "4");
}

#[tokio::test]
async fn tools_go_there_and_back() {
    let script = Script::new()
        .rule(
            When::any().contains("nothing there"),
            Reply::text("I see nothing."),
        )
        .otherwise(Reply::tool_call("look", json!({"at": 3})));
    let server = server(script);
    let llm = server.llm("small");
    let (text, spans) = recorded(async {
        let model = llm.chat().unwrap();
        let mut request = ask("Look at 3.")
            .tool("look", "Looks.", json!({"type": "object"}))
            .field("seed", 7);
        let answer = model.ask(&request).await.unwrap();
        request.messages.push(answer.message());
        for call in answer.tool_calls() {
            assert_eq!(
                (call.name.as_str(), call.parse::<Value>().unwrap()),
                ("look", json!({"at": 3}))
            );
            request.messages.push(Message::tool(&call, "nothing there"));
        }
        model.ask(&request).await.unwrap().text
    })
    .await;
    assert_eq!(text, "I see nothing.");
    let sent = &server.calls()[1].body;
    assert_eq!(
        (&sent["seed"], &sent["tools"][0]["function"]["name"]),
        (&json!(7), &json!("look"))
    );
    assert_eq!(
        sent["messages"][1]["tool_calls"][0]["function"]["arguments"],
        "{\"at\":3}"
    );
    assert_eq!(
        sent["messages"][2],
        json!({"role": "tool", "content": "nothing there", "tool_call_id": "call_0"})
    );
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "tool_call.look",
            semconv::CHAT_COMPLETION,
            semconv::CHAT_COMPLETION
        ]
    );
}

#[tokio::test]
async fn an_answer_comes_in_pieces_and_is_recorded_whole() {
    let reply = Reply::text("one two three")
        .prompt_token_ids([1])
        .token_ids([2, 3, 4])
        .usage(7, 3);
    let server = server(Script::new().otherwise(reply));
    let llm = server.llm("small");
    let ((pieces, answer), spans) = recorded(async {
        let mut stream = llm.chat().unwrap().stream(&ask("Count.")).await.unwrap();
        let mut pieces = Vec::new();
        while let Some(piece) = stream.next().await.unwrap() {
            assert!(piece.raw.is_object());
            pieces.extend((!piece.text.is_empty()).then_some(piece.text));
        }
        assert_eq!(stream.next().await.unwrap(), None, "the end stays the end");
        (pieces, stream.finish().await.unwrap())
    })
    .await;
    assert_eq!(pieces, ["one ", "two ", "three"]);
    assert_eq!(
        (answer.text.as_str(), answer.input_tokens),
        ("one two three", Some(7))
    );
    assert_eq!(
        server.calls()[0].body["stream_options"],
        json!({"include_usage": true})
    );
    let span = only(&spans);
    assert_eq!(span.status.status_code, SpanStatusCode::Ok);
    assert_eq!(span.attributes["response_token_ids"], json!([2, 3, 4]));
    assert_eq!(span.attributes["gen_ai.completion.0.content"], "one two three");
    assert_eq!(span.attributes[semconv::GEN_AI_PROMPT_TOKENS], 7);
    assert_eq!(span.attributes["gen_ai.request.streaming"], true);
}

#[tokio::test]
async fn a_stream_that_ends_badly_says_so_and_is_recorded() {
    let long = Duration::from_secs(30);
    let cases = [
        (Fault::CutMidBody, long, "lost the connection"),
        (Fault::HangMidBody, Duration::from_secs(1), "no answer within 1 s"),
        (Fault::CutAfterHeaders, long, "lost the connection"),
    ];
    for (fault, timeout, expected) in cases {
        let server =
            server(Script::new().otherwise(Reply::text("one two three four five six").with_fault(fault)));
        let (error, spans) = recorded(async {
            let model = patient(server.llm("small"), timeout);
            let mut stream = model.stream(&ask("Count.")).await.unwrap();
            let error = loop {
                match stream.next().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{fault:?} is no end"),
                    Err(error) => break error,
                }
            };
            assert_eq!(stream.finish().await.unwrap_err().to_string(), error.to_string());
            error
        })
        .await;
        assert!(
            matches!(error, ChatError::Unavailable { .. }),
            "{fault:?}: {error}"
        );
        assert!(error.to_string().contains(expected), "{fault:?}: {error}");
        let span = only(&spans);
        assert_eq!(span.status.status_code, SpanStatusCode::Error, "{fault:?}");
        if fault == Fault::CutMidBody {
            let text = span.attributes["gen_ai.completion.0.content"].as_str().unwrap();
            assert!(
                text.starts_with("one ") && text.len() < 20,
                "what had come is kept: {text}"
            );
        }
    }
}

#[tokio::test]
async fn a_stream_that_does_not_begin_is_asked_for_again() {
    let server = server(Script::new().otherwise(Reply::text("Hi.")));
    server.fail_next(2, Fault::Status(503));
    let (answer, spans) = recorded(async {
        quick(server.llm("small"))
            .stream(&ask("Hello!"))
            .await
            .unwrap()
            .finish()
            .await
            .unwrap()
    })
    .await;
    assert_eq!(
        (answer.text.as_str(), server.calls().len(), spans.len()),
        ("Hi.", 3, 1)
    );

    server.fail_next(1, Fault::Status(400));
    let (error, spans) = recorded(async {
        quick(server.llm("small"))
            .stream(&ask("Hello!"))
            .await
            .unwrap_err()
    })
    .await;
    assert!(
        matches!(
            error,
            ChatError::Refused {
                status: Some(400),
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(only(&spans).status.status_code, SpanStatusCode::Error);
}

#[tokio::test]
async fn a_stream_that_nobody_reads_to_its_end_is_recorded_as_that() {
    let slow = Fault::SlowBytes {
        bytes: 64,
        pause_ms: 1,
    };
    let server = server(Script::new().otherwise(Reply::text("one two three four").with_fault(slow)));
    let ((), spans) = recorded(async {
        let mut stream = server
            .llm("small")
            .chat()
            .unwrap()
            .stream(&ask("Count."))
            .await
            .unwrap();
        while stream
            .next()
            .await
            .unwrap()
            .is_some_and(|piece| piece.text != "two ")
        {}
    })
    .await;
    let span = only(&spans);
    assert_eq!(
        span.status.description.as_deref(),
        Some("the answer was not read to its end")
    );
    assert_eq!(span.attributes["gen_ai.completion.0.content"], "one two ");
}

/// The permits are given back however an answer ends.
#[tokio::test]
async fn one_place_serves_any_number_of_calls() {
    let server = server(Script::new().otherwise(Reply::text("one two")));
    let model = HttpChat::builder(server.llm("small"))
        .in_flight(1)
        .build()
        .unwrap();
    soon(async {
        drop(model.stream(&ask("a")).await.unwrap());
        model.stream(&ask("b")).await.unwrap().finish().await.unwrap();
        model.ask(&ask("c")).await.unwrap();
        let mut stream = model.stream(&ask("d")).await.unwrap();
        stream.next().await.unwrap();
        let last = ask("e");
        let mut waiting = Box::pin(model.ask(&last));
        assert!(futures::poll!(&mut waiting).is_pending());
        drop(stream);
        waiting.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn chunks_of_another_client_are_recorded_whole() {
    let chunk = |text: &str, ids: &[u32], end: Value| json!({"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "token_ids": ids, "finish_reason": end}]});
    let chunks = [
        chunk("Hel", &[1], Value::Null),
        chunk("lo", &[2, 3], json!("stop")),
    ];
    let ((), spans) = recorded(async {
        let request = json!({"model": "m", "messages": [], "stream": true});
        model_call(&request).unwrap().finish_streamed(&chunks).unwrap();
        model_call(&request)
            .unwrap()
            .finish_streamed(&chunks[..1])
            .unwrap();
    })
    .await;
    assert_eq!(spans[0].attributes["gen_ai.completion.0.content"], "Hello");
    assert_eq!(spans[0].attributes["response_token_ids"], json!([1, 2, 3]));
    assert_eq!(
        spans[1].status.description.as_deref(),
        Some("the answer broke off before its end")
    );
}

// ---- with a proxy in between

#[rollout]
async fn adding(task: String, llm: Llm) -> anyhow::Result<f64> {
    let model = llm.chat()?;
    let plain = model.ask(&ask(&task)).await?;
    let streamed = model.stream(&ask(&task)).await?.finish().await?;
    anyhow::ensure!(plain.text == streamed.text, "{plain:?} {streamed:?}");
    let verdict = model
        .ask(&ask("Is that right?").role(semconv::ROLE_JUDGE))
        .await?;
    Ok(if verdict.text == "4" { 1.0 } else { 0.0 })
}

fn calculator() -> ScriptedLlm {
    ScriptedLlm::start(|_: &ReceivedRequest| Reply::text("4").prompt_token_ids([1, 2]).token_ids([3]))
        .unwrap()
}

/// Runs the agent once with these resources; its spans, once `proxy` has recorded its calls too.
async fn step(resources: NamedResources, proxy: Option<&ReverseProxy>, store: Arc<dyn Store>) -> Vec<Span> {
    let runner = Runner::builder(adding::agent(), Arc::clone(&store)).build();
    let options = StepOptions {
        resources: Some(resources),
        ..StepOptions::default()
    };
    let done = soon(runner.step_with(&"2 + 2?".to_owned(), options))
        .await
        .unwrap();
    assert_step(&done).succeeded().reward(1.0);
    let (rollout, attempt) = (&done.end.attempt.rollout_id, &done.end.attempt.attempt_id);
    if let Some(proxy) = proxy {
        soon(proxy.recorded(rollout, attempt)).await.unwrap();
    }
    store
        .query_spans(SpanQuery::of(rollout.clone()))
        .await
        .unwrap()
        .items
}

fn roles(spans: &[Span]) -> Vec<&str> {
    let mut roles: Vec<&str> = model_calls(spans).iter().map(|call| call.role).collect();
    roles.sort_unstable();
    roles
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_counts_once_with_a_proxy_and_without() {
    let server = calculator();
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let spans = step(
        NamedResources::new().with("main", server.llm("small")),
        None,
        Arc::clone(&store),
    )
    .await;
    assert_eq!(roles(&spans), ["agent", "agent", "judge"]);
    assert!(!spans.iter().any(|span| span.name == semconv::PROXY_REQUEST));

    let proxy = ReverseProxy::builder()
        .model(ProxyModel::new("small", server.base_url()))
        .store(Arc::clone(&store))
        .build()
        .unwrap();
    proxy.start().await.unwrap();
    let resource = proxy.as_resource(None).unwrap();
    let spans = step(NamedResources::new().with("main", resource), Some(&proxy), store).await;
    assert_eq!(roles(&spans), ["agent", "agent", "judge"]);
    let named = |name: &str| spans.iter().filter(|span| span.name == name).count();
    assert_eq!(
        (
            named(semconv::PROXY_REQUEST),
            named(semconv::RAW_REQUEST),
            named(semconv::CHAT_COMPLETION)
        ),
        (2, 2, 1),
        "the agent's calls by the proxy, the judge's by the client"
    );
    let triplets = ProxyToTriplets::new().adapt(&spans).unwrap().triplets;
    assert_eq!(triplets.len(), 2);
    for triplet in &triplets {
        assert_eq!(
            (&triplet.prompt.token_ids[..], &triplet.response.token_ids[..]),
            (&[1, 2][..], &[3][..])
        );
    }
    soon(proxy.stop()).await.unwrap();
}

/// The slot `llm`: the one of that name, else the only one, else an error that lists them.
#[tokio::test]
async fn the_slot_takes_the_one_of_its_name_or_the_only_one() {
    #[rollout]
    async fn name(_task: &String, llm: Llm) -> anyhow::Result<()> {
        lightning_core::emitter::emit_message(&llm.model)?;
        Ok(())
    }

    let run = async |resources: NamedResources| {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let runner = Runner::builder(name::agent(), store).build();
        let options = StepOptions {
            resources: Some(resources),
            ..StepOptions::default()
        };
        let done = soon(runner.step_with(&String::new(), options)).await.unwrap();
        let said = |span: &Span| Some(span.attributes.get(semconv::MESSAGE_BODY)?.as_str()?.to_owned());
        match done.end.spans.iter().find_map(said) {
            Some(model) => model,
            None => done.end.attempt.metadata.as_ref().unwrap()[semconv::ATTEMPT_REASON].to_string(),
        }
    };
    let model = |name: &str| Llm::new("http://127.0.0.1:1/v1", name);
    let one = NamedResources::new()
        .with("main", model("m"))
        .with("prompt", PromptTemplate::new("p"));
    assert_eq!(run(one.clone()).await, "m");
    let proxied = ProxyLlm::new("http://127.0.0.1:1/v1", "p");
    assert_eq!(
        run(NamedResources::new().with("main", proxied.clone())).await,
        "p"
    );
    let two = one.with("other", proxied);
    let error = run(two.clone()).await;
    assert!(
        error.contains("`main`, `other`") && error.contains("call one `llm`"),
        "{error}"
    );
    assert_eq!(run(two.with("llm", model("named"))).await, "named");
    let error = run(NamedResources::new().with("prompt", PromptTemplate::new("p"))).await;
    assert!(error.contains("there are `prompt` (prompt_template)"), "{error}");
}
