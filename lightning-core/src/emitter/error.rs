//! What can go wrong when an agent emits a span.

use crate::{
    tracer::{NotRecorded, Tape},
    types::{AttemptId, NestedTooDeep, RolloutId},
};

/// Why a span was not emitted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EmitError {
    /// The present task is not part of a rollout: call emitters from the agent's own code, and carry the rollout into
    /// tasks that it starts.
    #[error(
        "the {what} is not stored, because no rollout is recorded here: emit it from the agent's own task, or start \
         the task with `tracer::spawn`, `tracer::spawn_blocking` or `.in_rollout()`"
    )]
    OutsideRollout {
        /// What should have been emitted.
        what: &'static str,
    },

    /// The rollout has ended: await what the agent starts before it returns.
    #[error(
        "the {what} is not stored, because attempt {attempt_id} of rollout {rollout_id} has ended: await the tasks \
         that the agent starts before it returns"
    )]
    Ended {
        /// What should have been emitted.
        what: &'static str,
        /// The rollout.
        rollout_id: RolloutId,
        /// The attempt.
        attempt_id: AttemptId,
    },

    /// The recording holds as many spans as it may: the store does not take them, or not fast enough.
    #[error(
        "the {what} is not stored, because {limit} spans are waiting for the store: emit less, let the agent yield \
         (`.await`) so that they can be sent, or raise `RecordingOptions::max_spans`"
    )]
    Full {
        /// What should have been emitted.
        what: &'static str,
        /// How many spans may be kept.
        limit: usize,
    },

    /// A reward must be a finite number.
    #[error("the reward `{dimension}` is {value}, but must be a finite number")]
    NotFinite {
        /// The name of the dimension.
        dimension: String,
        /// Its value.
        value: f64,
    },

    /// A value is nested too deeply.
    #[error(transparent)]
    TooDeep(#[from] NestedTooDeep),

    /// A value has no JSON form.
    #[error("{what} cannot be stored, because it has no JSON form")]
    Unserializable {
        /// Which value.
        what: String,
        /// Why not.
        source: serde_json::Error,
    },
}

impl EmitError {
    pub(super) fn not_recorded(reason: NotRecorded, what: &'static str, tape: &Tape) -> Self {
        match reason {
            NotRecorded::Finished => {
                let (rollout_id, attempt_id) = tape.attempt();
                Self::Ended {
                    what,
                    rollout_id: rollout_id.clone(),
                    attempt_id: attempt_id.clone(),
                }
            }
            NotRecorded::Full => Self::Full {
                what,
                limit: tape.capacity(),
            },
        }
    }
}
