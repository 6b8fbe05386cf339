//! Every span finds its parent: across awaits, tasks, threads, and between the two ways to record.

use lightning_core::{
    emitter::{emit_message, operation},
    tracer::{self, CarryContext as _},
};
use tokio::task::yield_now;
use tracing::{Instrument as _, Span, info_span};

use super::{installed, paths, recording};

#[tokio::test]
async fn across_awaits() {
    installed();
    let recording = recording();
    recording
        .scope(
            async {
                yield_now().await;
                emit_message("in span").unwrap();
                let step = operation("step").unwrap();
                yield_now().await;
                async {
                    yield_now().await;
                    emit_message("in inner span").unwrap();
                }
                .instrument(info_span!("inner"))
                .await;
                emit_message("in step").unwrap();
                drop(step);
                yield_now().await;
                emit_message("in span again").unwrap();
            }
            .instrument(info_span!("never recorded: made before the scope")),
        )
        .await;
    assert_eq!(
        paths(&recording.drain()),
        [
            "in span",
            "step/inner/in inner span",
            "step/inner",
            "step/in step",
            "step",
            "in span again"
        ]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn into_tasks_and_threads_that_carry_them() {
    installed();
    let recording = recording();
    recording
        .scope(async {
            async {
                let step = operation("step").unwrap();
                tracer::spawn(async {
                    emit_message("spawned").unwrap();
                    tracer::spawn_blocking(|| {
                        let _span = info_span!("thread").entered();
                        emit_message("blocking").unwrap();
                    })
                    .await
                    .unwrap();
                })
                .await
                .unwrap();
                let carried = async { emit_message("carried").unwrap() }.in_rollout();
                let late = async { emit_message("late").unwrap() }.in_rollout();
                drop(step);
                emit_message("beside").unwrap();
                // What is carried belongs to where it was taken along, though that has ended.
                tokio::spawn(carried).await.unwrap();
                late.await;
            }
            .instrument(info_span!("agent"))
            .await;
        })
        .await;
    let mut found = paths(&recording.drain());
    found.sort_unstable();
    assert_eq!(
        found,
        [
            "agent",
            "agent/beside",
            "agent/step",
            "agent/step/carried",
            "agent/step/late",
            "agent/step/spawned",
            "agent/step/thread",
            "agent/step/thread/blocking",
        ]
    );
}

#[tokio::test]
async fn in_branches_that_take_turns() {
    installed();
    let recording = recording();
    let branch = |name: &'static str| {
        async move {
            let step = operation(format!("step {name}")).unwrap();
            for _ in 0..3 {
                yield_now().await;
                emit_message(name).unwrap();
            }
            drop(step);
        }
        .instrument(info_span!("branch"))
    };
    recording
        .scope(async {
            let whole = operation("whole").unwrap();
            tokio::join!(branch("a"), branch("b"));
            drop(whole);
        })
        .await;
    let found = paths(&recording.drain());
    for name in ["a", "b"] {
        let path = format!("whole/branch/step {name}/{name}");
        assert_eq!(
            found.iter().filter(|found| **found == path).count(),
            3,
            "{found:?}"
        );
    }
    assert_eq!(found.len(), 11);
}

#[tokio::test]
async fn beside_a_branch_that_waits_in_a_span() {
    installed();
    let recording = recording();
    recording
        .scope(async {
            let waits = async {
                yield_now().await;
                yield_now().await;
            };
            let beside = async {
                yield_now().await;
                emit_message("beside").unwrap();
            };
            tokio::join!(waits.instrument(info_span!("waits")), beside);
        })
        .await;
    assert_eq!(paths(&recording.drain()), ["beside", "waits"]);
}

#[tokio::test]
async fn as_they_are_given() {
    installed();
    let recording = recording();
    recording
        .scope(async {
            let first = info_span!("first");
            let second = info_span!("second").entered();
            drop(info_span!(parent: &first, "given"));
            drop(info_span!(parent: None, "root"));
            drop(info_span!(parent: &Span::none(), "also root"));
            drop(info_span!("contextual"));
            drop(second);
            drop(first);
        })
        .await;
    assert_eq!(
        paths(&recording.drain()),
        [
            "first/given",
            "root",
            "also root",
            "second/contextual",
            "second",
            "first"
        ]
    );
}

#[tokio::test]
async fn past_spans_that_are_not_recorded() {
    installed();
    let recording = recording();
    recording
        .scope(async {
            let _first = info_span!("first").entered();
            let quiet = tracing::debug_span!("quiet").entered();
            drop(info_span!("contextual"));
            drop(info_span!(parent: &*quiet, "given"));
        })
        .await;
    assert_eq!(paths(&recording.drain()), ["first/contextual", "given", "first"]);
}

#[tokio::test]
async fn of_an_operation_that_moves_to_another_task() {
    let recording = recording();
    recording
        .scope(async {
            let step = operation("step").unwrap();
            tracer::spawn(async move {
                emit_message("inside").unwrap();
                drop(step);
                emit_message("its task began inside").unwrap();
            })
            .await
            .unwrap();
            emit_message("after").unwrap();
        })
        .await;
    assert_eq!(
        paths(&recording.drain()),
        ["step/inside", "step", "step/its task began inside", "after"]
    );
}

#[test]
fn in_every_thread_of_a_pool() {
    installed();
    let recording = recording();
    recording.in_scope(|| {
        let step = operation("step").unwrap();
        std::thread::scope(|threads| {
            for _ in 0..4 {
                let recording = recording.clone();
                // Without a runtime, the recording itself is carried; its spans have no parent there.
                threads.spawn(move || recording.in_scope(|| emit_message("thread").unwrap()));
            }
        });
        drop(step);
    });
    assert_eq!(
        paths(&recording.drain()),
        ["thread", "thread", "thread", "thread", "step"]
    );
}
