//! What the rewards are worth: the same run with shuffled ones, and the same tokens spent without training.

use std::collections::HashMap;

use lightning_core::{
    adapter::ProxyToTriplets,
    prelude::*,
    types::{ProxyLlm, RolloutMode},
};
use lightning_examples::{
    exercises::{Exercise, Split},
    small_model::ServedModel,
};
use serde::Serialize;

use super::{WARM_START, algorithm, exercises, learn, sort_digits};

const SEEDS: [u64; 3] = [1, 2, 3];

/// What votes came to.
#[derive(Debug, Serialize)]
struct Votes {
    /// How many samples each task had.
    samples: usize,
    /// The share of the tasks where the answer that was given most often is right.
    majority: f64,
    /// The share of the tasks where some answer is right: what a perfect judge would choose.
    some: f64,
}

/// Has each task answered by many samples, and takes the answer that is given most often. Nothing is trained.
#[algo]
async fn best_of_n(
    run: RunContext,
    initial_resources: NamedResources,
    val_dataset: Dataset<Exercise>,
    #[param] samples: usize,
) -> anyhow::Result<Votes> {
    let model = initial_resources.get::<ProxyLlm>("llm")?.clone();
    let adapter = ProxyToTriplets::new();
    let mut answers = vec![HashMap::<Vec<u32>, (usize, f64)>::new(); val_dataset.len()];
    for sample in 0..samples {
        let seed = run.seed() * 1_000_000 + sample as u64;
        let evaluation = run
            .evaluator()
            .resource("llm", model.clone().with_sampling_parameter("seed", seed))
            .tasks(&val_dataset)
            .mode(RolloutMode::Test)
            .named(format!("sample {sample}"))
            .label(format!("sample {} of {samples}", sample + 1))
            .evaluate()
            .await?;
        for (outcome, answers) in evaluation.outcomes().iter().zip(&mut answers) {
            let Some(reward) = outcome.reward() else { continue };
            for triplet in adapter.adapt(&outcome.spans)?.triplets {
                answers
                    .entry(triplet.response.token_ids)
                    .or_insert((0, reward.primary()))
                    .0 += 1;
            }
        }
    }
    // Of answers given equally often, the smaller one: nothing may depend on the order of a map.
    let chosen = answers.iter().filter_map(|answers| {
        let most = answers.iter().max_by(|a, b| (a.1.0, b.0).cmp(&(b.1.0, a.0)));
        most.map(|(_, (_, reward))| *reward)
    });
    let solved = answers
        .iter()
        .filter(|answers| answers.values().any(|(_, reward)| *reward == 1.0));
    let tasks = val_dataset.len().max(1) as f64;
    Ok(Votes {
        samples,
        majority: chosen.sum::<f64>() / tasks,
        some: solved.count() as f64 / tasks,
    })
}

/// Mean and spread, in percent.
fn mean_and_spread(values: &[f64]) -> String {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.1} % ({:.1}–{:.1})", 100.0 * mean, 100.0 * least, 100.0 * most)
}

/// Runs all of it, and shows it.
pub(super) async fn show() -> anyhow::Result<()> {
    let mut columns: Vec<(&str, Vec<f64>)> = [
        "before: pass@1",
        "before: pass@16",
        "trained: pass@1",
        "trained: pass@16",
        "shuffled rewards: pass@1",
        "shuffled rewards: pass@16",
        "no training, same tokens: the answer given most often",
        "no training, same tokens: some answer is right",
    ]
    .map(|name| (name, Vec::new()))
    .to_vec();
    let mut curves = Vec::new();
    for seed in SEEDS {
        let trained = learn(algorithm()?.test_samples(16), seed, None).await?.output;
        let shuffled = learn(algorithm()?.test_samples(16).shuffle_rewards(true), seed, None)
            .await?
            .output;
        let (Some(before), Some(after), Some(flat)) = (&trained.before, &trained.after, &shuffled.after)
        else {
            anyhow::bail!("a run was stopped before its end");
        };
        let tokens: u64 = trained
            .iterations
            .iter()
            .map(|iteration| iteration.collected_tokens)
            .sum();
        let Split { test, .. } = exercises(seed);
        // An answer has the digits of the question and an end.
        let once: usize = test.iter().map(|exercise| exercise.answer.len() + 1).sum();
        let samples = tokens as usize / once.max(1);
        let model = ServedModel::start(&WARM_START.folder()?).await?;
        let trainer = Trainer::builder()
            .algorithm(best_of_n::algorithm(samples))
            .llm_proxy(model.proxy()?)
            .n_runners(32)
            .seed(seed)
            .build()?;
        let votes = trainer.fit(sort_digits::agent(), None, test).await?.output;
        model.stop().await;
        let values = [
            before.pass_at_1,
            before.pass_at_k,
            after.pass_at_1,
            after.pass_at_k,
            flat.pass_at_1,
            flat.pass_at_k,
            votes.majority,
            votes.some,
        ];
        for ((_, column), value) in columns.iter_mut().zip(values) {
            column.push(value);
        }
        for (kind, found) in [("trained", &trained), ("shuffled", &shuffled)] {
            let points = found
                .iterations
                .iter()
                .filter_map(|iteration| Some(iteration.val.as_ref()?.pass_at_1));
            let points: Vec<String> = std::iter::once(before.pass_at_1)
                .chain(points)
                .map(|point| format!("{:.1}", 100.0 * point))
                .collect();
            curves.push(format!(
                "seed {seed}, {kind}: {} ({samples} samples)",
                points.join(" → ")
            ));
        }
    }
    println!("\n{}\n", curves.join("\n"));
    for (name, values) in &columns {
        println!("{name:<54} {}", mean_and_spread(values));
    }
    Ok(())
}
