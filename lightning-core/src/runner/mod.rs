//! Runners: they claim rollouts from the store, execute the agent, and report.
//!
//! A runner meets algorithms only in the store. [`Runner::iter`] works until it is told to stop; [`Runner::step`] executes
//! one task and [`Runner::step_next`] the next rollout, for tests and for dry runs.

mod attempt;
mod claim;
mod error;
mod guard;
mod heartbeat;
mod statistics;
mod stop;

use std::{fmt, panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use tokio_util::task::TaskTracker;

pub(crate) use self::claim::SharedClaims;
use self::{
    claim::{Claimed, Claims},
    heartbeat::Heart,
};
pub use self::{
    error::RunnerError,
    statistics::{StatisticsSource, SystemStatistics},
    stop::StopSignal,
};
use crate::{
    agent::{Agent, Hook, HookFuture, RolloutContext, RolloutEnd},
    clock::{Clock, SystemClock},
    emitter,
    ids::{IdSource, RandomIds},
    inject::Scope,
    store::{Store, StoreError, StoreFuture},
    tracer::RecordingOptions,
    types::{
        AttemptedRollout, NamedResources, NewRollout, RolloutConfig, RolloutMode, RolloutSnapshot, Span,
        SpanQuery, Task, TaskInput, WorkerId,
    },
};

/// How long to wait before an unavailable store is asked again; doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Executes an agent on the rollouts of a store. One runner executes one rollout at a time.
///
/// ```
/// use std::sync::Arc;
/// use lightning_core::{
///     agent::{Agent, AgentFuture, AgentOutput, RolloutContext},
///     runner::Runner,
///     store::MemoryStore,
/// };
///
/// struct Length;
///
/// impl Agent<String> for Length {
///     fn rollout<'a>(&'a self, task: &'a String, _: &'a RolloutContext) -> AgentFuture<'a> {
///         Box::pin(async move { (task.len() as f64).into_result() })
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> anyhow::Result<()> {
/// let runner = Runner::builder(Length, Arc::new(MemoryStore::new())).build();
/// let step = runner.step(&"four".to_owned()).await?;
/// assert_eq!(step.end.reward().map(|reward| reward.primary()), Some(4.0));
/// # Ok(())
/// # }
/// ```
pub struct Runner<T> {
    store: Arc<dyn Store>,
    agent: Arc<dyn Agent<T>>,
    worker_id: WorkerId,
    hooks: Vec<Arc<dyn Hook>>,
    extensions: Scope,
    max_rollouts: Option<u64>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    recording: RecordingOptions,
    patience: Duration,
    abort_grace: Duration,
    time_limit: Option<Duration>,
    heart: Heart,
    claims: Claims,
    shared_claims: Option<Arc<SharedClaims>>,
    /// Reports that go on after the runner was dropped in the middle of a rollout.
    last_words: TaskTracker,
}

/// Builds a [`Runner`].
pub struct RunnerBuilder<T> {
    store: Arc<dyn Store>,
    agent: Arc<dyn Agent<T>>,
    worker_id: Option<WorkerId>,
    hooks: Vec<Arc<dyn Hook>>,
    extensions: Scope,
    max_rollouts: Option<u64>,
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
    recording: RecordingOptions,
    patience: Duration,
    abort_grace: Duration,
    time_limit: Option<Duration>,
    heartbeat: Duration,
    statistics: Arc<dyn StatisticsSource>,
    last_words: TaskTracker,
    shared_claims: Option<Arc<SharedClaims>>,
}

/// What a runner has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RunnerReport {
    /// How many attempts it executed.
    pub attempts: u64,
    /// How many of them succeeded.
    pub succeeded: u64,
}

/// What became of one task.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Step {
    /// The rollout as the store has it now, with its attempt.
    pub rollout: RolloutSnapshot,
    /// How the attempt ended, and its spans.
    pub end: RolloutEnd,
}

