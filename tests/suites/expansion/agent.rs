/// Answers.
#[rollout]
pub(crate) async fn answer(
    task: &Question,
    prompt_template: PromptTemplate,
    llm: Option<Llm>,
    #[param(default = 0.5)] temperature: f64,
) -> anyhow::Result<f64> {
    todo!()
}

#[rollout]
fn blocking(task: &Question, rollout: Rollout) -> Reward {
    todo!()
}

#[rollout]
async fn any_task() {}
