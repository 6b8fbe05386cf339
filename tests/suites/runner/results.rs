//! What an agent returns, and what it is given.

use lightning_core::{emitter::operation, rollout};

use super::*;

#[tokio::test]
async fn a_number_that_is_returned_is_stored_as_the_reward() {
    let step = runner(agent_fn(|_: Value, _| async { 0.25 }), &store())
        .build()
        .step(&json!(1))
        .await
        .unwrap();
    assert_step(&step).succeeded().reward(0.25);
}

#[tokio::test]
async fn named_rewards_are_stored_with_all_their_dimensions() {
    let reward = || Reward::new("accuracy", 0.5).with("brevity", 0.75);
    let agent = agent_fn(move |_: Value, _| async move { reward() });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    assert_eq!(step.end.reward(), Some(reward()));
}

#[tokio::test]
async fn an_agent_that_returns_nothing_is_judged_by_its_trace() {
    let agent = agent_fn(|_: Value, _| async {
        emit_reward(0.75)?;
        anyhow::Ok(())
    });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    assert_step(&step).reward(0.75);
    assert_eq!(step.end.spans.len(), 1);
}

#[tokio::test]
async fn spans_that_are_returned_are_stored_under_the_attempt() {
    let agent = agent_fn(|_: Value, _| async {
        emit_message("first").unwrap();
        let own = |id: &str| {
            Span::new(
                "elsewhere",
                "elsewhere",
                0,
                "0".repeat(32),
                id,
                format!("own {id}"),
            )
        };
        vec![own("000000000000000a"), own("000000000000000b")]
    });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    let found: BTreeMap<u64, &str> = step
        .end
        .spans
        .iter()
        .map(|span| (span.sequence_id, span.name.as_str()))
        .collect();
    assert_step(&step).succeeded();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.values().any(|name| *name == "own 000000000000000b"),
        "{found:?}"
    );
}

#[tokio::test]
async fn an_error_fails_the_attempt_with_its_whole_chain() {
    let agent = agent_fn(|_: Value, _| async {
        let cause = anyhow::anyhow!("connection refused");
        anyhow::Result::<f64>::Err(cause.context("the model did not answer"))
    });
    let store = store();
    let step = runner(agent, &store).build().step(&json!(1)).await.unwrap();
    assert_step(&step)
        .failed("the model did not answer: connection refused")
        .spans(semconv::EXCEPTION, 1);
    let exception = step
        .end
        .spans
        .iter()
        .find(|span| span.name == semconv::EXCEPTION)
        .unwrap();
    assert_eq!(
        exception.attributes[semconv::EXCEPTION_MESSAGE],
        "the model did not answer"
    );
    assert_eq!(exception.attributes[semconv::EXCEPTION_TYPE], "Error");
}

#[tokio::test]
async fn a_panic_fails_the_attempt_with_its_message_and_keeps_the_trace() {
    let agent = agent_fn(|_: Value, _| async {
        emit_message("before").unwrap();
        let list: Vec<i32> = Vec::new();
        list[7]
    });
    let step = runner(agent, &store()).build().step(&json!(1)).await.unwrap();
    let reason = step.end.attempt.reason().unwrap();
    assert!(
        reason.starts_with("the agent panicked: index out of bounds"),
        "{reason}"
    );
    let names: Vec<&str> = step.end.spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, [semconv::MESSAGE, semconv::EXCEPTION]);
    assert_eq!(step.end.spans[1].attributes[semconv::EXCEPTION_TYPE], "panic");
}

#[tokio::test]
async fn a_panic_before_the_first_await_fails_the_attempt_too() {
    struct Hasty;
    impl Agent<Value> for Hasty {
        fn rollout<'a>(&'a self, _: &'a Value, _: &'a RolloutContext) -> AgentFuture<'a> {
            panic!("in a hurry")
        }
    }
    assert_eq!(failure_of(Hasty).await, "the agent panicked: in a hurry");
}

#[tokio::test]
async fn a_reward_that_is_not_a_number_fails_the_attempt() {
    let reason = failure_of(agent_fn(|_: Value, _| async { f64::NAN })).await;
    assert!(reason.contains("NaN"), "{reason}");
}

#[tokio::test]
async fn a_task_of_another_shape_fails_the_attempt_and_names_what_is_missing() {
    #[derive(Clone, serde::Serialize, serde::Deserialize)]
    struct Question {
        question: String,
    }
    let store = store();
    let id = store
        .enqueue_rollout(NewRollout::new(json!({"text": 1})))
        .await
        .unwrap()
        .rollout_id;
    let agent = agent_fn(|task: Question, _| async move { task.question.len() as f64 });
    let runner = Runner::builder(agent, Arc::clone(&store))
        .max_rollouts(Some(1))
        .build();
    runner.iter(&StopSignal::new()).await.unwrap();
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    let reason = attempt.reason().unwrap();
    assert!(
        reason.contains("Question") && reason.contains("missing field `question`"),
        "{reason}"
    );
}