/// What a single task is executed with.
#[derive(Clone, Debug, Default)]
pub struct StepOptions {
    /// What the rollout is for.
    pub mode: Option<RolloutMode>,
    /// The resources to use; the store's latest if not set.
    pub resources: Option<NamedResources>,
    /// Time limits; none if not set.
    pub config: Option<RolloutConfig>,
}

impl<T: Task> Runner<T> {
    /// Builds a runner of `agent` on the rollouts of `store`.
    pub fn builder(agent: impl Agent<T>, store: Arc<dyn Store>) -> RunnerBuilder<T> {
        RunnerBuilder {
            store,
            agent: Arc::new(agent),
            worker_id: None,
            hooks: Vec::new(),
            extensions: Scope::new(),
            max_rollouts: None,
            clock: Arc::new(SystemClock::new()),
            ids: Arc::new(RandomIds),
            recording: RecordingOptions::default(),
            patience: Duration::from_secs(60),
            abort_grace: Duration::from_millis(100),
            time_limit: None,
            heartbeat: Duration::from_secs(10),
            statistics: Arc::new(SystemStatistics),
            last_words: TaskTracker::new(),
            shared_claims: None,
        }
    }

    /// Under which id it works.
    pub fn worker_id(&self) -> &WorkerId {
        &self.worker_id
    }

    /// Claims and executes rollouts until `stop` says otherwise, or `max_rollouts` are done.
    ///
    /// Told to stop, it claims nothing more and finishes the rollout it has; told to abort, it drops the agent's future
    /// and ends the attempt as failed. A store that was told to [drain](Store::drain_workers) stops it as well; once
    /// stopped, its worker id gets no more work there. When this future itself is dropped in the middle of a rollout, the attempt is
    /// ended as failed by a task of its own; see [`RunnerBuilder::last_words`].
    ///
    /// # Errors
    ///
    /// [`RunnerError`], if the store stays unavailable or fails. What happens to a single rollout is no error here.
    pub async fn iter(&self, stop: &StopSignal) -> Result<RunnerReport, RunnerError> {
        let _beating = self.heart.start(Arc::clone(&self.store), self.worker_id.clone());
        let mut report = RunnerReport::default();
        while !stop.is_stopping() && self.max_rollouts.is_none_or(|limit| report.attempts < limit) {
            let claimed = match self.claim(stop).await? {
                Claimed::Rollouts(claimed) => claimed,
                Claimed::Nothing => continue,
                Claimed::Stopped => break,
            };
            for claimed in claimed {
                let end = self.execute(claimed, stop).await?;
                report.attempts += 1;
                report.succeeded += u64::from(end.succeeded());
            }
        }
        Ok(report)
    }

    /// Executes one task, past the queue, and gives what became of it.
    ///
    /// # Errors
    ///
    /// [`RunnerError`], if the store does not do its part. An agent that fails is no error: see [`Step::end`].
    pub async fn step(&self, task: &T) -> Result<Step, RunnerError> {
        self.step_with(task, StepOptions::default()).await
    }

    /// As [`step`](Self::step), with resources, a mode or time limits.
    ///
    /// # Errors
    ///
    /// Those of [`step`](Self::step).
    pub async fn step_with(&self, task: &T, options: StepOptions) -> Result<Step, RunnerError> {
        let input: TaskInput = serde_json::to_value(task).map_err(RunnerError::Task)?.into();
        let resources_id = match options.resources {
            Some(resources) => Some(self.store.add_resources(resources).await?.resources_id),
            None => None,
        };
        let new = NewRollout {
            mode: options.mode,
            resources_id,
            config: options.config,
            ..NewRollout::new(input)
        };
        let started = self
            .store
            .start_rollout(new, Some(self.worker_id.clone()))
            .await?;
        self.finish_step(started).await
    }

