//! What holds in every history, whatever the model says. Each check looks only at what the store showed before and after
//! a step, and at its answer.

use std::collections::BTreeSet;

use lightning_core::{
    store::{Answer, Command, Request, RequestKey, SpanOutcome},
    types::{AttemptId, AttemptStatus, AttemptedRollout, RolloutId, RolloutStatus, WorkerStatus},
};
use lightning_tests::model::KEYS_KEPT_FOR;

use super::{
    step::{Action, Outcome, Step},
    subject::Visible,
};

/// What has to be remembered of a history to judge its next step.
#[derive(Default)]
pub struct Invariants {
    /// Rollouts that were only ever enqueued, in the order in which this happened.
    in_line: Vec<RolloutId>,
    /// Sequence ids that were given out or used.
    sequence_ids: Vec<(RolloutId, u64)>,
    /// What was carried out under a key.
    answers: Vec<(RequestKey, Command, Answer)>,
    /// Rollouts that were taken out for good, even if they came back.
    purged: Vec<RolloutId>,
}

/// A step, with what the store showed.
pub struct Event<'a> {
    pub step: &'a Step,
    pub outcome: &'a Outcome,
    pub before: &'a Visible,
    pub after: &'a Visible,
}

impl Event<'_> {
    fn request(&self) -> Option<&Request> {
        match &self.step.action {
            Action::Do(request) => Some(request),
            _ => None,
        }
    }

    /// The command, if this is the first time that it is carried out under its key.
    fn carried_out(&self, answers: &[(RequestKey, Command, Answer)]) -> Option<&Command> {
        let request = self.request()?;
        let repeated = answers.iter().any(|(key, ..)| Some(key) == request.key.as_ref());
        (matches!(self.outcome, Outcome::Answer(_)) && !repeated).then_some(&request.command)
    }

    fn claimed(&self) -> Option<&[AttemptedRollout]> {
        match self.outcome {
            Outcome::Answer(Answer::Dequeued(claimed)) => Some(claimed),
            _ => None,
        }
    }
}

impl Invariants {
    pub fn check(&mut self, event: &Event<'_>) {
        refused_commands_and_reads_change_nothing(event);
        terminal_means_terminal(event);
        if let Outcome::Answer(Answer::Purged(purged)) = event.outcome {
            self.purged.extend(purged.rollouts.clone());
        }
        busy_workers_have_an_attempt_and_no_others(event, &self.purged);
        let repeated = self.request_keys_repeat_answers(event);
        if !repeated {
            only_the_latest_attempt_moves_its_rollout(event);
            claims_are_of_queueing_rollouts_once(event);
            a_worker_that_dequeues_is_busy_or_idle(event);
            self.first_in_first_out(event);
            self.sequence_ids_never_repeat(event);
        }
        self.remember_answers(event);
    }

    fn first_in_first_out(&mut self, event: &Event<'_>) {
        if let Some(claimed) = event.claimed() {
            let claimed: Vec<_> = claimed
                .iter()
                .map(|claimed| &claimed.rollout.rollout_id)
                .filter(|id| self.in_line.contains(id))
                .collect();
            assert_eq!(
                claimed,
                self.in_line.iter().take(claimed.len()).collect::<Vec<_>>(),
                "first in, first out: the others came earlier"
            );
            self.in_line.drain(..claimed.len());
        }
        match (event.carried_out(&self.answers), event.outcome) {
            (_, Outcome::Answer(Answer::Enqueued(made))) => {
                self.in_line
                    .extend(made.iter().map(|rollout| rollout.rollout_id.clone()));
            }
            (
                Some(Command::StartAttempt { rollout_id, .. } | Command::UpdateRollout { rollout_id, .. }),
                _,
            ) => {
                self.in_line.retain(|id| id != rollout_id);
            }
            (_, Outcome::Answer(Answer::Purged(purged))) => {
                self.in_line.retain(|id| !purged.rollouts.contains(id));
            }
            _ => {}
        }
    }

