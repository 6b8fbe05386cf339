//! Simpler steps that may do to show the same failure.

use lightning_core::{
    store::{Command, Request, RequestKey},
    types::{AttemptPatch, NewRollout, RolloutPatch},
};
use proptest::strategy::ValueTree;

use super::step::{Action, Step};

/// A step and the simpler forms of it.
pub struct StepTree {
    step: Step,
    /// Those not yet tried, the simplest last; `None` before the first is needed.
    simpler: Option<Vec<Action>>,
    /// What the step was before it was simplified.
    tried: Option<Action>,
}

impl StepTree {
    pub fn new(step: Step) -> Self {
        Self {
            step,
            simpler: None,
            tried: None,
        }
    }
}

impl ValueTree for StepTree {
    type Value = Step;

    fn current(&self) -> Step {
        self.step.clone()
    }

    fn simplify(&mut self) -> bool {
        let forms = self.simpler.get_or_insert_with(|| simpler(&self.step.action));
        // The simplest form is tried first: once one does, those that are left are no simpler.
        if self.tried.take().is_some() {
            forms.clear();
        }
        let Some(action) = forms.pop() else {
            return false;
        };
        self.tried = Some(std::mem::replace(&mut self.step.action, action));
        true
    }

    fn complicate(&mut self) -> bool {
        let Some(action) = self.tried.take() else {
            return false;
        };
        self.step.action = action;
        true
    }
}

/// Simpler forms of an action: without its key, with one thing instead of several, with fewer fields.
fn simpler(action: &Action) -> Vec<Action> {
    let Action::Do(request) = action else {
        return Vec::new();
    };
    let mut forms: Vec<Command> = Vec::new();
    match &request.command {
        Command::EnqueueRollouts { rollouts } => {
            forms.extend(
                rollouts
                    .iter()
                    .flat_map(simpler_rollouts)
                    .map(|new| Command::EnqueueRollouts { rollouts: vec![new] }),
            );
        }
        Command::StartRollout { rollout, worker_id } => {
            forms.extend(simpler_rollouts(rollout).into_iter().flat_map(|rollout| {
                [worker_id.clone(), None].map(|worker_id| Command::StartRollout {
                    rollout: rollout.clone(),
                    worker_id,
                })
            }));
        }
        Command::DequeueRollouts { limit, worker_id } => {
            forms.extend(
                [(1, worker_id.clone()), (*limit, None), (1, None)]
                    .map(|(limit, worker_id)| Command::DequeueRollouts { limit, worker_id }),
            );
        }
        Command::AddSpans { spans } => forms.extend(spans.iter().map(|span| Command::AddSpans {
            spans: vec![span.clone()],
        })),
        Command::UpdateRollout { rollout_id, patch } => {
            let only = |patch| Command::UpdateRollout {
                rollout_id: rollout_id.clone(),
                patch,
            };
            forms.push(only(RolloutPatch {
                status: patch.status,
                config: patch.config.clone(),
                ..RolloutPatch::default()
            }));
            forms.extend(patch.status.map(|status| only(RolloutPatch::status(status))));
        }
        Command::UpdateAttempt {
            rollout_id,
            attempt,
            patch,
        } => {
            let only = |patch| Command::UpdateAttempt {
                rollout_id: rollout_id.clone(),
                attempt: attempt.clone(),
                patch,
            };
            forms.push(only(AttemptPatch {
                metadata: None,
                last_heartbeat_time: None,
                ..patch.clone()
            }));
            forms.extend(patch.status.map(|status| only(AttemptPatch::status(status))));
        }
        Command::NextSequenceIds { targets } => {
            forms.extend(targets.iter().map(|target| Command::NextSequenceIds {
                targets: vec![target.clone()],
            }));
        }
        Command::Import { records } => {
            forms.extend(records.iter().map(|record| Command::Import {
                records: vec![record.clone()],
            }));
        }
        Command::Purge { rollouts, resources } => {
            forms.extend(rollouts.iter().map(|target| Command::Purge {
                rollouts: vec![target.clone()],
                resources: Vec::new(),
            }));
            forms.extend(resources.iter().map(|id| Command::Purge {
                rollouts: Vec::new(),
                resources: vec![id.clone()],
            }));
        }
        _ => {}
    }
    let under = |key: &Option<RequestKey>, commands: &[Command]| -> Vec<Action> {
        let commands = commands.iter().cloned();
        let requests = commands.map(|command| Request {
            command,
            key: key.clone(),
        });
        requests.map(Action::Do).collect()
    };
    if request.key.is_none() {
        return under(&None, &forms);
    }
    let unkeyed = [std::slice::from_ref(&request.command), &forms].concat();
    [under(&request.key, &forms), under(&None, &unkeyed)].concat()
}

/// The rollout as it is, without its trimmings, and with nothing but its input.
fn simpler_rollouts(new: &NewRollout) -> [NewRollout; 3] {
    let bare = NewRollout::new(new.input.clone());
    let configured = NewRollout {
        config: new.config.clone(),
        ..bare.clone()
    };
    [new.clone(), configured, bare]
}