    /// Claims the next rollout, waiting for one if none is in the queue, and executes one attempt of it.
    ///
    /// So a test can be the fleet: beside an algorithm that enqueues and waits, it executes one rollout after the other.
    ///
    /// # Errors
    ///
    /// Those of [`step`](Self::step).
    pub async fn step_next(&self) -> Result<Step, RunnerError> {
        loop {
            match self.claim(&StopSignal::new()).await? {
                Claimed::Nothing => {}
                Claimed::Stopped => return Err(StoreError::Draining.into()),
                Claimed::Rollouts(claimed) => {
                    if let Some(claimed) = claimed.into_iter().next() {
                        return self.finish_step(claimed).await;
                    }
                }
            }
        }
    }

    async fn finish_step(&self, claimed: AttemptedRollout) -> Result<Step, RunnerError> {
        let rollout_id = claimed.rollout_id.clone();
        let _beating = self.heart.start(Arc::clone(&self.store), self.worker_id.clone());
        let mut end = self.execute(claimed, &StopSignal::new()).await?;
        end.spans = self.spans_of(&end).await?;
        let rollout = self.store.get_rollout_by_id(&rollout_id).await?;
        Ok(Step {
            rollout: rollout.ok_or(RunnerError::Vanished { rollout_id })?,
            end,
        })
    }

    /// Takes the next rollout, waiting for one.
    async fn claim(&self, stop: &StopSignal) -> Result<Claimed, RunnerError> {
        match &self.shared_claims {
            Some(shared) => shared.claim(self.worker_id.clone()).await,
            None => {
                self.claims
                    .claim(std::slice::from_ref(&self.worker_id), stop)
                    .await
            }
        }
    }

    /// Does something at the store, again and again while the store is unavailable, for as long as patience lasts.
    async fn patiently<'a, A>(
        &self,
        action: &'static str,
        act: impl Fn() -> StoreFuture<'a, A>,
    ) -> Result<A, RunnerError> {
        let mut give_up = None;
        let mut pause = FIRST_PAUSE;
        loop {
            let error = match act().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let now = self.clock.now();
            let is_over = now >= *give_up.get_or_insert(now + self.patience);
            if is_over || !matches!(error, StoreError::Unavailable { .. }) {
                return Err(RunnerError::Store {
                    action,
                    source: error,
                });
            }
            tracing::warn!(
                target: "lightning::runner",
                worker_id = %self.worker_id,
                action,
                error = %error,
                "the store is unavailable; trying again"
            );
            self.clock.sleep_past(now + pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn spans_of(&self, end: &RolloutEnd) -> Result<Vec<Span>, RunnerError> {
        let attempt = &end.attempt;
        let query = SpanQuery::of(attempt.rollout_id.clone()).attempt(attempt.attempt_id.clone());
        let page = self.patiently("read the spans of an attempt", || {
            self.store.query_spans(query.clone())
        });
        Ok(page.await?.items)
    }

    /// Runs one of the methods of each hook, in order. What goes wrong there is logged. An abort breaks off a hook that
    /// waits.
    async fn hooks<'a>(
        &'a self,
        moment: &'static str,
        cx: &RolloutContext,
        stop: &StopSignal,
        call: impl Fn(&'a dyn Hook) -> HookFuture<'a>,
    ) {
        for hook in &self.hooks {
            let hook = AssertUnwindSafe(async { call(&**hook).await }).catch_unwind();
            let problem = tokio::select! {
                biased;
                outcome = hook => match outcome {
                    Ok(Ok(())) => continue,
                    Ok(Err(error)) => emitter::error_message(&error),
                    Err(panic) => format!("it panicked: {}", emitter::panic_message(&*panic)),
                },
                () = stop.aborting() => "it had not ended when the runner was stopped".to_owned(),
            };
            tracing::warn!(
                target: "lightning::runner",
                rollout_id = %cx.rollout().rollout_id,
                attempt_id = %cx.attempt().attempt_id,
                moment,
                error = problem,
                "a hook failed"
            );
        }
    }
}

impl<T> fmt::Debug for Runner<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("worker_id", &self.worker_id)
            .finish_non_exhaustive()
    }
}

