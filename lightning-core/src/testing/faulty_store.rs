//! A store that fails on demand.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use crate::store::{Answer, LayeredStore, Store, StoreError, StoreLayer};

/// Makes a store fail on demand, as an unreachable or crashing server does. A clone controls the same store.
///
/// ```
/// use std::sync::Arc;
/// use lightning_core::{store::{MemoryStore, Store}, testing::Faults, types::NewRollout};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let faults = Faults::new();
/// let store = faults.wrap(Arc::new(MemoryStore::new()));
/// faults.fail(1);
/// assert!(store.enqueue_rollout(NewRollout::new(serde_json::json!("task"))).await.is_err());
/// assert!(store.enqueue_rollout(NewRollout::new(serde_json::json!("task"))).await.is_ok());
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<Plan>>);

#[derive(Default)]
struct Plan {
    failing: u64,
    losing: u64,
    broken: bool,
    failures: u64,
}

impl Faults {
    /// No faults so far.
    pub fn new() -> Self {
        Self::default()
    }

    /// The store with these faults.
    pub fn wrap(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(LayeredStore::new(store, self.clone()))
    }

    /// The next `operations` do not reach the store and answer [`StoreError::Unavailable`].
    pub fn fail(&self, operations: u64) {
        self.plan().failing = operations;
    }

    /// The next `mutations` take effect, but their answers are lost: the caller sees [`StoreError::Unavailable`].
    pub fn lose_answers(&self, mutations: u64) {
        self.plan().losing = mutations;
    }

    /// Every operation fails from now on, until [`mend`](Self::mend).
    pub fn break_down(&self) {
        self.plan().broken = true;
    }

    /// Operations work again.
    pub fn mend(&self) {
        let mut plan = self.plan();
        (plan.broken, plan.failing, plan.losing) = (false, 0, 0);
    }

    /// How many operations have failed.
    pub fn failures(&self) -> u64 {
        self.plan().failures
    }

    fn plan(&self) -> std::sync::MutexGuard<'_, Plan> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Plan")
            .field("broken", &self.broken)
            .field("failures", &self.failures)
            .finish_non_exhaustive()
    }
}

impl StoreLayer for Faults {
    fn before(&self, operation: &'static str) -> Result<(), StoreError> {
        let mut plan = self.plan();
        if !plan.broken && plan.failing == 0 {
            return Ok(());
        }
        plan.failing = plan.failing.saturating_sub(1);
        plan.failures += 1;
        Err(unavailable(format!("`{operation}` was made to fail")))
    }

    fn after(&self, answer: Answer) -> Result<Answer, StoreError> {
        let mut plan = self.plan();
        if plan.losing == 0 {
            return Ok(answer);
        }
        plan.losing -= 1;
        plan.failures += 1;
        Err(unavailable("the answer was made to get lost".to_owned()))
    }
}

fn unavailable(reason: String) -> StoreError {
    StoreError::Unavailable { reason, source: None }
}
