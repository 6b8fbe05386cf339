//! Drawing samples from the model that is served.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use rand::{RngExt as _, rngs::StdRng, seq::SliceRandom as _};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{FineTuned, PassRates, replay::Kept};
use crate::{
    adapter::{TraceAdapter, Triplets},
    algorithm::prompt_search::{Halt, stream},
    lm::Sample,
    run::{FailurePolicy, Outcome, OutcomeResult, RunContext},
    types::{NamedResources, Resource, RolloutMode, Task},
};

/// Above this share of failed rollouts what the others say means nothing.
const FAILED_SHARE: f64 = 0.5;

/// Has tasks tried by agents.
pub(super) struct Collector {
    pub(super) run: RunContext,
    pub(super) resources: NamedResources,
    /// What the model is called among them.
    pub(super) resource: String,
    pub(super) adapter: Arc<dyn TraceAdapter<Output = Triplets>>,
    pub(super) temperature: f64,
    pub(super) min_reward: f64,
    pub(super) time_limit: Duration,
}

/// What is to be drawn.
pub(super) struct Draw<'a> {
    /// Tells it from all others of the run.
    pub(super) name: &'a str,
    pub(super) label: String,
    pub(super) mode: RolloutMode,
    /// How often each task is tried.
    pub(super) samples: usize,
}

/// What was drawn: the first sample of all tasks, the second of all tasks, and so on.
pub(super) struct Drawn {
    tasks: usize,
    samples: usize,
    seconds: f64,
    rollouts: Vec<Drew>,
}

/// What a rollout has to give.
struct Drew {
    /// `None` if it failed, or nobody said how good it was.
    reward: Option<f64>,
    samples: Vec<Sample>,
}

impl Drew {
    fn nothing() -> Self {
        Self {
            reward: None,
            samples: Vec::new(),
        }
    }
}

/// What is remembered of samples that were collected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Collected {
    pub(super) reward: f64,
    pub(super) passes: PassRates,
    pub(super) kept: u64,
    /// How many tokens the model wrote.
    pub(super) tokens: u64,
    seconds: f64,
}

impl Collected {
    pub(super) fn tokens_per_second(&self) -> f64 {
        self.tokens as f64 / self.seconds.max(1e-9)
    }
}

impl Collector {
    /// The resources, and which weights are served.
    pub(super) fn with_checkpoint(&self, found: &FineTuned) -> NamedResources {
        let checkpoint = json!({"version": found.version, "sha256": found.sha256});
        self.resources
            .clone()
            .with("checkpoint", Resource::json(checkpoint))
    }

    /// Has each task tried so many times. Each time is an evaluation of its own, with a seed of its own.
    pub(super) async fn draw<T: Task>(
        &self,
        tasks: &[&T],
        found: &FineTuned,
        draw: Draw<'_>,
    ) -> Result<Drawn, Halt> {
        let began = Instant::now();
        let total = tasks.len() * draw.samples;
        let progress = Arc::new(self.run.progress(draw.label, Some(total as u64)));
        let evaluations = (0..draw.samples).map(|sample| {
            // As small as servers of all kinds take it.
            let seed: u32 = stream(self.run.seed(), draw.name, &[sample]).random::<u32>() >> 1;
            self.run
                .evaluator()
                .resources(self.sampling(found, seed))
                .tasks(tasks.iter().copied())
                .mode(draw.mode)
                .named(format!("{}, sample {sample}", draw.name))
                .on_failure(FailurePolicy {
                    retries: 0,
                    abort_above: 1.0,
                })
                .within(self.time_limit)
                .progress(Arc::clone(&progress))
                .evaluate()
        });
        let evaluations = try_join_all(evaluations).await?;
        let outcomes: Vec<Outcome> = evaluations
            .into_iter()
            .flat_map(|evaluation| evaluation.into_outcomes())
            .collect();
        refuse_failures(&outcomes)?;
        let mut problem = None;
        let mut rollouts = Vec::with_capacity(outcomes.len());
        for outcome in &outcomes {
            rollouts.push(self.adapt(outcome).unwrap_or_else(|error| {
                problem.get_or_insert(error);
                Drew::nothing()
            }));
        }
        // A rollout that cannot be read is its own fault; if none can, something is set up wrongly.
        if let Some(error) = problem.filter(|_| rollouts.iter().all(|drew| drew.samples.is_empty())) {
            return Err(Halt::Failed(error));
        }
        Ok(Drawn {
            tasks: tasks.len(),
            samples: draw.samples,
            seconds: began.elapsed().as_secs_f64(),
            rollouts,
        })
    }

    /// The resources, with the parameters of one sample in the model's.
    fn sampling(&self, found: &FineTuned, seed: u32) -> NamedResources {
        let mut resources = self.with_checkpoint(found);
        if let Some(mut resource) = resources.resource(&self.resource).cloned() {
            let parameters = match &mut resource {
                Resource::Llm(llm) => Some(&mut llm.sampling_parameters),
                Resource::ProxyLlm(llm) => Some(&mut llm.sampling_parameters),
                _ => None,
            };
            if let Some(parameters) = parameters {
                parameters.insert("temperature".to_owned(), self.temperature.into());
                parameters.insert("seed".to_owned(), seed.into());
            }
            resources.insert(&self.resource, resource);
        }
        resources
    }