#[tokio::test]
async fn resources_that_are_not_there_fail_the_attempt_with_their_id() {
    let store = store();
    let new = NewRollout::new(json!(1)).resources_id("rs-gone");
    let id = store.enqueue_rollout(new).await.unwrap().rollout_id;
    let runner = runner(agent_fn(|_: Value, _| async { 1.0 }), &store)
        .max_rollouts(Some(1))
        .build();
    runner.iter(&StopSignal::new()).await.unwrap();
    let attempt = store.get_latest_attempt(&id).await.unwrap().unwrap();
    assert_eq!(attempt.status, AttemptStatus::Failed);
    assert!(attempt.reason().unwrap().contains("rs-gone"), "{attempt:?}");
}

#[tokio::test]
async fn the_agent_gets_the_resources_that_the_rollout_names() {
    let store = store();
    let resources = |word: &str| NamedResources::new().with("word", json!(word));
    let first = store
        .add_resources(resources("first"))
        .await
        .unwrap()
        .resources_id;
    store.add_resources(resources("second")).await.unwrap();
    let agent = agent_fn(|_: Value, cx: RolloutContext| async move {
        emit_message(cx.resources().json::<String>("word")?)?;
        anyhow::Ok(())
    });
    let runner = runner(agent, &store).max_rollouts(Some(2)).build();
    let named = store
        .enqueue_rollout(NewRollout::new(json!(1)).resources_id(first))
        .await
        .unwrap();
    let latest = store.enqueue_rollout(NewRollout::new(json!(1))).await.unwrap();
    runner.iter(&StopSignal::new()).await.unwrap();
    for (id, word) in [(named.rollout_id, "first"), (latest.rollout_id, "second")] {
        assert_eq!(
            spans(&store, &id).await[0].attributes[semconv::MESSAGE_BODY],
            word
        );
    }
}

#[tokio::test]
async fn a_model_behind_the_proxy_is_called_under_the_attempt() {
    let store = store();
    let proxied = NamedResources::new().with("llm", ProxyLlm::new("http://127.0.0.1:4000/v1", "m"));
    store.add_resources(proxied).await.unwrap();
    let agent = agent_fn(|_: Value, cx: RolloutContext| async move {
        emit_message(cx.resources().llm()?.endpoint.clone())?;
        anyhow::Ok(())
    });
    let step = runner(agent, &store).build().step(&json!(1)).await.unwrap();
    let attempt = &step.end.attempt;
    let expected = format!(
        "http://127.0.0.1:4000/rollout/{}/attempt/{}/v1",
        attempt.rollout_id, attempt.attempt_id
    );
    assert_eq!(step.end.spans[0].attributes[semconv::MESSAGE_BODY], expected);
}

#[tokio::test]
async fn validation_and_tests_call_the_validation_form() {
    struct TwoForms;
    impl Agent<Value> for TwoForms {
        fn rollout<'a>(&'a self, _: &'a Value, _: &'a RolloutContext) -> AgentFuture<'a> {
            Box::pin(async { 1.0.into_result() })
        }
        fn validation_rollout<'a>(&'a self, _: &'a Value, _: &'a RolloutContext) -> AgentFuture<'a> {
            Box::pin(async { 2.0.into_result() })
        }
    }
    let runner = runner(TwoForms, &store()).build();
    let modes = [
        (None, 1.0),
        (Some(RolloutMode::Train), 1.0),
        (Some(RolloutMode::Val), 2.0),
        (Some(RolloutMode::Test), 2.0),
    ];
    for (mode, reward) in modes {
        let options = lightning_core::runner::StepOptions {
            mode,
            ..Default::default()
        };
        let step = runner.step_with(&json!(1), options).await.unwrap();
        assert_eq!(step.end.reward(), Some(reward.into()), "{mode:?}");
    }
}

#[tokio::test]
async fn rollouts_can_be_stepped_through_in_their_order() {
    let store = store();
    let runner = runner(agent_fn(|task: Value, _| async move { task.as_f64() }), &store).build();
    let stepping = async {
        for expected in [0.25, 0.5] {
            let step = runner.step_next().await.unwrap();
            assert_eq!(step.end.reward(), Some(Reward::from(expected)));
            assert_eq!(step.rollout.status, RolloutStatus::Succeeded);
        }
    };
    let enqueueing = async {
        for input in [0.25, 0.5] {
            store
                .enqueue_rollout(NewRollout::new(json!(input)))
                .await
                .unwrap();
        }
    };
    tokio::join!(stepping, enqueueing);
}

/// Blocks, and records what it does.
#[rollout]
fn blocking_agent(task: Value) -> anyhow::Result<f64> {
    emit_message("on a thread of its own")?;
    let thinking = operation("thinking")?;
    thinking.input("task", &task)?;
    emit_message("within an operation")?;
    Ok(1.0)
}

#[tokio::test]
async fn a_synchronous_agent_records_as_an_asynchronous_one() {
    let step = runner(blocking_agent::agent(), &store())
        .build()
        .step(&json!(1))
        .await
        .unwrap();
    let spans = &step.end.spans;
    let names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(
        names,
        [
            semconv::MESSAGE,
            semconv::MESSAGE,
            semconv::OPERATION,
            semconv::ANNOTATION
        ],
        "{:?}",
        step.end.attempt
    );
    assert_eq!(spans[1].parent_id.as_deref(), Some(spans[2].span_id.as_str()));
}