    fn sequence_ids_never_repeat(&mut self, event: &Event<'_>) {
        match (event.carried_out(&self.answers), event.outcome) {
            (Some(Command::NextSequenceIds { targets }), Outcome::Answer(Answer::SequenceIds(ids))) => {
                assert_eq!(targets.len(), ids.len());
                for ((id, _), sequence_id) in targets.iter().zip(ids) {
                    let used = self.sequence_ids.iter().filter(|(known, _)| known == id);
                    let greatest = used.map(|(_, used)| *used).max().unwrap_or(0);
                    assert!(
                        *sequence_id > greatest,
                        "sequence ids never repeat: {id} had {greatest} before {sequence_id}"
                    );
                    self.sequence_ids.push((id.clone(), *sequence_id));
                }
            }
            (Some(Command::AddSpans { spans }), Outcome::Answer(Answer::Spans(outcomes))) => {
                let known = spans.iter().zip(outcomes);
                let known = known.filter(|(_, outcome)| !matches!(outcome, SpanOutcome::Rejected(_)));
                self.sequence_ids
                    .extend(known.map(|(span, _)| (span.rollout_id.clone(), span.sequence_id)));
            }
            (Some(Command::Purge { .. }), Outcome::Answer(Answer::Purged(purged))) => {
                self.sequence_ids.retain(|(id, _)| !purged.rollouts.contains(id));
            }
            _ => {}
        }
    }

    /// Whether the step repeats a command.
    fn request_keys_repeat_answers(&mut self, event: &Event<'_>) -> bool {
        if let Action::Advance(seconds) = event.step.action
            && seconds > KEYS_KEPT_FOR
        {
            self.answers.clear();
        }
        let Some(request) = event.request() else {
            return false;
        };
        let Some((_, command, answer)) = self
            .answers
            .iter()
            .find(|(key, ..)| Some(key) == request.key.as_ref())
        else {
            return false;
        };
        assert_eq!(event.before, event.after, "a request key is carried out once");
        if *command == request.command {
            assert_eq!(
                *event.outcome,
                Outcome::Answer(answer.clone()),
                "request keys repeat answers"
            );
        } else {
            assert!(
                matches!(event.outcome, Outcome::Refused(_)),
                "a request key is for one command"
            );
        }
        true
    }

    fn remember_answers(&mut self, event: &Event<'_>) {
        if let (Some(request), Outcome::Answer(answer)) = (event.request(), event.outcome)
            && let Some(key) = &request.key
            && event.carried_out(&self.answers).is_some()
        {
            self.answers
                .push((key.clone(), request.command.clone(), answer.clone()));
        }
    }
}

fn refused_commands_and_reads_change_nothing(event: &Event<'_>) {
    if matches!(event.outcome, Outcome::Refused(_)) || matches!(event.step.action, Action::Look(_)) {
        assert_eq!(
            event.before, event.after,
            "refused commands and reads change nothing"
        );
    }
}

fn terminal_means_terminal(event: &Event<'_>) {
    let moved = match event.request().map(|request| &request.command) {
        Some(Command::UpdateRollout { rollout_id, .. } | Command::StartAttempt { rollout_id, .. }) => {
            Some(rollout_id)
        }
        _ => None,
    };
    let purged = match event.outcome {
        Outcome::Answer(Answer::Purged(purged)) => &*purged.rollouts,
        _ => &[],
    };
    for rollout in &event.before.rollouts {
        let id = &rollout.rollout_id;
        if rollout.status.is_terminal() && moved != Some(id) {
            let after = event.after.rollouts.iter().find(|after| after.rollout_id == *id);
            if after.is_none() && purged.contains(id) {
                continue;
            }
            let after = after.map(|after| (after.status, after.end_time));
            assert_eq!(
                after,
                Some((rollout.status, rollout.end_time)),
                "terminal means terminal: {id}"
            );
        }
    }
}

