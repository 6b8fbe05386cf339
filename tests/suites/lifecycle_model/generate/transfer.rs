//! Records that come from elsewhere, and what is to be taken out.

use lightning_core::{
    store::{Command, PurgeTarget, Record, RolloutRecord},
    types::{
        Attempt, AttemptId, AttemptStatus, ResourcesUpdate, Rollout, RolloutId, RolloutStatus, Worker,
        WorkerStatus,
    },
};
use serde_json::json;

use super::Dice;

impl Dice<'_> {
    pub(super) fn import(&mut self) -> Command {
        Command::Import {
            records: self.some(3, Self::record),
        }
    }

    fn record(&mut self) -> Record {
        match self.below(10) {
            0..4 => Record::Rollout(self.rollout_record()),
            4..6 => {
                let spans = &self.model.spans;
                let copied = (!spans.is_empty() && self.once_in(3)).then(|| self.pick(spans));
                Record::Span(Box::new(copied.unwrap_or_else(|| self.span())))
            }
            6..8 => Record::Resources(self.resources_record()),
            _ => Record::Worker(Box::new(self.worker_record())),
        }
    }

    /// One that is there already, or was, or comes from elsewhere; sometimes there is something wrong with it.
    fn rollout_record(&mut self) -> RolloutRecord {
        let (model, now) = (self.model, self.model.now);
        let mut record = match model.rollouts.is_empty() || !self.once_in(3) {
            true => self.foreign(),
            false => {
                let rollout = self.pick(&model.rollouts);
                let of_it = |attempt: &&Attempt| attempt.rollout_id == rollout.rollout_id;
                RolloutRecord {
                    attempts: model.attempts.iter().filter(of_it).cloned().collect(),
                    rollout,
                }
            }
        };
        let RolloutRecord { rollout, attempts } = &mut record;
        match self.below(16) {
            0 => rollout.input = json!("another").into(),
            1 => rollout.end_time = rollout.end_time.is_none().then_some(now),
            2 => rollout.config.max_attempts = 0,
            3 => attempts.reverse(),
            4 => attempts.extend(attempts.first().cloned()),
            5 => attempts.iter_mut().for_each(|attempt| attempt.end_time = None),
            _ => {}
        }
        record
    }

    fn foreign(&mut self) -> RolloutRecord {
        let mut names = vec!["ro-a".into(), "ro-b".into()];
        names.extend(self.model.purged.clone());
        let rollout_id: RolloutId = self.pick(&names);
        let start_time = self.model.now + self.pick(&[-5.0, -1.0, 0.0]);
        let status = self.pick(&RolloutStatus::ALL);
        let count = self.below(3);
        let attempts = (1..=count).map(|number| self.foreign_attempt(&rollout_id, number, start_time));
        let attempts = attempts.collect();
        let new = self.new_rollout();
        let mut config = new.config.unwrap_or_default();
        if config.max_attempts == 0 {
            config.max_attempts = 1;
        }
        RolloutRecord {
            rollout: Rollout {
                rollout_id,
                input: new.input,
                start_time,
                end_time: status.is_terminal().then_some(self.model.now),
                mode: new.mode,
                resources_id: new.resources_id,
                status,
                config,
                metadata: new.metadata,
            },
            attempts,
        }
    }

    fn foreign_attempt(
        &mut self,
        rollout_id: &RolloutId,
        number: usize,
        start_time: lightning_core::types::Timestamp,
    ) -> Attempt {
        use AttemptStatus::*;
        let status = self.pick(&[Preparing, Running, Failed, Succeeded, Timeout, Unresponsive]);
        Attempt {
            rollout_id: rollout_id.clone(),
            attempt_id: AttemptId::from(format!("at-foreign-{number}")),
            sequence_id: u32::try_from(number).expect("few"),
            start_time,
            end_time: status.is_terminal().then_some(self.model.now),
            status,
            worker_id: self.once(3, Self::some_worker),
            last_heartbeat_time: self.once(2, |dice| dice.model.now),
            metadata: self.once(4, Self::object),
        }
    }

    /// The next version of a set, or one that is there or cannot follow.
    fn resources_record(&mut self) -> ResourcesUpdate {
        let model = self.model;
        if !model.resources.is_empty() && self.once_in(4) {
            return self.pick(&model.resources);
        }
        let resources_id = self.resources_id();
        let last = model.resources(&resources_id, None);
        let next = last.map_or(1, |last| last.version + 1);
        ResourcesUpdate {
            create_time: last.map_or(model.now, |last| last.create_time),
            update_time: model.now,
            version: self.pick(&[next, next, next, next + 1, 1]),
            resources: self.resources(),
            resources_id,
        }
    }

    fn worker_record(&mut self) -> Worker {
        let model = self.model;
        if !model.workers.is_empty() && self.once_in(2) {
            return self.pick(&model.workers);
        }
        Worker {
            worker_id: self.pick(&["w1", "w3", "w4", "w5", "w6"]).into(),
            status: self.pick(&[WorkerStatus::Idle, WorkerStatus::Unknown]),
            heartbeat_stats: self.once(2, Self::object),
            last_heartbeat_time: self.once(2, |dice| dice.model.now),
            last_dequeue_time: None,
            last_busy_time: self.once(2, |dice| dice.model.now + -1.0),
            last_idle_time: None,
            current_rollout_id: None,
            current_attempt_id: None,
        }
    }

    pub(super) fn purge(&mut self) -> Command {
        let rollouts = self.some(3, |dice| {
            let rollout_id = dice.rollout_id();
            let spans = dice.model.spans.iter();
            let count = spans.filter(|span| span.rollout_id == rollout_id).count() as u64;
            let spans = dice.pick(&[None, None, Some(count), Some(count), Some(count + 1)]);
            PurgeTarget { rollout_id, spans }
        });
        Command::Purge {
            rollouts,
            resources: self.some(2, Self::resources_id).split_off(self.below(2)),
        }
    }
}
