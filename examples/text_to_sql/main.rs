//! A study with real models: how well does a small model write SQL with the prompt that it is given, and with those that random
//! search, few-shot examples and APO find for it?
//!
//! ```sh
//! pip install xllamacpp
//! python tests/python/fetch_weights.py qwen-0.5b && python tests/python/fetch_weights.py qwen-1.5b
//! MODEL_GGUF=target/weights/qwen-0.5b.gguf CRITIC_GGUF=target/weights/qwen-1.5b.gguf \
//!     cargo run --release -p lightning-examples --features sql --example text_to_sql
//! ```
//!
//! The models are files of llama.cpp, which `serve_gguf.py` serves on the CPU, or endpoints: `MODEL_URL` and `CRITIC_URL`, with
//! `MODEL_NAME`, `CRITIC_NAME` and `OPENAI_API_KEY` where they want them. Without a critic the student criticises itself.
//! `PYTHON` names the Python that has `xllamacpp`. Every answer is kept in the folder that is given as an argument
//! (`runs/text_to_sql` if none is), so that a study that was interrupted goes on, and one that is complete is told again without
//! any model: so it is without one of these variables.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "an example shows what it found"
)]

mod recorded;
mod served;

use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use lightning_core::{
    algorithm::{AlgoOutput, Algorithm, Apo, FewShot, OptimizedPrompt, RandomSearch},
    chat::{ChatModel, ChatRequest, HttpChat, Message},
    prelude::*,
};
use lightning_examples::sql::{Difficulty, SqlQuestion, questions};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use recorded::Recorded;
use serde_json::json;
use served::Served;

/// The prompt to begin with.
const SEED_PROMPT: &str = "{schema}\n\n{question}";
/// The seed of the study.
const SEED: u64 = 1;
/// How many questions are for training, to compare prompts on, and for the result.
const TRAIN: usize = 80;
const VAL: usize = 20;
const HELD_OUT: usize = 100;
/// How many rollouts go on at once: as many as `serve_gguf.py` answers.
const AT_ONCE: usize = 4;

/// The model that writes queries.
#[derive(Clone, Inject)]
struct Student(Arc<dyn ChatModel>);

/// Has the student write a query, and looks what it gives.
#[rollout]
async fn write_query(
    task: &SqlQuestion,
    prompt_template: &PromptTemplate,
    #[inject] student: Student,
) -> anyhow::Result<f64> {
    let prompt = prompt_template.render(&json!({ "schema": task.schema, "question": task.question }))?;
    let request = ChatRequest::new([Message::user(prompt)])
        .temperature(0.0)
        .max_tokens(200);
    task.reward(&student.0.ask(&request).await?.text)
}

/// Measures a prompt on every task.
#[algo]
async fn measure(
    run: RunContext,
    initial_resources: NamedResources,
    val_dataset: Dataset<SqlQuestion>,
) -> anyhow::Result<Vec<f64>> {
    let evaluation = run
        .evaluator()
        .resources(initial_resources)
        .tasks(&val_dataset)
        .evaluate()
        .await?;
    let rewards: Vec<f64> = evaluation.rewards().collect();
    anyhow::ensure!(
        rewards.len() == val_dataset.len(),
        "{} questions have no reward",
        val_dataset.len() - rewards.len()
    );
    Ok(rewards)
}

/// The models of a study.
struct Models {
    student: Student,
    critic: Arc<dyn ChatModel>,
    folder: Option<PathBuf>,
}

/// What a way to a prompt came to.
struct Found {
    way: &'static str,
    prompt: PromptTemplate,
    rollouts: u64,
    wall: Duration,
    held_out: Vec<f64>,
}

impl Models {
    fn trainer<O: AlgoOutput>(
        &self,
        algorithm: impl Algorithm<SqlQuestion, Output = O>,
        name: &str,
        prompt: &PromptTemplate,
    ) -> anyhow::Result<Trainer<SqlQuestion, O>> {
        let mut trainer = Trainer::builder()
            .algorithm(algorithm)
            .extension(self.critic.clone())
            .extension(self.student.clone())
            .initial_resources(NamedResources::new().with("prompt", prompt.clone()))
            .seed(SEED)
            .n_runners(AT_ONCE);
        if let Some(folder) = &self.folder {
            trainer = trainer.run_dir(folder.join(name));
        }
        Ok(trainer.build()?)
    }

