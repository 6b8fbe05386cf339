//! What happens to rollouts, attempts and workers: the only place that decides a status.
//!
//! The functions are pure: records, a command's content and the time go in; the records are changed in place, and
//! [`Effects`] say what the backend has to do besides writing them back. They know nothing of how records are read,
//! locked, stored or waited for, so every backend behaves alike and the behaviour is tested without a clock.
//!
//! # States
//!
//! A rollout goes `queuing → preparing → running → succeeded | failed | cancelled`, through `requeuing` before a retry.
//! An attempt goes `preparing → running → succeeded | failed | timeout | unresponsive`.
//!
//! | event | attempt | rollout, if the attempt is its latest |
//! |---|---|---|
//! | enqueue | – | `queuing` |
//! | dequeue, `start_rollout`, `start_attempt` | new, `preparing` | `preparing` |
//! | a span on a `preparing`, `running` or `unresponsive` attempt | `running` | `running`, if `preparing` or `requeuing` |
//! | a span on an attempt that succeeded, failed or timed out | only a sign of life | unchanged |
//! | `update_attempt` to `preparing`, `running`, `succeeded` | the same | the same |
//! | `update_attempt` to `failed`, `timeout`, `unresponsive`; a deadline | the same | `requeuing`, if the retry condition names the status and attempts are left, else `failed` |
//! | `update_rollout` with a status | unchanged | as given |
//!
//! Only the latest attempt moves its rollout, and a terminal rollout moves only by `update_rollout` and
//! `start_attempt`. `end_time` is set exactly in terminal states.

use std::collections::HashSet;

use crate::{
    store::{EndOfAttempt, StoreError},
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptStatus, JsonObject, NewRollout, ResourcesId, Rollout,
        RolloutConfig, RolloutId, RolloutPatch, RolloutStatus, Span, Timestamp, Update, Worker, WorkerId,
        WorkerStatus,
    },
};

/// What a backend has to do after a transition, besides writing the records back.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Put the rollout at the tail of the queue, unless it has an entry there.
    pub enqueue: bool,
    /// Wake those who wait for the end of the rollout.
    pub ended: bool,
}

/// How an attempt stands to its rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is the one with the greatest sequence id.
    Latest,
    /// A newer one exists.
    Superseded,
}

/// A rollout as a request for one makes it, in the queue.
///
/// `latest_resources` are those that it uses unless it names its own.
///
/// # Errors
///
/// [`StoreError::Invalid`], if the configuration makes no sense.
pub fn new_rollout(
    rollout_id: RolloutId,
    new: NewRollout,
    latest_resources: Option<&ResourcesId>,
    now: Timestamp,
) -> Result<Rollout, StoreError> {
    let config = new.config.unwrap_or_default();
    check_config(&config)?;
    Ok(Rollout {
        rollout_id,
        input: new.input,
        start_time: now,
        end_time: None,
        mode: new.mode,
        resources_id: new.resources_id.or_else(|| latest_resources.cloned()),
        status: RolloutStatus::Queuing,
        config,
        metadata: Some(new.metadata.unwrap_or_default()),
    })
}

/// Whether time limits and retries make sense.
///
/// # Errors
///
/// [`StoreError::Invalid`] with the offending field.
pub fn check_config(config: &RolloutConfig) -> Result<(), StoreError> {
    if config.max_attempts == 0 {
        return Err(StoreError::invalid(
            "config.max_attempts",
            "is 0; a rollout needs at least 1 attempt",
        ));
    }
    let limits = [
        ("config.timeout_seconds", config.timeout_seconds),
        ("config.unresponsive_seconds", config.unresponsive_seconds),
    ];
    for (field, limit) in limits {
        if let Some(seconds) = limit
            && !(seconds.is_finite() && seconds >= 0.0)
        {
            return Err(StoreError::invalid(
                field,
                format!(
                    "is {seconds}; give a finite number of seconds, 0 or more, or leave it out for no limit"
                ),
            ));
        }
    }
    Ok(())
}

