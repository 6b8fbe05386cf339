//! Supervised fine-tuning on the model's own best answers: rejection sampling.

mod collect;
mod passes;
mod replay;
mod serve;

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use self::{
    collect::{Collected, Collector, Draw},
    replay::Replay,
};
pub use self::{
    passes::PassRates,
    serve::{ModelHost, ServeCheckpoint},
};
use super::prompt_search::{Halt, stream};
use crate::{
    adapter::{ProxyToTriplets, TraceAdapter, Triplets},
    algo,
    ids::{IdSource as _, RandomIds},
    inject::Injectable,
    lm::{Optimiser, TrainOptions},
    run::{RunContext, RunError, on_the_disk},
    train_process::{TrainJob, TrainProgram, Trained, digest_of_weights},
    types::{Dataset, NamedResources, Resource, RolloutMode, Task},
};

impl Injectable for TrainProgram {}

/// Trains a model on the best of its own answers, again and again.
///
/// In each iteration the model that is served answers training tasks, `samples_per_task` times each; the agent's calls become
/// samples; those of the best rollouts go to the replay buffer, which is a folder of the run; a process of its own trains the
/// model on the buffer; the trained weights take the place of the served ones, and are published as the resource
/// `checkpoint`. This is expert iteration, as in STaR (Zelikman et al. 2022,
/// [arXiv:2203.14465](https://arxiv.org/abs/2203.14465)) and ReST (Gulcehre et al. 2023,
/// [arXiv:2308.08998](https://arxiv.org/abs/2308.08998)).
///
/// What it needs: what serves the model, given as an extension ([`ModelHost`]); a model with token ids
/// among the resources that agents get, usually through the LLM proxy; and, unless [`TrainProgram::command`] is given as an
/// extension, a program that begins with [`train_process`](crate::train_process::train_process()).
///
/// - Each sample has a seed of its own, from the run's seed, the iteration and its number, in the `seed` of the model's sampling
///   parameters. With a server that keeps to it, and an agent that passes it on, a run is repeated exactly.
/// - A rollout is right if its reward is `min_reward` or more. Those without a reward, or that failed, are neither right nor
///   wrong.
/// - All calls of a rollout are learnt from with the reward of the rollout; what was written word for word before is kept once.
/// - Validation tasks are only measured, never trained on and never used to choose: the result is the last model.
/// - Collected samples, trained models and measurements are durable steps. A run that is killed at any moment and begun again in
///   its folder goes on where it was, and ends with the same weights.
///
/// # Parameters
///
/// - `model`: the folder of the checkpoint to begin with;
/// - `resource`: what the agent calls the model; the only model if not set;
/// - `iterations` (5);
/// - `tasks_per_iteration` (128): how many training tasks are drawn for an iteration;
/// - `samples_per_task` (16): how often each of them is tried;
/// - `temperature` (1.0): of all samples;
/// - `min_reward` (1.0): which rollouts are learnt from at all;
/// - `keep` (1.0): which fraction of an iteration's rollouts is learnt from at most, the best first;
/// - `buffer` (8192): how many samples the replay buffer has room for, the best first, then the latest;
/// - `epochs` (2), `learning_rate` (0.001), `batch` (8) rows of `row_tokens` (64) tokens: how the model is trained;
/// - `train_time_limit` (3600.0): how long one training may take, in seconds;
/// - `rollout_time_limit` (3600.0): how long the rollouts of one phase may take, in seconds;
/// - `val_samples` (4), `test_samples` (16): how often each validation task is tried after an iteration, and at the beginning and
///   the end; at 0, it is not;
/// - `shuffle_rewards` (false): gives the rewards of an iteration to rollouts at random before choosing: a control, which should
///   learn nothing.
///
/// # Metrics
///
/// By iteration: `reward`, `train_pass_at_1`, `train_pass_at_16` (or as many as there are samples), `kept`, `loss`,
/// `collect_tokens_per_second`, `train_tokens_per_second`, `val_pass_at_1`; at the end `test_pass_at_1` and `test_pass_at_16`.
/// `val_pass_at_1` at 0 is the model to begin with.
///
/// # Errors
///
/// If a parameter makes no sense or there are no tasks; if most rollouts fail, or none has a reward or token ids; if the model
/// to begin with has changed since the run began; if a training fails, or takes too long; if the store or the disk fails.
#[algo(handle = Sft)]
#[expect(clippy::too_many_arguments, reason = "each is a parameter of the algorithm")]
pub async fn sft<T: Task>(
    run: RunContext,
    initial_resources: NamedResources,
    adapter: Option<Arc<dyn TraceAdapter<Output = Triplets>>>,
    train_dataset: Dataset<T>,
    val_dataset: Option<Dataset<T>>,
    #[inject] server: ModelHost,
    #[inject] program: Option<TrainProgram>,
    #[param] model: PathBuf,
    #[param(default)] resource: Option<String>,
    #[param(default = 5)] iterations: usize,
    #[param(default = 128)] tasks_per_iteration: usize,
    #[param(default = 16)] samples_per_task: usize,
    #[param(default = 1.0)] temperature: f64,
    #[param(default = 1.0)] min_reward: f64,
    #[param(default = 1.0)] keep: f64,
    #[param(default = 8192)] buffer: usize,
    #[param(default = 2)] epochs: usize,
    #[param(default = 0.001)] learning_rate: f64,
    #[param(default = 8)] batch: usize,
    #[param(default = 64)] row_tokens: usize,
    #[param(default = 3600.0)] train_time_limit: f64,
    #[param(default = 3600.0)] rollout_time_limit: f64,
    #[param(default = 4)] val_samples: usize,
    #[param(default = 16)] test_samples: usize,
    #[param(default = false)] shuffle_rewards: bool,
) -> anyhow::Result<FineTuned> {
    for (name, value) in [
        ("iterations", iterations),
        ("tasks_per_iteration", tasks_per_iteration),
        ("samples_per_task", samples_per_task),
        ("buffer", buffer),
        ("epochs", epochs),
        ("batch", batch),
        ("row_tokens", row_tokens),
    ] {
        anyhow::ensure!(value > 0, "`{name}` is 0; give at least 1");
    }
    anyhow::ensure!(
        keep > 0.0 && keep <= 1.0,
        "`keep` is {keep}; it must be a fraction above 0, and 1 at most"
    );
    anyhow::ensure!(
        temperature.is_finite() && temperature >= 0.0,
        "`temperature` is {temperature}; it must be a number from 0"
    );
    anyhow::ensure!(
        learning_rate.is_finite() && learning_rate > 0.0,
        "`learning_rate` is {learning_rate}; it must be a number above 0"
    );
    anyhow::ensure!(
        !train_dataset.is_empty(),
        "there are no tasks; give `fit` a training dataset that is not empty"
    );
    let program = program.unwrap_or_default();
    program.check()?;
    let options = TrainOptions {
        epochs: epochs as u64,
        rows: batch,
        row_tokens,
        optimiser: Optimiser {
            learning_rate,
            ..Optimiser::default()
        },
        ..TrainOptions::default()
    };
    let tuning = Tuning {
        collector: Collector {
            resource: match resource {
                Some(name) => name,
                None => only_model(&initial_resources)?,
            },
            resources: initial_resources,
            adapter: adapter.unwrap_or_else(|| Arc::new(ProxyToTriplets::new())),
            temperature,
            min_reward,
            time_limit: seconds("rollout_time_limit", rollout_time_limit)?,
            run: run.clone(),
        },
        replay: Replay::at(run.dir()?.join("replay"), buffer),
        val: val_dataset.filter(|tasks| !tasks.is_empty()),
        train_time_limit: seconds("train_time_limit", train_time_limit)?,
        run,
        server,
        program,
        options,
        base: model,
        keep,
        shuffle_rewards,
        train: train_dataset,
        tasks_per_iteration,
        samples_per_task,
    };
    let mut found = tuning.begin().await?;
    match tuning
        .go(&mut found, iterations, (val_samples, test_samples))
        .await
    {
        Ok(()) | Err(Halt::Stopped) => Ok(found),
        Err(Halt::Failed(error)) => Err(error),
    }
}

