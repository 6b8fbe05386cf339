//! The queue between the calls and the store: nothing waits for it, it stays small, and what it loses it counts.

use std::{sync::Arc, time::Duration};

use lightning_core::{
    clock::{Clock, SystemClock},
    semconv,
    store::{MemoryStore, Store},
    testing::{CallRecorder, Faults, ManualClock, ProxiedCall},
    types::{AttemptId, NewRollout, RolloutId, Span, SpanQuery, model_calls},
};
use serde_json::json;

use crate::fixtures;

/// Turns a hang into a failure.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), future)
        .await
        .expect("should not have to wait this long")
}

async fn attempt(store: &dyn Store) -> (RolloutId, AttemptId) {
    let started = store
        .start_rollout(NewRollout::new(json!("task")), None)
        .await
        .unwrap();
    (started.rollout.rollout_id, started.attempt.attempt_id)
}

async fn spans(store: &dyn Store, (rollout, attempt): &(RolloutId, AttemptId)) -> Vec<Span> {
    let query = SpanQuery::of(rollout.clone()).attempt(attempt.clone());
    store.query_spans(query).await.unwrap().items
}

fn call(text: &str) -> ProxiedCall {
    let answer = json!({
        "id": format!("c-{text}"), "model": "m", "prompt_token_ids": [1],
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "token_ids": [2], "finish_reason": "stop"}],
    });
    let request = json!({"model": "m", "messages": [{"role": "user", "content": text}]});
    ProxiedCall::new("/v1/chat/completions", request.to_string(), answer.to_string())
}

/// How many calls the spans say were lost.
fn marked(spans: &[Span]) -> u64 {
    let marks = spans.iter().filter(|span| span.name == semconv::CALLS_DROPPED);
    marks
        .map(|span| span.attributes[semconv::CALLS_DROPPED_COUNT].as_u64().unwrap())
        .sum()
}

struct Bench {
    store: Arc<dyn Store>,
    faults: Faults,
    recorder: CallRecorder,
}

impl Bench {
    fn new(max_calls: usize, max_bytes: usize) -> Self {
        Self::with_clock(Arc::new(SystemClock::new()), max_calls, max_bytes)
    }

    fn with_clock(clock: Arc<dyn Clock>, max_calls: usize, max_bytes: usize) -> Self {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let faults = Faults::new();
        let faulty = faults.wrap(Arc::clone(&store));
        let recorder = CallRecorder::with_limits(faulty, clock, max_calls, max_bytes);
        Self {
            store,
            faults,
            recorder,
        }
    }
}

#[tokio::test]
async fn what_has_ended_is_there_once_it_is_said_to_be() {
    let bench = Bench::new(100, 1 << 20);
    let (a, b) = (attempt(&*bench.store).await, attempt(&*bench.store).await);
    let under_way = bench.recorder.begin(a.0.clone(), a.1.clone());
    bench.recorder.begin(b.0.clone(), b.1.clone()).finish(&call("b"));
    soon(bench.recorder.recorded(b.0.clone(), b.1.clone())).await;
    assert_eq!(spans(&*bench.store, &b).await.len(), 2);

    let mut waiting = Box::pin(bench.recorder.recorded(a.0.clone(), a.1.clone()));
    assert!(futures::poll!(&mut waiting).is_pending(), "its call is under way");
    under_way.finish(&call("a"));
    soon(waiting).await;
    let of_a = spans(&*bench.store, &a).await;
    assert_eq!((of_a.len(), model_calls(&of_a).len()), (2, 1));
    assert_eq!(of_a[0].sequence_id, of_a[1].sequence_id, "both are the same call");
    assert_ne!(of_a[0].sequence_id, 0);

    // One that was begun and never made.
    drop(bench.recorder.begin(a.0.clone(), a.1.clone()));
    soon(bench.recorder.recorded(a.0.clone(), a.1.clone())).await;
    soon(bench.recorder.recorded("ro-unknown", "at-unknown")).await;
    soon(bench.recorder.shutdown(Duration::from_secs(60))).await;
    let figures = bench.recorder.figures();
    assert_eq!(
        (
            figures.recorded,
            figures.dropped,
            figures.refused,
            figures.waiting
        ),
        (2, 0, 0, 0)
    );
}