/// Takes a rollout in as another store kept it, with all its attempts. Statuses and times stay as they are, but that an
/// attempt which ran into a time limit gets an end where the reference left it out.
///
/// # Errors
///
/// [`StoreError::Invalid`], if the records contradict what holds of all rollouts and attempts.
pub fn admit(rollout: &Rollout, attempts: &mut [Attempt]) -> Result<Effects, StoreError> {
    let id = &rollout.rollout_id;
    let refused = |problem: String| Err(StoreError::invalid("record", format!("rollout {id} {problem}")));
    if let Err(error) = check_config(&rollout.config) {
        return refused(format!("has limits that make no sense: {error}"));
    }
    if rollout.end_time.is_some() != rollout.status.is_terminal() {
        let end = if rollout.end_time.is_some() { "an" } else { "no" };
        return refused(format!("is `{}` and has {end} end", rollout.status.as_str()));
    }
    let mut ids = HashSet::new();
    let mut later = rollout.end_time;
    for (number, attempt) in (1..).zip(&mut *attempts).collect::<Vec<_>>().into_iter().rev() {
        let name = attempt.attempt_id.clone();
        if attempt.rollout_id != *id {
            return refused(format!("has attempt {name} of rollout {}", attempt.rollout_id));
        }
        if attempt.sequence_id != number {
            return refused(format!(
                "has attempt {name} in place {number} with the sequence id {}",
                attempt.sequence_id
            ));
        }
        let ran_out = matches!(
            attempt.status,
            AttemptStatus::Timeout | AttemptStatus::Unresponsive
        );
        if ran_out && attempt.end_time.is_none() {
            attempt.end_time = later.or(attempt.last_heartbeat_time).or(Some(attempt.start_time));
        }
        if attempt.end_time.is_some() != attempt.status.is_terminal() {
            let end = if attempt.end_time.is_some() { "an" } else { "no" };
            let status = attempt.status.as_str();
            return refused(format!(
                "has attempt {name}, which is `{status}` and has {end} end"
            ));
        }
        later = Some(attempt.start_time);
        if !ids.insert(name.clone()) {
            return refused(format!("has attempt {name} twice"));
        }
    }
    Ok(Effects {
        enqueue: rollout.status.is_queueing(),
        ended: rollout.status.is_terminal(),
    })
}

/// Whether a rollout may be taken out for good.
pub fn may_be_purged(rollout: &Rollout) -> bool {
    rollout.status.is_terminal()
}

/// Begins a further attempt of a rollout that had `previous` ones.
pub fn begin_attempt(
    rollout: &mut Rollout,
    attempt_id: AttemptId,
    previous: u32,
    worker_id: Option<WorkerId>,
    now: Timestamp,
) -> Attempt {
    let _ = move_rollout(rollout, RolloutStatus::Preparing, now);
    Attempt {
        rollout_id: rollout.rollout_id.clone(),
        attempt_id,
        sequence_id: previous.saturating_add(1),
        start_time: now,
        end_time: None,
        status: AttemptStatus::Preparing,
        worker_id,
        last_heartbeat_time: None,
        metadata: None,
    }
}

/// The greatest sequence id that a span may bring along: JSON numbers are exact up to here, and far more ids than can
/// ever be drawn are left beyond it, so that no id is drawn twice.
pub const MAX_SEQUENCE_ID: u64 = (1 << 53) - 1;

/// Whether a span can be stored as it is.
///
/// # Errors
///
/// [`StoreError::Invalid`] with the offending field.
pub fn check_span(span: &Span) -> Result<(), StoreError> {
    if span.sequence_id > MAX_SEQUENCE_ID {
        let problem = format!("is {}; the greatest is {MAX_SEQUENCE_ID}", span.sequence_id);
        return Err(StoreError::invalid("sequence_id", problem));
    }
    Ok(())
}

/// A span of the attempt was stored.
pub fn span_stored(
    rollout: &mut Rollout,
    attempt: &mut Attempt,
    standing: Standing,
    now: Timestamp,
) -> Effects {
    attempt.last_heartbeat_time = Some(now);
    if matches!(
        attempt.status,
        AttemptStatus::Preparing | AttemptStatus::Unresponsive
    ) {
        move_attempt(attempt, AttemptStatus::Running, now);
    }
    let moves = standing == Standing::Latest
        && attempt.status == AttemptStatus::Running
        && matches!(
            rollout.status,
            RolloutStatus::Preparing | RolloutStatus::Requeuing
        );
    if moves {
        move_rollout(rollout, RolloutStatus::Running, now)
    } else {
        Effects::default()
    }
}

