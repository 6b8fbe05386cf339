//! A program with a run, for the suite `stopping` to send signals to.
//!
//! `stoppable MODE RUN_DIR`: says `ready` once a rollout is under way, and then what came of the run.

use std::{future::pending, io::Write as _, process::ExitCode, time::Duration};

use lightning_core::{
    agent::agent_fn,
    execution::SharedMemory,
    prelude::*,
    store::MemoryStore,
    types::{AttemptQuery, NewRollout, RolloutQuery},
};
use serde_json::json;

fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    // A test that has gone away does not listen.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// Improves a number until it is asked to stop, and saves each.
#[algo]
async fn cooperative(run: RunContext, store: Arc<dyn Store>) -> anyhow::Result<u64> {
    let checkpoint = run.checkpoint();
    for best in 1.. {
        checkpoint.save(&best).await?;
        if best == 1 {
            store.enqueue_rollout(NewRollout::new(json!("task"))).await?;
        }
        tokio::select! {
            () = run.cancelled() => return Ok(best),
            () = tokio::time::sleep(Duration::from_millis(10)) => {}
        }
    }
    unreachable!("there is always another number")
}

/// Does not care whether it is asked to stop.
#[algo]
async fn stubborn(store: Arc<dyn Store>) -> anyhow::Result<u64> {
    store.enqueue_rollout(NewRollout::new(json!("task"))).await?;
    pending().await
}

/// Cannot be stopped from outside at all.
#[algo]
fn blocked(store: Arc<dyn Store>) -> anyhow::Result<u64> {
    let runtime = tokio::runtime::Handle::current();
    runtime.block_on(store.enqueue_rollout(NewRollout::new(json!("task"))))?;
    loop {
        std::thread::park();
    }
}

/// Returns at once.
#[algo]
async fn quick(store: Arc<dyn Store>) -> anyhow::Result<u64> {
    let rollout = store.enqueue_rollout(NewRollout::new(json!("task"))).await?;
    store.wait_for_rollouts(&[rollout.rollout_id], None).await?;
    Ok(1)
}

/// How many threads there are that a run has started. (Linux cuts their names after 15 bytes.)
fn threads_of_runs() -> usize {
    let threads = std::fs::read_dir("/proc/self/task")
        .into_iter()
        .flatten()
        .flatten();
    let names = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.starts_with("lightning-")).count()
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let (Some(mode), Some(run_dir)) = (arguments.next(), arguments.next()) else {
        say("usage: stoppable cooperative|stubborn|blocked|quick|unheard RUN_DIR");
        return ExitCode::FAILURE;
    };
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let ends_at_once = mode == "quick";
    let agent = agent_fn(move |_: String, _| async move {
        say("ready");
        if ends_at_once { 1.0 } else { pending().await }
    });
    let builder = Trainer::builder().quiet();
    let builder = match mode.as_str() {
        "cooperative" => builder.algorithm(cooperative::algorithm()),
        "blocked" => builder.algorithm(blocked::algorithm()),
        "quick" => builder.algorithm(quick::algorithm()),
        "unheard" => builder.algorithm(stubborn::algorithm()).handle_interrupts(false),
        _ => builder.algorithm(stubborn::algorithm()),
    };
    let strategy = SharedMemory::new().stop_grace(Duration::from_millis(100));
    let trainer = builder
        .store(Arc::clone(&store))
        .strategy(strategy)
        .run_dir(run_dir)
        .build();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be made");
    let code = runtime.block_on(async {
        let code = match trainer
            .expect("the trainer is complete")
            .fit(agent, None, None)
            .await
        {
            Ok(report) => {
                say(&format!("stopped: {:?}", report.stopped));
                ExitCode::SUCCESS
            }
            Err(error) => {
                say(&format!("error: {error}"));
                ExitCode::FAILURE
            }
        };
        for rollout in store
            .query_rollouts(RolloutQuery::default())
            .await
            .into_iter()
            .flat_map(|all| all.items)
        {
            let attempts = store
                .query_attempts(&rollout.rollout_id, AttemptQuery::default())
                .await;
            for attempt in attempts.into_iter().flat_map(|all| all.items) {
                say(&format!("attempt: {}", attempt.status.as_str()));
            }
        }
        code
    });
    if mode == "quick" {
        say(&format!("threads of runs: {}", threads_of_runs()));
        say("idle");
        loop {
            std::thread::park();
        }
    }
    // Waits for what blocks.
    drop(runtime);
    code
}
