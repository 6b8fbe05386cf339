/// Tries each prompt of a list and keeps the best.
#[algo(version = "2")]
#[allow(clippy::too_many_arguments, reason = "shown")]
pub async fn select_prompt(
    store: Arc<dyn Store>,
    train_dataset: Dataset<Question>,
    val_dataset: Option<&[Question]>,
    #[inject] limits: Limits,
    #[inject(Judge)] judge: Option<&dyn JudgeModel>,
    #[param] rate: f64,
    #[param(default = 3)] repeats: usize,
    #[param(default = "mean")] metric: String,
    #[param(default)] seeds: Vec<u64>,
) -> anyhow::Result<PromptTemplate> {
    todo!()
}
