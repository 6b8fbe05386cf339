//! The kit of an algorithm: what nearly every algorithm needs besides the store.
//!
//! [`RunContext`] (slot `run`) identifies a run and makes it repeatable: its id, its seed, its folder, its metrics. It
//! offers [checkpoints](Checkpoint), an [`Evaluator`], [conditions to stop](StopWhen) and [progress](Progress). All of it
//! is ordinary use of [`Store`] and of the file system; an algorithm may always go below.
//!
//! This module knows nothing of runners, agents or trainers.

mod checkpoint;
mod configuration;
mod ending;
mod error;
mod evaluations;
mod evaluator;
mod folder;
mod identity;
mod journal;
mod metrics;
mod outcome;
mod prices;
mod progress;
mod recovery;
mod stop;
mod tally;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rand::{SeedableRng, rngs::StdRng};
use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use self::{
    checkpoint::Checkpoint,
    configuration::{ConfigurationHistory, ConfigurationVersion},
    ending::RunEnding,
    error::{EvaluateError, RunError},
    evaluations::EvaluationRecord,
    evaluator::{Evaluation, Evaluator, FailurePolicy},
    folder::{RunFolder, RunLock},
    identity::AlgorithmIdentity,
    metrics::Metric,
    outcome::{Outcome, OutcomeResult},
    prices::{Cost, Price, Prices},
    progress::{Progress, ProgressEvent, ProgressSink},
    recovery::Recovered,
    stop::{Achieved, StopReason, StopWhen},
    tally::{FailureReason, ModelUsage, RewardPoint, RolloutCounts},
};
use self::{
    ending::Exits, evaluations::EvaluationLog, journal::Journal, metrics::MetricLog, progress::Silent,
    recovery::Evaluated, stop::Scores, tally::Tally,
};
pub(crate) use self::{
    ending::remove_temporary,
    folder::on_the_disk,
    identity::{difference, digest, digest_of_resources},
    stop::StopSwitch,
};
use crate::{
    clock::{Clock, SystemClock},
    store::{MemoryStore, Store},
    types::{Attempt, AttemptStatus, Span, Timestamp},
};

/// How many rollouts of a run's evaluations are under way at once, unless set otherwise.
const DEFAULT_IN_FLIGHT: usize = 1024;

/// The run that an algorithm is part of. A clone is the same run.
///
/// ```
/// use lightning_core::run::RunContext;
/// use rand::RngExt as _;
///
/// let run = RunContext::for_test();
/// assert_eq!(run.rng().random::<u64>(), run.rng().random::<u64>(), "the seed decides");
/// ```
#[derive(Clone)]
pub struct RunContext {
    shared: Arc<Shared>,
}

/// Hears of an attempt that has ended, with its spans.
pub(crate) type AttemptWatcher = Arc<dyn Fn(&Attempt, &[Span]) + Send + Sync>;

struct Shared {
    id: String,
    seed: u64,
    algorithm: AlgorithmIdentity,
    accepts_changes: bool,
    folder: RunFolder,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    began: Timestamp,
    seconds_before: f64,
    cancellation: CancellationToken,
    in_flight: Arc<Semaphore>,
    metrics: MetricLog,
    progress: Arc<dyn ProgressSink>,
    stop_when: StopWhen,
    stop_switch: StopSwitch,
    prices: Option<Prices>,
    watcher: Option<AttemptWatcher>,
    scores: Mutex<Scores>,
    tally: Mutex<Tally>,
    journal: Journal,
    evaluated: Evaluated,
    evaluations: EvaluationLog,
    exits: Exits,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.exits.end(&self.folder, &RunEnding::Dropped);
    }
}

