//! Recorded spans arrive at the store: in order, once, and whatever happens to the agent or the store.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use lightning_core::{
    emitter::{EmitError, Exception, emit_exception, emit_message, emit_reward, operation},
    store::{MemoryStore, Store as _, StoreError},
    tracer::{self, FlushError, RecordingOptions},
    types::{AttemptStatus, Span, SpanStatusCode},
};
use tokio::{sync::Notify, task::yield_now};
use tracing::{Instrument as _, info_span};

use super::{
    installed, paths, recording_of, soon, started,
    store::{Fault, FaultyStore, unavailable},
    stored,
};

fn sequence_ids(spans: &[Span]) -> Vec<u64> {
    spans.iter().map(|span| span.sequence_id).collect()
}

#[tokio::test]
async fn finish_stores_everything_before_it_returns() {
    installed();
    let store = FaultyStore::default();
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    recording
        .run(&store, async {
            let _step = info_span!("step").entered();
            emit_message("").unwrap();
            emit_reward(1.0).unwrap();
        })
        .await;
    assert_eq!(
        store.commands(),
        [""; 0],
        "an agent that never waits is not held up"
    );
    let summary = recording.finish(&store).await.unwrap();
    assert_eq!((summary.recorded, summary.stored), (3, 3));
    assert_eq!(
        (summary.dropped, summary.rejected, summary.rejections.len()),
        (0, 0, 0)
    );
    assert_eq!(store.commands(), ["draw 3", "add 3"], "all spans go together");
    let spans = stored(&store.inner, &rollout).await;
    assert_eq!(paths(&spans), ["step/", "step/agentlightning.annotation", "step"]);
    assert_eq!(sequence_ids(&spans), [1, 2, 3]);
    assert!(Arc::ptr_eq(&spans[0].resource, &spans[1].resource));
    let attempt = store
        .get_latest_attempt(&rollout.rollout.rollout_id)
        .await
        .unwrap();
    assert_eq!(attempt.unwrap().status, AttemptStatus::Running);
}

#[tokio::test]
async fn an_agent_that_records_nothing_costs_the_store_nothing() {
    let store = FaultyStore::default();
    let recording = recording_of(&started(&store).await, RecordingOptions::default());
    recording.run(&store, yield_now()).await;
    assert_eq!(recording.finish(&store).await.unwrap().recorded, 0);
    assert_eq!(store.commands(), [""; 0]);
}

#[tokio::test]
async fn spans_are_sent_while_the_agent_waits() {
    let store = FaultyStore::default();
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    let agent = recording.run(&store, async {
        for i in 0..3 {
            emit_message(format!("first {i}")).unwrap();
            emit_message(format!("second {i}")).unwrap();
            // Waits until they are in the store: nobody else would wake it.
            store.added.notified().await;
        }
        tracer::spawn(async { emit_message("from another task").unwrap() })
            .await
            .unwrap();
        store.added.notified().await;
    });
    soon(agent).await;
    let together = ["draw 2", "add 2"];
    assert_eq!(
        store.commands(),
        [together, together, together, ["draw 1", "add 1"]].concat()
    );
    assert_eq!(stored(&store.inner, &rollout).await.len(), 7);
}

#[tokio::test]
async fn spans_fall_in_line_with_those_of_others() {
    let store = FaultyStore::default();
    let rollout = started(&store).await;
    let (rollout_id, attempt_id) = (&rollout.rollout.rollout_id, &rollout.attempt.attempt_id);
    let recording = recording_of(&rollout, RecordingOptions::default());
    let agent = recording.run(&store, async {
        emit_message("before the call").unwrap();
        store.added.notified().await;
        // As an LLM proxy does it.
        let id = store
            .get_next_span_sequence_id(rollout_id.clone(), attempt_id.clone())
            .await
            .unwrap();
        let span = Span::new(
            rollout_id.clone(),
            attempt_id.clone(),
            id,
            "trace",
            "span",
            "call",
        );
        assert!(store.add_span(span).await.unwrap());
        emit_message("after the call").unwrap();
    });
    soon(agent).await;
    recording.finish(&store).await.unwrap();
    let spans = stored(&store.inner, &rollout).await;
    assert_eq!(paths(&spans), ["before the call", "call", "after the call"]);
    assert!(
        spans
            .windows(2)
            .all(|pair| pair[0].sequence_id < pair[1].sequence_id)
    );
}

