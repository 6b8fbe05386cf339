//! Any history of any store against the model of `lightning_tests::model`: the same steps, the same answers, the same
//! state.
//!
//! `PROPTEST_CASES` sets how many histories are tried.

#[path = "lifecycle_model/events.rs"]
mod events;
#[path = "lifecycle_model/generate.rs"]
mod generate;
#[path = "lifecycle_model/invariants.rs"]
mod invariants;
#[path = "lifecycle_model/shrink.rs"]
mod shrink;
#[path = "lifecycle_model/step.rs"]
mod step;
#[path = "lifecycle_model/subject.rs"]
mod subject;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use lightning_core::{
    store::{Answer, Command, MemoryStore, Request, Store},
    testing::ManualClock,
    types::Timestamp,
};
use lightning_tests::model::Model;
use proptest::{
    strategy::{BoxedStrategy, Just, Strategy as _, ValueTree as _},
    test_runner::{Config, FileFailurePersistence, TestRunner},
};
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use self::{
    events::{Happening, expected},
    generate::NextStep,
    invariants::{Event, Invariants},
    step::{Action, Outcome, Step},
    subject::{StepIds, Subject, Visible},
};

/// Makes the stores that are compared with the model.
///
/// Before anything else, each operation has to apply the time limits that have passed.
trait Backend: Default + 'static {
    fn open(&self, clock: ManualClock, ids: StepIds) -> Arc<dyn Store>;

    /// Whether the store is closed and opened anew before this step.
    fn reopens(_step: &Step) -> bool {
        false
    }
}

#[derive(Default)]
struct Memory;

impl Backend for Memory {
    fn open(&self, clock: ManualClock, ids: StepIds) -> Arc<dyn Store> {
        Arc::new(MemoryStore::builder().clock(clock).ids(ids).build())
    }
}

/// The durable store, in a folder of its own.
#[cfg(feature = "sqlite")]
struct Sqlite(lightning_tests::scratch::Scratch);

#[cfg(feature = "sqlite")]
impl Default for Sqlite {
    fn default() -> Self {
        Self(lightning_tests::scratch::Scratch::fast())
    }
}

#[cfg(feature = "sqlite")]
impl Backend for Sqlite {
    fn open(&self, clock: ManualClock, ids: StepIds) -> Arc<dyn Store> {
        use lightning_core::store::SqliteStore;

        let store = SqliteStore::builder(self.0.path("store.db"));
        Arc::new(store.clock(clock).ids(ids).open().unwrap())
    }
}

/// The durable store, closed and opened anew again and again.
#[cfg(feature = "sqlite")]
#[derive(Default)]
struct Reopened(Sqlite);

#[cfg(feature = "sqlite")]
impl Backend for Reopened {
    fn open(&self, clock: ManualClock, ids: StepIds) -> Arc<dyn Store> {
        self.0.open(clock, ids)
    }

    /// A third of the steps, mixed by their number: it stays the same when other steps are taken out.
    fn reopens(step: &Step) -> bool {
        (step.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(3)
    }
}

prop_state_machine! {
    #![proptest_config(config(2000))]

    #[test]
    fn the_memory_store_does_what_the_model_does(sequential STEPS => Against<Memory>);
}

#[cfg(feature = "sqlite")]
prop_state_machine! {
    #![proptest_config(config(150))]

    #[test]
    fn the_sqlite_store_does_what_the_model_does(sequential STEPS => Against<Sqlite>);

    #[test]
    fn the_sqlite_store_opened_anew_does_what_the_model_does(sequential STEPS => Against<Reopened>);
}

fn config(cases: u32) -> Config {
    let config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        max_shrink_iters: 20_000,
        max_shrink_time: 60_000,
        ..Config::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => config,
        None => Config { cases, ..config },
    }
}

/// How long a step may take; much longer than it does, so that only a wait without end is an error.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many steps a history has.
const STEPS: std::ops::Range<usize> = 1..80;

