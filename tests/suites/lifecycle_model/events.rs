//! What of the contract happens in a history, so that it can be seen that the histories are worth something.

use lightning_core::{
    store::{
        Answer, AttemptRef, Command, EndOfAttempt, ImportOutcome, NotFound, Record, SpanOutcome, StoreError,
    },
    types::{Attempt, AttemptStatus, Rollout, RolloutId, RolloutStatus, Span, Update, WorkerStatus},
};
use lightning_tests::model::{KEYS_KEPT_FOR, Model};

use super::step::{Action, Look, Outcome, Step};

/// All that has to happen. `{failed}` stands for each status that a retry may follow on, `{rollout}` for each status of
/// a rollout.
pub const EVENTS: &[&str] = &[
    "enqueue one",
    "enqueue several",
    "enqueue pins the latest resources",
    "enqueue is refused",
    "dequeue claims a new rollout",
    "dequeue claims a requeued rollout",
    "dequeue claims several",
    "dequeue finds nothing",
    "dequeue passes over an entry that is no longer queueing",
    "dequeue takes nothing, as asked",
    "dequeue_or_wait claims",
    "dequeue_or_wait finds nothing",
    "start_rollout",
    "start_attempt of a {rollout} rollout",
    "start_attempt beyond max_attempts",
    "start_attempt of an unknown rollout",
    "the first span",
    "a further span",
    "a span carries a larger sequence id",
    "a duplicate span",
    "a duplicate span carries a larger sequence id",
    "a duplicate span on an unresponsive attempt",
    "a span for an unknown rollout",
    "a span for an unknown attempt",
    "a span revives an unresponsive attempt of a requeuing rollout",
    "a span revives an unresponsive attempt of a terminal rollout",
    "a span revives an unresponsive attempt that was superseded",
    "a span of a superseded attempt",
    "a span of a running attempt moves its requeuing rollout",
    "a span after a terminal status",
    "a span after a terminal status while the rollout is requeuing",
    "a span after a terminal status, the rollout preparing",
    "a report of a superseded attempt",
    "a report for a terminal rollout",
    "an attempt succeeds",
    "an attempt succeeds while its rollout is requeuing",
    "an attempt is {failed} by report: retried",
    "an attempt is {failed} by report: not to be retried",
    "an attempt is {failed} by report: none left",
    "an attempt is {failed} by limit: retried",
    "an attempt is {failed} by limit: not to be retried",
    "an attempt is {failed} by limit: none left",
    "an attempt is failed again while its rollout is requeuing",
    "an attempt is preparing again",
    "an attempt is running by report",
    "an attempt of a requeuing rollout is running by report",
    "an update of an attempt without a status",
    "an update of the latest attempt, by that name",
    "an update of the latest attempt where there is none",
    "an update of an unknown attempt",
    "an attempt goes to another worker",
    "a report frees its worker",
    "a report of an attempt whose worker is busy with another",
    "a report of an attempt whose worker is not busy",
    "a limit is reached, but not passed",
    "a limit of an attempt that has ended",
    "a limit of a rollout that became active again",
    "several limits at once",
    "update_rollout to {rollout}",
    "update_rollout takes a rollout out of its end",
    "update_rollout queues a terminal rollout",
    "update_rollout ends a queueing rollout",
    "update_rollout ends a terminal rollout again",
    "update_rollout queues what is in the queue",
    "update_rollout queues what kept its place",
    "update_rollout without a status",
    "update_rollout clears something",
    "update_rollout changes limits",
    "update_rollout is refused",
    "update_rollout of an unknown rollout",
    "sequence ids of a known rollout",
    "sequence ids of an unknown rollout",
    "sequence ids after a span has lifted them",
    "resources are added",
    "resources are updated",
    "resources are made by an update",
    "a heartbeat of a new worker",
    "a heartbeat without statistics",
    "a heartbeat of a busy worker",
    "a key repeats a command",
    "a key is reused for another command",
    "a key is used after a refusal",
    "a key is used again when it is forgotten",
    "an import brings a rollout",
    "an import brings a rollout that waits",
    "an import brings a rollout that has ended",
    "an import brings a span",
    "an import brings resources",
    "an import brings a worker",
    "an import finds a record there already",
    "an import finds another record of the name",
    "a purge takes out a rollout",
    "a purge takes out a rollout with spans",
    "a purge takes out a rollout that is still in the queue",
    "a purge leaves a rollout that goes on",
    "a purge leaves a rollout with other spans",
    "a purge takes out resources",
    "a purge leaves resources",
    "a purged rollout is imported again",
    "wait_for_rollouts with some ended and some not",
    "an attempt goes on",
    "an attempt ended with its rollout",
    "an attempt ended by itself",
    "an attempt was superseded",
    "a query has a page in the middle",
    "a query without a result",
    "a query with a limit of zero",
];