/// Builds a [`RunContext`]. The trainer does so; others need it only to drive an algorithm by hand.
pub struct RunContextBuilder {
    id: String,
    seed: u64,
    algorithm: AlgorithmIdentity,
    accepts_changes: bool,
    seconds_before: f64,
    folder: Option<RunFolder>,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    cancellation: CancellationToken,
    in_flight: usize,
    progress: Arc<dyn ProgressSink>,
    stop_when: StopWhen,
    stop_switch: StopSwitch,
    prices: Option<Prices>,
    watcher: Option<AttemptWatcher>,
}

impl RunContext {
    /// Begins a run whose evaluations go to `store`.
    pub fn builder(id: impl Into<String>, store: Arc<dyn Store>) -> RunContextBuilder {
        RunContextBuilder {
            id: id.into(),
            seed: 0,
            algorithm: AlgorithmIdentity::default(),
            accepts_changes: false,
            seconds_before: 0.0,
            folder: None,
            store,
            clock: Arc::new(SystemClock::new()),
            cancellation: CancellationToken::new(),
            in_flight: DEFAULT_IN_FLIGHT,
            progress: Arc::new(Silent),
            stop_when: StopWhen::never(),
            stop_switch: StopSwitch::default(),
            prices: None,
            watcher: None,
        }
    }

    /// The run `test` with the seed 0, an empty store in memory and a temporary folder, for calling an algorithm in a
    /// test. An algorithm that evaluates needs runners on the same store: use [`builder`](Self::builder).
    pub fn for_test() -> Self {
        Self::builder("test", Arc::new(MemoryStore::new())).build()
    }

    /// What tells this run from all others.
    pub fn id(&self) -> &str {
        &self.shared.id
    }

    /// The seed of the run's random numbers: the same seed gives the same choices.
    pub fn seed(&self) -> u64 {
        self.shared.seed
    }

    /// A generator of random numbers that starts from the seed each time it is asked for.
    pub fn rng(&self) -> StdRng {
        StdRng::seed_from_u64(self.shared.seed)
    }

    /// The run's folder. It is made when something is first written to it.
    pub fn folder(&self) -> &RunFolder {
        &self.shared.folder
    }

    /// The path of the run's folder, which exists from now on.
    ///
    /// # Errors
    ///
    /// [`RunError::Folder`], if it cannot be made.
    pub fn dir(&self) -> Result<PathBuf, RunError> {
        self.shared.folder.create()
    }

    /// Which algorithm runs.
    pub fn algorithm(&self) -> &AlgorithmIdentity {
        &self.shared.algorithm
    }

    /// The store that the run's evaluations go to.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// The state that survives the end of the process, kept in the run's folder.
    pub fn checkpoint<S>(&self) -> Checkpoint<S> {
        let shared = &*self.shared;
        Checkpoint::new(
            shared.folder.clone(),
            shared.algorithm.clone(),
            shared.accepts_changes,
        )
    }

    /// The state that the algorithm saved last, as JSON, for those who look at a run from outside.
    ///
    /// # Errors
    ///
    /// [`RunError::Unreadable`] and [`RunError::Folder`].
    pub async fn saved_state(&self) -> Result<Option<serde_json::Value>, RunError> {
        checkpoint::saved(&self.shared.folder).await
    }