#[test]
fn the_histories_reach_everything_that_the_contract_speaks_of() {
    let mut runner = TestRunner::deterministic();
    let mut counts: BTreeMap<String, usize> = expected().into_iter().map(|event| (event, 0)).collect();
    for _ in 0..1000 {
        let history = Reference::sequential_strategy(STEPS).new_tree(&mut runner);
        let (mut before, steps, _) = history.unwrap().current();
        let (mut refused_keys, mut used_keys) = (Vec::new(), Vec::new());
        for step in steps {
            let after = Reference::apply(before.clone(), &step);
            let happening = Happening {
                before: &before.model,
                step: &step,
                outcome: &after.outcome,
                after: &after.model,
                refused_keys: &refused_keys,
                used_keys: &used_keys,
            };
            for event in happening.events() {
                *counts
                    .get_mut(&event)
                    .unwrap_or_else(|| panic!("`{event}` is not expected")) += 1;
            }
            if let Action::Do(Request { key: Some(key), .. }) = &step.action {
                match &after.outcome {
                    Outcome::Answer(_) => used_keys.push(key.as_str().to_owned()),
                    _ => refused_keys.push(key.as_str().to_owned()),
                }
            }
            before = after;
        }
    }
    let seldom: Vec<_> = counts.iter().filter(|(_, count)| **count < 5).collect();
    assert!(
        seldom.is_empty(),
        "hardly or never reached: {seldom:#?} among {counts:#?}"
    );
}

/// The model with the outcome of its last step.
#[derive(Clone)]
struct Reference {
    model: Model,
    outcome: Outcome,
}

impl fmt::Debug for Reference {
    /// Every history begins with nothing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an empty store")
    }
}

impl ReferenceStateMachine for Reference {
    type State = Self;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self {
            model: Model::new(Timestamp::from_secs_f64(1e6)),
            outcome: Outcome::Time,
        })
        .boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Step> {
        NextStep(state.model.clone()).boxed()
    }

    fn apply(mut state: Self, step: &Step) -> Self {
        state.outcome = step.model(&mut state.model);
        state
    }
}

/// A store of a backend that goes through a history.
struct Against<B> {
    subject: Subject,
    visible: Visible,
    invariants: Invariants,
    runtime: Runtime,
    backend: B,
}

impl<B: Backend> StateMachineTest for Against<B> {
    type SystemUnderTest = Self;
    type Reference = Reference;

    fn init_test(reference: &Reference) -> Self {
        let clock = ManualClock::starting_at(reference.model.now);
        let ids = StepIds::default();
        let backend = B::default();
        Self {
            subject: Subject {
                store: backend.open(clock.clone(), ids.clone()),
                clock,
                ids,
            },
            visible: Visible::default(),
            invariants: Invariants::default(),
            runtime: Builder::new_current_thread().enable_time().build().unwrap(),
            backend,
        }
    }

    fn apply(mut self_: Self, reference: &Reference, step: Step) -> Self {
        if B::reopens(&step) {
            let subject = &mut self_.subject;
            // The old store has to let go of its file first.
            subject.store = Arc::new(MemoryStore::new());
            subject.store = self_.backend.open(subject.clock.clone(), subject.ids.clone());
        }
        let subject = &self_.subject;
        let acted = self_.runtime.block_on(async {
            let act = async {
                let outcome = subject.act(&step, &reference.outcome).await;
                (outcome, subject.visible().await.unwrap())
            };
            timeout(PATIENCE, act).await
        });
        let (outcome, visible) =
            acted.unwrap_or_else(|_| panic!("the store does not answer in step {step:?}"));
        assert_eq!(
            outcome, reference.outcome,
            "the store's answer (left) is not the model's (right) in step {step:?}"
        );
        Visible::of(&reference.model).compare(&visible, &step);
        let before = std::mem::replace(&mut self_.visible, visible);
        self_.invariants.check(&Event {
            step: &step,
            outcome: &outcome,
            before: &before,
            after: &self_.visible,
        });
        self_
    }

    /// Empties the queue: what is in line, each once, in the model's order.
    fn teardown(mut self_: Self, mut reference: Reference) {
        let mut waiting: BTreeSet<_> = self_
            .visible
            .rollouts
            .iter()
            .filter(|rollout| rollout.status.is_queueing())
            .map(|rollout| rollout.rollout_id.clone())
            .collect();
        loop {
            let step = Step {
                number: reference.model.step + 1,
                action: Action::Do(
                    Command::DequeueRollouts {
                        limit: 1,
                        worker_id: None,
                    }
                    .into(),
                ),
            };
            reference = Reference::apply(reference, &step);
            self_ = Self::apply(self_, &reference, step);
            let Outcome::Answer(Answer::Dequeued(claimed)) = &reference.outcome else {
                panic!("dequeue answers with rollouts");
            };
            let Some(claimed) = claimed.first() else { break };
            assert!(
                waiting.remove(&claimed.rollout.rollout_id),
                "queued exactly once: claimed twice"
            );
        }
        assert!(
            waiting.is_empty(),
            "queued exactly once: {waiting:?} cannot be claimed"
        );
    }
}
