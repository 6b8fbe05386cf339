//! Makes the steps of histories, so that what seldom happens to a real store happens often.

#[path = "generate/transfer.rs"]
mod transfer;

use std::{fmt, iter::repeat_n};

use lightning_core::{
    store::{AttemptRef, Command, Request},
    types::{
        Attempt, AttemptId, AttemptPatch, AttemptQuery, AttemptSortField, AttemptStatus, FilterLogic,
        JsonObject, NamedResources, NewRollout, PageRequest, ResourcesId, ResourcesQuery, ResourcesSortField,
        RolloutConfig, RolloutId, RolloutMode, RolloutPatch, RolloutQuery, RolloutSortField, RolloutStatus,
        SortOrder, Span, SpanAttemptFilter, SpanQuery, SpanSortField, TextFilter, Update, WorkerId,
        WorkerQuery, WorkerSortField, WorkerStatus,
    },
};
use lightning_tests::model::Model;
use proptest::{
    prelude::Rng as _,
    strategy::{NewTree, Strategy},
    test_runner::{TestRng, TestRunner},
};
use serde_json::json;

use super::{
    shrink::StepTree,
    step::{Action, Look, Step},
};

/// Any step that may follow in this state.
pub struct NextStep(pub Model);

impl fmt::Debug for NextStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NextStep")
    }
}

impl Strategy for NextStep {
    type Tree = StepTree;
    type Value = Step;

    fn new_tree(&self, runner: &mut TestRunner) -> NewTree<Self> {
        let number = self.0.step + 1;
        let mut dice = Dice {
            rng: runner.rng(),
            model: &self.0,
            number,
        };
        Ok(StepTree::new(Step {
            number,
            action: dice.action(),
        }))
    }
}

struct Dice<'a> {
    rng: &'a mut TestRng,
    model: &'a Model,
    number: u64,
}

