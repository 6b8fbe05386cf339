//! What a test says about rollouts, and how it reads when it is not so.

use std::{future::Future, panic::Location};

use super::RolloutRecord;
use crate::{
    runner::Step,
    store::Store,
    types::{ResourcesId, RolloutId, RolloutMode, RolloutStatus},
};

/// How far two rewards may be apart and still be called equal.
const TOLERANCE: f64 = 1e-9;

/// Says what a test expects of a rollout. Each method panics if it is not so, and shows all that is known of the rollout.
///
/// ```
/// use std::sync::Arc;
/// use lightning_core::{agent::agent_fn, runner::Runner, store::{MemoryStore, Store}, testing::{assert_rollout, assert_step}};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
/// let agent = agent_fn(|task: String, _| async move { task.len() as f64 });
/// let runner = Runner::builder(agent, Arc::clone(&store)).build();
/// let step = runner.step(&"four".to_owned()).await?;
/// assert_step(&step).succeeded().attempts(1).reward(4.0);
///
/// // The same, read from the store:
/// assert_rollout(&*store, &step.rollout.rollout_id).await.succeeded().spans("agentlightning.annotation", 1);
/// # Ok(())
/// # }
/// ```
///
/// ```text
/// the rollout should have succeeded
///
/// rollout ro-5f0c6d2f1b7a: failed, train
///   attempt 1: failed: the model did not answer: connection refused
///   - openai.chat.completion (error: ended without an answer)
///   - agentlightning.exception
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is asserted yet"]
pub struct RolloutAssertion(RolloutRecord);

/// Begins what a test says about a rollout of a store.
///
/// # Panics
///
/// If the store fails, or does not have the rollout.
#[track_caller]
pub fn assert_rollout<'a>(
    store: &'a dyn Store,
    id: &'a RolloutId,
) -> impl Future<Output = RolloutAssertion> + Send + 'a {
    let caller = Location::caller();
    async move {
        match RolloutRecord::of(store, id).await {
            Ok(Some(record)) => RolloutAssertion(record),
            Ok(None) => fail(&format!("{caller}: the store has no rollout {id}")),
            Err(error) => fail(&format!(
                "{caller}: the store does not show rollout {id}: {error}"
            )),
        }
    }
}

/// Begins what a test says about a single [step](crate::runner::Runner::step).
pub fn assert_step(step: &Step) -> RolloutAssertion {
    RolloutAssertion(step.clone().into())
}

/// Asserts that no rollout of a store is still open, and gives all of them, in the order of their creation.
///
/// # Panics
///
/// If one is open, or the store fails.
#[track_caller]
pub fn assert_all_ended(store: &dyn Store) -> impl Future<Output = Vec<RolloutAssertion>> + Send + '_ {
    let caller = Location::caller();
    async move {
        let records = match RolloutRecord::all(store).await {
            Ok(records) => records,
            Err(error) => fail(&format!(
                "{caller}: the store does not show its rollouts: {error}"
            )),
        };
        let open = records
            .iter()
            .filter(|record| !record.rollout.status.is_terminal());
        let open: Vec<String> = open.map(ToString::to_string).collect();
        if !open.is_empty() {
            let (open_count, all) = (open.len(), records.len());
            fail(&format!(
                "{caller}: {open_count} of {all} rollouts have not ended\n\n{}",
                open.join("\n\n")
            ));
        }
        records.into_iter().map(RolloutAssertion).collect()
    }
}

#[track_caller]
fn fail(message: &str) -> ! {
    #[expect(clippy::panic, reason = "that is how an assertion fails")]
    {
        panic!("{message}")
    }
}

impl RolloutAssertion {
    /// What is known of a rollout.
    pub fn new(record: RolloutRecord) -> Self {
        Self(record)
    }

    /// What is known of the rollout.
    pub fn record(&self) -> &RolloutRecord {
        &self.0
    }

    /// What is known of the rollout.
    pub fn into_record(self) -> RolloutRecord {
        self.0
    }