#[tokio::test]
async fn large_recordings_are_sent_in_batches() {
    let store = FaultyStore::default();
    let rollout = started(&store).await;
    let recording = recording_of(
        &rollout,
        RecordingOptions {
            max_batch: 4,
            ..RecordingOptions::default()
        },
    );
    recording.in_scope(|| (0..10).for_each(|i| drop(emit_message(i.to_string()).unwrap())));
    recording.flush(&store).await.unwrap();
    assert_eq!(
        store.commands(),
        ["draw 4", "add 4", "draw 4", "add 4", "draw 2", "add 2"]
    );
    let spans = stored(&store.inner, &rollout).await;
    assert_eq!(paths(&spans), (0..10).map(|i| i.to_string()).collect::<Vec<_>>());
    assert_eq!(sequence_ids(&spans), (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn finish_ends_what_is_open_and_nothing_is_recorded_after_it() {
    installed();
    let store = MemoryStore::new();
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    let (step, span) = recording.in_scope(|| {
        let span = info_span!("span");
        let step = span.in_scope(|| operation("step").unwrap());
        (step, span)
    });
    let summary = recording.finish(&store).await.unwrap();
    assert_eq!(summary.stored, 2);
    assert!(matches!(step.output(&1), Err(EmitError::Ended { .. })));
    span.record("late", 1);
    recording.in_scope(|| {
        let error = emit_reward(1.0).unwrap_err();
        assert!(matches!(error, EmitError::Ended { what: "reward", .. }));
        assert!(
            error.to_string().contains("has ended: await the tasks"),
            "{error}"
        );
        assert!(operation("late").is_err());
        drop(info_span!("late"));
    });
    drop((step, span));
    assert_eq!(recording.finish(&store).await.unwrap(), summary);
    let spans = stored(&store, &rollout).await;
    assert_eq!(paths(&spans), ["span/step", "span"]);
    for span in &spans {
        assert!(span.end_time.is_some());
        assert_eq!(span.status.status_code, SpanStatusCode::Unset);
        assert_eq!(
            span.status.description.as_deref(),
            Some("still open when its recording ended")
        );
    }
}

// ---- whatever happens to the agent

#[tokio::test]
async fn a_panic_of_the_agent_is_stored_with_all_that_came_before() {
    installed();
    let store = MemoryStore::new();
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    let agent = async {
        emit_message("before").unwrap();
        let _step = operation("step").unwrap();
        yield_now().await;
        async { panic!("no more {}", "paper") }
            .instrument(info_span!("printing"))
            .await
    };
    let panic = AssertUnwindSafe(recording.run(&store, agent))
        .catch_unwind()
        .await
        .unwrap_err();
    recording.in_scope(|| emit_exception(Exception::from_panic(&*panic)).unwrap());
    recording.finish(&store).await.unwrap();
    let spans = stored(&store, &rollout).await;
    assert_eq!(
        paths(&spans),
        ["before", "step/printing", "step", "agentlightning.exception"]
    );
    for span in &spans[1..3] {
        assert_eq!(span.status.status_code, SpanStatusCode::Error, "{span:?}");
    }
    assert_eq!(spans[3].attributes["exception.type"], "panic");
    assert_eq!(spans[3].attributes["exception.message"], "no more paper");
}

#[tokio::test]
async fn an_agent_that_is_given_up_leaves_its_spans() {
    installed();
    let store = FaultyStore::default();
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    let agent = async {
        let _step = operation("step").unwrap();
        async {
            emit_message("hanging").unwrap();
            std::future::pending::<()>().await;
        }
        .instrument(info_span!("hang"))
        .await;
    };
    {
        let mut running = Box::pin(recording.run(&store, agent));
        tokio::select! {
            () = &mut running => unreachable!("it hangs"),
            () = store.added.notified() => {}
        }
    }
    recording.finish(&store).await.unwrap();
    let spans = stored(&store.inner, &rollout).await;
    assert_eq!(paths(&spans), ["step/hang/hanging", "step/hang", "step"]);
    assert!(
        spans.iter().all(|span| span.status.description.is_none()),
        "they ended by themselves"
    );
}

#[tokio::test]
async fn a_flush_that_is_given_up_is_repeated_without_loss() {
    let store = FaultyStore::with_faults([Fault::None, Fault::Hang]);
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    let agent = recording.run(&store, async {
        emit_message("first").unwrap();
        // It is stored, but the answer does not come; the agent returns meanwhile.
        store.added.notified().await;
        emit_message("second").unwrap();
    });
    soon(agent).await;
    let summary = soon(recording.finish(&store)).await.unwrap();
    assert_eq!((summary.recorded, summary.stored), (2, 2));
    assert_eq!(store.commands(), ["draw 1", "add 1", "add 1", "draw 1", "add 1"]);
    let spans = stored(&store.inner, &rollout).await;
    assert_eq!(paths(&spans), ["first", "second"]);
}

// ---- whatever happens to the store

#[tokio::test]
async fn an_unavailable_store_is_tried_again() {
    let broken = StoreError::Internal {
        reason: "disk full".to_owned(),
        source: None,
    };
    let store = FaultyStore::with_faults([
        Fault::Refuse(unavailable()),
        Fault::Refuse(unavailable()),
        Fault::None,
        Fault::Refuse(broken),
        Fault::LoseAnswer,
    ]);
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    recording.in_scope(|| (0..3).for_each(|i| drop(emit_message(i.to_string()).unwrap())));
    let summary = soon(recording.finish(&store)).await.unwrap();
    assert_eq!((summary.stored, summary.rejected), (3, 0));
    assert_eq!(
        store.commands(),
        ["draw 3", "draw 3", "draw 3", "add 3", "add 3", "add 3"]
    );
    let spans = stored(&store.inner, &rollout).await;
    assert_eq!(paths(&spans), ["0", "1", "2"]);
    assert_eq!(sequence_ids(&spans), [1, 2, 3]);
}

#[tokio::test]
async fn an_agent_goes_on_while_the_store_is_unavailable() {
    let store = FaultyStore::with_faults((0..5).map(|_| Fault::Refuse(unavailable())));
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    let agent = recording.run(&store, async {
        emit_message("meanwhile").unwrap();
        store.added.notified().await;
    });
    soon(agent).await;
    assert_eq!(store.commands().len(), 7);
    assert_eq!(stored(&store.inner, &rollout).await.len(), 1);
}

#[tokio::test]
async fn patience_ends_but_no_span_is_lost() {
    let store = FaultyStore::with_faults((0..1000).map(|_| Fault::Refuse(unavailable())));
    let rollout = started(&store).await;
    let recording = recording_of(
        &rollout,
        RecordingOptions {
            patience: Duration::from_secs(2),
            ..RecordingOptions::default()
        },
    );
    recording.in_scope(|| (0..3).for_each(|_| drop(emit_message("kept").unwrap())));
    let error: FlushError = soon(recording.finish(&store)).await.unwrap_err();
    assert_eq!((error.unsent, &error.source), (3, &unavailable()));
    assert_eq!(
        error.to_string(),
        "3 spans could not be stored, and are kept for another try"
    );
    // 50, 100, 200, 400, 800 and 1600 ms after one another.
    assert_eq!(store.commands().len(), 7);
    assert_eq!(recording.flush(&store).await.unwrap_err().unsent, 3);
    assert_eq!(store.commands().len(), 1, "a flush tries once");
    store.faults.lock().unwrap().clear();
    assert_eq!(recording.finish(&store).await.unwrap().stored, 3);
}

#[tokio::test]
async fn while_the_store_is_away_only_so_many_spans_are_kept() {
    installed();
    let store = FaultyStore::with_faults((0..1000).map(|_| Fault::Refuse(unavailable())));
    let rollout = started(&store).await;
    let recording = recording_of(
        &rollout,
        RecordingOptions {
            max_spans: 5,
            patience: Duration::ZERO,
            ..RecordingOptions::default()
        },
    );
    recording.in_scope(|| (0..20).for_each(|i| drop(tracing::info_span!("span", i))));
    recording.finish(&store).await.unwrap_err();
    store.faults.lock().unwrap().clear();
    let summary = recording.finish(&store).await.unwrap();
    assert_eq!((summary.recorded, summary.stored, summary.dropped), (5, 5, 15));
    let kept: Vec<_> = stored(&store.inner, &rollout)
        .await
        .iter()
        .map(|span| span.attributes["i"].clone())
        .collect();
    assert_eq!(kept, [0, 1, 2, 3, 4], "the newest are dropped");
}

#[tokio::test]
async fn a_span_that_is_refused_is_reported_and_harms_no_other() {
    let store = FaultyStore::with_faults([Fault::None, Fault::RefuseSpans("bad")]);
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    recording.in_scope(|| {
        for text in ["good", "bad", "better"] {
            emit_message(text).unwrap();
        }
    });
    let summary = recording.finish(&store).await.unwrap();
    assert_eq!((summary.recorded, summary.stored, summary.rejected), (3, 2, 1));
    assert_eq!(summary.rejections[0].name, "agentlightning.message");
    assert_eq!(
        summary.rejections[0].error,
        StoreError::invalid("name", "not that one")
    );
    assert_eq!(paths(&stored(&store.inner, &rollout).await), ["good", "better"]);
}

#[tokio::test]
async fn spans_of_an_unknown_rollout_are_reported() {
    let (store, elsewhere) = (MemoryStore::new(), MemoryStore::new());
    let rollout = started(&elsewhere).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    recording.in_scope(|| (0..20).for_each(|_| drop(emit_message("m").unwrap())));
    let summary = recording.finish(&store).await.unwrap();
    assert_eq!(
        (summary.stored, summary.rejected, summary.rejections.len()),
        (0, 20, 16)
    );
    let id = &rollout.rollout.rollout_id;
    assert_eq!(
        summary.rejections[0].error.to_string(),
        format!("Rollout {id} not found")
    );
}

#[tokio::test]
async fn a_batch_that_is_refused_as_a_whole_is_reported_and_not_repeated() {
    let store = FaultyStore::with_faults([
        Fault::None,
        Fault::Refuse(StoreError::invalid("spans", "too many")),
    ]);
    let recording = recording_of(&started(&store).await, RecordingOptions::default());
    recording.in_scope(|| (0..2).for_each(|_| drop(emit_message("m").unwrap())));
    let summary = recording.finish(&store).await.unwrap();
    assert_eq!((summary.stored, summary.rejected), (0, 2));
    assert_eq!(store.commands(), ["draw 2", "add 2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_and_flushes_at_once_lose_and_repeat_nothing() {
    let store = Arc::new(FaultyStore::default());
    for i in 0..40 {
        store.fault(if i % 4 == 3 {
            Fault::LoseAnswer
        } else {
            Fault::None
        });
    }
    let rollout = started(&*store).await;
    let recording = recording_of(
        &rollout,
        RecordingOptions {
            max_batch: 7,
            ..RecordingOptions::default()
        },
    );
    let gate = Arc::new(Notify::new());
    let agent = recording.run(&*store, async {
        let tasks: Vec<_> = (0..16)
            .map(|task| {
                tracer::spawn(async move {
                    for i in 0..50 {
                        emit_message(format!("{task} {i}")).unwrap();
                        yield_now().await;
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        gate.notify_one();
    });
    let flushes = async {
        loop {
            tokio::select! {
                biased;
                () = gate.notified() => return,
                _ = recording.flush(&*store) => yield_now().await,
            }
        }
    };
    soon(async { tokio::join!(agent, flushes) }).await;
    let summary = soon(recording.finish(&*store)).await.unwrap();
    assert_eq!((summary.recorded, summary.stored), (800, 800));
    let spans = stored(&store.inner, &rollout).await;
    assert_eq!(spans.len(), 800);
    for task in 0..16 {
        let prefix = format!("{task} ");
        let own: Vec<String> = paths(&spans)
            .into_iter()
            .filter(|path| path.starts_with(&prefix))
            .collect();
        assert_eq!(
            own,
            (0..50).map(|i| format!("{task} {i}")).collect::<Vec<_>>(),
            "each in its order"
        );
    }
    let mut ids = sequence_ids(&spans);
    ids.dedup();
    assert_eq!(ids.len(), 800);
}

#[tokio::test]
async fn drained_spans_are_not_sent() {
    let store = MemoryStore::new();
    let rollout = started(&store).await;
    let recording = recording_of(&rollout, RecordingOptions::default());
    recording.in_scope(|| emit_message("a").unwrap());
    recording.in_scope(|| emit_message("b").unwrap());
    assert_eq!(sequence_ids(&recording.drain()), [1, 2]);
    recording.in_scope(|| emit_message("c").unwrap());
    assert_eq!(recording.finish(&store).await.unwrap().stored, 1);
    assert_eq!(paths(&stored(&store, &rollout).await), ["c"]);
}