/// A model that was trained on the best of its own answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FineTuned {
    /// The folder of the model: that of the last iteration, or the one to begin with.
    pub model: PathBuf,
    /// How many times it was trained.
    pub version: u64,
    /// The digest of its weights, as [`digest_of_weights`] gives it.
    pub sha256: String,
    /// The digest of the weights to begin with.
    pub base_sha256: String,
    /// How the model to begin with does on the validation tasks, if that was measured.
    pub before: Option<PassRates>,
    /// What each iteration came to.
    pub iterations: Vec<Iteration>,
    /// How the last model does on the validation tasks, if that was measured.
    pub after: Option<PassRates>,
}

/// What an iteration came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Iteration {
    /// Its number, from 1.
    pub iteration: u64,
    /// The mean reward of its rollouts, by the model before its training.
    pub reward: f64,
    /// How often its training tasks were solved, by the model before its training.
    pub train: PassRates,
    /// How many samples it added to the replay buffer.
    pub kept: u64,
    /// How many samples were trained on.
    pub samples: u64,
    /// The mean loss of the last epoch; `None` if there was nothing to train on.
    pub loss: Option<f64>,
    /// How many tokens the model wrote in its rollouts.
    pub collected_tokens: u64,
    /// How many of them in a second.
    pub collect_tokens_per_second: f64,
    /// How many tokens the training went through in a second.
    pub train_tokens_per_second: Option<f64>,
    /// How often the validation tasks were solved after its training, if that was measured.
    pub val: Option<PassRates>,
}

