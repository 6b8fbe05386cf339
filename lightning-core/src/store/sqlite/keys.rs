//! Request keys and the answers given under them, in the transaction of the effect.

use std::borrow::Cow;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    failure::Failure,
    records::{json, text, to_json},
};
use crate::{
    store::{
        Answer, Command, ImportOutcome, NotFound, Purged, RequestKey, SpanOutcome, StoreError, lifecycle,
    },
    types::{
        Attempt, AttemptId, AttemptedRollout, NewRollout, ResourcesId, ResourcesUpdate, Rollout, RolloutId,
        Timestamp, Worker,
    },
};

/// How long an answer is kept, in seconds.
const KEPT_SECONDS: f64 = 24.0 * 3600.0;
/// How many answers are kept.
const KEPT_ANSWERS: i64 = 1_000_000;
/// How many of the oldest answers are looked at when one is added.
const FORGET_AT_ONCE: i64 = 4;

/// An answer as it is stored. What the repeated command brings along is not stored again.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept<'a> {
    Enqueued {
        at: Timestamp,
        made: Vec<(RolloutId, Option<ResourcesId>)>,
    },
    Dequeued(Cow<'a, [AttemptedRollout]>),
    Started(Cow<'a, AttemptedRollout>),
    Spans(Vec<KeptOutcome>),
    Rollout(Cow<'a, Rollout>),
    Attempt(Cow<'a, Attempt>),
    Resources(Cow<'a, ResourcesUpdate>),
    SequenceIds(Cow<'a, [u64]>),
    Worker(Cow<'a, Worker>),
    Imported(Vec<KeptOutcome>),
    Purged(Cow<'a, Purged>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeptOutcome {
    Stored,
    Duplicate,
    NoRollout(RolloutId),
    NoAttempt(RolloutId, AttemptId),
    InvalidSequenceId(String),
    InvalidRecord(String),
}

/// Stands for a command in comparisons, also after a restart.
pub(super) fn fingerprint(command: &Command) -> Result<[u8; 32], Failure> {
    let mut hasher = Sha256::new();
    serde_json::to_writer(&mut hasher, command)
        .map_err(|error| StoreError::invalid("command", format!("cannot be written as JSON: {error}")))?;
    Ok(hasher.finalize().into())
}

/// The first answer, if the key was used before.
pub(super) fn answer(
    connection: &Connection,
    key: &RequestKey,
    command: &Command,
    fingerprint: &[u8; 32],
    now: Timestamp,
) -> Result<Option<Answer>, Failure> {
    let mut statement = connection
        .prepare_cached("SELECT fingerprint, answered, answer FROM request_keys WHERE request_key = ?1")?;
    let mut rows = statement.query([key.as_str()])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    let answered = Timestamp::from_secs_f64(row.get(1)?);
    if now - answered > KEPT_SECONDS {
        return Ok(None);
    }
    let first = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
    if first != fingerprint {
        return Err(StoreError::KeyReused {
            key: key.as_str().to_owned(),
        }
        .into());
    }
    json::<Kept<'_>>(text(row, 2)?)?.into_answer(command).map(Some)
}

/// Keeps an answer for repetitions, in place of one that was kept before, and forgets some that are too old.
pub(super) fn remember(
    connection: &Connection,
    key: &RequestKey,
    fingerprint: &[u8; 32],
    answer: &Answer,
    now: Timestamp,
) -> Result<(), Failure> {
    let mut insert = connection.prepare_cached(
        "INSERT OR REPLACE INTO request_keys (request_key, fingerprint, answered, answer) VALUES (?1, ?2, ?3, ?4)",
    )?;
    let kept = to_json(&Kept::from_answer(answer, now))?;
    insert.execute((key.as_str(), fingerprint, now.as_secs_f64(), kept))?;
    let newest = connection.last_insert_rowid();
    // Keys are forgotten a few with each that is added, so that no command pays for all of them.
    let mut forget = connection.prepare_cached(
        "DELETE FROM request_keys
         WHERE sequence IN (SELECT sequence FROM request_keys ORDER BY sequence LIMIT ?1)
           AND (sequence <= ?2 OR answered < ?3)",
    )?;
    forget.execute((
        FORGET_AT_ONCE,
        newest - KEPT_ANSWERS,
        now.as_secs_f64() - KEPT_SECONDS,
    ))?;
    Ok(())
}

impl<'a> Kept<'a> {
    fn from_answer(answer: &'a Answer, at: Timestamp) -> Self {
        match answer {
            Answer::Enqueued(rollouts) => Self::Enqueued {
                at,
                made: rollouts
                    .iter()
                    .map(|rollout| (rollout.rollout_id.clone(), rollout.resources_id.clone()))
                    .collect(),
            },
            Answer::Dequeued(claimed) => Self::Dequeued(claimed.into()),
            Answer::Started(started) => Self::Started(Cow::Borrowed(started)),
            Answer::Spans(outcomes) => Self::Spans(outcomes.iter().map(KeptOutcome::of).collect()),
            Answer::Rollout(rollout) => Self::Rollout(Cow::Borrowed(rollout)),
            Answer::Attempt(attempt) => Self::Attempt(Cow::Borrowed(attempt)),
            Answer::Resources(update) => Self::Resources(Cow::Borrowed(update)),
            Answer::SequenceIds(ids) => Self::SequenceIds(ids.into()),
            Answer::Worker(worker) => Self::Worker(Cow::Borrowed(worker)),
            Answer::Imported(outcomes) => {
                Self::Imported(outcomes.iter().map(KeptOutcome::of_import).collect())
            }
            Answer::Purged(purged) => Self::Purged(Cow::Borrowed(purged)),
        }
    }

    fn into_answer(self, command: &Command) -> Result<Answer, Failure> {
        Ok(match self {
            Self::Enqueued { at, made } => {
                let asked: &[NewRollout] = match command {
                    Command::EnqueueRollouts { rollouts } => rollouts,
                    _ => &[],
                };
                let again = made.into_iter().zip(asked).map(|((id, resources_id), new)| {
                    lifecycle::new_rollout(id, new.clone(), resources_id.as_ref(), at)
                });
                Answer::Enqueued(again.collect::<Result<_, _>>()?)
            }
            Self::Dequeued(claimed) => Answer::Dequeued(claimed.into_owned()),
            Self::Started(started) => Answer::Started(Box::new(started.into_owned())),
            Self::Spans(outcomes) => {
                Answer::Spans(outcomes.into_iter().map(KeptOutcome::into_outcome).collect())
            }
            Self::Rollout(rollout) => Answer::Rollout(Box::new(rollout.into_owned())),
            Self::Attempt(attempt) => Answer::Attempt(Box::new(attempt.into_owned())),
            Self::Resources(update) => Answer::Resources(update.into_owned()),
            Self::SequenceIds(ids) => Answer::SequenceIds(ids.into_owned()),
            Self::Worker(worker) => Answer::Worker(Box::new(worker.into_owned())),
            Self::Imported(outcomes) => {
                let outcomes = outcomes.into_iter().map(KeptOutcome::into_outcome);
                let outcomes = outcomes.map(|outcome| match outcome {
                    SpanOutcome::Stored => ImportOutcome::Stored,
                    SpanOutcome::Duplicate => ImportOutcome::Known,
                    SpanOutcome::Rejected(error) => ImportOutcome::Rejected(error),
                });
                Answer::Imported(outcomes.collect())
            }
            Self::Purged(purged) => Answer::Purged(purged.into_owned()),
        })
    }
}

impl KeptOutcome {
    fn of(outcome: &SpanOutcome) -> Self {
        match outcome {
            SpanOutcome::Stored => Self::Stored,
            SpanOutcome::Duplicate => Self::Duplicate,
            SpanOutcome::Rejected(error) => Self::of_error(error),
        }
    }

    fn of_import(outcome: &ImportOutcome) -> Self {
        match outcome {
            ImportOutcome::Stored => Self::Stored,
            ImportOutcome::Known => Self::Duplicate,
            ImportOutcome::Rejected(error) => Self::of_error(error),
        }
    }

    /// A record is rejected for one of these reasons only.
    fn of_error(error: &StoreError) -> Self {
        match error {
            StoreError::NotFound(NotFound::Attempt {
                rollout_id,
                attempt_id,
            }) => Self::NoAttempt(rollout_id.clone(), attempt_id.clone()),
            StoreError::NotFound(NotFound::Rollout(id)) => Self::NoRollout(id.clone()),
            StoreError::Invalid {
                field: "record",
                problem,
            } => Self::InvalidRecord(problem.clone()),
            StoreError::Invalid { problem, .. } => Self::InvalidSequenceId(problem.clone()),
            other => Self::InvalidSequenceId(other.to_string()),
        }
    }

    fn into_outcome(self) -> SpanOutcome {
        SpanOutcome::Rejected(match self {
            Self::Stored => return SpanOutcome::Stored,
            Self::Duplicate => return SpanOutcome::Duplicate,
            Self::NoRollout(id) => NotFound::Rollout(id).into(),
            Self::NoAttempt(rollout_id, attempt_id) => NotFound::Attempt {
                rollout_id,
                attempt_id,
            }
            .into(),
            Self::InvalidSequenceId(problem) => StoreError::invalid("sequence_id", problem),
            Self::InvalidRecord(problem) => StoreError::invalid("record", problem),
        })
    }
}
