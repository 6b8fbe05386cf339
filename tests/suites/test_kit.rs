//! The test kit: assertions that say what is wrong, and rollouts that move when the test says.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

use futures::FutureExt as _;
use lightning_core::{
    agent::{Agent, RolloutContext, agent_fn},
    emitter::{emit_message, emit_reward, operation},
    prelude::*,
    runner::{Runner, Step, StepOptions},
    store::MemoryStore,
    testing::{
        Faults, RolloutAssertion, RolloutRecord, StepRunner, assert_all_ended, assert_rollout, assert_step,
    },
    types::{NewRollout, RolloutConfig, RolloutId, RolloutMode, RolloutStatus, SpanStatusCode},
};
use serde_json::{Value, json};

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// Scales a task; fails on what is no number.
fn scale() -> impl Agent<Value> {
    agent_fn(|task: Value, _| async move {
        let number = task
            .as_f64()
            .ok_or_else(|| anyhow::anyhow!("{task} is no number"))?;
        anyhow::Ok(Reward::new("size", number).with("double", number * 2.0))
    })
}

async fn step(agent: impl Agent<Value>, task: Value) -> Step {
    Runner::builder(agent, store()).build().step(&task).await.unwrap()
}

/// What the assertion says when it fails.
fn complaint(assertion: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(assertion)).expect_err("the assertion should fail");
    *panic.downcast::<String>().unwrap()
}

// ---- assertions

#[tokio::test]
async fn what_is_so_can_be_said() {
    let store = store();
    let resources = store.add_resources(NamedResources::new()).await.unwrap();
    let options = StepOptions {
        mode: Some(RolloutMode::Val),
        resources: None,
        config: None,
    };
    let runner = Runner::builder(scale(), Arc::clone(&store)).build();
    let step = runner.step_with(&json!(0.5), options).await.unwrap();
    let all = |assertion: &RolloutAssertion| {
        assertion
            .status(RolloutStatus::Succeeded)
            .succeeded()
            .attempts(1)
            .reward(0.5)
            .reward_of("double", 1.0)
            .reward_of("size", 0.5 + 1e-10)
            .spans("agentlightning.annotation", 1)
            .spans("openai.chat.completion", 0)
            .input(&0.5)
            .mode(RolloutMode::Val)
            .resources(&resources.resources_id);
    };
    all(&assert_step(&step));
    let stored = assert_rollout(&*store, &step.rollout.rollout_id).await;
    all(&stored);
    assert_eq!(stored.into_record(), assert_step(&step).into_record());
    assert_step(&self::step(scale(), json!("x")).await)
        .status(RolloutStatus::Failed)
        .failed("\"x\" is no number")
        .no_reward();
}

type Lie = fn(&RolloutAssertion) -> &RolloutAssertion;

/// One lie each, and what it is called.
#[tokio::test]
async fn what_is_not_so_is_called_by_its_name() {
    let good = step(scale(), json!(0.5)).await;
    let bad = step(scale(), json!("x")).await;
    let silent = step(agent_fn(|_: Value, _| async {}), json!(1)).await;
    let (good, bad, silent) = (assert_step(&good), assert_step(&bad), assert_step(&silent));
    let lies: [(&RolloutAssertion, Lie, &str); 14] = [
        (&bad, |it| it.succeeded(), "the rollout should have succeeded"),
        (
            &good,
            |it| it.status(RolloutStatus::Failed),
            "the rollout should be failed",
        ),
        (
            &good,
            |it| it.failed(""),
            "the rollout should have failed with a reason that contains \"\"",
        ),
        (
            &bad,
            |it| it.failed("paper"),
            "the rollout should have failed with a reason that contains \"paper\"",
        ),
        (
            &good,
            |it| it.attempts(2),
            "the rollout should have taken 2 attempts, not 1",
        ),
        (&good, |it| it.reward(0.25), "the reward should be 0.25, not 0.5"),
        (
            &silent,
            |it| it.reward(0.0),
            "the reward should be 0, and there is none",
        ),
        (
            &good,
            |it| it.reward_of("double", 0.5),
            "the reward in `double` should be 0.5, not 1",
        ),
        (
            &good,
            |it| it.reward_of("half", 0.5),
            "the reward in `half` should be 0.5, and there is none",
        ),
        (&good, |it| it.no_reward(), "the rollout should have no reward"),
        (
            &good,
            |it| it.spans("agentlightning.message", 1),
            "spans `agentlightning.message`: there should be 1, not 0",
        ),
        (&good, |it| it.input(&1), "the task should be 1, not 0.5"),
        (&good, |it| it.mode(RolloutMode::Test), "the mode should be test"),
        (
            &good,
            |it| it.resources(&"rs-1".into()),
            "the rollout should use the resources rs-1",
        ),
    ];
    for (told_of, lie, expected) in lies {
        let said = complaint(|| {
            lie(told_of);
        });
        let (what, known) = said.split_once("\n\n").unwrap();
        assert_eq!(what, expected);
        assert!(known.starts_with("rollout ro-"), "{said}");
    }
}