    /// A durable step: what it came to is kept in the run's folder, and a run that is resumed does not do it again.
    ///
    /// `make` is done if no step of this name has come to an end before, in this process or in an earlier one of the run; what
    /// it returns is on the disk when this returns. Steps of equal names are one step: whoever asks for it while it is made
    /// waits for it. So a name has to say all that the step depends on, such as the round and what goes in. A step that fails
    /// is not kept. What steps return is held in memory until the run ends.
    ///
    /// Cancel safe: dropped, it leaves the step undone, or done and kept.
    ///
    /// ```
    /// use lightning_core::run::{RunContext, RunError};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), RunError> {
    /// let run = RunContext::for_test();
    /// for _ in 0..2 {
    ///     let answer = run.memo("round 1: an idea", async {
    ///         println!("this is printed once");
    ///         Ok::<_, RunError>("answer of an expensive model".to_owned())
    ///     });
    ///     assert_eq!(answer.await?, "answer of an expensive model");
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `make`; [`RunError::Folder`], if the disk does not take it, [`RunError::Unwritable`], if it has no JSON form,
    /// and [`RunError::OtherStep`], if the step of this name has come to something else than a `V`.
    pub async fn memo<V, E>(
        &self,
        name: impl Into<String>,
        make: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E>
    where
        V: Serialize + DeserializeOwned,
        E: From<RunError>,
    {
        let make = async { Ok((make.await?, Vec::new())) };
        self.memo_counted(name, make).await
    }

    /// As [`memo`](Self::memo), for a step that calls models: what it used is counted as
    /// [`count_model_usage`](Self::count_model_usage) does, once for the whole run, however often it is resumed.
    ///
    /// # Errors
    ///
    /// Those of [`memo`](Self::memo).
    pub async fn memo_counted<V, E>(
        &self,
        name: impl Into<String>,
        make: impl Future<Output = Result<(V, Vec<ModelUsage>), E>>,
    ) -> Result<V, E>
    where
        V: Serialize + DeserializeOwned,
        E: From<RunError>,
    {
        let count = |usage| self.count_model_usage(usage);
        self.shared.journal.step(name.into(), count, make).await
    }

    /// A folder that goes with the run, whatever its end is: result, error, panic, abort. What a run that was killed has left
    /// there is removed when it is resumed. It exists from now on.
    ///
    /// # Errors
    ///
    /// [`RunError::Folder`], if it cannot be made.
    pub fn temp_dir(&self) -> Result<PathBuf, RunError> {
        ending::temporary(&self.shared.folder)
    }

    /// Calls something when the run ends, whatever its end is, but for one of the whole process: the last that was given
    /// first, each once, before the temporary folder is removed. It should be quick and must not block for long. A panic in
    /// it is logged. If the run has ended already, it is called at once.
    pub fn on_exit(&self, call: impl FnOnce(&RunEnding) + Send + 'static) {
        self.shared.exits.add(Box::new(call));
    }

    /// Ends the run: calls what [`on_exit`](Self::on_exit) was given, and removes the temporary folder. The trainer does so;
    /// it happens when the last handle goes, too. Only the first call counts.
    pub fn end(&self, ending: &RunEnding) {
        self.shared.exits.end(&self.shared.folder, ending);
    }

    /// Runs tasks and collects their rewards.
    pub fn evaluator(&self) -> Evaluator {
        Evaluator::new(self.clone())
    }

    /// Notes the value of a figure at a step, in `metrics.jsonl` of the run's folder and in the report.
    ///
    /// It never fails: what cannot be written is logged. Values that are not finite are written as null. What the file has
    /// already, from before the run was resumed, is not written again; so an algorithm that goes on from a checkpoint notes
    /// again what led there, and the file is as if nothing had happened.
    pub fn log_metric(&self, name: impl Into<String>, step: u64, value: f64) {
        let time = self.shared.clock.now();
        let metric = Metric {
            name: name.into(),
            step,
            value,
            time,
        };
        self.shared.metrics.push(&self.shared.folder, metric);
    }

    /// The figures noted so far, in order.
    pub fn metrics(&self) -> Vec<Metric> {
        self.shared.metrics.all()
    }

    /// Tells the run's [`ProgressSink`] how far something has got. `total` is `None` where it is not known.
    pub fn progress(&self, label: impl Into<String>, total: Option<u64>) -> Progress {
        Progress::start(Arc::clone(&self.shared.progress), label.into(), total)
    }

    /// Whether the run was asked to stop. An algorithm then returns its best result so far.
    pub fn is_cancelled(&self) -> bool {
        self.shared.cancellation.is_cancelled()
    }

    /// Resolves when the run is asked to stop. Cancel safe.
    pub async fn cancelled(&self) {
        self.shared.cancellation.cancelled().await;
    }

    /// What asks the run to stop.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.shared.cancellation
    }

