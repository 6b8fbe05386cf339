//! What happens to a store in one step of a history.

use std::fmt;

use lightning_core::{
    store::{Answer, Command, EndOfAttempt, ImportOutcome, Request, StoreError},
    types::{
        Attempt, AttemptId, AttemptQuery, NewRollout, Page, ResourcesId, ResourcesQuery, ResourcesUpdate,
        Rollout, RolloutConfig, RolloutId, RolloutQuery, RolloutSnapshot, Span, SpanQuery, Update, Worker,
        WorkerId, WorkerQuery,
    },
};
use lightning_tests::model::Model;

/// One step of a history. Its number names the ids that the store gives out in it, so that the other steps keep their
/// meaning when this one is taken out.
#[derive(Clone)]
pub struct Step {
    pub number: u64,
    pub action: Action,
}

#[derive(Clone)]
pub enum Action {
    /// A command.
    Do(Request),
    /// `dequeue_or_wait` without a wait.
    DequeueOrWait(usize, Option<WorkerId>),
    /// The clock moves on by so many seconds.
    Advance(f64),
    /// A read.
    Look(Look),
}

#[derive(Clone, Debug)]
pub enum Look {
    /// `wait_for_rollouts` without a wait.
    Ended(Vec<RolloutId>),
    EndOfAttempt(RolloutId, AttemptId),
    Rollout(RolloutId),
    LatestAttempt(RolloutId),
    Worker(WorkerId),
    Resources(ResourcesId, Option<u64>),
    LatestResources,
    Rollouts(RolloutQuery),
    Attempts(RolloutId, AttemptQuery),
    Spans(SpanQuery),
    Workers(WorkerQuery),
    ResourcesSets(ResourcesQuery),
}

/// What came of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    Answer(Answer),
    Refused(StoreError),
    Ended(Vec<Rollout>),
    EndOfAttempt(Option<EndOfAttempt>),
    Rollout(Option<RolloutSnapshot>),
    Attempt(Option<Attempt>),
    Worker(Option<Worker>),
    Resources(Option<ResourcesUpdate>),
    Rollouts(Page<RolloutSnapshot>),
    Attempts(Page<Attempt>),
    Spans(Page<Span>),
    Workers(Page<Worker>),
    ResourcesSets(Page<ResourcesUpdate>),
    Time,
}

impl From<StoreError> for Outcome {
    /// The wording of what is invalid is the store's own.
    fn from(error: StoreError) -> Self {
        Self::Refused(without_wording(error))
    }
}

impl From<Answer> for Outcome {
    fn from(answer: Answer) -> Self {
        let Answer::Imported(outcomes) = answer else {
            return Self::Answer(answer);
        };
        let outcomes = outcomes.into_iter().map(|outcome| match outcome {
            ImportOutcome::Rejected(error) => ImportOutcome::Rejected(without_wording(error)),
            other => other,
        });
        Self::Answer(Answer::Imported(outcomes.collect()))
    }
}

fn without_wording(error: StoreError) -> StoreError {
    match error {
        StoreError::Invalid { field, .. } => StoreError::invalid(field, ""),
        other => other,
    }
}

impl From<Result<Outcome, StoreError>> for Outcome {
    fn from(result: Result<Outcome, StoreError>) -> Self {
        result.unwrap_or_else(Self::from)
    }
}

impl Step {
    /// Lets the step happen to the model.
    pub fn model(&self, model: &mut Model) -> Outcome {
        model.step = self.number;
        match &self.action {
            Action::Do(request) => model.execute(request).map(Outcome::from).into(),
            Action::DequeueOrWait(limit, worker_id) => {
                let command = Command::DequeueRollouts {
                    limit: *limit,
                    worker_id: worker_id.clone(),
                };
                model.execute(&command.into()).map(Outcome::Answer).into()
            }
            Action::Advance(seconds) => {
                model.advance(*seconds);
                Outcome::Time
            }
            Action::Look(look) => look.model(model).into(),
        }
    }
}

impl Look {
    fn model(&self, model: &Model) -> Result<Outcome, StoreError> {
        Ok(match self {
            Self::Ended(ids) => Outcome::Ended(model.ended(ids)),
            Self::EndOfAttempt(id, attempt_id) => {
                Outcome::EndOfAttempt(model.end_of_attempt(id, attempt_id)?)
            }
            Self::Rollout(id) => Outcome::Rollout(model.snapshot(id)),
            Self::LatestAttempt(id) => Outcome::Attempt(model.latest(id).cloned()),
            Self::Worker(id) => Outcome::Worker(model.worker(id).cloned()),
            Self::Resources(id, version) => Outcome::Resources(model.resources(id, *version).cloned()),
            Self::LatestResources => Outcome::Resources(model.latest_resources().cloned()),
            Self::Rollouts(query) => Outcome::Rollouts(model.query_rollouts(query)?),
            Self::Attempts(id, query) => Outcome::Attempts(model.query_attempts(id, query)?),
            Self::Spans(query) => Outcome::Spans(model.query_spans(query)?),
            Self::Workers(query) => Outcome::Workers(model.query_workers(query)?),
            Self::ResourcesSets(query) => Outcome::ResourcesSets(model.query_resources(query)?),
        })
    }
}