/// A fine-tuning that is going on.
struct Tuning<T> {
    run: RunContext,
    collector: Collector,
    replay: Replay,
    server: ModelHost,
    program: TrainProgram,
    options: TrainOptions,
    base: PathBuf,
    keep: f64,
    shuffle_rewards: bool,
    train: Dataset<T>,
    val: Option<Dataset<T>>,
    tasks_per_iteration: usize,
    samples_per_task: usize,
    train_time_limit: Duration,
}

/// A training that has ended; nothing, if there was nothing to train on.
#[derive(Serialize, Deserialize)]
struct Lesson {
    samples: u64,
    trained: Option<Trained>,
}

impl<T: Task> Tuning<T> {
    /// The model to begin with, which has to be the same in all processes of the run.
    async fn begin(&self) -> anyhow::Result<FineTuned> {
        let digest = {
            let base = self.base.clone();
            tokio::task::spawn_blocking(move || digest_of_weights(base)).await??
        };
        let kept: String = self
            .run
            .memo("the model to begin with", async {
                Ok::<_, RunError>(digest.clone())
            })
            .await?;
        anyhow::ensure!(
            kept == digest,
            "the weights in {} are not those that the run began with ({digest} now, {kept} then); put them back, or use \
             another run folder",
            self.base.display()
        );
        Ok(FineTuned {
            model: self.base.clone(),
            version: 0,
            sha256: digest.clone(),
            base_sha256: digest,
            before: None,
            iterations: Vec::new(),
            after: None,
        })
    }

    async fn go(
        &self,
        found: &mut FineTuned,
        iterations: usize,
        (val_samples, test_samples): (usize, usize),
    ) -> Result<(), Halt> {
        self.serve(found).await?;
        found.before = self.measure("at the beginning", found, test_samples).await?;
        if let Some(before) = &found.before {
            self.run.log_metric("val_pass_at_1", 0, before.pass_at_1);
            self.run.report_score(before.pass_at_1);
        }
        let progress = self.run.progress("iterations", Some(iterations as u64));
        for number in 1..=iterations {
            if self.run.should_stop().is_some() {
                break;
            }
            let mut iteration = self.iterate(number, found).await?;
            self.serve(found).await?;
            let samples = if number == iterations { 0 } else { val_samples };
            iteration.val = self
                .measure(&format!("iteration {number}"), found, samples)
                .await?;
            if let Some(val) = &iteration.val {
                self.run.log_metric("val_pass_at_1", number as u64, val.pass_at_1);
            }
            // The last one is measured better in the end.
            if number < iterations {
                let score = iteration
                    .val
                    .as_ref()
                    .map_or(iteration.reward, |val| val.pass_at_1);
                self.run.report_score(score);
            }
            found.iterations.push(iteration);
            progress.advance(1);
        }
        found.after = self.measure("at the end", found, test_samples).await?;
        self.publish(found).await?;
        let step = found.iterations.len() as u64;
        if let Some(after) = &found.after {
            if let Some(last) = found.iterations.last_mut()
                && last.val.is_none()
            {
                self.run.log_metric("val_pass_at_1", step, after.pass_at_1);
                self.run.report_score(after.pass_at_1);
                last.val = Some(after.clone());
            }
            self.run.log_metric("test_pass_at_1", step, after.pass_at_1);
            self.run
                .log_metric(format!("test_pass_at_{}", after.k), step, after.pass_at_k);
        }
        Ok(())
    }

