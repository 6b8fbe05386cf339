//! The dry run: the wiring of `fit` on a few tasks, with every trace shown, and with reasons where there is nothing to
//! learn from.

use std::{
    collections::BTreeSet,
    fmt,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{FitReport, Trainer, TrainerError, beginning::Beginning, session::Session};
use crate::{
    adapter::{AdaptError, TraceTree},
    agent::{Agent, Hook, HookFuture, RolloutContext, RolloutEnd},
    algorithm::AlgoOutput,
    inject::Scope,
    store::{MemoryStore, Store},
    terminal::Screen,
    tracer,
    types::{
        Attempt, Dataset, Llm, NamedResources, ProxyLlm, ResourceKind as _, RolloutMode, Span, SpanQuery,
        Task, TaskInput, final_reward, model_calls,
    },
};

/// How long the algorithm may take to return once it was asked to stop.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// How much of a task is shown, in characters of its JSON form.
const TASK_SHOWN: usize = 200;

/// A dry run that begins when it is awaited; see [`Trainer::dev`].
#[must_use = "nothing runs until it is awaited"]
pub struct Dev<'a, T, O> {
    trainer: &'a Trainer<T, O>,
    agent: Arc<dyn Agent<T>>,
    train: Option<Dataset<T>>,
    val: Option<Dataset<T>>,
    samples: usize,
    rollout_limit: Duration,
    limit: Duration,
}

/// What a dry run came to.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DevReport<O> {
    /// What [`Trainer::fit`] would report.
    pub fit: FitReport<O>,
    /// What the agent did, in the order in which it ended.
    pub traces: Vec<DevTrace>,
}

/// What an agent did in one attempt. Its text form is the tree of its spans.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct DevTrace {
    /// What the rollout was for.
    pub mode: RolloutMode,
    /// The task.
    pub input: TaskInput,
    /// The attempt, which has ended.
    pub attempt: Attempt,
    /// Its spans, by sequence id.
    pub spans: Vec<Span>,
}

/// What a dry run found wanting.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DevProblem {
    /// The algorithm has enqueued nothing, or waits for nothing.
    #[error("no rollout was executed: the algorithm has to enqueue rollouts, or evaluate")]
    NoRollouts,

    /// Every rollout failed.
    #[error("all {rollouts} rollouts failed; the first, {rollout_id}, with: {reason}")]
    NoneSucceeded {
        /// How many there were.
        rollouts: usize,
        /// The first of them.
        rollout_id: String,
        /// What it failed with.
        reason: String,
    },

    /// Nothing was recorded.
    #[error("none of the {rollouts} rollouts left a trace: {}", no_trace(*tracer_is_installed))]
    NoTrace {
        /// How many there were.
        rollouts: usize,
        /// Whether the subscriber records spans of `tracing`.
        tracer_is_installed: bool,
    },

    /// The agent has a model and did not call it, or did so unseen.
    #[error(
        "the agent has a model, but no trace holds a call of one (the spans are: {}); record each call with \
         `emitter::model_call`, or send it through the LLM proxy",
        list(span_names)
    )]
    NoModelCall {
        /// The names of the spans that there are.
        span_names: BTreeSet<String>,
    },

    /// Nothing says how good the agent was.
    #[error(
        "none of the {rollouts} rollouts has a reward (the spans are: {}); let the agent return one, or emit it with \
         `emitter::emit_reward`",
        list(span_names)
    )]
    NoReward {
        /// How many rollouts succeeded.
        rollouts: usize,
        /// The names of the spans that there are.
        span_names: BTreeSet<String>,
    },

    /// The trainer's adapter finds nothing to train on.
    #[error("the adapter makes nothing of any trace; of the first, {rollout_id}, it says: {reason}")]
    NothingAdapted {
        /// The first rollout that succeeded.
        rollout_id: String,
        /// Why.
        reason: AdaptError,
    },

    /// The algorithm did not come to its end.
    #[error(
        "the algorithm was asked to stop after {seconds} s and did not return; let it look at `run.should_stop()`, or \
         give the dry run a longer `limit`"
    )]
    TookTooLong {
        /// After how many seconds it was asked to stop.
        seconds: f64,
    },
}

fn no_trace(tracer_is_installed: bool) -> &'static str {
    if tracer_is_installed {
        "let the agent return a reward, emit something, or work within spans of `tracing`"
    } else {
        "let the agent return a reward or emit something; spans of `tracing` are recorded once the program has called \
         `logging::init()`"
    }
}

fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "none".to_owned();
    }
    names.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

impl<'a, T: Task, O: AlgoOutput> Dev<'a, T, O> {
    pub(super) fn new(
        trainer: &'a Trainer<T, O>,
        agent: Arc<dyn Agent<T>>,
        train: Option<Dataset<T>>,
        val: Option<Dataset<T>>,
    ) -> Self {
        Self {
            trainer,
            agent,
            train,
            val,
            samples: 3,
            rollout_limit: Duration::from_secs(60),
            limit: Duration::from_secs(120),
        }
    }

    /// How many tasks of each dataset are used; the first 3 if not set.
    pub fn samples(mut self, samples: usize) -> Self {
        self.samples = samples;
        self
    }

    /// How long one rollout may take, if the trainer does not allow less; 60 s if not set.
    pub fn rollout_limit(mut self, limit: Duration) -> Self {
        self.rollout_limit = limit;
        self
    }

    /// After which time the algorithm is asked to stop; 120 s if not set. It is dropped if it has not returned 10 s later.
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    async fn run(self) -> Result<DevReport<O>, TrainerError> {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let traces = Arc::new(Traces {
            store: Arc::clone(&store),
            screen: self.trainer.parts.screen.clone(),
            seen: Mutex::default(),
        });
        let mut parts = self.trainer.parts.clone();
        parts.n_runners = 1;
        parts.run_dir = None;
        parts.on_failure.clear();
        parts.hooks.push(Arc::clone(&traces) as Arc<dyn Hook>);
        parts.cancellation = parts.cancellation.child_token();
        let rollout_limit = self.rollout_limit.as_secs_f64();
        let given = parts.rollout_config.timeout_seconds.unwrap_or(f64::INFINITY);
        parts.rollout_config.timeout_seconds = Some(given.min(rollout_limit));

        let first = |tasks: Option<Dataset<T>>| {
            tasks.map(|tasks| tasks.iter().take(self.samples).cloned().collect::<Dataset<T>>())
        };
        let (train, val) = (first(self.train), first(self.val));
        let expects_model = self
            .agent
            .requirements()
            .is_some_and(|asked| asked.iter().any(|asked| asked.slot == "llm"));
        let algorithm = &*self.trainer.algorithm;
        let session = Session::new(
            Beginning::afresh("dev"),
            store,
            algorithm,
            &parts,
            self.agent,
            train,
            val,
        )?;
        let result = within(self.limit, &parts.cancellation, session.run()).await;

        let seen = std::mem::take(&mut *traces.seen());
        let problem = seen.problem(expects_model, &parts.scope);
        match (result, problem) {
            (Some(Ok(fit)), None) => Ok(DevReport {
                fit,
                traces: seen.traces,
            }),
            (Some(Ok(_)), Some(problem)) => Err(TrainerError::Dev(problem)),
            // An algorithm that failed before any rollout says more than that there was none. Otherwise what the rollouts
            // lack is mostly why it failed, so both are told.
            (Some(Err(error)), None | Some(DevProblem::NoRollouts)) => Err(error),
            (Some(Err(error)), Some(problem)) => Err(TrainerError::DevFailed {
                problem,
                error: Box::new(error),
            }),
            (None, Some(problem)) if !seen.traces.is_empty() => Err(TrainerError::Dev(problem)),
            (None, _) => Err(TrainerError::Dev(DevProblem::TookTooLong {
                seconds: self.limit.as_secs_f64(),
            })),
        }
    }
}

/// The run's result; `None` if it goes on after it was asked to stop.
async fn within<R>(
    limit: Duration,
    cancellation: &tokio_util::sync::CancellationToken,
    run: impl Future<Output = R>,
) -> Option<R> {
    let mut run = std::pin::pin!(run);
    if let Ok(result) = tokio::time::timeout(limit, &mut run).await {
        return Some(result);
    }
    cancellation.cancel();
    tokio::time::timeout(STOP_GRACE, run).await.ok()
}

/// Keeps and shows what the agent does.
struct Traces {
    store: Arc<dyn Store>,
    screen: Option<Screen>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    traces: Vec<DevTrace>,
    /// Whether some rollout's resources hold a model.
    model_given: bool,
}