impl Dice<'_> {
    // ---- throws

    fn below(&mut self, end: usize) -> usize {
        self.rng.next_u32() as usize % end
    }

    /// True once in so many throws.
    fn once_in(&mut self, throws: usize) -> bool {
        self.below(throws) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    fn once<T>(&mut self, throws: usize, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.once_in(throws).then(|| make(self))
    }

    fn some<T>(&mut self, most: usize, make: impl Fn(&mut Self) -> T) -> Vec<T> {
        (0..=self.below(most)).map(|_| make(self)).collect()
    }

    fn subset<T: Clone>(&mut self, of: &[T]) -> Vec<T> {
        of.iter().filter(|_| self.once_in(2)).cloned().collect()
    }

    // ---- actions

    fn action(&mut self) -> Action {
        match self.below(100) {
            0..10 => return Action::Advance(self.seconds()),
            10..18 => return Action::Look(self.look()),
            18..20 => return Action::DequeueOrWait(self.pick(&[1, 1, 2, 0]), self.worker()),
            20..24 if !self.model.keyed.is_empty() => {
                let (_, key, command, _) = self.pick(&self.model.keyed);
                return Action::Do(Request::keyed(command, key));
            }
            _ => {}
        }
        let command = self.command();
        // Few keys, so that some are used again, and again after a refusal.
        let key = self.once(8, |dice| format!("k{}", dice.below(9)));
        Action::Do(Request {
            command,
            key: key.map(Into::into),
        })
    }

    fn command(&mut self) -> Command {
        let few = self.model.rollouts.len() < 2;
        let many = self.model.rollouts.len() > 5;
        let idle = self.model.attempts.is_empty();
        match self.below(100) {
            0..40 if few => self.enqueue(),
            40..80 if idle => Command::DequeueRollouts {
                limit: 1,
                worker_id: self.worker(),
            },
            0..7 if !many => self.enqueue(),
            7..12 if !many => Command::StartRollout {
                rollout: self.new_rollout(),
                worker_id: self.worker(),
            },
            12..28 => Command::DequeueRollouts {
                limit: self.pick(&[1, 1, 1, 2, 3, 0, 9]),
                worker_id: self.worker(),
            },
            28..32 => Command::StartAttempt {
                rollout_id: self.rollout_id(),
                worker_id: self.worker(),
            },
            32..42 => Command::UpdateRollout {
                rollout_id: self.rollout_id(),
                patch: self.rollout_patch(),
            },
            42..60 => self.update_attempt(),
            60..64 => Command::NextSequenceIds {
                targets: self.some(2, Self::attempt),
            },
            64..67 => Command::AddResources {
                resources: self.resources(),
            },
            67..70 => Command::UpdateResources {
                resources_id: self.resources_id(),
                resources: self.resources(),
            },
            70..76 => self.import(),
            76..80 => self.purge(),
            80..83 => Command::UpdateWorker {
                worker_id: self.some_worker(),
                heartbeat_stats: self.once(2, |dice| dice.object()),
            },
            _ => Command::AddSpans {
                spans: if self.once_in(4) {
                    self.some(4, Self::span)
                } else {
                    vec![self.span()]
                },
            },
        }
    }

    fn enqueue(&mut self) -> Command {
        let most = self.pick(&[1, 1, 3]);
        Command::EnqueueRollouts {
            rollouts: self.some(most, Self::new_rollout),
        }
    }

    fn update_attempt(&mut self) -> Command {
        use AttemptStatus::*;
        let (rollout_id, attempt_id) = self.attempt();
        let attempt = match self.once_in(4) {
            true => AttemptRef::Latest,
            false => AttemptRef::Id(attempt_id),
        };
        let statuses = [
            Failed,
            Failed,
            Failed,
            Succeeded,
            Succeeded,
            Running,
            Running,
            Preparing,
            Timeout,
            Unresponsive,
        ];
        let patch = AttemptPatch {
            status: (!self.once_in(4)).then(|| self.pick(&statuses)),
            worker_id: self.once(5, Self::some_worker),
            last_heartbeat_time: self.once(5, |dice| dice.model.now + dice.pick(&[-1.0, 0.0, 2.0])),
            metadata: self.once(6, Self::object),
        };
        Command::UpdateAttempt {
            rollout_id,
            attempt,
            patch,
        }
    }

    fn look(&mut self) -> Look {
        match self.below(16) {
            0 => Look::Ended(self.some(4, Self::rollout_id)),
            1 | 2 | 14 | 15 => {
                let (id, attempt_id) = self.attempt();
                Look::EndOfAttempt(id, attempt_id)
            }
            3 => Look::Rollout(self.rollout_id()),
            4 => Look::LatestAttempt(self.rollout_id()),
            5 => Look::Worker(self.some_worker()),
            6 => Look::Resources(self.resources_id(), self.once(2, |dice| dice.below(4) as u64)),
            7 => Look::LatestResources,
            8 | 9 => Look::Rollouts(self.rollout_query()),
            10 => Look::Attempts(self.rollout_id(), self.attempt_query()),
            11 => Look::Spans(self.span_query()),
            12 => Look::Workers(self.worker_query()),
            _ => Look::ResourcesSets(self.resources_query()),
        }
    }

    // ---- arguments

    /// Often exactly a time limit, or just past it; seldom longer than request keys are kept.
    fn seconds(&mut self) -> f64 {
        if self.once_in(40) {
            return 100_000.0;
        }
        self.pick(&[0.5, 1.0, 1.0, 1.5, 2.0, 2.0, 2.5, 4.0])
    }

    fn new_rollout(&mut self) -> NewRollout {
        NewRollout {
            input: json!(self.number).into(),
            mode: self.once(3, Self::mode),
            resources_id: self.once(5, Self::resources_id),
            config: (!self.once_in(5)).then(|| self.config()),
            metadata: self.once(5, Self::object),
        }
    }

    fn mode(&mut self) -> RolloutMode {
        self.pick(&[RolloutMode::Train, RolloutMode::Val, RolloutMode::Test])
    }

    fn config(&mut self) -> RolloutConfig {
        use AttemptStatus::*;
        let mut config = RolloutConfig {
            timeout_seconds: self.pick(&[None, None, Some(2.0), Some(4.0)]),
            unresponsive_seconds: self.pick(&[None, Some(1.0), Some(2.0)]),
            max_attempts: self.pick(&[1, 2, 2, 3]),
            retry_condition: [Failed, Timeout, Unresponsive]
                .into_iter()
                .filter(|_| !self.once_in(4))
                .collect(),
        };
        match self.below(60) {
            0 => config.max_attempts = 0,
            1 => config.timeout_seconds = Some(-1.0),
            2 => config.unresponsive_seconds = Some(f64::INFINITY),
            3..6 => config.retry_condition = vec![Succeeded, Running, Preparing],
            6 => config.timeout_seconds = Some(0.0),
            _ => {}
        }
        config
    }

    fn rollout_patch(&mut self) -> RolloutPatch {
        use RolloutStatus::*;
        let statuses = [
            Queuing, Queuing, Preparing, Preparing, Preparing, Running, Running, Requeuing, Requeuing,
            Succeeded, Failed, Cancelled, Cancelled,
        ];
        RolloutPatch {
            input: self.update(|dice| json!(dice.number).into()),
            mode: self.update(Self::mode),
            resources_id: self.update(Self::resources_id),
            status: (!self.once_in(4)).then(|| self.pick(&statuses)),
            config: self.once(5, Self::config),
            metadata: self.update(Self::object),
        }
    }

    fn update<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Update<T> {
        match self.below(12) {
            0 => Update::Clear,
            1 | 2 => Update::Set(make(self)),
            _ => Update::Keep,
        }
    }

    fn object(&mut self) -> JsonObject {
        JsonObject::from_iter([("n".to_owned(), json!(self.number))])
    }

    fn resources(&mut self) -> NamedResources {
        [("n", json!(self.number))].into_iter().collect()
    }

    fn span(&mut self) -> Span {
        let (id, attempt_id) = self.attempt();
        let last = self
            .model
            .sequence_ids
            .iter()
            .find(|(known, _)| *known == id)
            .map_or(0, |(_, last)| *last);
        let sequence_id = match self.below(3) {
            0 => last + 1 + self.below(3) as u64,
            1 => last,
            _ => self.below(4) as u64,
        };
        let hex = |n: usize, width: usize| format!("{n:0width$}");
        let (trace_id, span_id) = (hex(1 + self.below(2), 32), hex(1 + self.below(6), 16));
        let name = self.pick(&["a", "b", "ab"]);
        Span {
            parent_id: self.once(3, |dice| hex(1 + dice.below(6), 16)),
            start_time: self.once(3, |dice| dice.model.now + dice.pick(&[-1.0, 0.0])),
            end_time: self.once(5, |dice| dice.model.now),
            ..Span::new(id, attempt_id, sequence_id, trace_id, span_id, name)
        }
    }

    // ---- who and what

    /// Mostly one that something may still happen to.
    fn rollout_id(&mut self) -> RolloutId {
        let weight = |status: RolloutStatus| match status {
            RolloutStatus::Requeuing => 4,
            status if status.is_active() => 3,
            _ => 2,
        };
        let rollouts = self.model.rollouts.iter();
        let ids = rollouts.flat_map(|rollout| repeat_n(&rollout.rollout_id, weight(rollout.status)));
        let ids: Vec<_> = ids.collect();
        if ids.is_empty() || self.once_in(40) {
            "ro-unknown".into()
        } else {
            self.pick(&ids).clone()
        }
    }

    /// Mostly one that something may still happen to: silent, retried or superseded.
    fn attempt(&mut self) -> (RolloutId, AttemptId) {
        let weight = |attempt: &Attempt| {
            let rollout = self.model.rollout(&attempt.rollout_id);
            match (attempt.status, rollout.map(|rollout| rollout.status)) {
                (AttemptStatus::Unresponsive, _) | (_, Some(RolloutStatus::Requeuing)) => 4,
                (AttemptStatus::Preparing | AttemptStatus::Running, _) => 3,
                (_, Some(RolloutStatus::Preparing)) => 12,
                _ => 2,
            }
        };
        let attempts = self.model.attempts.iter();
        let attempts = attempts.flat_map(|attempt| repeat_n(attempt, weight(attempt)));
        let attempts: Vec<_> = attempts.collect();
        if self.once_in(40) {
            return ("ro-unknown".into(), "at-unknown".into());
        }
        if attempts.is_empty() || self.once_in(20) {
            return (self.rollout_id(), "at-unknown".into());
        }
        let attempt = self.pick(&attempts);
        (attempt.rollout_id.clone(), attempt.attempt_id.clone())
    }

    fn resources_id(&mut self) -> ResourcesId {
        match self.model.resources.is_empty() || self.once_in(2) {
            true => self.pick(&["rs-a", "rs-b"]).into(),
            false => self.pick(&self.model.resources).resources_id,
        }
    }

    fn worker(&mut self) -> Option<WorkerId> {
        (!self.once_in(4)).then(|| self.some_worker())
    }

    fn some_worker(&mut self) -> WorkerId {
        self.pick(&["w1", "w2", "w3"]).into()
    }

    // ---- queries

    fn page(&mut self) -> PageRequest {
        PageRequest {
            limit: self.pick(&[None, Some(1), Some(1), Some(2), Some(3), Some(0)]),
            offset: self.pick(&[0, 1, 1, 2, 20]),
        }
    }

    fn order(&mut self) -> SortOrder {
        self.pick(&[SortOrder::Asc, SortOrder::Desc])
    }

    fn logic(&mut self) -> FilterLogic {
        self.pick(&[FilterLogic::And, FilterLogic::Or])
    }

    fn part(&mut self, of: &str) -> String {
        let start = self.below(of.len());
        match self.below(8) {
            0 => String::new(),
            1 => "none".to_owned(),
            _ => of[start..].to_owned(),
        }
    }

    fn text_filter(&mut self, text: &str) -> TextFilter {
        TextFilter {
            equals: self.once(3, |_| text.to_owned()),
            contains: self.once(3, |dice| dice.part(text)),
        }
    }

    fn rollout_query(&mut self) -> RolloutQuery {
        use RolloutSortField::*;
        RolloutQuery {
            status_in: self.once(2, |dice| dice.subset(&RolloutStatus::ALL)),
            rollout_id_in: self.once(3, |dice| dice.some(3, Self::rollout_id).split_off(dice.below(2))),
            rollout_id_contains: self.once(3, |dice| {
                let id = dice.rollout_id();
                dice.part(id.as_str())
            }),
            filter_logic: self.logic(),
            sort_by: self.once(2, |dice| {
                dice.pick(&[RolloutId, StartTime, EndTime, Mode, ResourcesId, Status])
            }),
            sort_order: self.order(),
            page: self.page(),
        }
    }

    fn attempt_query(&mut self) -> AttemptQuery {
        use AttemptSortField::*;
        let fields = [
            SequenceId,
            AttemptId,
            StartTime,
            EndTime,
            Status,
            WorkerId,
            LastHeartbeatTime,
            RolloutId,
        ];
        AttemptQuery {
            sort_by: self.once(2, |dice| dice.pick(&fields)),
            sort_order: self.order(),
            page: self.page(),
        }
    }

    fn span_query(&mut self) -> SpanQuery {
        use SpanSortField::*;
        let span = match self.model.spans.is_empty() {
            true => self.span(),
            false => self.pick(&self.model.spans),
        };
        let fields = [
            SequenceId, TraceId, SpanId, ParentId, Name, StartTime, EndTime, AttemptId, RolloutId,
        ];
        SpanQuery {
            attempt: self.pick(&[
                SpanAttemptFilter::Any,
                SpanAttemptFilter::Latest,
                SpanAttemptFilter::Id(span.attempt_id),
            ]),
            rollout_id: span.rollout_id,
            trace_id: self.text_filter(&span.trace_id),
            span_id: self.text_filter(&span.span_id),
            parent_id: self.text_filter(span.parent_id.as_deref().unwrap_or("0")),
            name: self.text_filter(&span.name),
            filter_logic: self.logic(),
            sort_by: self.once(2, |dice| dice.pick(&fields)),
            sort_order: self.order(),
            page: self.page(),
        }
    }

    fn worker_query(&mut self) -> WorkerQuery {
        use WorkerSortField::*;
        let statuses = [WorkerStatus::Idle, WorkerStatus::Busy, WorkerStatus::Unknown];
        let fields = [
            WorkerId,
            Status,
            LastHeartbeatTime,
            LastDequeueTime,
            LastBusyTime,
            LastIdleTime,
            CurrentRolloutId,
            CurrentAttemptId,
        ];
        WorkerQuery {
            status_in: self.once(2, |dice| dice.subset(&statuses)),
            worker_id_contains: self.once(3, |dice| dice.part("w1")),
            filter_logic: self.logic(),
            sort_by: self.once(2, |dice| dice.pick(&fields)),
            sort_order: self.order(),
            page: self.page(),
        }
    }

    fn resources_query(&mut self) -> ResourcesQuery {
        use ResourcesSortField::*;
        ResourcesQuery {
            resources_id: self.once(3, Self::resources_id),
            resources_id_contains: self.once(3, |dice| dice.part("rs-a")),
            sort_by: self.once(2, |dice| {
                dice.pick(&[ResourcesId, CreateTime, UpdateTime, Version])
            }),
            sort_order: self.order(),
            page: self.page(),
        }
    }
}