    /// Collects, chooses and trains. The model is a newer one afterwards, unless there was nothing to train on.
    async fn iterate(&self, number: usize, found: &mut FineTuned) -> Result<Iteration, Halt> {
        let collected = self.collect(number, found).await?;
        let log = |name: &str, value: f64| self.run.log_metric(name, number as u64, value);
        log("reward", collected.reward);
        log("train_pass_at_1", collected.passes.pass_at_1);
        log(
            &format!("train_pass_at_{}", collected.passes.k),
            collected.passes.pass_at_k,
        );
        log("kept", collected.kept as f64);
        log("collect_tokens_per_second", collected.tokens_per_second());
        let into = self.folder("checkpoints")?.join(format!("{number:04}"));
        let lesson = self.train(number, found, &into).await?;
        if let Some(trained) = &lesson.trained {
            log("loss", trained.loss);
            log("train_tokens_per_second", speed(trained));
            found.version += 1;
            found.sha256.clone_from(&trained.sha256);
            found.model = into;
        }
        Ok(Iteration {
            iteration: number as u64,
            reward: collected.reward,
            kept: collected.kept,
            samples: lesson.samples,
            loss: lesson.trained.as_ref().map(|trained| trained.loss),
            collected_tokens: collected.tokens,
            collect_tokens_per_second: collected.tokens_per_second(),
            train_tokens_per_second: lesson.trained.as_ref().map(speed),
            train: collected.passes,
            val: None,
        })
    }

    async fn collect(&self, number: usize, found: &FineTuned) -> Result<Collected, Halt> {
        let name = format!("iteration {number}");
        let make = async {
            let mut order: Vec<usize> = (0..self.train.len()).collect();
            rand::seq::SliceRandom::shuffle(&mut order[..], &mut stream(self.run.seed(), "tasks", &[number]));
            order.truncate(self.tasks_per_iteration);
            let tasks: Vec<&T> = order.iter().map(|task| &self.train[*task]).collect();
            let draw = Draw {
                name: &name,
                label: format!("{name}: collecting"),
                mode: RolloutMode::Train,
                samples: self.samples_per_task,
            };
            let drawn = self.collector.draw(&tasks, found, draw).await?;
            let chosen = drawn.choose(
                self.keep,
                self.collector.min_reward,
                &mut stream(self.run.seed(), "choice", &[number]),
                self.shuffle_rewards,
            )?;
            let mut collected = drawn.summary(self.collector.min_reward)?;
            collected.kept = self.replay.add(number, chosen).await?;
            Ok::<_, Halt>(collected)
        };
        self.run.memo(format!("{name}: collected"), make).await
    }

    async fn train(&self, number: usize, found: &FineTuned, into: &Path) -> Result<Lesson, Halt> {
        let make = async {
            let samples = self.folder("replay")?.join("selected.jsonl");
            let count = self.replay.select(number, &samples).await?;
            if count == 0 {
                tracing::warn!(
                    target: "lightning::sft",
                    iteration = number,
                    "no rollout was good enough to learn from, so this iteration trains nothing"
                );
                return Ok(Lesson {
                    samples: 0,
                    trained: None,
                });
            }
            let mut options = self.options;
            options.seed = rand::RngExt::random(&mut stream(self.run.seed(), "training", &[number]));
            // Under a name of its own: the process of a run that was killed may still be writing.
            let aside = format!("trained-{number:04}-{}", RandomIds.hex(8));
            let job = TrainJob {
                model: found.model.clone(),
                samples,
                into: self.run.temp_dir()?.join(aside),
                options,
            };
            let mut progress = None;
            let train = self.program.train(&job, self.train_time_limit, |step| {
                let label = || format!("iteration {number}: training");
                let shown = progress.get_or_insert_with(|| self.run.progress(label(), Some(step.steps)));
                shown.advance(1);
            });
            let trained = tokio::select! {
                biased;
                trained = train => trained.map_err(anyhow::Error::from)?,
                () = self.run.cancelled() => return Err(Halt::Stopped),
            };
            let (aside, into) = (job.into, into.to_owned());
            on_the_disk(move || put(&aside, &into)).await?;
            Ok(Lesson {
                samples: count,
                trained: Some(trained),
            })
        };
        self.run.memo(format!("iteration {number}: trained"), make).await
    }