    /// The score that a round of the algorithm reached; greater is better. Stop conditions on scores go by it.
    ///
    /// A score that is not a number counts as no improvement. An algorithm that goes on from a checkpoint reports the scores
    /// from before again.
    pub fn report_score(&self, score: f64) {
        let round = self.scores().report(score);
        self.log_metric("score", round, score);
    }

    /// Why the run should stop now, if it should. An algorithm asks between its rounds.
    pub fn should_stop(&self) -> Option<StopReason> {
        self.stop_when().reason(&self.achieved())
    }

    /// When the run stops by itself, as it stands now.
    pub fn stop_when(&self) -> StopWhen {
        let switched = self.shared.stop_switch.get();
        switched.unwrap_or_else(|| self.shared.stop_when.clone())
    }

    /// What the run has done so far.
    pub fn achieved(&self) -> Achieved {
        let scores = *self.scores();
        let (rollouts, usage) = {
            let tally = self.tally();
            (tally.attempts(), tally.total_usage())
        };
        Achieved {
            rollouts,
            model_calls: usage.calls,
            tokens: usage.tokens(),
            cost: self.cost().map(|cost| cost.amount),
            seconds: self.seconds(),
            best_score: scores.best,
            rounds_without_improvement: scores.rounds_without_improvement,
            stop_file_exists: self.stop_when().stop_file_exists(),
            cancelled: self.is_cancelled(),
        }
    }

    /// How long the run has been going on, in seconds; of one that was resumed, all its processes together.
    pub fn seconds(&self) -> f64 {
        self.shared.seconds_before + (self.shared.clock.now() - self.shared.began)
    }

    /// Counts calls of a model that the algorithm itself made, for stop conditions and the report: see
    /// [`ModelUsage::of_call`]. The role says what the model was used for, such as `gradient`.
    ///
    /// Calls of agents are counted by their spans. When the run is resumed, what was counted here is forgotten;
    /// [`memo_counted`](Self::memo_counted) remembers.
    pub fn count_model_usage(&self, usage: ModelUsage) {
        self.tally().count_usage(usage);
    }

    /// Counts an attempt that has ended, for stop conditions and the report. Whoever runs the runners calls it.
    pub fn count_attempt(&self, succeeded: bool, spans: &[Span]) {
        let seconds = self.seconds();
        self.tally().count_attempt(succeeded, spans, seconds);
    }

    /// Counts an attempt that has ended, and tells who watches the run.
    pub(crate) fn attempt_ended(&self, attempt: &Attempt, spans: &[Span]) {
        self.count_attempt(attempt.status == AttemptStatus::Succeeded, spans);
        self.tally().count_reason(attempt, spans);
        if let Some(watcher) = &self.shared.watcher {
            watcher(attempt, spans);
        }
    }

    /// How many attempts have ended so far, and how.
    pub fn rollout_counts(&self) -> RolloutCounts {
        self.tally().counts()
    }

    /// The rewards so far, in the order in which they came: means over stretches of equal numbers of rollouts, at most
    /// 128 of them.
    pub fn reward_curve(&self) -> Vec<RewardPoint> {
        self.tally().reward_curve()
    }

    /// What kept attempts from a reward, the most frequent first: errors, time limits, traces without a reward. An attempt that
    /// is counted by [`count_attempt`](Self::count_attempt) has no reason.
    pub fn failure_reasons(&self) -> Vec<FailureReason> {
        self.tally().reasons()
    }

    /// How much of the models was used so far, by role and model, in their order: by the agents, and what
    /// [`count_model_usage`](Self::count_model_usage) was told.
    pub fn model_usage(&self) -> Vec<ModelUsage> {
        self.tally().usage().to_vec()
    }

