//! What it costs to record a rollout with one agent span and one reward, and where the time goes.
//!
//! `cargo bench -p lightning-tests --bench recording`. Prints microseconds of one core; the limit for the whole life of a
//! rollout is 100 (20 000 rollouts/s on two cores).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lightning_core::{
    clock::{Clock, SystemClock},
    emitter::{emit_reward, operation},
    ids::{IdSource, RandomIds},
    store::{MemoryStore, Store},
    tracer::{self, Recording, RecordingOptions},
    types::{AttemptedRollout, NewRollout, Span},
};
use serde_json::json;

const ROUNDS: usize = 7;
const ROLLOUTS: usize = 20_000;

async fn started(store: &MemoryStore) -> Vec<AttemptedRollout> {
    let mut started = Vec::with_capacity(ROLLOUTS);
    for i in 0..ROLLOUTS {
        started.push(
            store
                .start_rollout(NewRollout::new(json!(i)), None)
                .await
                .unwrap(),
        );
    }
    started
}

struct Bench {
    clock: Arc<dyn Clock>,
    ids: Arc<dyn IdSource>,
}

impl Bench {
    fn recording(&self, rollout: &AttemptedRollout) -> Recording {
        Recording::start(
            rollout.rollout.rollout_id.clone(),
            rollout.attempt.attempt_id.clone(),
            self.clock.clone(),
            self.ids.clone(),
            RecordingOptions::default(),
        )
    }

    /// Microseconds a rollout, the median of the rounds.
    async fn measure(&self, name: &str, mut life: impl AsyncFnMut(&MemoryStore, AttemptedRollout)) {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let store = MemoryStore::new();
            let rollouts = started(&store).await;
            let began = Instant::now();
            for rollout in rollouts {
                life(&store, rollout).await;
            }
            rounds.push(began.elapsed());
        }
        rounds.sort_unstable();
        let median: Duration = rounds[ROUNDS / 2];
        println!(
            "{name:48} {:7.2} µs",
            median.as_secs_f64() * 1e6 / ROLLOUTS as f64
        );
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    tracer::install().unwrap();
    let bench = Bench {
        clock: Arc::new(SystemClock::new()),
        ids: Arc::new(RandomIds),
    };
    bench
        .measure(
            "bare: two spans made by hand, one call",
            async |store, rollout| {
                let ids = (&rollout.rollout.rollout_id, &rollout.attempt.attempt_id);
                let span = |number: u64| {
                    let trace = format!("{}{}", bench.ids.hex(16), bench.ids.hex(16));
                    Span::new(
                        ids.0.clone(),
                        ids.1.clone(),
                        number,
                        trace,
                        bench.ids.hex(16),
                        "span",
                    )
                };
                store.add_many_spans(vec![span(1), span(2)]).await.unwrap();
            },
        )
        .await;
    bench
        .measure("recording, nothing recorded", async |store, rollout| {
            let recording = bench.recording(&rollout);
            recording.run(store, async {}).await;
            recording.finish(store).await.unwrap();
        })
        .await;
    bench
        .measure(
            "recording, operation and reward, not sent",
            async |store, rollout| {
                let recording = bench.recording(&rollout);
                recording
                    .run(store, async {
                        let _step = operation("step").unwrap();
                        emit_reward(1.0).unwrap();
                    })
                    .await;
            },
        )
        .await;
    bench
        .measure("recording, operation and reward", async |store, rollout| {
            let recording = bench.recording(&rollout);
            recording
                .run(store, async {
                    let _step = operation("step").unwrap();
                    emit_reward(1.0).unwrap();
                })
                .await;
            recording.finish(store).await.unwrap();
        })
        .await;
    bench
        .measure("the same, yielding between the two", async |store, rollout| {
            let recording = bench.recording(&rollout);
            recording
                .run(store, async {
                    drop(operation("step").unwrap());
                    tokio::task::yield_now().await;
                    emit_reward(1.0).unwrap();
                })
                .await;
            recording.finish(store).await.unwrap();
        })
        .await;
    bench
        .measure(
            "recording, span of `tracing` and reward",
            async |store, rollout| {
                let recording = bench.recording(&rollout);
                recording
                    .run(store, async {
                        let _step = tracing::info_span!("step", answer = "42").entered();
                        emit_reward(1.0).unwrap();
                    })
                    .await;
                recording.finish(store).await.unwrap();
            },
        )
        .await;
}