fn only_the_latest_attempt_moves_its_rollout(event: &Event<'_>) {
    let is_latest = |id: &RolloutId, attempt_id: &AttemptId| {
        let rollout = event
            .before
            .rollouts
            .iter()
            .find(|rollout| rollout.rollout_id == *id);
        let latest = rollout.and_then(|rollout| rollout.attempt.as_ref());
        latest.is_some_and(|latest| latest.attempt_id == *attempt_id)
    };
    let moving: BTreeSet<_> = match event.request().map(|request| &request.command) {
        Some(Command::AddSpans { spans }) => spans
            .iter()
            .filter(|span| is_latest(&span.rollout_id, &span.attempt_id))
            .map(|span| &span.rollout_id)
            .collect(),
        Some(Command::UpdateAttempt {
            rollout_id, attempt, ..
        }) => {
            let attempt_id = AttemptId::from(attempt.clone());
            let moves = attempt_id == "latest" || is_latest(rollout_id, &attempt_id);
            moves.then_some(rollout_id).into_iter().collect()
        }
        _ => return,
    };
    for rollout in &event.before.rollouts {
        if !moving.contains(&rollout.rollout_id) {
            assert_eq!(
                event.after.status(&rollout.rollout_id),
                Some(rollout.status),
                "only the latest attempt moves its rollout"
            );
        }
    }
}

fn claims_are_of_queueing_rollouts_once(event: &Event<'_>) {
    let claimed = event.claimed().unwrap_or_default();
    let ids: BTreeSet<_> = claimed
        .iter()
        .map(|claimed| &claimed.rollout.rollout_id)
        .collect();
    assert_eq!(ids.len(), claimed.len(), "queued exactly once: claimed twice");
    for id in ids {
        let before = event.before.status(id);
        assert!(
            before.is_some_and(RolloutStatus::is_queueing),
            "claimed {id}, which was {before:?}"
        );
        assert_eq!(event.after.status(id), Some(RolloutStatus::Preparing));
    }
}

fn busy_workers_have_an_attempt_and_no_others(event: &Event<'_>, purged: &[RolloutId]) {
    for worker in &event.after.workers {
        let current = (&worker.current_rollout_id, &worker.current_attempt_id);
        match (worker.status, current) {
            (WorkerStatus::Busy, (Some(id), Some(attempt_id))) => assert!(
                event
                    .after
                    .attempts
                    .iter()
                    .any(|attempt| attempt.rollout_id == *id && attempt.attempt_id == *attempt_id)
                    // A purge takes the attempt from under its worker.
                    || purged.contains(id),
                "worker bookkeeping: busy with an attempt that is not there: {worker:?}"
            ),
            (WorkerStatus::Idle | WorkerStatus::Unknown, (None, None)) => {}
            _ => panic!("worker bookkeeping: {worker:?}"),
        }
    }
    // An attempt that a time limit ends lets its worker go.
    if matches!(event.step.action, Action::Advance(_)) {
        for attempt in &event.after.attempts {
            let limits = [AttemptStatus::Timeout, AttemptStatus::Unresponsive];
            let ended = limits.contains(&attempt.status) && !event.before.attempts.contains(attempt);
            let busy = event.after.workers.iter().any(|worker| {
                Some(&worker.worker_id) == attempt.worker_id.as_ref()
                    && worker.current_attempt_id.as_ref() == Some(&attempt.attempt_id)
            });
            assert!(
                !(ended && busy),
                "worker bookkeeping: busy with an attempt that has ended"
            );
        }
    }
}

fn a_worker_that_dequeues_is_busy_or_idle(event: &Event<'_>) {
    let (worker_id, Some(claimed)) = (
        match &event.step.action {
            Action::DequeueOrWait(_, worker_id) => worker_id,
            Action::Do(Request {
                command:
                    Command::DequeueRollouts {
                        worker_id,
                        limit: 1..,
                    },
                ..
            }) => worker_id,
            _ => return,
        },
        event.claimed(),
    ) else {
        return;
    };
    let Some(worker_id) = worker_id else { return };
    let worker = event
        .after
        .workers
        .iter()
        .find(|worker| worker.worker_id == *worker_id);
    let worker = worker.expect("worker bookkeeping: one that dequeues is known");
    let last = claimed.last().map(|claimed| &claimed.attempt.attempt_id);
    assert_eq!(worker.current_attempt_id.as_ref(), last, "worker bookkeeping");
    let status = if last.is_some() {
        WorkerStatus::Busy
    } else {
        WorkerStatus::Idle
    };
    assert_eq!(worker.status, status, "worker bookkeeping");
}
