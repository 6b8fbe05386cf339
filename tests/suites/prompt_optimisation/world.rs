//! A small world in which better prompts can be found: a simulated model that does what the prompt tells it, and one that
//! criticises and edits. All answers depend on the request alone.
//!
//! A task is a skill. The model has it if the prompt says `rule <skill>.`

use std::{collections::BTreeSet, path::PathBuf, sync::Arc, time::Duration};

use lightning_core::{
    algorithm::{AlgoOutput, Algorithm},
    chat::{ChatModel, ChatRequest, HttpChat, Message},
    prelude::*,
    run::{Metric, StopWhen},
    store::MemoryStore,
    testing::llm::{ReceivedRequest, Reply, ScriptedLlm},
    trainer::{FitReport, TrainerBuilder, TrainerError, With},
};
use serde_json::json;

/// What the search begins with.
pub const SEED: &str = "Do {task}. Keep {{braces}}.";

/// What can be told apart in training and in validation.
pub const SKILLS: [&str; 6] = ["dates", "units", "names", "sums", "dots", "signs"];

/// Turns a hang into a failure.
pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

/// Does a task as the prompt says, by asking the model. Right or wrong.
#[rollout]
pub async fn work(
    task: &String,
    prompt_template: &PromptTemplate,
    #[inject] model: Arc<dyn ChatModel>,
) -> anyhow::Result<f64> {
    let prompt = prompt_template.render(&json!({ "task": task }))?;
    let answer = model.ask(&ChatRequest::new([Message::user(prompt)])).await?;
    Ok(f64::from(u8::from(answer.text == "right")))
}

pub fn train() -> Dataset<String> {
    (0..24)
        .map(|index| SKILLS[index % SKILLS.len()].to_owned())
        .collect()
}

pub fn val() -> Dataset<String> {
    (0..12)
        .map(|index| SKILLS[index % SKILLS.len()].to_owned())
        .collect()
}

/// The simulated models: `critic`, `editor`, `author`, and the worker under any other name.
pub fn answer(request: &ReceivedRequest) -> Reply {
    let text = request.last_message();
    Reply::text(match request.model() {
        "critic" => criticise(&text),
        "editor" => edit(&text),
        "author" => propose(&text),
        _ => do_task(&text),
    })
}

fn do_task(prompt: &str) -> String {
    let told = SKILLS
        .iter()
        .filter(|skill| prompt.contains(&format!("Do {skill}.")))
        .any(|skill| prompt.contains(&format!("rule {skill}.")));
    if told { "right" } else { "wrong" }.to_owned()
}

/// Names the first task that went wrong.
fn criticise(text: &str) -> String {
    let wrong = text.split("--- example ").skip(1).find_map(|example| {
        let task = example.lines().find_map(|line| line.strip_prefix("task: "))?;
        example.contains("outcome: reward 0").then_some(task)
    });
    wrong.map_or_else(
        || "All is well.".to_owned(),
        |task| format!("It lacks a rule on <{task}>."),
    )
}

/// The template within a request.
fn template(text: &str) -> &str {
    let (_, rest) = text.split_once("<template>\n").unwrap();
    rest.split_once("\n</template>").unwrap().0
}

/// Adds the rule that the critique misses. Prompts that speak of `names` it spoils by losing the placeholder; those that lack
/// nothing it leaves as they are.
fn edit(text: &str) -> String {
    let template = template(text);
    let Some((_, rest)) = text.split_once("a rule on <") else {
        return format!("<prompt>{template}</prompt>");
    };
    let skill = rest.split_once('>').unwrap().0;
    let template = if skill == "names" {
        template.replace("{task}", "the task")
    } else {
        template.to_owned()
    };
    format!("Well.\n<prompt>{template} rule {skill}.</prompt>")
}

/// Makes up rules on the first two tasks that it is shown.
fn propose(text: &str) -> String {
    let shown: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("- "))
        .take(2)
        .collect();
    let rules: String = shown.iter().map(|skill| format!(" rule {skill}.")).collect();
    format!("<prompt>{}{rules}</prompt>", template(text))
}

/// A run of an algorithm in this world.
pub struct Run {
    pub n_runners: usize,
    pub seed: u64,
    pub folder: Option<PathBuf>,
    pub stop_when: StopWhen,
    pub store: Arc<dyn Store>,
}

impl Default for Run {
    fn default() -> Self {
        Self {
            n_runners: 4,
            seed: 1,
            folder: None,
            stop_when: StopWhen::never(),
            store: Arc::new(MemoryStore::new()),
        }
    }
}

impl Run {
    /// A trainer with the models of a server.
    pub fn trainer<O: AlgoOutput>(
        self,
        algorithm: impl Algorithm<String, Output = O>,
        model: Arc<dyn ChatModel>,
    ) -> TrainerBuilder<With<String, O>> {
        let builder = Trainer::builder()
            .quiet()
            .algorithm(algorithm)
            .extension(model)
            .initial_resources(NamedResources::new().with("prompt", PromptTemplate::new(SEED)))
            .store(self.store)
            .seed(self.seed)
            .stop_when(self.stop_when)
            .n_runners(self.n_runners);
        match self.folder {
            Some(folder) => builder.run_dir(folder),
            None => builder,
        }
    }

    /// Runs the algorithm against the server's models.
    pub async fn fit<O: AlgoOutput>(
        self,
        algorithm: impl Algorithm<String, Output = O>,
        server: &ScriptedLlm,
    ) -> Result<FitReport<O>, TrainerError> {
        let trainer = self.trainer(algorithm, model(server)).build().unwrap();
        soon(trainer.fit(work::agent(), train(), val())).await
    }
}

pub fn server() -> ScriptedLlm {
    ScriptedLlm::start(answer).unwrap()
}

pub fn model(server: &ScriptedLlm) -> Arc<dyn ChatModel> {
    HttpChat::new(server.llm("worker")).unwrap().shared()
}

/// The metrics but for their times.
pub fn without_times(metrics: &[Metric]) -> Vec<(String, u64, f64)> {
    metrics
        .iter()
        .map(|metric| (metric.name.clone(), metric.step, metric.value))
        .collect()
}

/// A folder that goes with the value.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("lightning-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
