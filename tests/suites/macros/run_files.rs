//! Algorithms and agents by name, on JSON.

use lightning_core::{agent::RolloutResult, prelude::*, registry::Registry};
use serde_json::{Value, json};

use super::Question;

#[algo(version = "3")]
async fn join(train_dataset: Dataset<Question>, #[param(default = "-")] separator: String) -> String {
    let texts: Vec<&str> = train_dataset.iter().map(|question| &*question.text).collect();
    texts.join(&separator)
}

#[algo]
async fn count<T: Task>(train_dataset: &[T]) -> usize {
    train_dataset.len()
}

#[algo]
async fn idle() -> Option<u8> {
    None
}

#[rollout]
async fn measure(task: &Question, #[param(default = 1.0)] factor: f64) -> f64 {
    task.text.len() as f64 * factor
}

#[rollout]
async fn any_task(rollout: &Rollout) -> usize {
    rollout.rollout_id.as_str().len()
}

fn registry() -> Registry {
    Registry::new()
        .algorithm(join::algorithm().separator("+".to_owned()))
        .algorithm(count::<Value>::algorithm())
        .algorithm(idle::algorithm())
        .agent(measure::agent())
        .agent(any_task::agent())
}

fn with_tasks(tasks: Value) -> AlgorithmContext<Value> {
    let tasks: Vec<Value> = serde_json::from_value(tasks).expect("a list");
    AlgorithmContext::for_test().with_train_dataset(tasks)
}

fn parameters(json: Value) -> lightning_core::types::JsonObject {
    serde_json::from_value(json).expect("an object")
}

#[tokio::test]
async fn tasks_are_decoded_and_outputs_encoded() -> anyhow::Result<()> {
    let cx = with_tasks(json!([{"text": "a"}, {"text": "b"}]));
    let registry = registry();
    let build = |name, json| registry.build_algorithm(name, parameters(json));
    assert_eq!(build("join", json!({}))?.run(&cx).await?, json!("a+b"));
    let join = build("join", json!({"separator": ", "}))?;
    join.check(&cx)?;
    assert_eq!(join.run(&cx).await?, json!("a, b"));
    assert_eq!((join.name().as_ref(), join.version()), ("join", "3"));
    assert_eq!(Value::from(join.parameters()?), json!({"separator": ", "}));
    assert_eq!(build("count", json!({}))?.run(&cx).await?, json!(2));
    assert_eq!(build("idle", json!({}))?.run(&cx).await?, Value::Null);

    let measure = registry.build_agent("measure", parameters(json!({"factor": 2})))?;
    let rollout = RolloutContext::for_test();
    assert_eq!(
        measure.rollout(&json!({"text": "abc"}), &rollout).await?,
        RolloutResult::Reward(6.0.into())
    );
    let any = registry.build_agent("any_task", parameters(json!({})))?;
    assert_eq!(
        any.rollout(&json!(1), &rollout).await?,
        RolloutResult::Reward(7.0.into())
    );
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_is_said_with_its_place() -> anyhow::Result<()> {
    let registry = registry();
    let unknown = registry
        .build_algorithm("jion", parameters(json!({})))
        .err()
        .map(|error| error.to_string());
    assert_eq!(
        unknown.as_deref(),
        Some("there is no algorithm `jion`; there are: count, idle, join")
    );
    let parameter = registry
        .build_algorithm("join", parameters(json!({"seperator": ""})))
        .err();
    assert_eq!(
        parameter.map(|error| error.to_string()).as_deref(),
        Some("`join` has no parameter `seperator`, did you mean `separator`?; it has `separator`")
    );
    let unknown = registry
        .build_agent("mesure", parameters(json!({})))
        .err()
        .map(|error| error.to_string());
    assert_eq!(
        unknown.as_deref(),
        Some("there is no agent `mesure`; there are: any_task, measure")
    );

    let join = registry.build_algorithm("join", parameters(json!({})))?;
    let cx = with_tasks(json!([{"text": "a"}, {"txt": "b"}]));
    let refused = join
        .check(&cx)
        .expect_err("the second task has no text")
        .to_string();
    assert_eq!(
        refused,
        "parameter `train_dataset`: task 1 does not fit: missing field `text`"
    );
    assert_eq!(join.run(&cx).await.expect_err("the same").to_string(), refused);

    let measure = registry.build_agent("measure", parameters(json!({})))?;
    let refused = measure
        .rollout(&json!({}), &RolloutContext::for_test())
        .await
        .expect_err("no text");
    assert_eq!(refused.to_string(), "the task does not fit: missing field `text`");
    Ok(())
}