/// Changes an attempt, and its rollout where the change of status says so.
pub fn update_attempt(
    rollout: &mut Rollout,
    attempt: &mut Attempt,
    standing: Standing,
    patch: AttemptPatch,
    now: Timestamp,
) -> Effects {
    if let Some(worker_id) = patch.worker_id {
        attempt.worker_id = Some(worker_id);
    }
    if let Some(time) = patch.last_heartbeat_time {
        attempt.last_heartbeat_time = Some(time);
    }
    if let Some(metadata) = patch.metadata {
        attempt.metadata = Some(metadata);
    }
    match patch.status {
        Some(status) => end_or_go_on(rollout, attempt, standing, status, now),
        None => Effects::default(),
    }
}

/// Changes a rollout.
///
/// # Errors
///
/// [`StoreError::Invalid`], if the new configuration makes no sense; nothing is changed then.
pub fn update_rollout(
    rollout: &mut Rollout,
    patch: RolloutPatch,
    now: Timestamp,
) -> Result<Effects, StoreError> {
    if let Some(config) = patch.config {
        check_config(&config)?;
        rollout.config = config;
    }
    match patch.input {
        Update::Keep => {}
        Update::Clear => rollout.input = serde_json::Value::Null.into(),
        Update::Set(input) => rollout.input = input,
    }
    patch.mode.apply(&mut rollout.mode);
    patch.resources_id.apply(&mut rollout.resources_id);
    patch.metadata.apply(&mut rollout.metadata);
    Ok(match patch.status {
        Some(status) => move_rollout(rollout, status, now),
        None => Effects::default(),
    })
}

/// When the latest attempt of a rollout runs into a time limit: right after this point. `None` if never.
pub fn deadline(rollout: &Rollout, latest: &Attempt) -> Option<Timestamp> {
    let (timeout, unresponsive) = limits(rollout, latest)?;
    timeout.into_iter().chain(unresponsive).min()
}

/// Whether a time limit that runs until `limit` has passed: its very moment still belongs to it.
pub fn is_past(limit: Timestamp, now: Timestamp) -> bool {
    now > limit
}

/// Ends the latest attempt if a time limit has passed. `None` if none has.
pub fn expire(rollout: &mut Rollout, latest: &mut Attempt, now: Timestamp) -> Option<Effects> {
    let (timeout, unresponsive) = limits(rollout, latest)?;
    let passed = |limit: Option<Timestamp>| limit.is_some_and(|limit| is_past(limit, now));
    let status = if passed(timeout) {
        AttemptStatus::Timeout
    } else if passed(unresponsive) {
        AttemptStatus::Unresponsive
    } else {
        return None;
    };
    Some(end_or_go_on(rollout, latest, Standing::Latest, status, now))
}

/// The points after which the latest attempt counts as timed out and as unresponsive.
fn limits(rollout: &Rollout, latest: &Attempt) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
    rollout.status.is_active().then(|| {
        let heard_of = latest.last_heartbeat_time.unwrap_or(latest.start_time);
        (
            rollout
                .config
                .timeout_seconds
                .map(|seconds| latest.start_time + seconds),
            rollout
                .config
                .unresponsive_seconds
                .map(|seconds| heard_of + seconds),
        )
    })
}

/// Why work on an attempt has become pointless; `None` as long as it has not.
pub fn end_of_attempt(rollout: &Rollout, attempt: &Attempt, latest: &Attempt) -> Option<EndOfAttempt> {
    if rollout.status.is_terminal() {
        Some(EndOfAttempt::RolloutEnded(rollout.status))
    } else if attempt.attempt_id != latest.attempt_id {
        Some(EndOfAttempt::Superseded {
            by: latest.attempt_id.clone(),
        })
    } else if attempt.status.is_terminal() {
        Some(EndOfAttempt::AttemptEnded(attempt.status))
    } else {
        None
    }
}

