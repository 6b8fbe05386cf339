//! What a user's program with run files looks like, for the suite `run_files`: the program `lightning` with an algorithm and
//! agents of its own. `lightning_with_agents work` is a runner, as a run file starts it.

use std::process::ExitCode;

use lightning_core::{
    chat::{ChatModel as _, ChatRequest, Message},
    client::StoreClient,
    config::Setup,
    prelude::*,
    registry::Registry,
    runner::{Runner, StopSignal},
    types::{NewRollout, RolloutMode, final_reward},
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Question {
    text: String,
    answer: f64,
}

/// Is right if the prompt says so.
#[rollout]
async fn answer(
    task: &Question,
    prompt_template: &PromptTemplate,
    #[inject] bonus: Bonus,
    #[param(default = 0.0)] error: f64,
) -> anyhow::Result<f64> {
    anyhow::ensure!(!task.text.contains("broken"), "this question is broken");
    let told = prompt_template.template.contains("exactly");
    Ok(if told { task.answer - error + bonus.0 } else { 0.0 })
}

/// Asks the model, whatever the task is.
#[rollout]
async fn ask(task: &Question, llm: Llm) -> anyhow::Result<f64> {
    let answer = llm
        .chat()?
        .ask(&ChatRequest::new([Message::user(&task.text)]))
        .await?;
    Ok(answer.text.len() as f64)
}

#[derive(Clone, Inject)]
struct Bonus(f64);

/// Runs every task `times` times and adds the rewards up.
#[algo]
async fn add_up(
    run: RunContext,
    store: Arc<dyn Store>,
    train_dataset: Dataset<Question>,
    #[param(default = 1)] times: usize,
    #[param(default)] label: Option<String>,
) -> anyhow::Result<serde_json::Value> {
    let mut sum = 0.0;
    let mut rounds = 0;
    while rounds < times && run.should_stop().is_none() {
        for task in &train_dataset {
            let new = NewRollout::new(serde_json::to_value(task)?).mode(RolloutMode::Train);
            let made = store.enqueue_rollout(new).await?;
            store
                .wait_for_rollouts(std::slice::from_ref(&made.rollout_id), None)
                .await?;
            let spans = store
                .query_spans(lightning_core::types::SpanQuery::of(made.rollout_id))
                .await?;
            sum += final_reward(&spans.items).map_or(0.0, |reward| reward.primary());
        }
        rounds += 1;
    }
    Ok(serde_json::json!({"sum": sum, "rounds": rounds, "label": label}))
}

fn main() -> ExitCode {
    match std::env::args().nth(1).as_deref() {
        Some("work") => work(),
        Some("fail") => {
            eprintln!("the model is not there");
            ExitCode::from(3)
        }
        Some("quit") => ExitCode::SUCCESS,
        _ => {
            let registry = Registry::shipped()
                .algorithm(add_up::algorithm())
                .agent(answer::agent())
                .agent(ask::agent());
            let setup = Setup::new(registry).trainer(|trainer| trainer.extension(Bonus(0.0)));
            lightning_core::cli::main_with(setup)
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn work() -> ExitCode {
    let variable = |name| std::env::var(name).unwrap();
    println!(
        "worker {} begins, {}",
        variable("LIGHTNING_WORKER"),
        std::env::var("GREETING").unwrap_or_default()
    );
    let store = StoreClient::connect(&variable("LIGHTNING_STORE")).await.unwrap();
    let scope = lightning_core::inject::Scope::new().with_extension(Bonus(1.0));
    let runner = Runner::builder(answer::agent(), Arc::new(store))
        .extensions(&scope)
        .build();
    runner.iter(&StopSignal::new()).await.unwrap();
    ExitCode::SUCCESS
}
