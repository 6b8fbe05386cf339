//! Types that cannot be tasks.
#![allow(unused, reason = "only the errors matter")]

use lightning_core::prelude::*;

struct NotSerde;

#[algo]
async fn concrete(train_dataset: Dataset<NotSerde>) {}

#[algo]
async fn generic<T>(train_dataset: Dataset<T>) {}

#[algo]
async fn bounded<T: PartialEq>(train_dataset: Dataset<T>) {}

#[algo]
async fn in_the_clause<T>(train_dataset: Dataset<T>)
where
    T: PartialEq,
{
}

#[algo]
async fn two(train_dataset: Dataset<String>, val_dataset: Option<Dataset<u8>>) {}

#[rollout]
async fn by_value(task: NotSerde) {}

#[rollout]
async fn by_reference(task: &NotSerde) {}

#[rollout]
async fn text(task: &str) {}

#[rollout]
async fn slice(task: &[String]) {}

fn main() {}
