//! Values of the user's own: by type, by slot, and those of generic types.

use lightning_core::{
    inject::{Inject as Injected, InjectError, Scope},
    prelude::*,
};

use super::{Question, everything};

#[derive(Clone, Debug, PartialEq, Inject)]
struct Budget(u32);

#[derive(Clone, Inject)]
struct Setting<V>(V);

trait JudgeModel: Send + Sync + 'static {
    fn score(&self) -> f64;
}

struct Strict;

impl JudgeModel for Strict {
    fn score(&self) -> f64 {
        0.25
    }
}

/// A slot.
struct Judge;

impl<'cx> Injected<'cx, Judge> for Arc<dyn JudgeModel> {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.extension::<Self>().cloned()
    }
}

impl<'cx> Injected<'cx, Judge> for &'cx dyn JudgeModel {
    fn inject(scope: &'cx Scope) -> Result<Self, InjectError> {
        scope.extension::<Arc<dyn JudgeModel>>().map(|judge| &**judge)
    }
}

#[algo]
async fn judged(
    #[inject(Judge)] judge: Arc<dyn JudgeModel>,
    #[inject(Judge)] same_judge: &dyn JudgeModel,
    #[inject] budget: Budget,
    #[inject] shared: Option<Arc<Budget>>,
    #[inject] setting: Setting<u8>,
) -> f64 {
    assert!(shared.is_none());
    (judge.score() + same_judge.score()) * f64::from(budget.0) + f64::from(setting.0)
}

#[rollout]
async fn frugal(task: Question, #[inject] budget: Budget) -> f64 {
    (task.text.len() as f64).min(f64::from(budget.0))
}

#[rollout]
async fn judging(#[inject(Judge)] judge: &dyn JudgeModel, resources: NamedResources) -> f64 {
    judge.score() + resources.len() as f64
}

fn judge() -> Arc<dyn JudgeModel> {
    Arc::new(Strict)
}

#[tokio::test]
async fn an_algorithm_gets_values_of_ones_own() -> anyhow::Result<()> {
    let cx = everything()
        .with_extension(judge())
        .with_extension(Budget(4))
        .with_extension(Setting(1u8));
    assert_eq!(judged::algorithm().run(&cx).await?, 3.0);

    let missing = judged::algorithm()
        .check(&everything())
        .expect_err("nothing was given");
    let named: Vec<&str> = missing.iter().map(|(parameter, _)| parameter).collect();
    assert_eq!(named, ["judge", "same_judge", "budget", "setting"]);
    assert!(
        missing.to_string().contains(
            "no `macros::own_values::Budget` was given: `Trainer::builder().extension(value)` gives one"
        ),
        "{missing}"
    );
    Ok(())
}

#[tokio::test]
async fn an_agent_gets_them_too_and_says_before_any_rollout_that_they_are_missing() -> anyhow::Result<()> {
    let cx = RolloutContext::for_test()
        .with_extension(Budget(2))
        .with_extension(judge());
    let task = Question { text: "long".into() };
    assert_eq!(
        frugal::agent().rollout(&task, &cx).await?,
        lightning_core::agent::RolloutResult::Reward(2.0.into())
    );
    judging::agent().rollout(&task, &cx).await?;

    let nothing = Scope::new();
    let missing = Agent::<Question>::check(&frugal::agent(), &nothing).expect_err("no budget");
    assert_eq!(missing.iter().count(), 1);
    // The resources come with the rollout, so they are not missed yet.
    let missing = Agent::<Question>::check(&judging::agent(), &nothing).expect_err("no judge");
    assert_eq!(
        missing.iter().map(|(parameter, _)| parameter).collect::<Vec<_>>(),
        ["judge"]
    );
    Agent::<Question>::check(&judging::agent(), &nothing.with_extension(judge()))?;
    Ok(())
}