impl<T: Task> RunnerBuilder<T> {
    /// Under which id it works; random if not set. No two runners of a store may share one.
    #[must_use]
    pub fn worker_id(mut self, worker_id: impl Into<WorkerId>) -> Self {
        self.worker_id = Some(worker_id.into());
        self
    }

    /// Adds a hook; they run in the order in which they were added.
    #[must_use]
    pub fn hook(mut self, hook: Arc<dyn Hook>) -> Self {
        self.hooks.push(hook);
        self
    }

    /// The values of one's own that the agent's `#[inject]` parameters get.
    #[must_use]
    pub fn extensions(mut self, scope: &Scope) -> Self {
        self.extensions = scope.extensions_only();
        self
    }

    /// How many rollouts it executes before it stops by itself; without end if not set.
    #[must_use]
    pub fn max_rollouts(mut self, limit: Option<u64>) -> Self {
        self.max_rollouts = limit;
        self
    }

    /// Where time comes from; the machine's if not set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where the ids of traces, spans and the worker come from; random if not set.
    #[must_use]
    pub fn ids(mut self, ids: Arc<dyn IdSource>) -> Self {
        self.ids = ids;
        self
    }

    /// How spans are kept and sent.
    #[must_use]
    pub fn recording(mut self, options: RecordingOptions) -> Self {
        self.recording = options;
        self
    }

    /// How long it goes on trying while the store is unavailable, with spans as well; 60 s if not set.
    #[must_use]
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self.recording.patience = patience;
        self
    }

    /// How long an agent may go on after its [cancellation](RolloutContext::cancellation), before its future is dropped;
    /// 100 ms if not set.
    #[must_use]
    pub fn abort_grace(mut self, grace: Duration) -> Self {
        self.abort_grace = grace;
        self
    }

    /// How long an agent may work on one attempt, whatever the rollout allows; without limit if `None`, which is the
    /// default. Then it is cancelled and dropped, and the attempt ends as failed.
    #[must_use]
    pub fn time_limit(mut self, limit: Option<Duration>) -> Self {
        self.time_limit = limit;
        self
    }

    /// Takes its rollouts from there, and not from the store.
    #[cfg(feature = "client")]
    pub(crate) fn shared_claims(mut self, claims: Option<Arc<SharedClaims>>) -> Self {
        self.shared_claims = claims;
        self
    }

    /// How often the worker sends a heartbeat; every 10 s if not set. Attempts are kept alive at that pace as well, or
    /// three times within `unresponsive_seconds`, if that is more often.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.heartbeat = interval;
        self
    }

    /// Where the figures of a heartbeat come from; the machine's if not set.
    #[must_use]
    pub fn statistics(mut self, source: Arc<dyn StatisticsSource>) -> Self {
        self.statistics = source;
        self
    }

    /// Who keeps the tasks that end an attempt after its runner was dropped. Whoever drops runners closes the tracker and
    /// waits for it.
    #[must_use]
    pub fn last_words(mut self, tracker: TaskTracker) -> Self {
        self.last_words = tracker;
        self
    }

    /// The runner.
    pub fn build(self) -> Runner<T> {
        let worker_id = self
            .worker_id
            .unwrap_or_else(|| format!("worker-{}", self.ids.hex(8)).into());
        let claims = Claims::new(
            Arc::clone(&self.store),
            Arc::clone(&self.clock),
            self.patience,
            self.last_words.clone(),
        );
        Runner {
            claims,
            shared_claims: self.shared_claims,
            time_limit: self.time_limit,
            heart: Heart::new(Arc::clone(&self.clock), self.heartbeat, self.statistics),
            store: self.store,
            agent: self.agent,
            worker_id,
            hooks: self.hooks,
            extensions: self.extensions,
            max_rollouts: self.max_rollouts,
            clock: self.clock,
            ids: self.ids,
            recording: self.recording,
            patience: self.patience,
            abort_grace: self.abort_grace,
            last_words: self.last_words,
        }
    }
}

impl<T> fmt::Debug for RunnerBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerBuilder")
            .field("worker_id", &self.worker_id)
            .finish_non_exhaustive()
    }
}
