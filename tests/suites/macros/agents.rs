//! `#[rollout]`: its slots, and every result that it may have.

use lightning_core::{
    agent::{AgentOutput, RolloutResult},
    prelude::*,
    types::{AttemptedRollout, Resource, Span},
};
use serde_json::json;

use super::Question;

#[rollout]
async fn nothing(_task: Question) {}

#[rollout]
async fn scalar(task: &Question) -> f64 {
    task.text.len() as f64
}

#[rollout]
async fn named(task: &Question) -> Result<Reward, std::num::ParseFloatError> {
    let score: f64 = task.text.parse()?;
    Ok(Reward::new("score", score).with("length", task.text.len() as f64))
}

#[rollout]
async fn spans(rollout: &Rollout) -> Vec<Span> {
    vec![Span::new(
        rollout.rollout_id.clone(),
        "at-test",
        1,
        "t",
        "s",
        "own",
    )]
}

#[rollout]
async fn perhaps(task: &Question) -> anyhow::Result<Option<bool>> {
    Ok((task.text != "?").then_some(task.text == "yes"))
}

#[rollout]
async fn any_task(rollout: AttemptedRollout, resources: &NamedResources) -> usize {
    resources.len() + rollout.attempt.sequence_id as usize
}

#[rollout]
fn blocking(
    task: &Question,
    prompt_template: Option<PromptTemplate>,
    #[param(default = 2)] factor: u32,
) -> u32 {
    assert!(prompt_template.is_none());
    // Only a thread that may block may do this.
    tokio::runtime::Handle::current().block_on(async { task.text.len() as u32 * factor })
}

#[rollout]
async fn prompted(prompt_template: &PromptTemplate, llm: Llm) -> anyhow::Result<()> {
    anyhow::bail!("{} {}", prompt_template.template, llm.endpoint)
}

#[rollout]
async fn generic<T: Task + std::fmt::Debug>(task: T) -> usize {
    format!("{task:?}").len()
}

fn question(text: &str) -> Question {
    Question {
        text: text.to_owned(),
    }
}

async fn run(agent: impl Agent<Question>, text: &str) -> anyhow::Result<RolloutResult> {
    agent.rollout(&question(text), &RolloutContext::for_test()).await
}

fn prompt(template: &str) -> Resource {
    let json = json!({"resource_type": "prompt_template", "template": template, "engine": "f-string"});
    serde_json::from_value(json).expect("it is one")
}

fn proxied() -> Resource {
    let json = json!({"resource_type": "proxy_llm", "endpoint": "http://127.0.0.1:4000/v1", "model": "m"});
    serde_json::from_value(json).expect("it is one")
}

fn llm() -> Llm {
    serde_json::from_value(json!({"endpoint": "http://127.0.0.1:4000/v1", "model": "m"})).expect("it is one")
}

#[tokio::test]
async fn every_result_becomes_that_of_a_rollout() -> anyhow::Result<()> {
    let reward = |value: f64| RolloutResult::Reward(value.into());
    assert_eq!(run(nothing::agent(), "").await?, RolloutResult::Nothing);
    assert_eq!(run(scalar::agent(), "abc").await?, reward(3.0));
    let named_reward = Reward::new("score", 0.5).with("length", 3.0);
    assert_eq!(
        run(named::agent(), "0.5").await?,
        RolloutResult::Reward(named_reward)
    );
    let RolloutResult::Spans(stored) = run(spans::agent(), "").await? else {
        panic!("spans are spans");
    };
    assert_eq!((stored.len(), stored[0].rollout_id.as_str()), (1, "ro-test"));
    assert_eq!(run(perhaps::agent(), "yes").await?, reward(1.0));
    assert_eq!(run(perhaps::agent(), "no").await?, reward(0.0));
    assert_eq!(run(perhaps::agent(), "?").await?, RolloutResult::Nothing);
    assert_eq!(run(any_task::agent(), "").await?, reward(1.0));
    assert_eq!(run(blocking::agent().factor(3), "ab").await?, reward(6.0));
    assert_eq!(run(generic::agent(), "").await?, reward(21.0));
    assert_eq!(7u64.into_result()?, reward(7.0));
    Ok(())
}

#[tokio::test]
async fn an_error_of_the_function_fails_the_rollout() {
    let error = run(named::agent(), "x").await.expect_err("`x` is no number");
    assert!(error.downcast_ref::<std::num::ParseFloatError>().is_some());
}

#[tokio::test]
async fn the_function_stays_an_ordinary_function() {
    assert_eq!(scalar(&question("abcd")).await, 4.0);
    assert_eq!(generic(1u8).await, 1);
}

#[tokio::test]
async fn a_model_behind_the_proxy_gets_the_address_of_the_attempt() {
    let resources: NamedResources = [("main", proxied()), ("prompt", prompt("Say {x}"))]
        .into_iter()
        .collect();
    let cx = RolloutContext::for_test().with_resources(resources);
    let seen = prompted::agent()
        .rollout(&question(""), &cx)
        .await
        .expect_err("it tells by an error");
    assert_eq!(
        seen.to_string(),
        "Say {x} http://127.0.0.1:4000/rollout/ro-test/attempt/at-test/v1"
    );
}

#[tokio::test]
async fn a_resource_that_is_missing_is_said_with_those_that_are_there() {
    let resources: NamedResources = [("rules", Resource::from(json!([1]))), ("main", llm().into())]
        .into_iter()
        .collect();
    let cx = RolloutContext::for_test().with_resources(resources);
    let missing = prompted::agent()
        .rollout(&question(""), &cx)
        .await
        .expect_err("no prompt");
    assert_eq!(
        missing.to_string(),
        "parameter `prompt_template`: no `prompt_template` was given: publish one with the resources of the rollout \
         (`initial_resources`, or the algorithm); there are `main` (llm), `rules` (json)"
    );
}

#[tokio::test]
async fn of_several_prompts_none_is_taken_even_for_an_option() {
    let resources: NamedResources = [("one", prompt("1")), ("two", prompt("2"))].into_iter().collect();
    let cx = RolloutContext::for_test().with_resources(resources);
    let refused = blocking::agent()
        .rollout(&question(""), &cx)
        .await
        .expect_err("nobody can tell which is meant")
        .to_string();
    assert!(refused.starts_with("parameter `prompt_template`: "), "{refused}");
    assert!(refused.contains("one") && refused.contains("two"), "{refused}");
}

#[test]
fn an_agent_says_what_it_asks_for() {
    let agent: Arc<dyn Agent<Question>> = Arc::new(prompted::agent());
    assert_eq!(agent.name(), "prompted");
    let slots: Vec<&str> = agent
        .requirements()
        .expect("generated")
        .iter()
        .map(|one| one.slot)
        .collect();
    assert_eq!(slots, ["prompt_template", "llm"]);
}
