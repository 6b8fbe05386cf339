#[algo]
async fn firsts<'a, T, const N: usize>(train_dataset: &'a [T], #[param(default = N)] limit: usize) -> Vec<T>
where
    T: Task + 'a,
{
    train_dataset.iter().take(limit).cloned().collect()
}
