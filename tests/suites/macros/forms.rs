//! The forms that a function may have.

use lightning_core::{agent::RolloutResult, prelude::*, store::MemoryStore, types::NewRollout};
use serde_json::json;

use super::{Question, everything, questions};

/// The documentation of the function.
#[algo]
pub async fn ping(store: Arc<dyn Store>) -> anyhow::Result<String> {
    let rollout = store
        .enqueue_rollout(NewRollout::new(json!({"text": "ping"})))
        .await?;
    Ok(rollout.rollout_id.to_string())
}

#[algo]
async fn nothing() {}

/// Borrowed parameters, elided.
#[algo]
async fn borrowed(
    store: &dyn Store,
    train_dataset: &[Question],
    val_dataset: Option<&Dataset<Question>>,
) -> usize {
    let _ = store;
    train_dataset.len() + val_dataset.map_or(0, |tasks| tasks.len())
}

/// Borrowed parameters with named lifetimes, a type and a constant as generics, and a `where` clause.
#[algo]
async fn firsts<'a, T, const N: usize>(
    store: &'a dyn Store,
    train_dataset: &'a [T],
    #[param(default = N)] limit: usize,
) -> Vec<T>
where
    T: Task + 'a,
{
    let _ = store;
    train_dataset.iter().take(N.min(limit)).cloned().collect()
}

#[algo]
async fn count<T: Task>(train_dataset: Arc<[T]>) -> usize {
    train_dataset.len()
}

type Train = Dataset<Question>;
type Fallible<T> = Result<T, anyhow::Error>;

#[algo]
async fn aliased(train_dataset: Train) -> Fallible<usize> {
    Ok(train_dataset.len())
}

#[algo]
fn synchronous(
    store: Arc<dyn Store>,
    train_dataset: Arc<[Question]>,
    #[param(default = 2)] factor: usize,
) -> Result<usize, std::io::Error> {
    let runtime = tokio::runtime::Handle::current();
    for task in train_dataset.iter() {
        let task = serde_json::to_value(task)?;
        // Only a thread that may block may do this.
        runtime
            .block_on(store.enqueue_rollout(NewRollout::new(task)))
            .map_err(std::io::Error::other)?;
    }
    Ok(train_dataset.len() * factor)
}

#[algo]
fn panics() -> u8 {
    panic!("out of ideas")
}

#[algo]
async fn fails() -> Result<(), std::num::ParseIntError> {
    "x".parse::<u8>().map(|_| ())
}

#[algo(handle = Renamed, version = "2")]
async fn renamed() -> Result<(), std::io::Error> {
    Ok(())
}

#[cfg(any())]
#[algo]
async fn left_out_before(nonsense: Nonsense) {}

#[algo]
#[cfg(any())]
async fn left_out_after(store: Nonsense) {}

#[algo]
#[cfg(not(any()))]
async fn kept() -> u8 {
    1
}

#[deprecated]
#[algo]
async fn old() {}

#[algo]
async fn r#match() -> u8 {
    1
}

#[algo]
async fn prefixed(_store: Arc<dyn Store>, mut train_dataset: Option<Dataset<Question>>) -> bool {
    train_dataset.take().is_some()
}

mod inner {
    use super::*;

    #[algo]
    pub async fn exported(#[param(default = 1)] hidden: usize) -> usize {
        hidden
    }

    pub mod same_name {
        use super::*;

        #[algo(handle = SameName)]
        pub(crate) async fn same_name() -> u8 {
            1
        }

        #[algo]
        pub(in super::super) async fn scoped(#[param(default = 1)] n: usize) -> usize {
            n
        }
    }
}

use inner::exported;
// The function has the name of its module, which is why its type has another.
use inner::same_name;

/// Another name for the crate, as a crate that re-exports it has it.
mod facade {
    pub use lightning_core as toolkit;
}

#[facade::toolkit::algo(crate = crate::forms::facade::toolkit)]
async fn under_another_name(#[param(default = 1)] n: u8) -> u8 {
    n
}

#[facade::toolkit::rollout(crate = crate::forms::facade::toolkit)]
async fn agent_under_another_name(task: Question) -> f64 {
    task.text.len() as f64
}

#[derive(Clone, facade::toolkit::Inject)]
#[inject(crate = crate::forms::facade::toolkit)]
struct Limit(u8);

#[facade::toolkit::algo(crate = crate::forms::facade::toolkit)]
async fn limited(#[inject] limit: Limit) -> u8 {
    limit.0
}

macro_rules! make {
    ($name:ident, $data:ty, $output:ty) => {
        #[algo]
        async fn $name(train_dataset: $data) -> $output {
            let _ = &train_dataset;
            Ok(Default::default())
        }
    };
}

make!(made, Dataset<Question>, anyhow::Result<u8>);

/// Runs an algorithm with everything there is.
async fn run<O>(algorithm: impl Algorithm<Question, Output = O>) -> anyhow::Result<O> {
    algorithm.check(&everything())?;
    algorithm.run(&everything()).await
}

