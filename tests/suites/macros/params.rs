//! Hyper-parameters: builder methods, defaults, and their JSON form.

use lightning_core::{functional::Param, prelude::*};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Question, everything};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Strategy {
    #[default]
    Greedy,
    Beam {
        width: usize,
    },
}

#[algo]
async fn tune(
    #[param] rate: f64,
    #[param(default = 3)] repeats: u8,
    #[param(default = "mean")] metric: String,
    #[param(default)] strategy: Strategy,
    #[param(default = vec![1, 2])] _seeds: Vec<u64>,
    #[param(default = 1)] mut r#type: u8,
) -> String {
    r#type += 1;
    format!("{rate} {repeats} {metric} {strategy:?} {_seeds:?} {}", r#type)
}

// Names that generated code might have used for itself.
#[algo]
async fn names(
    #[param(default = 1)] clone: u8,
    #[param(default = 2)] name: u8,
    #[param(default = 3)] run_: u8,
    #[param(default = 4)] scope: u8,
    #[param(default = 5)] errors: u8,
    #[param(default = 6)] value: u8,
    #[param(default = 7)] serializer: u8,
) -> u8 {
    clone + name + run_ + scope + errors + value + serializer
}

#[algo]
async fn generic<P: Param>(#[param] value: P) -> P {
    value
}

#[rollout]
async fn scaled(task: &Question, #[param(default = 1.0)] factor: f64) -> f64 {
    task.text.len() as f64 * factor
}

async fn run<O>(algorithm: impl Algorithm<Question, Output = O>) -> O {
    algorithm.run(&everything()).await.expect("it cannot fail")
}

#[tokio::test]
async fn parameters_are_arguments_and_builder_methods() {
    assert_eq!(run(tune::algorithm(0.5)).await, "0.5 3 mean Greedy [1, 2] 2");
    let tuned = tune::algorithm(1.0)
        .repeats(1)
        .metric("max".to_owned())
        .strategy(Strategy::Beam { width: 2 })
        .seeds(vec![])
        .r#type(8);
    assert_eq!(run(tuned.clone()).await, "1 1 max Beam { width: 2 } [] 9");
    assert_eq!(run(tuned.rate(2.0)).await, "2 1 max Beam { width: 2 } [] 9");
    assert_eq!(run(names::algorithm().clone(7)).await, 34);
    assert_eq!(run(generic::algorithm("x".to_owned())).await, "x");
    // A second run begins with the same values.
    let twice = tune::algorithm(0.5);
    assert_eq!(run(Arc::new(twice.clone())).await, run(twice).await);
}

#[tokio::test]
async fn parameters_are_read_from_and_written_to_json() {
    let written = json!({
        "rate": 0.5, "repeats": 3, "metric": "mean", "strategy": "greedy", "seeds": [1, 2], "type": 1,
    });
    assert_eq!(
        serde_json::to_value(tune::algorithm(0.5)).expect("it has a JSON form"),
        written
    );
    let parameters = Algorithm::<Question>::parameters(&tune::algorithm(0.5)).expect("as above");
    assert_eq!(serde_json::Value::from(parameters), written);

    let read: tune =
        serde_json::from_value(json!({"rate": 2, "strategy": {"beam": {"width": 3}}})).expect("it fits");
    assert_eq!(run(read).await, "2 3 mean Beam { width: 3 } [1, 2] 2");
    let read: scaled = serde_json::from_value(json!({"factor": 2.0})).expect("it fits");
    let result = read
        .rollout(&Question { text: "ab".into() }, &RolloutContext::for_test())
        .await;
    assert_eq!(
        result.expect("it fits"),
        lightning_core::agent::RolloutResult::Reward(4.0.into())
    );

    assert_eq!(format!("{:?}", scaled::agent()), "scaled { factor: 1.0 }");
}

#[test]
fn what_does_not_fit_is_refused_with_its_name() {
    let refused = |json: serde_json::Value| {
        serde_json::from_value::<tune>(json)
            .expect_err("it does not fit")
            .to_string()
    };
    assert_eq!(
        refused(json!({})),
        "`tune` needs the parameter `rate`, which has no default"
    );
    assert_eq!(
        refused(json!({"rate": 1, "repeat": 2})),
        "`tune` has no parameter `repeat`, did you mean `repeats`?; it has `rate`, `repeats`, `metric`, `strategy`, \
         `seeds`, `type`"
    );
    assert_eq!(
        refused(json!({"rate": 1, "repeats": 256})),
        "parameter `repeats` of `tune`: invalid value: integer `256`, expected u8"
    );
}
