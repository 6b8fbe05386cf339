//! What the slots of `#[algo]` hand over, and what is said when they cannot.

use lightning_core::{
    algorithm::{AlgoFuture, MissingDependency},
    prelude::*,
    types::Span,
};

use super::{Count, Question, everything, questions};

fn one_span() -> [Span; 1] {
    [Span::new("ro-1", "at-1", 1, "t", "s", "step")]
}

#[algo]
async fn dynamic(adapter: Arc<dyn TraceAdapter<Output = usize>>) -> anyhow::Result<usize> {
    Ok(adapter.adapt(&one_span())?)
}

#[algo]
async fn dynamic_borrowed(adapter: &dyn TraceAdapter<Output = usize>) -> anyhow::Result<usize> {
    Ok(adapter.adapt(&one_span())?)
}

#[algo]
async fn concrete(adapter: Count) -> anyhow::Result<usize> {
    Ok(adapter.adapt(&one_span())?)
}

#[algo]
async fn concrete_shared(adapter: Arc<Count>) -> anyhow::Result<usize> {
    Ok(adapter.adapt(&one_span())?)
}

#[algo]
async fn generic<A: TraceAdapter<Output = usize> + Clone>(adapter: A) -> anyhow::Result<usize> {
    Ok(adapter.adapt(&one_span())?)
}

#[algo]
async fn optional(
    adapter: Option<Arc<dyn TraceAdapter<Output = usize>>>,
    llm_proxy: Option<&LlmProxy>,
    initial_resources: Option<&NamedResources>,
    run: Option<RunContext>,
    store: Option<&dyn Store>,
    val_dataset: Option<&[Question]>,
) -> usize {
    [
        adapter.is_some(),
        llm_proxy.is_some(),
        initial_resources.is_some(),
        run.is_some(),
        store.is_some(),
        val_dataset.is_some(),
    ]
    .into_iter()
    .filter(|is| *is)
    .count()
}

#[algo]
async fn mistaken(
    adapter: Option<Arc<dyn TraceAdapter<Output = String>>>,
    llm_proxy: LlmProxy,
    train_dataset: Dataset<Question>,
) {
    drop((adapter, llm_proxy, train_dataset));
}

async fn run<O>(algorithm: impl Algorithm<Question, Output = O>) -> anyhow::Result<O> {
    algorithm.run(&everything()).await
}

#[tokio::test]
async fn an_adapter_comes_in_its_own_type_or_as_a_trait_object() -> anyhow::Result<()> {
    assert_eq!(run(dynamic::algorithm()).await?, 1);
    assert_eq!(run(dynamic_borrowed::algorithm()).await?, 1);
    assert_eq!(run(concrete::algorithm()).await?, 1);
    assert_eq!(run(concrete_shared::algorithm()).await?, 1);
    assert_eq!(run(generic::<Count>::algorithm()).await?, 1);

    let unnamed: Arc<dyn TraceAdapter<Output = usize>> = Arc::new(Count);
    let cx = AlgorithmContext::<Question>::for_test().with_dyn_adapter(unnamed);
    assert_eq!(dynamic::algorithm().run(&cx).await?, 1);
    assert!(concrete::algorithm().run(&cx).await.is_err());
    Ok(())
}

#[tokio::test]
async fn what_is_optional_may_be_missing() -> anyhow::Result<()> {
    assert_eq!(run(optional::algorithm()).await?, 6);
    let nothing = AlgorithmContext::<Question>::new(Default::default());
    optional::algorithm().check(&nothing)?;
    assert_eq!(optional::algorithm().run(&nothing).await?, 0);
    Ok(())
}

#[tokio::test]
async fn everything_that_is_missing_is_said_at_once_and_an_option_does_not_hide_a_wrong_type() {
    let cx = AlgorithmContext::<Question>::for_test().with_adapter(Count);
    let checked = mistaken::algorithm()
        .check(&cx)
        .expect_err("three things are wrong")
        .to_string();
    assert_eq!(
        checked,
        "parameter `adapter`: the `adapter` that was given is a `macros::Count`, but a `dyn \
         lightning_core::adapter::TraceAdapter<Output = alloc::string::String>` is needed; \
         parameter `llm_proxy`: no `llm_proxy` was given: `Trainer::builder().llm_proxy(..)` gives one; \
         parameter `train_dataset`: no `train_dataset` was given: give `fit` a training dataset"
    );
    let ran = mistaken::algorithm().run(&cx).await.expect_err("the same");
    assert_eq!(ran.to_string(), checked);
}

/// Asks its context, as an algorithm that is written by hand does.
struct ByHand;

impl<T: Task> Algorithm<T> for ByHand {
    type Output = usize;

    fn run<'a>(&'a self, cx: &'a AlgorithmContext<T>) -> AlgoFuture<'a, usize> {
        Box::pin(async move {
            cx.store()?;
            cx.run()?;
            cx.initial_resources()?;
            let adapter = cx.adapter::<usize>()?;
            Ok(adapter.adapt(&one_span())? + cx.train_dataset().map_or(0, |tasks| tasks.len()))
        })
    }
}

#[tokio::test]
async fn an_algorithm_written_by_hand_asks_its_context() -> anyhow::Result<()> {
    assert_eq!(run(ByHand).await?, 3);

    let cx = AlgorithmContext::<Question>::for_test().with_train_dataset(questions(["a"]));
    let missing = ByHand.run(&cx).await.expect_err("there are no resources");
    assert_eq!(
        missing.to_string(),
        "the algorithm asked for `initial_resources`, but there is none: \
         `Trainer::builder().initial_resources(..)` gives them; in a test, \
         `AlgorithmContext::for_test().with_initial_resources(..)`"
    );
    assert!(missing.downcast_ref::<MissingDependency>().is_some());
    assert_eq!(cx.trainer().err(), Some(MissingDependency::Trainer));
    let wrong = everything()
        .adapter::<String>()
        .map(|_| ())
        .expect_err("it counts");
    assert!(
        matches!(wrong, MissingDependency::WrongType { slot: "adapter", .. }),
        "{wrong}"
    );
    Ok(())
}