    /// What models have cost so far; `None` without a price table.
    pub fn cost(&self) -> Option<Cost> {
        let prices = self.shared.prices.as_ref()?;
        Some(prices.cost(self.tally().usage()))
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.shared.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn scores(&self) -> MutexGuard<'_, Scores> {
        self.shared.scores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RunContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContext")
            .field("id", &self.shared.id)
            .field("seed", &self.shared.seed)
            .field("algorithm", &self.shared.algorithm.name)
            .finish_non_exhaustive()
    }
}

impl RunContextBuilder {
    /// Decides the run's random choices; 0 if not set.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Says which algorithm runs.
    #[must_use]
    pub fn algorithm(mut self, algorithm: AlgorithmIdentity) -> Self {
        self.algorithm = algorithm;
        self
    }

    /// Whether a state that was saved with other parameters, or by another version, is gone on with; it is not if not set.
    #[must_use]
    pub fn accept_changes(mut self, accept: bool) -> Self {
        self.accepts_changes = accept;
        self
    }

    /// How long the run has been going on in earlier processes, in seconds; 0 if not set.
    #[must_use]
    pub fn seconds_before(mut self, seconds: f64) -> Self {
        self.seconds_before = seconds;
        self
    }

    /// Where the run keeps its files; a temporary folder that goes with the run if not set.
    #[must_use]
    pub fn folder(mut self, path: impl Into<PathBuf>) -> Self {
        self.folder = Some(RunFolder::at(path));
        self
    }

    /// Where time comes from; the machine's if not set.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// What asks the run to stop.
    #[must_use]
    pub fn cancellation(mut self, cancellation: CancellationToken) -> Self {
        self.cancellation = cancellation;
        self
    }

    /// How many rollouts all evaluations of the run together may have under way; at least 1, and 1024 if not set.
    #[must_use]
    pub fn in_flight(mut self, rollouts: usize) -> Self {
        self.in_flight = rollouts;
        self
    }

    /// Where progress is shown; nowhere if not set.
    #[must_use]
    pub fn progress(mut self, sink: Arc<dyn ProgressSink>) -> Self {
        self.progress = sink;
        self
    }

    /// When the run should stop, besides being asked to; never if not set.
    #[must_use]
    pub fn stop_when(mut self, condition: StopWhen) -> Self {
        self.stop_when = condition;
        self
    }

    /// What may replace that condition while the run goes on.
    pub(crate) fn stop_switch(mut self, switch: StopSwitch) -> Self {
        self.stop_switch = switch;
        self
    }

    /// Who hears of every attempt that has ended.
    pub(crate) fn watcher(mut self, watcher: AttemptWatcher) -> Self {
        self.watcher = Some(watcher);
        self
    }

    /// What models cost; not known if not set.
    #[must_use]
    pub fn prices(mut self, prices: Option<Prices>) -> Self {
        self.prices = prices;
        self
    }

    /// The run, which begins now.
    pub fn build(self) -> RunContext {
        let permits = self.in_flight.clamp(1, Semaphore::MAX_PERMITS);
        let folder = self.folder.unwrap_or_else(RunFolder::temporary);
        RunContext {
            shared: Arc::new(Shared {
                journal: Journal::new(folder.clone()),
                evaluated: Evaluated::default(),
                evaluations: EvaluationLog::default(),
                exits: Exits::default(),
                accepts_changes: self.accepts_changes,
                seconds_before: self.seconds_before,
                folder,
                id: self.id,
                seed: self.seed,
                algorithm: self.algorithm,
                store: self.store,
                began: self.clock.now(),
                clock: self.clock,
                cancellation: self.cancellation,
                in_flight: Arc::new(Semaphore::new(permits)),
                metrics: MetricLog::default(),
                progress: self.progress,
                stop_when: self.stop_when,
                stop_switch: self.stop_switch,
                prices: self.prices,
                watcher: self.watcher,
                scores: Mutex::default(),
                tally: Mutex::default(),
            }),
        }
    }
}

impl fmt::Debug for RunContextBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunContextBuilder")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