impl Traces {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hook for Traces {
    fn on_rollout_end<'a>(&'a self, cx: &'a RolloutContext, end: &'a RolloutEnd) -> HookFuture<'a> {
        Box::pin(async move {
            // Beyond what the runner recorded: spans that came by other ways, such as a proxy's.
            let attempt = &end.attempt;
            let all = SpanQuery::of(attempt.rollout_id.clone()).attempt(attempt.attempt_id.clone());
            let trace = DevTrace {
                mode: cx.mode(),
                input: cx.rollout().input.clone(),
                attempt: attempt.clone(),
                spans: self.store.query_spans(all).await?.items,
            };
            if let Some(screen) = &self.screen {
                screen.print(&trace.to_string());
            }
            let mut seen = self.seen();
            seen.model_given |= holds_model(cx.resources());
            seen.traces.push(trace);
            Ok(())
        })
    }
}

fn holds_model(resources: &NamedResources) -> bool {
    resources
        .iter()
        .any(|(_, resource)| [Llm::KIND, ProxyLlm::KIND].contains(&resource.kind()))
}

impl Seen {
    /// What is wanting, if anything is.
    fn problem(&self, expects_model: bool, scope: &Scope) -> Option<DevProblem> {
        let Some(first) = self.traces.first() else {
            return Some(DevProblem::NoRollouts);
        };
        let succeeded: Vec<&DevTrace> = self.traces.iter().filter(|trace| trace.succeeded()).collect();
        let Some(first_succeeded) = succeeded.first() else {
            return Some(DevProblem::NoneSucceeded {
                rollouts: self.traces.len(),
                rollout_id: first.attempt.rollout_id.to_string(),
                reason: first.reason().to_owned(),
            });
        };
        let spans = || succeeded.iter().flat_map(|trace| &trace.spans);
        let span_names = || spans().map(|span| span.name.clone()).collect();
        if spans().next().is_none() {
            return Some(DevProblem::NoTrace {
                rollouts: succeeded.len(),
                tracer_is_installed: tracer::is_installed(),
            });
        }
        let calls_model = |trace: &&DevTrace| !model_calls(&trace.spans).is_empty();
        if (expects_model || self.model_given) && !succeeded.iter().any(calls_model) {
            return Some(DevProblem::NoModelCall {
                span_names: span_names(),
            });
        }
        if !succeeded.iter().any(|trace| final_reward(&trace.spans).is_some()) {
            return Some(DevProblem::NoReward {
                rollouts: succeeded.len(),
                span_names: span_names(),
            });
        }
        // The reason of the first counts if there is one for every trace.
        let reasons: Option<Vec<AdaptError>> = succeeded
            .iter()
            .map(|trace| scope.explain_adapter(&trace.spans))
            .collect();
        let reason = reasons?.into_iter().next()?;
        Some(DevProblem::NothingAdapted {
            rollout_id: first_succeeded.attempt.rollout_id.to_string(),
            reason,
        })
    }
}

impl DevTrace {
    fn succeeded(&self) -> bool {
        self.attempt.status == crate::types::AttemptStatus::Succeeded
    }

    fn reason(&self) -> &str {
        self.attempt.reason().unwrap_or("no reason is known")
    }
}

impl fmt::Display for DevTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Attempt {
            rollout_id, status, ..
        } = &self.attempt;
        write!(f, "{rollout_id} ({}): {}", self.mode.as_str(), status.as_str())?;
        if !self.succeeded() {
            write!(f, ", {}", self.reason())?;
        }
        match final_reward(&self.spans) {
            Some(reward) => writeln!(f, ", reward {}", reward.primary())?,
            None => f.write_str(", no reward\n")?,
        }
        let task = serde_json::to_string(&self.input).unwrap_or_default();
        let shown: String = task.chars().take(TASK_SHOWN).collect();
        let more = if shown.len() < task.len() { "…" } else { "" };
        writeln!(f, "task: {shown}{more}")?;
        match TraceTree::new(&self.spans) {
            Ok(tree) => write!(f, "{tree}"),
            Err(reason) => writeln!(f, "{reason}"),
        }
    }
}

impl<'a, T: Task, O: AlgoOutput> IntoFuture for Dev<'a, T, O> {
    type Output = Result<DevReport<O>, TrainerError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl<T, O> fmt::Debug for Dev<'_, T, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dev")
            .field("samples", &self.samples)
            .field("rollout_limit", &self.rollout_limit)
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}
