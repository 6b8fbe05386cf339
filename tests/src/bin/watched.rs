//! A program whose logs and progress the suite `terminal` watches: `watched SCENARIO`.

use std::{error::Error, sync::Arc, time::Duration};

use lightning_core::{
    clock::SystemClock,
    ids::RandomIds,
    logging::{self, Logging},
    run::RunContext,
    store::{MemoryStore, Store},
    terminal::{Screen, TerminalProgress},
    tracer::{Recording, RecordingOptions},
    types::{NewRollout, SpanQuery},
};
use tracing::{Instrument as _, debug, info, info_span, warn};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    match std::env::args().nth(1).as_deref() {
        Some("logs") => logs().await,
        Some("twice") => {
            logging::init()?;
            Ok(logging::init()?)
        }
        Some("foreign") => {
            tracing::subscriber::set_global_default(tracing_subscriber::registry())?;
            Ok(logging::init()?)
        }
        Some("bars") => bars().await,
        _ => Err("which scenario? logs, twice, foreign, bars".into()),
    }
}

/// Logs, and an agent that makes spans. Says on standard output what became of these.
async fn logs() -> Result<(), Box<dyn Error>> {
    logging::init()?;
    warn!(target: "lightning::runner", worker_id = "w-1", error = "not found", "the attempt failed");
    info!(target: "lightning::trainer", "the run begins");
    debug!(target: "lightning::run", "details");
    info!(target: "lightning_agents", "of somebody else");

    let store = MemoryStore::new();
    let started = store
        .start_rollout(NewRollout::new(serde_json::json!(1)), None)
        .await?;
    let (rollout, attempt) = (started.rollout.rollout_id, started.attempt.attempt_id);
    let (clock, ids) = (Arc::new(SystemClock::new()), Arc::new(RandomIds));
    let recording = Recording::start(rollout.clone(), attempt, clock, ids, RecordingOptions::default());
    let agent = async {
        let search = info_span!("search", prompt = "never shown");
        async { warn!(target: "my_agent", "the answer is empty") }
            .instrument(search)
            .await;
    };
    recording.run(&store, agent).await;
    recording.finish(&store).await?;
    for span in store.query_spans(SpanQuery::of(rollout.clone())).await?.items {
        println!(
            "recorded {} of {rollout}: {} events",
            span.name,
            span.events.len()
        );
    }
    Ok(())
}

/// Progress and logs at the same time, for a second.
async fn bars() -> Result<(), Box<dyn Error>> {
    Logging::from_env()?.install()?;
    let progress = Arc::new(TerminalProgress::new(Screen::stderr()));
    let run = RunContext::builder("run", Arc::new(MemoryStore::new()))
        .progress(progress.clone())
        .build();
    let evaluating = run.progress("evaluating candidates of the second generation", Some(50));
    let waiting = run.progress("answers", None);
    for step in 0..50_u32 {
        tokio::time::sleep(Duration::from_millis(25)).await;
        evaluating.advance(1);
        waiting.advance(3);
        if step % 10 == 9 {
            warn!(target: "lightning::runner", step, "the attempt failed");
        }
        if step == 25 {
            // As an agent may. Its runner goes on.
            let panic = tokio::spawn(async { panic!("out of ideas") }).await;
            assert!(panic.is_err());
        }
    }
    drop((evaluating, waiting));
    progress.finish();
    Screen::stderr().print("the end");
    println!("done");
    Ok(())
}