#[tokio::test]
async fn a_record_tells_what_happened() {
    let agent = agent_fn(|_: Value, _| async {
        let search = operation("search")?;
        emit_message("looking")?;
        search.fail(&std::fmt::Error)?;
        drop(search);
        emit_reward(Reward::new("exact", 0.0).with("brevity", 0.5))?;
        Err::<(), _>(anyhow::anyhow!("nothing found"))
    });
    let record: RolloutRecord = step(agent, json!(1)).await.into();
    let id = record.rollout.rollout_id.clone();
    let expected = format!(
        "rollout {id}: failed\n  attempt 1: failed: nothing found\n  \
         - agentlightning.operation (error: core::fmt::Error: an error occurred when formatting an argument)\n    \
         - agentlightning.message\n  - agentlightning.annotation = exact 0, brevity 0.5\n  - agentlightning.exception"
    );
    assert_eq!(record.to_string(), expected);
    assert_eq!(
        record.reward(),
        Some(Reward::new("exact", 0.0).with("brevity", 0.5))
    );
    assert_eq!(record.spans_named("agentlightning.message").count(), 1);

    for (agent_returns, expected) in [
        (Some(0.5), "succeeded\n  reward 0.5\n  attempt 1: succeeded\n  - "),
        (None, "succeeded\n  no reward: "),
    ] {
        let agent = agent_fn(move |_: Value, _| async move { agent_returns });
        let record: RolloutRecord = step(agent, json!(1)).await.into();
        assert!(record.to_string().contains(expected), "{record}");
    }

    let queued = store();
    queued
        .enqueue_rollout(NewRollout::new(json!(1)).mode(RolloutMode::Train))
        .await
        .unwrap();
    let record = RolloutRecord::all(&*queued).await.unwrap().remove(0);
    let id = &record.rollout.rollout_id;
    assert_eq!(
        record.to_string(),
        format!("rollout {id}: queuing, train\n  no spans")
    );
}

#[tokio::test]
async fn spans_that_claim_each_other_as_parents_can_be_told() {
    let agent = agent_fn(|_: Value, cx: RolloutContext| async move {
        let own = |id: &str, parent: &str| {
            let attempt = cx.attempt();
            let (rollout, attempt) = (attempt.rollout_id.clone(), attempt.attempt_id.clone());
            let mut span = lightning_core::types::Span::new(rollout, attempt, 0, "0".repeat(32), id, "loop");
            span.parent_id = Some(parent.to_owned());
            span.status.status_code = SpanStatusCode::Error;
            span
        };
        vec![own("a", "b"), own("b", "a"), own("c", "c")]
    });
    let record: RolloutRecord = step(agent, json!(1)).await.into();
    assert_eq!(
        record
            .to_string()
            .matches("- loop (error: without a word)")
            .count(),
        3
    );
}

