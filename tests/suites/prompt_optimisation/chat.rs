//! A chat model behind an endpoint.

use std::time::{Duration, Instant};

use lightning_core::{
    chat::{ChatError, ChatModel, ChatRequest, HttpChat, HttpChatBuilder, Message},
    prelude::*,
    run::FailurePolicy,
    testing::llm::{Fault, Reply, Script, ScriptedLlm, When},
    types::model_calls,
};
use serde_json::json;

use super::world::soon;

fn hello() -> ChatRequest {
    ChatRequest::new([Message::user("Hello!")])
}

fn server(script: Script) -> ScriptedLlm {
    ScriptedLlm::start(script).unwrap()
}

/// With delays that a test can wait for.
fn quick(llm: Llm) -> HttpChatBuilder {
    HttpChat::builder(llm).delays(Duration::from_millis(1), Duration::from_secs(5))
}

#[tokio::test]
async fn a_request_goes_out_in_openais_shape_and_the_answer_comes_back() {
    let server = server(Script::new().otherwise(Reply::text("Hi.").usage(7, 2)));
    let llm = server
        .llm("small")
        .with_api_key("sk-1")
        .with_sampling_parameter("temperature", 0.2)
        .with_sampling_parameter("top_p", 0.9);
    let model = quick(llm).build().unwrap();
    let mut request = hello().temperature(1.5).role("judge");
    request.extra.insert("seed".to_owned(), json!(3));
    let answer = model.complete(&request).await.unwrap();
    assert_eq!(
        (answer.text.as_str(), answer.finish_reason.as_deref()),
        ("Hi.", Some("stop"))
    );
    assert_eq!((answer.input_tokens, answer.output_tokens), (Some(7), Some(2)));
    assert_eq!(answer.raw["object"], "chat.completion");

    let received = &server.calls()[0];
    assert_eq!(
        received.body,
        json!({
            "model": "small",
            "messages": [{"role": "user", "content": "Hello!"}],
            "temperature": 1.5,
            "top_p": 0.9,
            "seed": 3,
        }),
        "the request goes before the endpoint's parameters, and the role stays here"
    );
    assert_eq!(received.header("authorization"), Some("Bearer sk-1"));

    model.complete(&hello().model(Some("large"))).await.unwrap();
    assert_eq!(server.calls()[1].model(), "large");
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let faults = [
        Fault::Status(503),
        Fault::Status(408),
        Fault::CutBeforeHeaders,
        Fault::CutMidBody,
        Fault::RateLimit {
            retry_after_seconds: 0,
        },
    ];
    let mut script = Script::new().otherwise(Reply::text("at last"));
    for (call, fault) in (1..).zip(faults) {
        script = script.rule(When::any().call(call), Reply::fault(fault));
    }
    let server = server(script);
    let model = quick(server.llm("small")).build().unwrap();
    let answer = soon(model.complete(&hello())).await.unwrap();
    assert_eq!((answer.text.as_str(), server.calls().len()), ("at last", 6));
}

#[tokio::test]
async fn a_rate_limit_is_waited_for_as_long_as_it_says_and_no_longer_than_allowed() {
    let limit = |retry_after_seconds| Fault::RateLimit { retry_after_seconds };
    let server = server(Script::new().otherwise(Reply::text("at last")));
    let model = quick(server.llm("small")).build().unwrap();
    server.fail_next(1, limit(1));
    let began = Instant::now();
    soon(model.complete(&hello())).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(1));

    server.fail_next(1, limit(3600));
    let error = soon(model.complete(&hello())).await.unwrap_err();
    let ChatError::RateLimited { retry_after, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(*retry_after, Some(Duration::from_secs(3600)));
    assert!(error.to_string().contains("allow fewer at once"), "{error}");
    assert_eq!(server.calls().len(), 3, "it is not asked again");
}

