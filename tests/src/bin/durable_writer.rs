//! Writes to a durable store until it is killed, and says on standard output what was acknowledged. For the suite `crash`.
//!
//! `durable_writer FILE LIFE [FAULT]`: the life's number makes the names of its batches its own. With a fault, its store does
//! what none may do, to show that the suite notices:
//!
//! - `early`: spans are acknowledged before they are committed;
//! - `halves`: spans that were sent together are committed in two transactions.

use std::{path::PathBuf, sync::Arc, time::Duration};

use lightning_core::{
    store::{Answer, AttemptRef, SqliteStore, Store, StoreError},
    types::{AttemptPatch, AttemptStatus, NamedResources, Resource, RolloutId, Span},
};
use lightning_tests::crash::{Batch, RESOURCES, Said, records};
use serde_json::json;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "durable_writer FILE LIFE [early | halves]";
    let path: PathBuf = arguments.next().ok_or_else(|| anyhow::anyhow!(usage))?.into();
    let life: u64 = arguments.next().ok_or_else(|| anyhow::anyhow!(usage))?.parse()?;
    let fault = match arguments.next().as_deref() {
        None => None,
        Some("early") => Some(Fault::Early),
        Some("halves") => Some(Fault::Halves),
        Some(_) => anyhow::bail!(usage),
    };
    let store = SqliteStore::open(&path)?;
    let mut log = store.path().as_os_str().to_owned();
    log.push("-wal");
    let writer = Arc::new(Writer {
        store,
        log: log.into(),
        life,
        fault,
    });
    say(&Said::Open);
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..2 {
        let writer = writer.clone();
        tasks.spawn(async move { writer.enqueue(number).await });
    }
    for number in 0..4 {
        let writer = writer.clone();
        tasks.spawn(async move { writer.work(number).await });
    }
    let publisher = writer.clone();
    tasks.spawn(async move { publisher.publish().await });
    tasks.spawn(async move { writer.keep().await });
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

/// One line, written at once: what was said is read, even if the process ends right after.
fn say(said: &Said) {
    println!("{}", serde_json::to_string(said).expect("a line"));
}

/// What is wrong with the store.
#[derive(Clone, Copy)]
enum Fault {
    Early,
    Halves,
}

struct Writer {
    store: SqliteStore,
    log: PathBuf,
    life: u64,
    fault: Option<Fault>,
}

impl Writer {
    /// Says what was acknowledged; first, how long the log was then: so much of it has to survive for this to be true.
    fn acknowledged(&self, said: &Said) {
        if let Ok(log) = std::fs::metadata(&self.log) {
            say(&Said::Synced(log.len()));
        }
        say(said);
    }

    async fn enqueue(&self, number: u64) -> Result<(), StoreError> {
        for count in 0.. {
            let batch = Batch {
                key: format!("life {} task {number} batch {count}", self.life),
                size: 1 + count % 5,
            };
            say(&Said::Tries(batch.clone()));
            let Answer::Enqueued(made) = self.store.execute(batch.request()).await? else {
                panic!("enqueueing answers with rollouts");
            };
            let made = made.into_iter().map(|rollout| rollout.rollout_id).collect();
            self.acknowledged(&Said::Enqueued(batch, made));
        }
        Ok(())
    }

    async fn store_spans(&self, mut spans: Vec<Span>) -> Result<(), StoreError> {
        // Long enough for the process to be killed meanwhile.
        let moment = Duration::from_millis(50);
        match self.fault {
            None => {}
            Some(Fault::Early) => {
                let store = self.store.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(moment).await;
                    store.add_many_spans(spans).await
                });
                return Ok(());
            }
            Some(Fault::Halves) => {
                let second = spans.split_off(spans.len() / 2);
                self.store
                    .add_many_spans(std::mem::replace(&mut spans, second))
                    .await?;
                tokio::time::sleep(moment).await;
            }
        }
        self.store.add_many_spans(spans).await.map(|_| ())
    }

    async fn work(&self, number: u64) -> Result<(), StoreError> {
        let worker = format!("worker {number}");
        for count in 0_u64.. {
            let wait = Duration::from_secs(5);
            let claimed = self
                .store
                .dequeue_or_wait(1, Some(worker.as_str().into()), wait)
                .await?;
            let Some(claimed) = claimed.into_iter().next() else {
                continue;
            };
            let id = claimed.rollout.rollout_id.clone();
            let attempt_id = claimed.attempt.attempt_id.clone();
            self.acknowledged(&Said::Claimed(id.clone(), attempt_id.clone()));
            let drawn = self
                .store
                .get_next_span_sequence_id(id.clone(), attempt_id.clone())
                .await?;
            self.acknowledged(&Said::Drew(id.clone(), drawn));
            let of_attempt = usize::try_from(count % 4).expect("small") + 1;
            let spans: Vec<Span> = (0..of_attempt)
                .map(|n| {
                    let span_id = format!("{:04x}{:04x}{count:06x}{n:02x}", self.life, number);
                    let name = format!("{of_attempt} together");
                    let mut span = Span::new(
                        id.clone(),
                        attempt_id.clone(),
                        drawn,
                        "0".repeat(32),
                        span_id,
                        name,
                    );
                    span.attributes.insert("reward".to_owned(), json!(0.1 + 0.2));
                    span
                })
                .collect();
            let ids = spans.iter().map(|span| span.span_id.clone()).collect();
            self.store_spans(spans).await?;
            self.acknowledged(&Said::Stored(id.clone(), attempt_id.clone(), ids));
            // Some attempts are abandoned, so that time limits have something to do.
            if count % 5 < 4 {
                let status = if count % 5 == 3 {
                    AttemptStatus::Failed
                } else {
                    AttemptStatus::Succeeded
                };
                let which = AttemptRef::from(&attempt_id);
                self.store
                    .update_attempt(id.clone(), which, AttemptPatch::status(status))
                    .await?;
                self.acknowledged(&Said::Ended(id, attempt_id, status));
            }
        }
        Ok(())
    }

    /// Takes rollouts in that ended elsewhere, and takes every other one out again.
    async fn keep(&self) -> Result<(), StoreError> {
        for count in 0_u64.. {
            let id = RolloutId::from(format!("ro-{}-{count}", self.life));
            say(&Said::Imports(id.clone()));
            self.store.import(records(&id)).await?;
            self.acknowledged(&Said::Imported(id.clone()));
            if count % 2 == 1 {
                say(&Said::Purges(id.clone()));
                self.store.purge(vec![id.clone().into()], Vec::new()).await?;
                self.acknowledged(&Said::Purged(id));
            }
        }
        Ok(())
    }

    async fn publish(&self) -> Result<(), StoreError> {
        let mut number = self.life * 1_000_000;
        loop {
            number += 1;
            let resources = NamedResources::new().with("number", Resource::json(number));
            let update = self.store.update_resources(RESOURCES.into(), resources).await?;
            self.acknowledged(&Said::Resources(update.version, number));
        }
    }
}