    fn adapt(&self, outcome: &Outcome) -> anyhow::Result<Drew> {
        let Some(reward) = outcome.reward().map(|reward| reward.primary()) else {
            return Ok(Drew::nothing());
        };
        let triplets = self.adapter.adapt(&outcome.spans)?;
        let samples: Option<Vec<Sample>> = triplets.triplets.iter().map(Sample::of_triplet).collect();
        let samples = samples.ok_or_else(|| {
            anyhow::anyhow!(
                "a call of rollout {} was recorded without token ids, so there is nothing to train on: have the proxy ask for \
                 them (`ProxyBackend::with_token_ids`), and use a server that gives them",
                outcome.rollout.rollout_id
            )
        })?;
        Ok(Drew {
            reward: Some(reward),
            samples,
        })
    }
}

/// An error if most rollouts failed.
fn refuse_failures(outcomes: &[Outcome]) -> anyhow::Result<()> {
    let failures = outcomes.iter().filter_map(|outcome| match &outcome.result {
        OutcomeResult::Failed { message, .. } => Some((outcome, message)),
        OutcomeResult::Rewarded(_) | OutcomeResult::NoSignal(_) => None,
    });
    let failures: Vec<_> = failures.collect();
    if let Some((first, message)) = failures.first()
        && failures.len() as f64 > FAILED_SHARE * outcomes.len() as f64
    {
        anyhow::bail!(
            "{} of {} rollouts failed; the first, {}, with: {message}",
            failures.len(),
            outcomes.len(),
            first.rollout.rollout_id
        );
    }
    let rewarded = outcomes.iter().any(|outcome| outcome.reward().is_some());
    let unrewarded = outcomes.iter().find_map(|outcome| match &outcome.result {
        OutcomeResult::NoSignal(reason) => Some(reason),
        OutcomeResult::Rewarded(_) | OutcomeResult::Failed { .. } => None,
    });
    if let Some(reason) = unrewarded.filter(|_| !rewarded) {
        anyhow::bail!(
            "none of {} rollouts has a reward; the first without one: {reason}",
            outcomes.len()
        );
    }
    Ok(())
}

impl Drawn {
    /// What is remembered.
    pub(super) fn summary(&self, min_reward: f64) -> anyhow::Result<Collected> {
        let rewards: Vec<f64> = self.rollouts.iter().filter_map(|drew| drew.reward).collect();
        anyhow::ensure!(!rewards.is_empty(), "none of the rollouts has a reward");
        let tasks: Vec<(usize, usize)> = (0..self.tasks)
            .map(|task| {
                let rewards = self.rollouts[task..].iter().step_by(self.tasks);
                let rewards = rewards.filter_map(|drew| drew.reward);
                rewards.fold((0, 0), |(all, right), reward| {
                    (all + 1, right + usize::from(reward >= min_reward))
                })
            })
            .collect();
        let written = self.rollouts.iter().flat_map(|drew| &drew.samples);
        let written = written.map(|sample| sample.weights.iter().filter(|weight| **weight > 0.0).count());
        Ok(Collected {
            reward: rewards.iter().sum::<f64>() / rewards.len() as f64,
            passes: PassRates::of(&tasks, self.samples),
            kept: 0,
            tokens: written.sum::<usize>() as u64,
            seconds: self.seconds,
        })
    }

    /// The samples of the best rollouts, none below `min_reward`. Among equals, chance decides.
    pub(super) fn choose(
        &self,
        keep: f64,
        min_reward: f64,
        choice: &mut StdRng,
        shuffle_rewards: bool,
    ) -> anyhow::Result<Vec<Kept>> {
        let mut rewards: Vec<f64> = Vec::new();
        let mut places: Vec<usize> = Vec::new();
        for (place, drew) in self.rollouts.iter().enumerate() {
            if let Some(reward) = drew.reward {
                anyhow::ensure!(!reward.is_nan(), "a reward is not a number");
                rewards.push(reward);
                places.push(place);
            }
        }
        if shuffle_rewards {
            rewards.shuffle(choice);
        }
        let most = (keep * places.len() as f64).ceil() as usize;
        let mut ranked: Vec<(f64, usize)> = rewards.into_iter().zip(places).collect();
        ranked.shuffle(choice);
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0));
        ranked.truncate(most);
        let kept = ranked.into_iter().filter(|(reward, _)| *reward >= min_reward);
        let kept = kept.flat_map(|(reward, rollout)| {
            let samples = self.rollouts[rollout].samples.iter();
            samples.map(move |sample| Kept {
                rollout,
                reward,
                sample: sample.clone(),
            })
        });
        Ok(kept.collect())
    }
}