/// Gives an attempt a status and draws the conclusion for its rollout.
fn end_or_go_on(
    rollout: &mut Rollout,
    attempt: &mut Attempt,
    standing: Standing,
    status: AttemptStatus,
    now: Timestamp,
) -> Effects {
    move_attempt(attempt, status, now);
    if standing == Standing::Superseded || rollout.status.is_terminal() {
        return Effects::default();
    }
    let conclusion = match status {
        AttemptStatus::Preparing => RolloutStatus::Preparing,
        AttemptStatus::Running => RolloutStatus::Running,
        AttemptStatus::Succeeded => RolloutStatus::Succeeded,
        AttemptStatus::Failed | AttemptStatus::Timeout | AttemptStatus::Unresponsive => {
            let config = &rollout.config;
            if config.retry_condition.contains(&status) && attempt.sequence_id < config.max_attempts {
                RolloutStatus::Requeuing
            } else {
                RolloutStatus::Failed
            }
        }
    };
    move_rollout(rollout, conclusion, now)
}

fn move_attempt(attempt: &mut Attempt, status: AttemptStatus, now: Timestamp) {
    attempt.status = status;
    attempt.end_time = status.is_terminal().then_some(now);
}

fn move_rollout(rollout: &mut Rollout, status: RolloutStatus, now: Timestamp) -> Effects {
    rollout.status = status;
    rollout.end_time = status.is_terminal().then_some(now);
    Effects {
        enqueue: status.is_queueing(),
        ended: status.is_terminal(),
    }
}

// ---- workers

/// A worker that was just heard of for the first time.
pub fn new_worker(worker_id: WorkerId) -> Worker {
    Worker {
        worker_id,
        status: WorkerStatus::Unknown,
        heartbeat_stats: None,
        last_heartbeat_time: None,
        last_dequeue_time: None,
        last_busy_time: None,
        last_idle_time: None,
        current_rollout_id: None,
        current_attempt_id: None,
    }
}

/// The worker sent a heartbeat.
pub fn worker_heartbeat(worker: &mut Worker, stats: Option<JsonObject>, now: Timestamp) {
    worker.last_heartbeat_time = Some(now);
    if stats.is_some() {
        worker.heartbeat_stats = stats;
    }
}

/// The worker asked for work; `got` is the last attempt that it was given.
pub fn worker_dequeued(worker: &mut Worker, got: Option<&Attempt>, now: Timestamp) {
    worker.last_dequeue_time = Some(now);
    match got {
        Some(attempt) => occupy(worker, attempt, now),
        None => release(worker, WorkerStatus::Idle, now),
    }
}

/// An attempt of the worker has begun, or was reported on: draws the conclusion for the worker.
pub fn worker_follows(worker: &mut Worker, attempt: &Attempt, now: Timestamp) {
    if !attempt.status.is_terminal() {
        return occupy(worker, attempt, now);
    }
    let busy_with_another = worker.status == WorkerStatus::Busy && !is_current(worker, attempt);
    if !busy_with_another {
        let status = match attempt.status {
            AttemptStatus::Timeout | AttemptStatus::Unresponsive => WorkerStatus::Unknown,
            _ => WorkerStatus::Idle,
        };
        release(worker, status, now);
    }
}

fn is_current(worker: &Worker, attempt: &Attempt) -> bool {
    worker.current_rollout_id.as_ref() == Some(&attempt.rollout_id)
        && worker.current_attempt_id.as_ref() == Some(&attempt.attempt_id)
}

fn occupy(worker: &mut Worker, attempt: &Attempt, now: Timestamp) {
    worker.status = WorkerStatus::Busy;
    worker.last_busy_time = Some(now);
    worker.current_rollout_id = Some(attempt.rollout_id.clone());
    worker.current_attempt_id = Some(attempt.attempt_id.clone());
}

fn release(worker: &mut Worker, status: WorkerStatus, now: Timestamp) {
    worker.status = status;
    if status == WorkerStatus::Idle {
        worker.last_idle_time = Some(now);
    }
    worker.current_rollout_id = None;
    worker.current_attempt_id = None;
}