#[tokio::test]
async fn what_is_refused_is_not_tried_again() {
    let server = server(Script::new());
    let model = quick(server.llm("small")).build().unwrap();
    for (status, remedy) in [
        (400, "refuses the request (400)"),
        (401, "the key is right"),
        (404, "the model's name"),
    ] {
        server.fail_next(1, Fault::Status(status));
        let error = soon(model.complete(&hello())).await.unwrap_err();
        assert!(
            matches!(error, ChatError::Refused { status: Some(is), .. } if is == status),
            "{error}"
        );
        assert!(error.to_string().contains(remedy), "{error}");
    }
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn retries_come_to_an_end() {
    let server = server(Script::new().otherwise(Reply::text("never")));
    server.fail_next(100, Fault::Status(500));
    let model = quick(server.llm("small")).retries(2).build().unwrap();
    let error = soon(model.complete(&hello())).await.unwrap_err();
    assert!(matches!(error, ChatError::Unavailable { .. }), "{error}");
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn a_model_that_hangs_is_not_waited_for() {
    let server = server(Script::new().otherwise(Reply::fault(Fault::Hang)));
    let model = quick(server.llm("small"))
        .retries(0)
        .timeout(Duration::from_millis(50))
        .build()
        .unwrap();
    let error = soon(model.complete(&hello())).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 0.05 s"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_named_without_its_password() {
    let endpoint = {
        let gone = server(Script::new());
        gone.base_url().replace("http://", "http://user:hidden@")
    };
    let model = quick(Llm::new(endpoint, "small").with_api_key("sk-secret"))
        .retries(1)
        .build()
        .unwrap();
    let error = soon(model.complete(&hello())).await.unwrap_err();
    let shown = format!("{error} {error:?} {model:?}");
    assert!(
        shown.contains("cannot connect to http://[redacted]@127.0.0.1:"),
        "{shown}"
    );
    assert!(!shown.contains("hidden") && !shown.contains("secret"), "{shown}");
}

#[tokio::test]
async fn what_is_no_chat_model_is_told() {
    let server = server(Script::new().otherwise(Reply::fault(Fault::MalformedJson)));
    let model = quick(server.llm("small")).build().unwrap();
    let error = soon(model.complete(&hello())).await.unwrap_err();
    assert!(matches!(error, ChatError::Malformed { .. }), "{error}");
    assert_eq!(server.calls().len(), 1, "the same would come again");
}

#[tokio::test]
async fn a_second_model_shares_what_can_be_shared() {
    let (one, two) = (
        server(Script::new().otherwise(Reply::text("one"))),
        server(Script::new().otherwise(Reply::text("two"))),
    );
    let first = quick(one.llm("a")).in_flight(1).build().unwrap();
    let second = first.at(two.llm("b")).unwrap();
    let (hello_one, hello_two) = (hello(), hello());
    let (a, b) = tokio::join!(first.complete(&hello_one), second.complete(&hello_two));
    assert_eq!(
        (a.unwrap().text, b.unwrap().text),
        ("one".to_owned(), "two".to_owned())
    );
    assert!(first.at(Llm::new("no address", "c")).is_err());
}

/// Asks once as itself, once in another role.
#[rollout]
async fn asks_twice(task: &String, #[inject] model: Arc<dyn ChatModel>) -> anyhow::Result<f64> {
    model.ask(&ChatRequest::new([Message::user(task)])).await?;
    model
        .ask(&ChatRequest::new([Message::user(task)]).role("critic"))
        .await?;
    Ok(1.0)
}

#[algo]
async fn looks_at_spans(run: RunContext, train_dataset: Dataset<String>) -> anyhow::Result<Vec<String>> {
    let all_may_fail = FailurePolicy {
        retries: 0,
        abort_above: 1.0,
    };
    let evaluator = run.evaluator().tasks(&train_dataset).on_failure(all_may_fail);
    let evaluation = evaluator.evaluate().await?;
    let calls = evaluation
        .outcomes()
        .iter()
        .flat_map(|outcome| model_calls(&outcome.spans));
    Ok(calls
        .map(|call| {
            format!(
                "{} {:?} {:?}",
                call.role, call.model, call.span.status.status_code
            )
        })
        .collect())
}

#[tokio::test]
async fn calls_within_a_rollout_are_recorded_with_their_role() {
    let server = server(Script::new().otherwise(Reply::text("Hi.").usage(7, 2)));
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(looks_at_spans::algorithm())
        .extension(quick(server.llm("small")).retries(0).build().unwrap().shared())
        .build()
        .unwrap();
    let tasks = || vec!["a".to_owned()];
    let report = soon(trainer.fit(asks_twice::agent(), tasks(), None))
        .await
        .unwrap();
    assert_eq!(
        report.output,
        ["agent Some(\"small\") Ok", "critic Some(\"small\") Ok"]
    );
    let usage: Vec<_> = report
        .model_usage
        .iter()
        .map(|usage| (usage.role.as_str(), usage.calls, usage.tokens()))
        .collect();
    assert_eq!(usage, [("agent", 1, 9), ("critic", 1, 9)]);

    server.fail_next(1, Fault::Status(400));
    let report = soon(trainer.fit(asks_twice::agent(), tasks(), None))
        .await
        .unwrap();
    assert_eq!(
        report.output,
        ["agent Some(\"small\") Error"],
        "a call without an answer is one, too"
    );
    assert_eq!(report.rollouts.failed, 1);
}