#[tokio::test]
async fn every_form_runs() -> anyhow::Result<()> {
    run(nothing::algorithm()).await?;
    assert!(run(ping::algorithm()).await?.starts_with("ro-"));
    assert_eq!(run(borrowed::algorithm()).await?, 3);
    assert_eq!(
        run(firsts::<_, 1>::algorithm()).await?,
        [Question { text: "a".into() }]
    );
    assert!(run(firsts::<Question, 2>::algorithm().limit(0)).await?.is_empty());
    assert_eq!(run(count::algorithm()).await?, 2);
    assert_eq!(run(count::<Question>::algorithm()).await?, 2);
    assert_eq!(run(aliased::algorithm()).await?, 2);
    assert_eq!(run(synchronous::algorithm()).await?, 4);
    run(Renamed::algorithm()).await?;
    assert_eq!(run(kept::algorithm()).await?, 1);
    assert_eq!(run(r#match::algorithm()).await?, 1);
    assert!(run(prefixed::algorithm()).await?);
    assert_eq!(run(exported::algorithm().hidden(3)).await?, 3);
    assert_eq!(run(same_name::SameName::algorithm()).await?, 1);
    assert_eq!(run(same_name::scoped::algorithm()).await?, 1);
    assert_eq!(run(under_another_name::algorithm().n(2)).await?, 2);
    assert_eq!(run(made::algorithm()).await?, 0);
    let limited = limited::algorithm();
    assert_eq!(limited.run(&everything().with_extension(Limit(9))).await?, 9);
    #[expect(deprecated, reason = "this is the point")]
    run(old::algorithm()).await?;
    let result = agent_under_another_name::agent()
        .rollout(&Question { text: "abc".into() }, &RolloutContext::for_test())
        .await?;
    assert_eq!(result, RolloutResult::Reward(3.0.into()));
    Ok(())
}

#[tokio::test]
async fn a_function_inside_a_function_is_an_algorithm_with_a_name_that_may_be_shadowed() -> anyhow::Result<()>
{
    #[derive(serde::Serialize)]
    struct Local(u8);

    #[algo]
    async fn local(_train_dataset: Option<Dataset<Question>>, #[param(default = 3)] n: u8) -> Local {
        Local(n)
    }

    assert_eq!(run(local::algorithm().n(5)).await?.0, 5);
    let local = local(None, 2).await;
    assert_eq!(local.0, 2);
    Ok(())
}

#[tokio::test]
async fn the_function_stays_an_ordinary_function() -> anyhow::Result<()> {
    let store = MemoryStore::new();
    let data = questions(["a", "b", "c"]);
    assert_eq!(borrowed(&store, &data, None).await, 3);
    assert_eq!(firsts::<_, 2>(&store, &data, 9).await.len(), 2);
    assert_eq!(r#match().await, 1);

    let shared: Arc<dyn Store> = Arc::new(store.clone());
    let id = ping(shared).await?;
    let claimed = store
        .dequeue_rollout(None)
        .await?
        .expect("the algorithm enqueued one");
    assert_eq!(claimed.rollout_id, id.as_str());
    assert_eq!(*claimed.input, json!({"text": "ping"}));
    Ok(())
}

#[tokio::test]
async fn algorithms_compose_as_trait_objects() -> anyhow::Result<()> {
    let all: Vec<Arc<dyn Algorithm<Question, Output = usize>>> = vec![
        Arc::new(count::algorithm()),
        Arc::new(count::<Question>::algorithm()),
        Arc::new(borrowed::algorithm()),
    ];
    let mut outputs = Vec::new();
    for algorithm in all {
        outputs.push(run(algorithm).await?);
    }
    assert_eq!(outputs, [2, 2, 3]);
    let for_strings: Arc<dyn Algorithm<String, Output = String>> = Arc::new(ping::algorithm());
    assert_eq!(for_strings.name(), "ping");
    Ok(())
}

#[tokio::test]
async fn name_version_and_requirements_are_those_of_the_function() {
    fn of<A: Algorithm<Question>>(algorithm: &A) -> (String, String) {
        (algorithm.name().into_owned(), algorithm.version().to_owned())
    }
    assert_eq!(of(&Renamed::algorithm()), ("renamed".into(), "2".into()));
    assert_eq!(of(&r#match::algorithm()), ("match".into(), "1".into()));

    let requirements = Algorithm::<Question>::requirements(&prefixed::algorithm()).expect("generated");
    let read: Vec<_> = requirements
        .iter()
        .map(|one| (one.parameter, one.slot, one.ty, one.optional))
        .collect();
    assert_eq!(
        read,
        [
            ("store", "store", "Arc<dyn Store>", false),
            (
                "train_dataset",
                "train_dataset",
                "Option<Dataset<Question>>",
                true
            ),
        ]
    );
}

#[tokio::test]
async fn an_error_of_the_function_is_the_error_of_the_run() {
    let error = run(fails::algorithm()).await.expect_err("it fails");
    assert!(error.downcast_ref::<std::num::ParseIntError>().is_some());
}

#[tokio::test]
async fn a_panic_of_a_synchronous_function_is_a_panic_of_the_run() {
    let run = tokio::spawn(run(panics::algorithm()));
    let panic = run.await.expect_err("it panics").into_panic();
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"out of ideas"));
}

#[test]
fn a_synchronous_function_without_a_runtime_is_an_error_and_no_panic() {
    let mut run = Box::pin(run(panics::algorithm()));
    let mut waker = std::task::Context::from_waker(std::task::Waker::noop());
    let std::task::Poll::Ready(Err(error)) = run.as_mut().poll(&mut waker) else {
        panic!("there is no runtime");
    };
    assert!(error.to_string().contains("no Tokio runtime"), "{error}");
}
