//! Every subset of the slots of `#[algo]` is a function that compiles and gets exactly what it asks for.

use futures::future::BoxFuture;
use lightning_core::{inject::Requirement, prelude::*};

use super::{Question, everything};

/// What came of one subset.
struct Subset {
    slots: &'static [&'static str],
    requirements: Option<&'static [Requirement]>,
    ran: anyhow::Result<Vec<&'static str>>,
    refused: Option<String>,
}

type Collected = Vec<BoxFuture<'static, Subset>>;

/// Makes a function of each subset: for each slot a module with it and one without.
macro_rules! subsets {
    ([$($slot:ident: $ty:ty,)*]) => {
        use super::*;

        #[algo]
        async fn subset($($slot: $ty),*) -> Vec<&'static str> {
            $(let _: $ty = $slot;)*
            vec![$(stringify!($slot)),*]
        }

        pub(super) fn collect(all: &mut Collected) {
            all.push(Box::pin(async {
                let algorithm: Arc<dyn Algorithm<Question, Output = Vec<&'static str>>> = Arc::new(subset::algorithm());
                let (full, empty) = (everything(), AlgorithmContext::new(Default::default()));
                Subset {
                    slots: &[$(stringify!($slot)),*],
                    requirements: algorithm.requirements(),
                    ran: algorithm.run(&full).await,
                    refused: algorithm.check(&empty).err().map(|missing| missing.to_string()),
                }
            }));
        }
    };
    ([$($taken:tt)*] $slot:ident: $ty:ty, $($rest:tt)*) => {
        use super::*;

        mod with {
            subsets!([$($taken)* $slot: $ty,] $($rest)*);
        }

        mod without {
            subsets!([$($taken)*] $($rest)*);
        }

        pub(super) fn collect(all: &mut Collected) {
            with::collect(all);
            without::collect(all);
        }
    };
}

mod all {
    subsets!([]
        store: Arc<dyn Store>,
        adapter: Arc<dyn TraceAdapter<Output = usize>>,
        llm_proxy: LlmProxy,
        initial_resources: NamedResources,
        train_dataset: Dataset<Question>,
        val_dataset: Dataset<Question>,
    );
}

#[tokio::test]
async fn every_subset_gets_what_it_asks_for_and_misses_the_rest() {
    let mut subsets = Vec::new();
    all::collect(&mut subsets);
    assert_eq!(subsets.len(), 64);
    for subset in futures::future::join_all(subsets).await {
        let asked: Vec<&str> = subset
            .requirements
            .expect("a function always says what it asks for")
            .iter()
            .map(|requirement| requirement.slot)
            .collect();
        assert_eq!(asked, subset.slots);
        assert_eq!(subset.ran.expect("everything is there"), subset.slots);
        let refused = subset.refused.unwrap_or_default();
        assert_eq!(
            refused.matches("parameter `").count(),
            subset.slots.len(),
            "{refused}"
        );
        for slot in subset.slots {
            assert!(
                refused.contains(&format!("parameter `{slot}`: no `{slot}` was given")),
                "{refused}"
            );
        }
    }
}
