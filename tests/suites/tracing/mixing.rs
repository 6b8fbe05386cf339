//! Rollouts that run at the same time do not mix.

use std::sync::Arc;

use lightning_core::{
    emitter::{EmitError, emit_message, emit_reward, operation},
    store::MemoryStore,
    testing::{ManualClock, SequentialIds},
    tracer::{self, CarryContext as _, Recording, RecordingOptions, current_attempt},
    types::{Span, final_reward},
};
use tokio::{sync::Barrier, task::yield_now};
use tracing::{Instrument as _, info, info_span};

use super::{installed, paths, recording, recording_of, soon, started, stored};

#[tracing::instrument(skip_all, fields(rollout = i))]
async fn agent(i: usize, barrier: Arc<Barrier>) {
    barrier.wait().await;
    let step = operation!("step", rollout = i).unwrap();
    yield_now().await;
    async {
        yield_now().await;
        info!(rollout = i, "thinking");
        emit_message(format!("asking {i}")).unwrap();
    }
    .instrument(info_span!("ask", rollout = i))
    .await;
    drop(step);
    let spawned = tracer::spawn(async move {
        yield_now().await;
        let _step = operation!("spawned", rollout = i).unwrap();
        yield_now().await;
        emit_message(format!("spawned {i}")).unwrap();
    });
    let blocking = tracer::spawn_blocking(move || {
        let _span = info_span!("blocking", rollout = i).entered();
        emit_message(format!("blocking {i}")).unwrap();
    });
    let others = futures_join(i);
    others.await;
    spawned.await.unwrap();
    blocking.await.unwrap();
    emit_reward(i as f64).unwrap();
}

async fn futures_join(i: usize) {
    let branch = |name: &'static str| {
        operation(name).unwrap().run(async move {
            yield_now().await;
            emit_message(format!("{name} {i}")).unwrap();
        })
    };
    let (left, right) = (branch("left"), branch("right"));
    tokio::join!(left, right);
}