impl fmt::Debug for Step {
    /// One short line: what is left at its default is left out, and ids lose their zeros.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = match &self.action {
            Action::Do(request) => {
                let key = request
                    .key
                    .as_ref()
                    .map_or(String::new(), |key| format!(" under key {key:?}"));
                format!("{}{key}", describe(&request.command))
            }
            Action::DequeueOrWait(limit, worker_id) => {
                format!("dequeue_or_wait {limit}{}", given("by", worker_id))
            }
            Action::Advance(seconds) => format!("advance {seconds} s"),
            Action::Look(look) => format!("look at {look:?}"),
        };
        write!(f, "{}: {}", self.number, terse(&line))
    }
}

fn describe(command: &Command) -> String {
    match command {
        Command::EnqueueRollouts { rollouts } => format!("enqueue {}", list(rollouts, describe_new)),
        Command::StartRollout { rollout, worker_id } => {
            format!(
                "start_rollout {}{}",
                describe_new(rollout),
                given("by", worker_id)
            )
        }
        Command::DequeueRollouts { limit, worker_id } => format!("dequeue {limit}{}", given("by", worker_id)),
        Command::StartAttempt {
            rollout_id,
            worker_id,
        } => {
            format!("start_attempt {rollout_id}{}", given("by", worker_id))
        }
        Command::AddSpans { spans } => format!("add_spans {}", list(spans, describe_span)),
        Command::UpdateRollout { rollout_id, patch } => {
            let line = format!(
                "update_rollout {rollout_id}{}{}{}{}{}",
                given("status", &patch.status),
                change("input", &patch.input),
                change("mode", &patch.mode),
                change("resources", &patch.resources_id),
                change("metadata", &patch.metadata),
            );
            line + &patch.config.as_ref().map_or(String::new(), describe_config)
        }
        Command::UpdateAttempt {
            rollout_id,
            attempt,
            patch,
        } => format!(
            "update_attempt {rollout_id} {}{}{}{}{}",
            AttemptId::from(attempt.clone()),
            given("status", &patch.status),
            given("worker", &patch.worker_id),
            given("heartbeat", &patch.last_heartbeat_time),
            given("metadata", &patch.metadata),
        ),
        Command::AddResources { resources } => format!("add_resources {resources:?}"),
        Command::UpdateResources {
            resources_id,
            resources,
        } => format!("update_resources {resources_id} {resources:?}"),
        Command::NextSequenceIds { targets } => {
            format!("sequence_ids {}", list(targets, |(id, _)| id.to_string()))
        }
        Command::UpdateWorker {
            worker_id,
            heartbeat_stats,
        } => format!("update_worker {worker_id}{}", given("stats", heartbeat_stats)),
        Command::Import { records } => format!("import {records:?}"),
        Command::Purge { rollouts, resources } => format!("purge {rollouts:?} {resources:?}"),
    }
}

fn describe_new(new: &NewRollout) -> String {
    format!(
        "{}{}{}{}{}",
        new.input,
        given("mode", &new.mode),
        given("resources", &new.resources_id),
        given("metadata", &new.metadata),
        new.config.as_ref().map_or(String::new(), describe_config)
    )
}

fn describe_config(config: &RolloutConfig) -> String {
    let retry = Some(&config.retry_condition).filter(|statuses| !statuses.is_empty());
    format!(
        " max {}{}{}{}",
        config.max_attempts,
        given("timeout", &config.timeout_seconds),
        given("unresponsive", &config.unresponsive_seconds),
        given("retry", &retry)
    )
}

fn describe_span(span: &Span) -> String {
    format!(
        "{}/{} #{} {} in {} named {}{}{}",
        span.rollout_id,
        span.attempt_id,
        span.sequence_id,
        span.span_id,
        span.trace_id,
        span.name,
        given("parent", &span.parent_id),
        given("at", &span.start_time),
    )
}

fn list<T>(items: &[T], describe: impl Fn(&T) -> String) -> String {
    format!("[{}]", items.iter().map(describe).collect::<Vec<_>>().join(", "))
}

fn given(name: &str, value: &Option<impl fmt::Debug>) -> String {
    value
        .as_ref()
        .map_or(String::new(), |value| format!(" {name} {value:?}"))
}

fn change(name: &str, update: &Update<impl fmt::Debug>) -> String {
    match update {
        Update::Keep => String::new(),
        Update::Clear => format!(" {name} null"),
        Update::Set(value) => format!(" {name} {value:?}"),
    }
}

/// Takes out the fields that are `None` and the zeros that fill up ids.
fn terse(line: &str) -> String {
    let line = line.split(", ").filter(|part| !part.ends_with(": None"));
    let line = line.collect::<Vec<_>>().join(", ");
    let words = line.split_inclusive(|c: char| !c.is_ascii_alphanumeric());
    words
        .map(|word| {
            if word.len() > 8 {
                word.trim_start_matches('0')
            } else {
                word
            }
        })
        .collect()
}
