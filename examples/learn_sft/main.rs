//! Trains a small model to sort digits, by nothing but rewards: it learns from its own right answers.
//!
//! `cargo run --release -p lightning-examples --features learn --example learn_sft` needs no key, no download and no GPU. The
//! model has seen a few demonstrations and is right in a part of its answers. In each of five iterations, agents have it answer
//! training tasks; a process of its own trains it on the answers that were right; the new weights are served at once. What it
//! is tested on it has never met: other digits.
//!
//! With `-- --run-dir FOLDER` the run is kept: kill it at any moment, run it again, and it goes on. `-- --seed N` is another
//! run; `-- --controls` shows what the rewards are worth, over three seeds. The model to begin with is
//! `examples/data/warm_start_sorting`; `-- --make-warm-start FOLDER` makes one like it.
#![allow(clippy::print_stdout, reason = "an example shows what it found")]

mod controls;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use lightning_core::{
    algorithm::{FineTuned, Sft},
    chat::{ChatModel as _, ChatRequest, Message},
    lm::{ByteTokenizer, ModelConfig, TrainOptions},
    logging,
    prelude::*,
    train_process::train_process,
    trainer::FitReport,
};
use lightning_examples::{
    exercises::{Exercise, Split, Subject},
    small_model::{self, ServedModel, WarmStart},
};

/// What the model is before.
const WARM_START: WarmStart = WarmStart {
    name: "warm_start_sorting",
    sha256: "7ba52708edafce650afb653ceb0d013c3cc6dbfb1e24eb1316c87fe6a5cd8bb4",
};

/// Asks the model. The reward is 1 for exactly the right answer.
#[rollout]
async fn sort_digits(task: &Exercise, llm: Llm) -> anyhow::Result<f64> {
    let request = ChatRequest::new([Message::user(&task.question)]).field("max_tokens", 8);
    let answer = llm.chat()?.ask(&request).await?;
    Ok(task.reward(&answer.text))
}

/// What is asked of the program.
#[derive(Clone, Debug)]
struct Options {
    seed: u64,
    run_dir: Option<PathBuf>,
    controls: bool,
    make: Option<PathBuf>,
}

impl Options {
    fn of_arguments() -> anyhow::Result<Self> {
        let mut options = Self {
            seed: 1,
            run_dir: None,
            controls: false,
            make: None,
        };
        let mut arguments = env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .with_context(|| format!("{argument} needs a value"))
            };
            match argument.as_str() {
                "--seed" => options.seed = value()?.parse().context("--seed takes a number")?,
                "--run-dir" => options.run_dir = Some(value()?.into()),
                "--controls" => options.controls = true,
                "--make-warm-start" => options.make = Some(value()?.into()),
                other => anyhow::bail!(
                    "`{other}` is not understood; there are --seed N, --run-dir FOLDER, --controls and --make-warm-start FOLDER"
                ),
            }
        }
        Ok(options)
    }
}

/// The exercises of a run.
fn exercises(seed: u64) -> Split {
    Subject::Sorting.split(seed, 4_000, 128)
}

/// The algorithm, as all runs have it.
fn algorithm() -> anyhow::Result<Sft<Exercise>> {
    Ok(Sft::algorithm(WARM_START.folder()?)
        .iterations(5)
        .tasks_per_iteration(256)
        .samples_per_task(4)
        .epochs(8)
        .learning_rate(0.002)
        .val_samples(1)
        .test_samples(4))
}

/// One run.
async fn learn(
    algorithm: Sft<Exercise>,
    seed: u64,
    run_dir: Option<PathBuf>,
) -> anyhow::Result<FitReport<FineTuned>> {
    let model = ServedModel::start(&WARM_START.folder()?).await?;
    let Split { train, test } = exercises(seed);
    let mut trainer = Trainer::builder()
        .algorithm(algorithm)
        .extension(model.host())
        .llm_proxy(model.proxy()?)
        .n_runners(32)
        .seed(seed);
    if let Some(folder) = run_dir {
        trainer = trainer.run_dir(folder);
    }
    let report = trainer.build()?.fit(sort_digits::agent(), train, test).await?;
    model.stop().await;
    Ok(report)
}

/// The curve as a table.
fn show(found: &FineTuned) {
    println!(
        "\nmodel {}…, {} tasks held out\n",
        &found.base_sha256[..12],
        tested(found)
    );
    println!("iteration   test pass@1   train pass@1   train pass@4   learnt from   loss");
    if let Some(before) = &found.before {
        println!("{:>9} {:>12.1} %", "before", 100.0 * before.pass_at_1);
    }
    for iteration in &found.iterations {
        println!(
            "{:>9} {:>12.1} % {:>12.1} % {:>12.1} % {:>13} {:>6.3}",
            iteration.iteration,
            100.0 * iteration.val.as_ref().map_or(f64::NAN, |val| val.pass_at_1),
            100.0 * iteration.train.pass_at_1,
            100.0 * iteration.train.pass_at_k,
            iteration.samples,
            iteration.loss.unwrap_or(f64::NAN),
        );
    }
    if let (Some(before), Some(after)) = (&found.before, &found.after) {
        println!(
            "\ntest pass@1 {:.1} % → {:.1} %, test pass@{} {:.1} % → {:.1} %",
            100.0 * before.pass_at_1,
            100.0 * after.pass_at_1,
            after.k,
            100.0 * before.pass_at_k,
            100.0 * after.pass_at_k,
        );
    }
}

fn tested(found: &FineTuned) -> usize {
    found.before.as_ref().map_or(0, |before| before.tasks)
}

/// Makes a model like the one to begin with.
fn make_warm_start(folder: &std::path::Path) -> anyhow::Result<()> {
    let demonstrations = Subject::Sorting.split(99, 1_000, 0).train;
    let demonstrations: Vec<small_model::Demonstration> = demonstrations
        .iter()
        .map(|exercise| {
            vec![
                (ByteTokenizer::USER, exercise.question.clone()),
                (ByteTokenizer::ASSISTANT, exercise.answer.clone()),
            ]
        })
        .collect();
    let config = ModelConfig::small(ByteTokenizer::VOCABULARY, 64, 2, 4).context(64);
    let mut options = TrainOptions::default();
    options.epochs = 3;
    options.rows = 4;
    options.row_tokens = 64;
    options.seed = 7;
    options.optimiser.learning_rate = 0.003;
    let digest = small_model::warm_up(&demonstrations, config, &options, folder)?;
    println!("{digest}  {}", folder.display());
    Ok(())
}

async fn run(options: Options) -> anyhow::Result<()> {
    logging::init()?;
    if let Some(folder) = &options.make {
        return make_warm_start(folder);
    }
    if options.controls {
        return controls::show().await;
    }
    let report = learn(algorithm()?, options.seed, options.run_dir).await?;
    show(&report.output);
    Ok(())
}

fn main() -> ExitCode {
    // The process that trains is this program, started again.
    if let Some(code) = train_process() {
        return code;
    }
    let ended = Options::of_arguments().and_then(|options| {
        let runtime = tokio::runtime::Runtime::new()?;
        runtime.block_on(run(options))
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("learn_sft: {error:#}");
            ExitCode::FAILURE
        }
    }
}