fn assert_whole(i: usize, spans: &[Span]) {
    let mut found = paths(spans);
    found.sort_unstable();
    let mut expected = vec![
        "agent".to_owned(),
        "agent/step".to_owned(),
        "agent/step/ask".to_owned(),
        format!("agent/step/ask/asking {i}"),
        "agent/spawned".to_owned(),
        format!("agent/spawned/spawned {i}"),
        "agent/blocking".to_owned(),
        format!("agent/blocking/blocking {i}"),
        "agent/left".to_owned(),
        format!("agent/left/left {i}"),
        "agent/right".to_owned(),
        format!("agent/right/right {i}"),
        "agent/agentlightning.annotation".to_owned(),
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
    for span in spans {
        for key in ["rollout", "agentlightning.operation.input.rollout"] {
            let marked = span.attributes.get(key).and_then(serde_json::Value::as_u64);
            assert!(marked.is_none_or(|marked| marked == i as u64), "{span:?}");
        }
        assert_eq!(span.trace_id, spans[0].trace_id);
    }
    let ask = spans.iter().find(|span| span.name == "ask").unwrap();
    assert_eq!(ask.events.len(), 1);
    assert_eq!(ask.events[0].attributes["rollout"], i);
    assert_eq!(final_reward(spans).unwrap().primary(), i as f64);
    assert!(
        spans
            .windows(2)
            .all(|pair| pair[0].sequence_id < pair[1].sequence_id)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hundred_rollouts_at_once_on_four_threads_do_not_mix() {
    installed();
    let store = MemoryStore::new();
    let barrier = Arc::new(Barrier::new(100));
    let mut tasks = Vec::new();
    for i in 0..100 {
        let rollout = started(&store).await;
        let (store, barrier) = (store.clone(), barrier.clone());
        tasks.push(tokio::spawn(async move {
            let recording = recording_of(&rollout, RecordingOptions::default());
            recording.run(&store, agent(i, barrier)).await;
            let summary = recording.finish(&store).await.unwrap();
            assert_eq!((summary.recorded, summary.stored), (13, 13));
            rollout
        }));
    }
    for (i, task) in tasks.into_iter().enumerate() {
        let rollout = soon(task).await.unwrap();
        assert_whole(i, &stored(&store, &rollout).await);
    }
}

#[tokio::test]
async fn a_hundred_rollouts_in_one_task_do_not_mix() {
    installed();
    let store = MemoryStore::new();
    let barrier = Arc::new(Barrier::new(100));
    let mut rollouts = Vec::new();
    for _ in 0..100 {
        rollouts.push(started(&store).await);
    }
    let runs = rollouts.iter().enumerate().map(|(i, rollout)| {
        let (store, barrier) = (store.clone(), barrier.clone());
        async move {
            let recording = recording_of(rollout, RecordingOptions::default());
            recording.run(&store, agent(i, barrier)).await;
            recording.finish(&store).await.unwrap();
        }
    });
    soon(futures::future::join_all(runs)).await;
    for (i, rollout) in rollouts.iter().enumerate() {
        assert_whole(i, &stored(&store, rollout).await);
    }
}

#[tokio::test]
async fn a_task_that_does_not_carry_the_rollout_records_nothing() {
    installed();
    let recording = recording();
    recording
        .scope(async {
            let _span = info_span!("agent").entered();
            let plain = tokio::spawn(async {
                let span = info_span!("plain");
                let _entered = span.enter();
                (emit_message("plain"), current_attempt())
            });
            let (emitted, attempt) = plain.await.unwrap();
            assert!(matches!(emitted, Err(EmitError::OutsideRollout { .. })));
            assert_eq!(attempt, None);
            assert_eq!(current_attempt(), Some(("ro-1".into(), "at-1".into())));
        })
        .await;
    assert_eq!(paths(&recording.drain()), ["agent"]);
}

#[tokio::test]
async fn carrying_nothing_is_no_harm() {
    let outside = tracer::spawn(async { current_attempt() });
    assert_eq!(outside.await.unwrap(), None);
    let outside = tracer::spawn_blocking(current_attempt);
    assert_eq!(outside.await.unwrap(), None);
    assert_eq!(async { current_attempt() }.in_rollout().await, None);
}

fn foreseeable() -> Recording {
    Recording::start(
        "ro-1".into(),
        "at-1".into(),
        Arc::new(ManualClock::default()),
        Arc::new(SequentialIds::default()),
        RecordingOptions::default(),
    )
}

#[tokio::test]
async fn a_recording_within_another_is_its_own() {
    installed();
    // The same ids in both, so that nothing but the recordings tells their spans apart.
    let (outer, inner) = (foreseeable(), foreseeable());
    outer
        .scope(async {
            let _outer = operation("outer").unwrap();
            let span = info_span!("outer span").entered();
            inner.in_scope(|| {
                emit_message("inner").unwrap();
                let _open = info_span!("inner open");
                let entered = span.in_scope(|| emit_message("inner, in the outer span").unwrap());
                drop(entered);
                // A span of the outer recording is none of the inner one, even where it is entered.
                let _again = info_span!(parent: &span, "inner span").entered();
            });
            emit_message("outer again").unwrap();
        })
        .await;
    assert_eq!(
        paths(&inner.drain()),
        ["inner", "inner, in the outer span", "inner span", "inner open"]
    );
    assert_eq!(
        paths(&outer.drain()),
        ["outer/outer span/outer again", "outer/outer span", "outer"]
    );
}

#[tokio::test]
async fn a_span_that_is_left_entered_does_not_reach_other_rollouts() {
    installed();
    let (careless, other) = (recording(), recording());
    let mut left = std::pin::pin!(careless.scope(async {
        // The mistake that the documentation of `tracing` warns of: a guard held across an await.
        let _span = info_span!("left entered").entered();
        yield_now().await;
        emit_message("after the await").unwrap();
    }));
    assert!(futures::poll!(left.as_mut()).is_pending());
    other.in_scope(|| {
        emit_message("other").unwrap();
        let _span = info_span!("other span").entered();
    });
    assert!(matches!(
        emit_message("none"),
        Err(EmitError::OutsideRollout { .. })
    ));
    left.await;
    assert_eq!(paths(&other.drain()), ["other", "other span"]);
    assert_eq!(careless.drain().len(), 2);
}
