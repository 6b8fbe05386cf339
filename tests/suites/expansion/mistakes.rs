#[algo]
async fn tune(stroe: Arc<dyn Store>, train_dataset: Dataset<Question>, #[param] rate: &str) -> impl Serialize {
    rate.len()
}