    /// Searches for a prompt, if there is something to search with, and measures it on questions that no search has seen.
    async fn find(&self, way: &'static str) -> anyhow::Result<Found> {
        let seed_prompt = PromptTemplate::new(SEED_PROMPT);
        let began = Instant::now();
        let (prompt, rollouts) = match way {
            "seed prompt" => (seed_prompt, 0),
            // As many prompts as APO makes.
            "random search" => {
                self.search(RandomSearch::algorithm().n_candidates(8).finalists(2), way)
                    .await?
            }
            "few-shot" => {
                self.search(
                    FewShot::algorithm()
                        .bootstrap_tasks(TRAIN)
                        .max_demonstrations(3)
                        .finalists(2),
                    way,
                )
                .await?
            }
            _ => self.search(apo(), way).await?,
        };
        let wall = began.elapsed();
        let name = format!("{way}, held out");
        let held_out = questions(SEED + 2, HELD_OUT);
        let report = self
            .trainer(measure::algorithm(), &name, &prompt)?
            .fit(write_query::agent(), None, held_out)
            .await?;
        Ok(Found {
            way,
            prompt,
            rollouts,
            wall,
            held_out: report.output,
        })
    }

    async fn search(
        &self,
        algorithm: impl Algorithm<SqlQuestion, Output = OptimizedPrompt>,
        way: &str,
    ) -> anyhow::Result<(PromptTemplate, u64)> {
        let trainer = self.trainer(algorithm, way, &PromptTemplate::new(SEED_PROMPT))?;
        let report = trainer
            .fit(
                write_query::agent(),
                questions(SEED, TRAIN),
                questions(SEED + 1, VAL),
            )
            .await?;
        Ok((report.output.best, report.rollouts.succeeded))
    }
}

/// Two rounds of four prompts each, learnt from 2 × 2 × 4 questions in a round.
fn apo() -> impl Algorithm<SqlQuestion, Output = OptimizedPrompt> {
    Apo::algorithm()
        .beam_width(2)
        .branch_factor(2)
        .beam_rounds(2)
        .val_batch_size(VAL)
}

fn mean(rewards: &[f64]) -> f64 {
    rewards.iter().sum::<f64>() / rewards.len() as f64
}