#[tokio::test]
async fn sequence_ids_are_those_of_the_call_or_drawn() {
    let bench = Bench::new(100, 1 << 20);
    let whose = attempt(&*bench.store).await;
    let drawn = bench
        .store
        .get_next_span_sequence_id(whose.0.clone(), whose.1.clone())
        .await
        .unwrap();
    let first = bench.recorder.begin(whose.0.clone(), whose.1.clone());
    bench
        .recorder
        .begin(whose.0.clone(), whose.1.clone())
        .finish(&call("second"));
    soon(async {
        while bench.recorder.figures().recorded == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    first.finish(&call("first").sequence_id(drawn));
    soon(bench.recorder.recorded(whose.0.clone(), whose.1.clone())).await;
    let mut spans = spans(&*bench.store, &whose).await;
    spans.sort_by_key(|span| span.sequence_id);
    let told: Vec<(u64, &str)> = spans
        .iter()
        .filter(|span| span.name == semconv::PROXY_REQUEST)
        .map(|span| {
            (
                span.sequence_id,
                span.attributes["gen_ai.prompt.0.content"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(told, [(drawn, "first"), (drawn + 1, "second")]);
}

/// The store goes away while calls are made, the queue runs full, and the store comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_loss_is_counted_exactly_and_the_queue_stays_small() {
    const CALLS: u64 = 20_000;
    const ROOM: usize = 300;
    let bench = Bench::new(ROOM, 1 << 30);
    let whose = [
        attempt(&*bench.store).await,
        attempt(&*bench.store).await,
        attempt(&*bench.store).await,
    ];
    bench.faults.break_down();
    for number in 0..CALLS {
        let whose = &whose[(number % 3) as usize];
        bench
            .recorder
            .begin(whose.0.clone(), whose.1.clone())
            .finish(&call(&number.to_string()));
        assert!(bench.recorder.figures().waiting <= ROOM);
    }
    let away = bench.recorder.figures();
    assert_eq!(
        (away.waiting, away.recorded, away.dropped),
        (ROOM, 0, CALLS - ROOM as u64)
    );
    bench.faults.mend();
    let (mut there, mut lost) = (0, 0);
    for whose in &whose {
        soon(bench.recorder.recorded(whose.0.clone(), whose.1.clone())).await;
        let spans = spans(&*bench.store, whose).await;
        there += model_calls(&spans).len() as u64;
        lost += marked(&spans);
        assert!(
            marked(&spans) >= CALLS / 3 - ROOM as u64,
            "each attempt is told of its own"
        );
    }
    assert_eq!((there, lost), (ROOM as u64, CALLS - ROOM as u64));
    assert_eq!(bench.recorder.figures().waiting_bytes, 0);
    assert!(bench.faults.failures() > 0);
}

#[tokio::test]
async fn the_queue_is_bounded_in_bytes_too() {
    let bench = Bench::new(1_000_000, 100_000);
    let whose = attempt(&*bench.store).await;
    bench.faults.break_down();
    let large = call(&"x".repeat(10_000));
    for _ in 0..1000 {
        bench
            .recorder
            .begin(whose.0.clone(), whose.1.clone())
            .finish(&large);
        assert!(bench.recorder.figures().waiting_bytes <= 100_000);
    }
    let figures = bench.recorder.figures();
    assert!((3..=5).contains(&figures.waiting), "{figures:?}");
    assert_eq!(figures.dropped, 1000 - figures.waiting as u64);
    bench.faults.mend();
    soon(bench.recorder.recorded(whose.0.clone(), whose.1.clone())).await;
    assert_eq!(marked(&spans(&*bench.store, &whose).await), figures.dropped);
    // What is larger than the whole queue is a loss, not a stop, and is marked although no other call comes.
    bench
        .recorder
        .begin(whose.0.clone(), whose.1.clone())
        .finish(&call(&"x".repeat(100_000)));
    soon(bench.recorder.recorded(whose.0.clone(), whose.1.clone())).await;
    assert_eq!(marked(&spans(&*bench.store, &whose).await), figures.dropped + 1);
}

/// Answers of the store get lost: what is sent again is recognised.
#[tokio::test]
async fn nothing_is_recorded_twice() {
    let bench = Bench::new(1000, 1 << 20);
    let whose = attempt(&*bench.store).await;
    bench.faults.lose_answers(3);
    for number in 0..50 {
        bench
            .recorder
            .begin(whose.0.clone(), whose.1.clone())
            .finish(&call(&number.to_string()));
    }
    soon(bench.recorder.recorded(whose.0.clone(), whose.1.clone())).await;
    let spans = spans(&*bench.store, &whose).await;
    assert_eq!(
        (spans.len(), model_calls(&spans).len(), bench.faults.failures()),
        (100, 50, 3)
    );
}

#[tokio::test]
async fn one_that_the_store_refuses_leaves_the_others_alone() {
    let bench = Bench::new(1000, 1 << 20);
    let whose = attempt(&*bench.store).await;
    bench.faults.break_down();
    bench
        .recorder
        .begin(whose.0.clone(), whose.1.clone())
        .finish(&call("a"));
    bench.recorder.begin("ro-nobody", "at-nobody").finish(&call("x"));
    bench
        .recorder
        .begin(whose.0.clone(), whose.1.clone())
        .finish(&call("b"));
    bench.faults.mend();
    soon(bench.recorder.recorded("ro-nobody", "at-nobody")).await;
    soon(bench.recorder.recorded(whose.0.clone(), whose.1.clone())).await;
    assert_eq!(spans(&*bench.store, &whose).await.len(), 4);
    let figures = bench.recorder.figures();
    assert_eq!((figures.recorded, figures.refused), (2, 1));
}

/// A store that does not come back holds nobody up for longer than is asked for.
#[tokio::test]
async fn the_end_is_as_long_as_the_grace() {
    let clock = ManualClock::default();
    let bench = Bench::with_clock(Arc::new(clock.clone()), 1000, 1 << 20);
    let whose = attempt(&*bench.store).await;
    bench.faults.break_down();
    let late = bench.recorder.begin(whose.0.clone(), whose.1.clone());
    bench
        .recorder
        .begin(whose.0.clone(), whose.1.clone())
        .finish(&call("a"));
    let mut ending = Box::pin(bench.recorder.shutdown(Duration::from_secs(10)));
    let waiting = bench.recorder.recorded(whose.0.clone(), whose.1.clone());
    assert!(futures::poll!(&mut ending).is_pending());
    clock.advance(Duration::from_secs(11));
    soon(ending).await;
    soon(waiting).await;
    late.finish(&call("late"));
    let figures = bench.recorder.figures();
    assert_eq!((figures.recorded, figures.dropped, figures.waiting), (0, 2, 0));
    soon(bench.recorder.shutdown(Duration::from_secs(10))).await;
}

#[tokio::test]
async fn the_end_records_what_waits() {
    let bench = Bench::new(1000, 1 << 20);
    let whose = attempt(&*bench.store).await;
    for number in 0..500 {
        bench
            .recorder
            .begin(whose.0.clone(), whose.1.clone())
            .finish(&call(&number.to_string()));
    }
    soon(bench.recorder.shutdown(Duration::from_secs(60))).await;
    assert_eq!(model_calls(&spans(&*bench.store, &whose).await).len(), 500);
}

/// The task holds the store, so the store tells when the task has ended.
#[tokio::test]
async fn with_the_last_handle_the_task_ends() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let recorder = CallRecorder::start(Arc::clone(&store));
    let other = recorder.clone();
    let whose = attempt(&*store).await;
    drop(recorder);
    other.begin(whose.0.clone(), whose.1.clone()).finish(&call("a"));
    soon(other.recorded(whose.0.clone(), whose.1.clone())).await;
    let open = other.begin(whose.0, whose.1);
    drop(other);
    soon(async {
        while Arc::strong_count(&store) > 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    drop(open);
}

/// A hundred attempts at once: each has its own calls and no others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attempts_do_not_mix() {
    let bench = Arc::new(Bench::new(100_000, 1 << 30));
    let stream = fixtures::named("vllm-chat-stream");
    let mut tasks = Vec::new();
    for _ in 0..100 {
        let (bench, stream) = (Arc::clone(&bench), stream.clone());
        tasks.push(tokio::spawn(async move {
            let whose = attempt(&*bench.store).await;
            for number in 0..10 {
                let open = bench.recorder.begin(whose.0.clone(), whose.1.clone());
                tokio::task::yield_now().await;
                let name = format!("{}-{number}", whose.0);
                open.finish(&if number == 0 { stream.call() } else { call(&name) });
            }
            bench.recorder.recorded(whose.0.clone(), whose.1.clone()).await;
            let spans = spans(&*bench.store, &whose).await;
            assert_eq!(model_calls(&spans).len(), 10);
            let texts = spans
                .iter()
                .filter_map(|span| span.attributes.get("gen_ai.prompt.0.content")?.as_str());
            let foreign = texts.filter(|text| *text != "Grüße?" && !text.starts_with(whose.0.as_str()));
            assert_eq!(foreign.count(), 0);
        }));
    }
    for task in tasks {
        soon(task).await.unwrap();
    }
}