    /// It has this status.
    ///
    /// # Panics
    ///
    /// If it has another one; so do all methods here if what they say is not so.
    #[track_caller]
    pub fn status(&self, status: RolloutStatus) -> &Self {
        self.check(self.0.rollout.status == status, || {
            format!("the rollout should be {}", status.as_str())
        })
    }

    /// It has succeeded.
    #[track_caller]
    pub fn succeeded(&self) -> &Self {
        self.check(self.0.rollout.status == RolloutStatus::Succeeded, || {
            "the rollout should have succeeded".to_owned()
        })
    }

    /// It has failed, and the reason of its last attempt contains this text.
    #[track_caller]
    pub fn failed(&self, reason: &str) -> &Self {
        let said = self.0.attempts.last().and_then(|attempt| attempt.reason());
        let is_so =
            self.0.rollout.status == RolloutStatus::Failed && said.unwrap_or_default().contains(reason);
        self.check(is_so, || {
            format!("the rollout should have failed with a reason that contains {reason:?}")
        })
    }

    /// It took so many attempts.
    #[track_caller]
    pub fn attempts(&self, count: usize) -> &Self {
        let made = self.0.attempts.len();
        self.check(made == count, || {
            format!("the rollout should have taken {count} attempts, not {made}")
        })
    }

    /// Its primary reward is this, give or take 1e-9.
    #[track_caller]
    pub fn reward(&self, value: f64) -> &Self {
        let reward = self.0.reward().map(|reward| reward.primary());
        let is_so = reward.is_some_and(|reward| (reward - value).abs() <= TOLERANCE);
        self.check(is_so, || match reward {
            Some(reward) => format!("the reward should be {value}, not {reward}"),
            None => format!("the reward should be {value}, and there is none"),
        })
    }

    /// One dimension of its reward is this, give or take 1e-9.
    #[track_caller]
    pub fn reward_of(&self, dimension: &str, value: f64) -> &Self {
        let reward = self.0.reward().and_then(|reward| reward.get(dimension));
        let is_so = reward.is_some_and(|reward| (reward - value).abs() <= TOLERANCE);
        self.check(is_so, || match reward {
            Some(reward) => format!("the reward in `{dimension}` should be {value}, not {reward}"),
            None => format!("the reward in `{dimension}` should be {value}, and there is none"),
        })
    }

    /// It has no reward; one of 0 is a reward.
    #[track_caller]
    pub fn no_reward(&self) -> &Self {
        self.check(self.0.reward().is_none(), || {
            "the rollout should have no reward".to_owned()
        })
    }

    /// Its latest attempt has so many spans of this name.
    #[track_caller]
    pub fn spans(&self, name: &str, count: usize) -> &Self {
        let found = self.0.spans_named(name).count();
        self.check(found == count, || {
            format!("spans `{name}`: there should be {count}, not {found}")
        })
    }

    /// Its input is this, as JSON.
    #[track_caller]
    pub fn input(&self, task: &impl serde::Serialize) -> &Self {
        let expected = serde_json::to_value(task).unwrap_or_default();
        let is_so = *self.0.rollout.input == expected;
        self.check(is_so, || {
            let input = self.0.rollout.input.to_string();
            format!("the task should be {expected}, not {input}")
        })
    }

    /// It is for this.
    #[track_caller]
    pub fn mode(&self, mode: RolloutMode) -> &Self {
        self.check(self.0.rollout.mode == Some(mode), || {
            format!("the mode should be {}", mode.as_str())
        })
    }

    /// It uses these resources.
    #[track_caller]
    pub fn resources(&self, id: &ResourcesId) -> &Self {
        self.check(self.0.rollout.resources_id.as_ref() == Some(id), || {
            format!("the rollout should use the resources {id}")
        })
    }

    #[track_caller]
    fn check(&self, is_so: bool, should: impl FnOnce() -> String) -> &Self {
        if !is_so {
            fail(&format!("{}\n\n{}", should(), self.0));
        }
        self
    }
}