#[tokio::test]
async fn a_rollout_that_is_not_there_is_called_so_with_its_place() {
    async fn panic_of(future: impl Future) -> String {
        let panic = AssertUnwindSafe(future).catch_unwind().await;
        *panic
            .err()
            .expect("it should panic")
            .downcast::<String>()
            .unwrap()
    }
    let faults = Faults::new();
    let store = faults.wrap(store());
    let id = RolloutId::from("ro-1");
    let said = panic_of(assert_rollout(&*store, &id)).await;
    assert!(
        said.contains("test_kit.rs:") && said.ends_with("the store has no rollout ro-1"),
        "{said}"
    );

    store.enqueue_rollout(NewRollout::new(json!(1))).await.unwrap();
    let said = panic_of(assert_all_ended(&*store)).await;
    assert!(
        said.contains("test_kit.rs:") && said.contains("1 of 1 rollouts have not ended\n\nrollout ro-"),
        "{said}"
    );

    faults.break_down();
    let said = panic_of(assert_rollout(&*store, &id)).await;
    assert!(said.contains("the store does not show rollout ro-1: "), "{said}");
    let said = panic_of(assert_all_ended(&*store)).await;
    assert!(said.contains("the store does not show its rollouts: "), "{said}");
}

// ---- steps

async fn enqueue(store: &Arc<dyn Store>, task: Value) -> RolloutId {
    store
        .enqueue_rollout(NewRollout::new(task))
        .await
        .unwrap()
        .rollout_id
}

#[tokio::test]
async fn a_step_takes_the_next_rollout_of_the_queue_and_no_other() {
    let store = store();
    let ids = [
        enqueue(&store, json!(1)).await,
        enqueue(&store, json!("x")).await,
        enqueue(&store, json!(3)).await,
    ];
    let steps = StepRunner::new(scale(), Arc::clone(&store));
    let first = steps.next().await.unwrap();
    assert_eq!(
        first
            .succeeded()
            .input(&1)
            .reward(1.0)
            .record()
            .rollout
            .rollout_id,
        ids[0]
    );
    assert_eq!(steps.queued().await.unwrap(), 2);
    assert_rollout(&*store, &ids[1])
        .await
        .status(RolloutStatus::Queuing);

    let rest = steps.run_queue().await.unwrap();
    assert_eq!(rest.len(), 2);
    rest[0].failed("no number").attempts(1);
    rest[1].reward(3.0);
    assert_eq!(steps.queued().await.unwrap(), 0);
    let ended = assert_all_ended(&*store).await;
    let in_order: Vec<RolloutId> = ended
        .into_iter()
        .map(|rollout| rollout.into_record().rollout.rollout_id)
        .collect();
    assert_eq!(in_order, ids);
}

#[tokio::test]
async fn a_task_that_the_agent_cannot_read_is_a_step_too() {
    let store = store();
    enqueue(&store, json!({"no": "number"})).await;
    let steps = StepRunner::new(agent_fn(|task: f64, _| async move { task }), store);
    steps
        .next()
        .await
        .unwrap()
        .failed("does not fit the agent's task type f64");
}

#[tokio::test]
async fn a_rollout_that_is_retried_takes_several_steps() {
    let store = store();
    let retried = NewRollout::new(json!("x")).config(RolloutConfig {
        max_attempts: 2,
        retry_condition: [lightning_core::types::AttemptStatus::Failed].into(),
        ..RolloutConfig::default()
    });
    store.enqueue_rollout(retried).await.unwrap();
    let steps = StepRunner::new(scale(), Arc::clone(&store));
    steps
        .next()
        .await
        .unwrap()
        .status(RolloutStatus::Requeuing)
        .attempts(1);
    steps.next().await.unwrap().failed("no number").attempts(2);
}

#[tokio::test]
async fn a_step_waits_for_a_rollout() {
    let store = store();
    let steps = StepRunner::new(scale(), Arc::clone(&store));
    let mut next = std::pin::pin!(steps.next());
    assert!(next.as_mut().now_or_never().is_none(), "there is nothing to do");
    enqueue(&store, json!(2)).await;
    let done = tokio::time::timeout(Duration::from_secs(30), next).await;
    done.expect("it should not take so long").unwrap().reward(2.0);
}

#[tokio::test]
async fn a_runner_of_ones_own_can_be_stepped() {
    let store = store();
    enqueue(&store, json!(2)).await;
    let builder = Runner::builder(scale(), Arc::clone(&store)).worker_id("mine");
    let steps = StepRunner::with(builder, store);
    let record = steps.next().await.unwrap().into_record();
    assert_eq!(
        record.attempts[0].worker_id.as_ref().map(|id| id.as_str()),
        Some("mine")
    );
}