    /// Serves the newest model, and makes it known.
    async fn serve(&self, found: &FineTuned) -> Result<(), Halt> {
        let version = found.version.to_string();
        let served = self.server.serve(&found.model, &version).await;
        served.map_err(|error| {
            let model = found.model.display();
            Halt::Failed(error.context(format!("the model in {model} cannot be served")))
        })?;
        self.publish(found).await
    }

    /// Makes the newest model the latest version of the resources.
    async fn publish(&self, found: &FineTuned) -> Result<(), Halt> {
        let resources = self.collector.with_checkpoint(found);
        let published = self.run.store().add_resources(resources).await;
        published.map(drop).map_err(|error| Halt::Failed(error.into()))
    }

    /// How the model that is served does on the validation tasks.
    async fn measure(
        &self,
        when: &str,
        found: &FineTuned,
        samples: usize,
    ) -> Result<Option<PassRates>, Halt> {
        let Some(tasks) = self.val.as_ref().filter(|_| samples > 0) else {
            return Ok(None);
        };
        let name = format!("measured {when}, version {}", found.version);
        let make = async {
            let tasks: Vec<&T> = tasks.iter().collect();
            let draw = Draw {
                name: &name,
                label: format!("measuring {when}"),
                mode: RolloutMode::Val,
                samples,
            };
            let drawn = self.collector.draw(&tasks, found, draw).await?;
            Ok::<_, Halt>(drawn.summary(self.collector.min_reward)?.passes)
        };
        self.run.memo(name.clone(), make).await.map(Some)
    }

    /// A folder within the run's.
    fn folder(&self, name: &str) -> Result<PathBuf, Halt> {
        let path = self.run.dir()?.join(name);
        fs::create_dir_all(&path)
            .map_err(|error| anyhow::Error::from(error).context(format!("cannot make {}", path.display())))?;
        Ok(path)
    }
}

/// Gives a trained model its place.
fn put(aside: &Path, into: &Path) -> Result<(), RunError> {
    let put = || {
        if into.exists() {
            fs::remove_dir_all(into)?;
        }
        fs::rename(aside, into)?;
        match into.parent().filter(|_| cfg!(unix)) {
            Some(folder) => fs::File::open(folder)?.sync_all(),
            None => Ok(()),
        }
    };
    put().map_err(|source| RunError::Folder {
        action: "write",
        path: into.to_owned(),
        source,
    })
}

fn speed(trained: &Trained) -> f64 {
    trained.tokens as f64 / trained.seconds.max(1e-9)
}

fn seconds(name: &str, value: f64) -> anyhow::Result<Duration> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|time| !time.is_zero())
        .ok_or_else(|| anyhow::anyhow!("`{name}` is {value}; it must be a number of seconds above 0"))
}

/// What the only model is called; of several, the one that is called `llm`.
fn only_model(resources: &NamedResources) -> anyhow::Result<String> {
    let models: Vec<&str> = resources
        .iter()
        .filter(|(_, resource)| matches!(resource, Resource::Llm(_) | Resource::ProxyLlm(_)))
        .map(|(name, _)| name)
        .collect();
    match models.as_slice() {
        [] => anyhow::bail!(
            "there is no model among the initial resources: give the trainer an LLM proxy, or an `Llm` as an initial resource"
        ),
        [one] => Ok((*one).to_owned()),
        several if several.contains(&"llm") => Ok("llm".to_owned()),
        several => anyhow::bail!(
            "there are several models among the initial resources ({}): say by `resource` which one learns",
            several.join(", ")
        ),
    }
}