/// `EVENTS` with the placeholders filled in.
pub fn expected() -> Vec<String> {
    let fill = |event: &&str| -> Vec<String> {
        if event.contains("{failed}") {
            let statuses: &[&str] = match event.contains("by limit") {
                true => &["timeout", "unresponsive"],
                false => &["failed", "timeout", "unresponsive"],
            };
            statuses
                .iter()
                .map(|status| event.replace("{failed}", status))
                .collect()
        } else {
            let statuses = RolloutStatus::ALL.iter();
            let mut filled: Vec<_> = statuses
                .map(|status| event.replace("{rollout}", status.as_str()))
                .collect();
            filled.dedup();
            filled
        }
    };
    EVENTS.iter().flat_map(fill).collect()
}

/// A step, with the model before and after it.
pub struct Happening<'a> {
    pub before: &'a Model,
    pub step: &'a Step,
    pub outcome: &'a Outcome,
    pub after: &'a Model,
    /// Keys that came with a command that was refused.
    pub refused_keys: &'a [String],
    /// Keys that came with a command that was carried out.
    pub used_keys: &'a [String],
}

impl Happening<'_> {
    /// What of `EVENTS` happens in this step.
    pub fn events(&self) -> Vec<String> {
        let mut events = Vec::new();
        let mut note = |event: &str| events.push(event.to_owned());
        match &self.step.action {
            Action::Advance(_) => self.limits(&mut note),
            Action::Look(look) => self.look(look, &mut note),
            Action::DequeueOrWait(..) => match self.claimed() {
                0 => note("dequeue_or_wait finds nothing"),
                _ => note("dequeue_or_wait claims"),
            },
            Action::Do(request) => {
                if let Some(key) = &request.key {
                    let kept =
                        self.before.keyed.iter().any(|(time, known, ..)| {
                            known == key && self.before.now - *time <= KEYS_KEPT_FOR
                        });
                    let listed = |keys: &[String]| keys.iter().any(|known| known == key.as_str());
                    match self.outcome {
                        Outcome::Refused(StoreError::KeyReused { .. }) => {
                            note("a key is reused for another command");
                            return events;
                        }
                        Outcome::Answer(_) if kept => {
                            note("a key repeats a command");
                            return events;
                        }
                        Outcome::Answer(_) if listed(self.used_keys) => {
                            note("a key is used again when it is forgotten");
                        }
                        Outcome::Answer(_) if listed(self.refused_keys) => {
                            note("a key is used after a refusal");
                        }
                        _ => {}
                    }
                }
                self.command(&request.command, &mut note);
                if !matches!(request.command, Command::UpdateAttempt { .. }) && !self.limited().is_empty() {
                    note("a limit of a rollout that became active again");
                }
            }
        }
        events
    }

    fn claimed(&self) -> usize {
        match self.outcome {
            Outcome::Answer(Answer::Dequeued(claimed)) => claimed.len(),
            _ => 0,
        }
    }

    fn command(&self, command: &Command, note: &mut impl FnMut(&str)) {
        let refused = match self.outcome {
            Outcome::Refused(error) => Some(error),
            _ => None,
        };
        match command {
            Command::EnqueueRollouts { .. } if refused.is_some() => note("enqueue is refused"),
            Command::EnqueueRollouts { rollouts } => {
                note(if rollouts.len() == 1 {
                    "enqueue one"
                } else {
                    "enqueue several"
                });
                if rollouts[0].resources_id.is_none() && self.before.latest_resources().is_some() {
                    note("enqueue pins the latest resources");
                }
            }
            Command::DequeueRollouts { limit: 0, .. } => note("dequeue takes nothing, as asked"),
            Command::DequeueRollouts { .. } => self.dequeue(note),
            Command::StartRollout { .. } => note("start_rollout"),
            Command::StartAttempt { rollout_id, .. } => match self.before.rollout(rollout_id) {
                None => note("start_attempt of an unknown rollout"),
                Some(rollout) => {
                    note(&format!("start_attempt of a {} rollout", rollout.status.as_str()));
                    let made = self
                        .after
                        .latest(rollout_id)
                        .map_or(0, |attempt| attempt.sequence_id);
                    if made > rollout.config.max_attempts {
                        note("start_attempt beyond max_attempts");
                    }
                }
            },
            Command::AddSpans { spans } if spans.len() == 1 => self.span(&spans[0], note),
            Command::AddSpans { .. } => {}
            Command::UpdateAttempt { rollout_id, .. } => self.update_attempt(rollout_id, command, note),
            Command::UpdateRollout { rollout_id, .. } => self.update_rollout(rollout_id, command, note),
            Command::NextSequenceIds { targets } => {
                let id = &targets[0].0;
                match self.before.rollout(id) {
                    None => note("sequence ids of an unknown rollout"),
                    Some(_) => note("sequence ids of a known rollout"),
                }
                if self
                    .before
                    .spans
                    .iter()
                    .any(|span| span.rollout_id == *id && span.sequence_id > 0)
                {
                    note("sequence ids after a span has lifted them");
                }
            }
            Command::AddResources { .. } => note("resources are added"),
            Command::UpdateResources { resources_id, .. } => {
                match self.before.resources(resources_id, None) {
                    None => note("resources are made by an update"),
                    Some(_) => note("resources are updated"),
                }
            }
            Command::UpdateWorker {
                worker_id,
                heartbeat_stats,
            } => {
                match self.before.worker(worker_id).map(|worker| worker.status) {
                    None => note("a heartbeat of a new worker"),
                    Some(WorkerStatus::Busy) => note("a heartbeat of a busy worker"),
                    Some(_) => {}
                }
                if heartbeat_stats.is_none() {
                    note("a heartbeat without statistics");
                }
            }
            Command::Import { records } => self.import(records, note),
            Command::Purge { rollouts, resources } => {
                let Outcome::Answer(Answer::Purged(purged)) = self.outcome else {
                    return;
                };
                for target in rollouts {
                    let id = &target.rollout_id;
                    let Some(before) = self.before.rollout(id) else {
                        continue;
                    };
                    match (purged.rollouts.contains(id), before.status.is_terminal()) {
                        (true, _) => note("a purge takes out a rollout"),
                        (false, true) => note("a purge leaves a rollout with other spans"),
                        (false, false) => note("a purge leaves a rollout that goes on"),
                    }
                    if purged.rollouts.contains(id) && self.before.queue.contains(id) {
                        note("a purge takes out a rollout that is still in the queue");
                    }
                }
                if purged.spans > 0 {
                    note("a purge takes out a rollout with spans");
                }
                if !purged.resources.is_empty() {
                    note("a purge takes out resources");
                }
                if purged.resources.len() < resources.len() {
                    note("a purge leaves resources");
                }
            }
        }
    }

    fn import(&self, records: &[Record], note: &mut impl FnMut(&str)) {
        let Outcome::Answer(Answer::Imported(outcomes)) = self.outcome else {
            return;
        };
        for (record, outcome) in records.iter().zip(outcomes) {
            match (outcome, record) {
                (ImportOutcome::Known, _) => note("an import finds a record there already"),
                (ImportOutcome::Rejected(StoreError::Invalid { .. }), _) => {
                    note("an import finds another record of the name");
                }
                (ImportOutcome::Rejected(_), _) => {}
                (ImportOutcome::Stored, Record::Rollout(record)) => {
                    note("an import brings a rollout");
                    match record.rollout.status {
                        status if status.is_queueing() => note("an import brings a rollout that waits"),
                        status if status.is_terminal() => note("an import brings a rollout that has ended"),
                        _ => {}
                    }
                    if self.before.purged.contains(&record.rollout.rollout_id) {
                        note("a purged rollout is imported again");
                    }
                }
                (ImportOutcome::Stored, Record::Span(_)) => note("an import brings a span"),
                (ImportOutcome::Stored, Record::Resources(_)) => note("an import brings resources"),
                (ImportOutcome::Stored, _) => note("an import brings a worker"),
            }
        }
    }

    fn dequeue(&self, note: &mut impl FnMut(&str)) {
        let Outcome::Answer(Answer::Dequeued(claimed)) = self.outcome else {
            return;
        };
        match claimed.len() {
            0 => note("dequeue finds nothing"),
            1 => {}
            _ => note("dequeue claims several"),
        }
        for claimed in claimed {
            match self
                .before
                .rollout(&claimed.rollout_id)
                .map(|rollout| rollout.status)
            {
                Some(RolloutStatus::Requeuing) => note("dequeue claims a requeued rollout"),
                _ => note("dequeue claims a new rollout"),
            }
        }
        let stale = |id: &RolloutId| {
            self.before
                .rollout(id)
                .is_some_and(|rollout| !rollout.status.is_queueing())
        };
        let left = self
            .before
            .queue
            .iter()
            .filter(|id| !self.after.queue.contains(id));
        if left.into_iter().any(stale) {
            note("dequeue passes over an entry that is no longer queueing");
        }
    }

    fn span(&self, span: &Span, note: &mut impl FnMut(&str)) {
        use AttemptStatus::*;
        let Outcome::Answer(Answer::Spans(outcomes)) = self.outcome else {
            return;
        };
        let (Some(rollout), Some(attempt)) = (self.before.rollout(&span.rollout_id), self.attempt(span))
        else {
            match &outcomes[0] {
                SpanOutcome::Rejected(StoreError::NotFound(NotFound::Rollout(_))) => {
                    note("a span for an unknown rollout");
                }
                _ => note("a span for an unknown attempt"),
            }
            return;
        };
        let last = |model: &Model| {
            model
                .sequence_ids
                .iter()
                .find(|(id, _)| *id == span.rollout_id)
                .cloned()
        };
        let lifts = last(self.before).map_or(1, |(_, last)| last + 1) < span.sequence_id;
        if outcomes[0] == SpanOutcome::Duplicate {
            note("a duplicate span");
            if lifts {
                note("a duplicate span carries a larger sequence id");
            }
            if attempt.status == Unresponsive {
                note("a duplicate span on an unresponsive attempt");
            }
            return;
        }
        if lifts {
            note("a span carries a larger sequence id");
        }
        let superseded = self.superseded(attempt);
        match (attempt.status, superseded) {
            (Unresponsive, true) => note("a span revives an unresponsive attempt that was superseded"),
            (_, true) => note("a span of a superseded attempt"),
            (Preparing, false) => note("the first span"),
            (Running, false) => note("a further span"),
            (Unresponsive, false) if rollout.status == RolloutStatus::Requeuing => {
                note("a span revives an unresponsive attempt of a requeuing rollout");
            }
            (Unresponsive, false) if rollout.status.is_terminal() => {
                note("a span revives an unresponsive attempt of a terminal rollout");
            }
            (Unresponsive, false) => {}
            (Succeeded | Failed | Timeout, false) => {
                note("a span after a terminal status");
                match rollout.status {
                    RolloutStatus::Requeuing => {
                        note("a span after a terminal status while the rollout is requeuing");
                    }
                    RolloutStatus::Preparing => note("a span after a terminal status, the rollout preparing"),
                    _ => {}
                }
            }
        }
        if (attempt.status, superseded, rollout.status) == (Running, false, RolloutStatus::Requeuing) {
            note("a span of a running attempt moves its requeuing rollout");
        }
    }

    fn update_attempt(&self, id: &RolloutId, command: &Command, note: &mut impl FnMut(&str)) {
        use AttemptStatus::*;
        let Command::UpdateAttempt { attempt, patch, .. } = command else {
            return;
        };
        match self.outcome {
            Outcome::Refused(StoreError::NotFound(NotFound::NoAttempts(_))) => {
                note("an update of the latest attempt where there is none");
            }
            Outcome::Refused(_) => note("an update of an unknown attempt"),
            _ => {}
        }
        let (Outcome::Answer(Answer::Attempt(answer)), Some(rollout)) =
            (self.outcome, self.before.rollout(id))
        else {
            return;
        };
        if *attempt == AttemptRef::Latest {
            note("an update of the latest attempt, by that name");
        }
        let mut attempts = self.before.attempts.iter();
        let before =
            attempts.find(|attempt| (&attempt.rollout_id, &attempt.attempt_id) == (id, &answer.attempt_id));
        let before = before.expect("an attempt that was updated was there before");
        if patch.worker_id.is_some() && before.worker_id.is_some() && patch.worker_id != before.worker_id {
            note("an attempt goes to another worker");
        }
        let Some(status) = patch.status else {
            note("an update of an attempt without a status");
            return;
        };
        self.worker_of_report(answer, status, note);
        if self.superseded(before) {
            note("a report of a superseded attempt");
            return;
        }
        if rollout.status.is_terminal() {
            note("a report for a terminal rollout");
            return;
        }
        match status {
            Preparing => note("an attempt is preparing again"),
            Running => note("an attempt is running by report"),
            Succeeded => note("an attempt succeeds"),
            Failed | Timeout | Unresponsive => self.ended_badly(before, status, "report", note),
        }
        if rollout.status == RolloutStatus::Requeuing {
            match status {
                Running => note("an attempt of a requeuing rollout is running by report"),
                Succeeded => note("an attempt succeeds while its rollout is requeuing"),
                Failed => note("an attempt is failed again while its rollout is requeuing"),
                _ => {}
            }
        }
    }

    fn worker_of_report(&self, attempt: &Attempt, status: AttemptStatus, note: &mut impl FnMut(&str)) {
        let worker = attempt.worker_id.as_ref().and_then(|id| self.before.worker(id));
        if let (Some(worker), true) = (worker, status.is_terminal()) {
            let current = worker.current_rollout_id.as_ref() == Some(&attempt.rollout_id)
                && worker.current_attempt_id.as_ref() == Some(&attempt.attempt_id);
            note(match worker.status {
                WorkerStatus::Busy if current => "a report frees its worker",
                WorkerStatus::Busy => "a report of an attempt whose worker is busy with another",
                _ => "a report of an attempt whose worker is not busy",
            });
        }
    }

    /// The latest attempt of a rollout that has not ended failed in some way.
    fn ended_badly(&self, attempt: &Attempt, status: AttemptStatus, by: &str, note: &mut impl FnMut(&str)) {
        let config = self
            .before
            .rollout(&attempt.rollout_id)
            .map(|rollout| &rollout.config);
        let config = config.expect("an attempt has a rollout");
        let what = match config.retry_condition.contains(&status) {
            false => "not to be retried",
            true if attempt.sequence_id < config.max_attempts => "retried",
            true => "none left",
        };
        note(&format!("an attempt is {} by {by}: {what}", status.as_str()));
    }

    fn update_rollout(&self, id: &RolloutId, command: &Command, note: &mut impl FnMut(&str)) {
        let Command::UpdateRollout { patch, .. } = command else {
            return;
        };
        let before: &Rollout = match (self.before.rollout(id), self.outcome) {
            (None, _) => return note("update_rollout of an unknown rollout"),
            (_, Outcome::Refused(_)) => return note("update_rollout is refused"),
            (Some(rollout), _) => rollout,
        };
        if patch.input == Update::Clear || patch.mode == Update::Clear || patch.metadata == Update::Clear {
            note("update_rollout clears something");
        }
        if patch.config.is_some() && before.status.is_active() {
            note("update_rollout changes limits");
        }
        let Some(status) = patch.status else {
            note("update_rollout without a status");
            return;
        };
        note(&format!("update_rollout to {}", status.as_str()));
        match (before.status.is_terminal(), status.is_terminal()) {
            (true, true) => note("update_rollout ends a terminal rollout again"),
            (true, false) => note("update_rollout takes a rollout out of its end"),
            _ => {}
        }
        if before.status.is_terminal() && status.is_queueing() {
            note("update_rollout queues a terminal rollout");
        }
        if before.status.is_queueing() && status.is_terminal() {
            note("update_rollout ends a queueing rollout");
        }
        if status.is_queueing() && self.before.queue.contains(id) {
            match before.status.is_queueing() {
                true => note("update_rollout queues what is in the queue"),
                false => note("update_rollout queues what kept its place"),
            }
        }
    }

    /// The attempts that a time limit ended in this step, as they were before.
    fn limited(&self) -> Vec<(&Attempt, AttemptStatus)> {
        let after = |before: &Attempt| {
            let same = |after: &&Attempt| {
                (&after.rollout_id, &after.attempt_id) == (&before.rollout_id, &before.attempt_id)
            };
            self.after.attempts.iter().find(same)
        };
        let pairs = self
            .before
            .attempts
            .iter()
            .filter_map(|before| Some((before, after(before)?)));
        pairs
            .filter(|(before, after)| before != after)
            .filter(|(_, after)| after.end_time == Some(self.after.now))
            .filter(|(_, after)| matches!(after.status, AttemptStatus::Timeout | AttemptStatus::Unresponsive))
            .map(|(before, after)| (before, after.status))
            .collect()
    }

    fn limits(&self, note: &mut impl FnMut(&str)) {
        let limited = self.limited();
        if limited.len() > 1 {
            note("several limits at once");
        }
        for (attempt, status) in limited {
            if attempt.status.is_terminal() {
                note("a limit of an attempt that has ended");
            }
            self.ended_badly(attempt, status, "limit", note);
        }
        for rollout in self
            .after
            .rollouts
            .iter()
            .filter(|rollout| rollout.status.is_active())
        {
            let Some(attempt) = self.after.latest(&rollout.rollout_id) else {
                continue;
            };
            let age = self.after.now - attempt.start_time;
            if rollout.config.timeout_seconds == Some(age) {
                note("a limit is reached, but not passed");
            }
        }
    }

    fn look(&self, look: &Look, note: &mut impl FnMut(&str)) {
        let mut page = |items: usize, offset: usize, total: usize| {
            if total == 0 {
                note("a query without a result");
            } else if items > 0 && offset > 0 && offset + items < total {
                note("a query has a page in the middle");
            }
        };
        match self.outcome {
            Outcome::Rollouts(part) => page(part.items.len(), part.offset, part.total),
            Outcome::Attempts(part) => page(part.items.len(), part.offset, part.total),
            Outcome::Spans(part) => page(part.items.len(), part.offset, part.total),
            Outcome::Workers(part) => page(part.items.len(), part.offset, part.total),
            Outcome::ResourcesSets(part) => page(part.items.len(), part.offset, part.total),
            Outcome::Refused(StoreError::Invalid { .. }) => note("a query with a limit of zero"),
            Outcome::EndOfAttempt(end) => note(match end {
                None => "an attempt goes on",
                Some(EndOfAttempt::RolloutEnded(_)) => "an attempt ended with its rollout",
                Some(EndOfAttempt::AttemptEnded(_)) => "an attempt ended by itself",
                Some(EndOfAttempt::Superseded { .. }) => "an attempt was superseded",
            }),
            Outcome::Ended(ended) => {
                if let Look::Ended(ids) = look
                    && !ended.is_empty()
                    && ended.len() < ids.len()
                {
                    note("wait_for_rollouts with some ended and some not");
                }
            }
            _ => {}
        }
    }

    fn attempt(&self, span: &Span) -> Option<&Attempt> {
        let mut attempts = self.before.attempts.iter();
        attempts
            .find(|attempt| attempt.rollout_id == span.rollout_id && attempt.attempt_id == span.attempt_id)
    }

    fn superseded(&self, attempt: &Attempt) -> bool {
        let latest = self.before.latest(&attempt.rollout_id);
        latest.is_some_and(|latest| latest.attempt_id != attempt.attempt_id)
    }
}
