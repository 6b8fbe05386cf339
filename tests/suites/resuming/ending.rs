//! What is cleaned up, and who is told, when a run ends.

use std::{
    path::Path,
    sync::{Arc, Mutex},
};

use lightning_core::{
    agent::agent_fn,
    prelude::*,
    run::RunEnding,
    store::{MemoryStore, Store},
    trainer::RunFailure,
};
use lightning_tests::scratch::Scratch;
use serde_json::json;

use super::soon;

#[derive(Clone, Default, Inject)]
struct Notes {
    end_as: &'static str,
    said: Arc<Mutex<Vec<String>>>,
}

/// Leaves things behind, and ends as it is told.
#[algo]
async fn ends(run: RunContext, #[inject] notes: Notes) -> anyhow::Result<u64> {
    std::fs::write(run.temp_dir()?.join("large"), "x")?;
    for name in ["first", "last"] {
        let said = Arc::clone(&notes.said);
        run.on_exit(move |ending| said.lock().unwrap().push(format!("{name} {ending:?}")));
    }
    run.checkpoint().save(&json!({"round": 3})).await?;
    run.report_score(0.5);
    match notes.end_as {
        "error" => anyhow::bail!("out of paper"),
        "panic" => panic!("out of ink"),
        "never" => std::future::pending().await,
        _ => Ok(1),
    }
}

fn trainer(folder: &Path, notes: &Notes) -> Trainer<String, u64> {
    let failed = Arc::clone(&notes.said);
    Trainer::builder()
        .quiet()
        .algorithm(ends::algorithm())
        .extension(notes.clone())
        .store(Arc::new(MemoryStore::new()) as Arc<dyn Store>)
        .on_failure(|_| panic!("who fails to say so hurts nobody"))
        .on_failure(move |failure: &RunFailure| {
            let (state, scores) = (failure.state.clone().unwrap(), failure.run.metrics().len());
            let line = format!("{} at {state} after {scores} score", failure.error);
            failed.lock().unwrap().push(line);
        })
        .run_dir(folder)
        .build()
        .unwrap()
}

#[tokio::test]
async fn whatever_the_end_is_it_is_cleaned_up_after() {
    let scratch = Scratch::fast();
    let agent = || agent_fn(|_: String, _| async { 1.0 });
    for (end_as, ending) in [
        ("success", "Succeeded".to_owned()),
        (
            "error",
            "Failed(\"the algorithm `ends` failed: out of paper\")".to_owned(),
        ),
        (
            "panic",
            "Failed(\"the algorithm `ends` panicked: out of ink\")".to_owned(),
        ),
        ("never", format!("{:?}", RunEnding::Dropped)),
    ] {
        let (folder, notes) = (
            scratch.path(end_as),
            Notes {
                end_as,
                ..Notes::default()
            },
        );
        let trainer = trainer(&folder, &notes);
        let mut fit = trainer.fit(agent(), None, None);
        if end_as == "never" {
            let written = folder.join("metrics.jsonl");
            soon(std::future::poll_fn(|cx| {
                let _ = std::pin::Pin::new(&mut fit).poll(cx);
                cx.waker().wake_by_ref();
                if written.exists() {
                    std::task::Poll::Ready(())
                } else {
                    std::task::Poll::Pending
                }
            }))
            .await;
            drop(fit);
        } else {
            let _ = soon(fit).await;
        }
        assert!(
            folder.join("checkpoint.json").exists() && !folder.join("tmp").exists(),
            "{end_as}"
        );
        let said = notes.said.lock().unwrap();
        assert_eq!(said[..2], [format!("last {ending}"), format!("first {ending}")]);
        let told: Vec<&String> = said[2..].iter().collect();
        match end_as {
            "error" => assert_eq!(
                told,
                ["the algorithm `ends` failed: out of paper at {\"round\":3} after 1 score"]
            ),
            "panic" => assert!(told.len() == 1 && told[0].contains("out of ink"), "{told:?}"),
            _ => assert!(told.is_empty(), "{told:?}"),
        }
    }
}

#[tokio::test]
async fn what_a_killed_run_left_in_its_temporary_folder_goes_when_it_is_resumed() {
    let scratch = Scratch::fast();
    let folder = scratch.path("run");
    std::fs::create_dir_all(folder.join("tmp/deep")).unwrap();
    std::fs::write(folder.join("tmp/deep/left"), "x").unwrap();
    let notes = Notes {
        end_as: "error",
        ..Notes::default()
    };
    let seen = Arc::new(Mutex::new(None));
    let (sees, path) = (Arc::clone(&seen), folder.join("tmp/deep"));
    let trainer = Trainer::builder()
        .quiet()
        .algorithm(ends::algorithm())
        .extension(notes)
        .on_failure(move |_| *sees.lock().unwrap() = Some(path.exists()))
        .run_dir(&folder)
        .build()
        .unwrap();
    soon(trainer.fit(agent_fn(|_: String, _| async { 1.0 }), None, None))
        .await
        .unwrap_err();
    assert_eq!(*seen.lock().unwrap(), Some(false));
}