/// The mean of the differences, and the middle 95 % of it when the questions are drawn anew with replacement.
fn gain(rewards: &[f64], baseline: &[f64]) -> (f64, f64, f64) {
    let differences: Vec<f64> = rewards.iter().zip(baseline).map(|(a, b)| a - b).collect();
    let mut rng = StdRng::seed_from_u64(SEED);
    let mut means: Vec<f64> = (0..10_000)
        .map(|_| {
            let drawn = (0..differences.len()).map(|_| differences[rng.random_range(0..differences.len())]);
            drawn.sum::<f64>() / differences.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    (mean(&differences), means[249], means[9_749])
}

fn tell(all: &[Found]) {
    let questions = questions(SEED + 2, HELD_OUT);
    println!("\nway             held out   gain [95 %]             easy  medium  hard   rollouts  seconds");
    for found in all {
        let (gain, low, high) = gain(&found.held_out, &all[0].held_out);
        let mut by_difficulty: BTreeMap<Difficulty, Vec<f64>> = BTreeMap::new();
        for (question, reward) in questions.iter().zip(&found.held_out) {
            by_difficulty
                .entry(question.difficulty)
                .or_default()
                .push(*reward);
        }
        let of = |difficulty| {
            by_difficulty
                .get(&difficulty)
                .map_or(f64::NAN, |rewards| mean(rewards))
        };
        println!(
            "{:<15} {:>8.2}   {gain:+.2} [{low:+.2}, {high:+.2}]    {:>6.2}  {:>6.2}  {:>4.2}   {:>8}  {:>7.0}",
            found.way,
            mean(&found.held_out),
            of(Difficulty::Easy),
            of(Difficulty::Medium),
            of(Difficulty::Hard),
            found.rollouts,
            found.wall.as_secs_f64(),
        );
    }
    for found in &all[1..] {
        println!("\n{}:\n{}", found.way, found.prompt.template);
    }
}

/// The model that the environment names by this prefix, and the process that serves it, if one does.
async fn model(prefix: &str) -> anyhow::Result<Option<(Arc<dyn ChatModel>, Option<Served>)>> {
    let set = |name: &str| {
        env::var(format!("{prefix}_{name}"))
            .ok()
            .filter(|value| !value.is_empty())
    };
    let (endpoint, served) = match (set("URL"), set("GGUF")) {
        (Some(url), _) => (url, None),
        (None, Some(file)) => {
            let served = Served::start(Path::new(&file)).await?;
            (served.endpoint.clone(), Some(served))
        }
        (None, None) => return Ok(None),
    };
    let llm = Llm::new(
        endpoint.trim_end_matches('/'),
        set("NAME").unwrap_or_else(|| "gguf".to_owned()),
    );
    let llm = match env::var("OPENAI_API_KEY") {
        Ok(key) if served.is_none() => llm.with_api_key(key),
        _ => llm,
    };
    let chat = HttpChat::builder(llm)
        .timeout(Duration::from_secs(600))
        .in_flight(AT_ONCE)
        .build()?;
    Ok(Some((chat.shared(), served)))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = PathBuf::from(
        env::args()
            .nth(1)
            .unwrap_or_else(|| "runs/text_to_sql".to_owned()),
    );
    let (student, critic) = (model("MODEL").await?, model("CRITIC").await?);
    let (students, critics) = (folder.join("student.jsonl"), folder.join("critic.jsonl"));
    if student.is_none() && !students.exists() {
        println!(
            "there is no model and nothing was recorded in {}: set MODEL_GGUF to a file of llama.cpp, or MODEL_URL to an \
             OpenAI-style endpoint",
            folder.display()
        );
        return Ok(());
    }
    std::fs::create_dir_all(&folder).with_context(|| format!("the folder {}", folder.display()))?;
    let asked =
        |which: &Option<(Arc<dyn ChatModel>, Option<Served>)>| which.as_ref().map(|(model, _)| model.clone());
    let critic = asked(&critic).or_else(|| asked(&student));
    let models = Models {
        student: Student(Recorded::new("student", &students, asked(&student))?.shared()),
        critic: Recorded::new("critic", &critics, critic)?.shared(),
        folder: Some(folder),
    };
    let mut all = Vec::new();
    for way in ["seed prompt", "random search", "few-shot", "APO"] {
        all.push(models.find(way).await?);
    }
    tell(&all);
    Ok(())
}

#[cfg(test)]
mod tests {
    use lightning_core::chat::{ChatAnswer, ChatFuture};

    use super::*;

    /// Stands in for both models: it writes the right query if the prompt names SQLite, and it knows that it should.
    struct Simulated(Vec<SqlQuestion>);

    impl ChatModel for Simulated {
        fn complete<'a>(&'a self, request: &'a ChatRequest) -> ChatFuture<'a> {
            let text = request.last_text();
            let answer = match request.role.as_deref() {
                Some("gradient") => "It does not name the database.".to_owned(),
                Some("apply_edit") => {
                    "<prompt>Write a query for SQLite.\n{schema}\n{question}</prompt>".to_owned()
                }
                _ => {
                    let asked = |question: &&SqlQuestion| {
                        text.contains(&question.schema) && text.contains(&question.question)
                    };
                    let known = self.0.iter().find(asked).filter(|_| text.contains("SQLite"));
                    known.map_or_else(|| "I cannot.".to_owned(), |question| question.query.clone())
                }
            };
            Box::pin(async move { Ok(ChatAnswer::text(answer)) })
        }
    }

    fn models(answers: &Path, model: Option<Arc<dyn ChatModel>>) -> Models {
        let recorded = |name, model| {
            Recorded::new(name, &answers.join(format!("{name}.jsonl")), model)
                .unwrap()
                .shared()
        };
        Models {
            student: Student(recorded("student", model.clone())),
            critic: recorded("critic", model),
            folder: None,
        }
    }

    #[tokio::test]
    async fn a_study_is_told_again_without_its_models() -> anyhow::Result<()> {
        let known = [(SEED, TRAIN), (SEED + 1, VAL), (SEED + 2, HELD_OUT)];
        let known = known.map(|(seed, count)| questions(seed, count));
        let simulated = Simulated(known.iter().flat_map(|some| some.iter().cloned()).collect());
        let answers = env::temp_dir().join(format!("lightning-text-to-sql-{}", std::process::id()));
        std::fs::create_dir_all(&answers)?;
        let found = models(&answers, Some(simulated.shared())).find("APO").await?;
        let again = models(&answers, None).find("APO").await?;
        let unknown = models(&answers, None).find("random search").await;
        std::fs::remove_dir_all(&answers)?;
        assert_eq!(mean(&found.held_out), 1.0, "{}", found.prompt.template);
        assert_eq!((again.prompt, again.held_out), (found.prompt, found.held_out));
        assert!(unknown.is_err(), "what was never asked is not made up");
        Ok(())
    }

    #[test]
    fn gains_are_of_pairs() {
        let (gained, low, high) = gain(&[1.0, 1.0, 0.0, 1.0], &[1.0, 0.0, 0.0, 1.0]);
        assert_eq!(gained, 0.25);
        assert!(low >= 0.0 && high <= 1.0 && low < gained && gained < high);
        assert_eq!(gain(&[1.0, 0.0], &[1.0, 0.0]), (0.0, 0.0, 0.0));
    }
}
