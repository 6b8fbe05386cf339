//! Records that come from another store, and those that are taken out for good.

use serde_json::json;

use super::{
    area,
    fixture::{retrying, span, timeout},
};
use crate::{
    store::{ImportOutcome, NotFound, PurgeTarget, Record, RolloutRecord, Store, StoreError, transfer},
    types::{
        Attempt, AttemptStatus, Llm, NamedResources, NewRollout, ResourcesUpdate, Rollout, RolloutConfig,
        RolloutMode, RolloutPatch, RolloutStatus, Timestamp, Update, Worker, WorkerStatus,
    },
};

const AT: Timestamp = Timestamp::from_secs_f64(1_000.0);

fn rollout(id: &str, status: RolloutStatus) -> Rollout {
    Rollout {
        rollout_id: id.into(),
        input: json!({"n": 0.1}).into(),
        start_time: AT,
        end_time: status
            .is_terminal()
            .then_some(AT + std::time::Duration::from_secs(9)),
        mode: Some(RolloutMode::Val),
        resources_id: Some("rs-elsewhere".into()),
        status,
        config: retrying(3, &[AttemptStatus::Failed]),
        metadata: Some(json!({"who": "them"}).as_object().unwrap().clone()),
    }
}

fn attempt(id: &str, number: u32, status: AttemptStatus) -> Attempt {
    Attempt {
        rollout_id: id.into(),
        attempt_id: format!("at-{number}").into(),
        sequence_id: number,
        start_time: AT,
        end_time: status.is_terminal().then_some(AT),
        status,
        worker_id: Some("w-elsewhere".into()),
        last_heartbeat_time: Some(AT),
        metadata: None,
    }
}

fn record(rollout: Rollout, attempts: &[Attempt]) -> Record {
    Record::Rollout(RolloutRecord {
        rollout,
        attempts: attempts.to_vec(),
    })
}

fn ended(id: &str) -> Record {
    let attempts = [
        attempt(id, 1, AttemptStatus::Failed),
        attempt(id, 2, AttemptStatus::Succeeded),
    ];
    record(rollout(id, RolloutStatus::Succeeded), &attempts)
}

fn version(number: u64) -> ResourcesUpdate {
    ResourcesUpdate {
        resources_id: "rs-elsewhere".into(),
        create_time: AT,
        update_time: Timestamp::from_secs_f64(1_000.0 + number as f64),
        version: number,
        resources: NamedResources::new().with(
            "main",
            Llm::new(format!("http://v{number}"), "m").with_api_key("sk"),
        ),
    }
}

/// The problem of each record that was refused.
fn problems(outcomes: &[ImportOutcome]) -> Vec<String> {
    let problem = |outcome: &ImportOutcome| match outcome {
        ImportOutcome::Rejected(StoreError::Invalid {
            field: "record",
            problem,
        }) => problem.clone(),
        other => format!("{other:?}"),
    };
    outcomes.iter().map(problem).collect()
}

/// Everything that a store holds, but for the line that ends it and the key.
async fn lines(store: &dyn Store) -> Vec<String> {
    let mut out = Vec::new();
    transfer::export(store, &mut out).await.unwrap();
    String::from_utf8(out)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

area! { "records";

async fn records_are_taken_in_with_ids_statuses_and_times(f) {
    let worker = Worker {
        worker_id: "w-elsewhere".into(),
        status: WorkerStatus::Idle,
        heartbeat_stats: json!({"cpu": 0.3}).as_object().cloned(),
        last_heartbeat_time: Some(AT),
        last_dequeue_time: None,
        last_busy_time: Some(AT),
        last_idle_time: Some(AT),
        current_rollout_id: None,
        current_attempt_id: None,
    };
    let mut late = span(&"ro-1".into(), &"at-1".into(), 7);
    late.attributes.insert("n".to_owned(), json!(0.1));
    let records = vec![
        Record::Resources(version(1)),
        Record::Resources(version(2)),
        ended("ro-1"),
        Record::Span(Box::new(late.clone())),
        Record::Worker(Box::new(worker.clone())),
    ];
    let outcomes = f.store.import(records.clone()).await.unwrap();
    assert_eq!(outcomes, vec![ImportOutcome::Stored; 5]);

    assert_eq!(f.rollout(&"ro-1".into()).await, rollout("ro-1", RolloutStatus::Succeeded));
    let attempts = f.attempts(&"ro-1".into()).await;
    assert_eq!(attempts[0], attempt("ro-1", 1, AttemptStatus::Failed));
    assert_eq!(attempts[1], attempt("ro-1", 2, AttemptStatus::Succeeded));
    assert_eq!(f.spans(&"ro-1".into()).await, vec![late]);
    assert_eq!(f.worker("w-elsewhere").await, worker);
    for number in [1, 2] {
        let found = f.store.get_resources_by_id(&"rs-elsewhere".into(), Some(number)).await.unwrap();
        assert_eq!(found, Some(version(number)));
    }
    assert_eq!(f.store.get_latest_resources().await.unwrap(), Some(version(2)));
    let statistics = f.store.statistics().await.unwrap();
    assert_eq!((statistics.total_rollouts, statistics.total_attempts, statistics.total_spans), (1, 2, 1));
    assert_eq!((statistics.total_resources, statistics.total_workers), (1, 1));
    assert_eq!(f.next_sequence_id("ro-1").await, 8);
    assert_eq!(f.claimed_id().await, None, "what has ended does not wait");

    // Once more, nothing is new.
    let outcomes = f.store.import(records).await.unwrap();
    assert_eq!(outcomes, vec![ImportOutcome::Known; 5]);
    let next = f.store.update_resources("rs-elsewhere".into(), NamedResources::new()).await.unwrap();
    assert_eq!(next.version, 3);
    assert_eq!(next.create_time, AT);
}

async fn rollouts_that_wait_and_go_on_do_so_here(f) {
    let mut going = rollout("ro-going", RolloutStatus::Running);
    going.config = timeout(60.0);
    going.start_time = f.now();
    let mut latest = attempt("ro-going", 1, AttemptStatus::Running);
    latest.start_time = f.now();
    let outcomes = f.store.import(vec![
        record(rollout("ro-waits", RolloutStatus::Queuing), &[]),
        record(rollout("ro-again", RolloutStatus::Requeuing), &[attempt("ro-again", 1, AttemptStatus::Failed)]),
        record(going, &[latest]),
    ]);
    assert_eq!(outcomes.await.unwrap(), vec![ImportOutcome::Stored; 3]);
    assert_eq!(f.claimed_id().await, Some("ro-waits".into()));
    let again = f.claim().await;
    assert_eq!((again.rollout_id.as_str(), again.attempt.sequence_id), ("ro-again", 2));
    assert_eq!(f.status(&"ro-going".into()).await, RolloutStatus::Running);
    f.advance(61.0);
    assert_eq!(f.status(&"ro-going".into()).await, RolloutStatus::Failed);
}

async fn an_import_wakes_those_who_wait_for_work(f) {
    let store = f.store.clone();
    let parked = tokio::spawn(async move {
        store.dequeue_or_wait(1, None, std::time::Duration::from_secs(3_600)).await.unwrap()
    });
    f.parked().await;
    f.store.import(vec![record(rollout("ro-1", RolloutStatus::Queuing), &[])]).await.unwrap();
    assert_eq!(parked.await.unwrap()[0].rollout_id, "ro-1");
}

async fn records_that_contradict_themselves_are_refused_alone(f) {
    let broken = |change: &dyn Fn(&mut Rollout, &mut Vec<Attempt>)| {
        let mut rollout = rollout("ro-1", RolloutStatus::Failed);
        let mut attempts = vec![attempt("ro-1", 1, AttemptStatus::Failed), attempt("ro-1", 2, AttemptStatus::Failed)];
        change(&mut rollout, &mut attempts);
        record(rollout, &attempts)
    };
    let refused = f.store.import(vec![
        broken(&|rollout, _| rollout.end_time = None),
        broken(&|rollout, _| rollout.status = RolloutStatus::Running),
        broken(&|rollout, _| rollout.config.max_attempts = 0),
        broken(&|_, attempts| attempts[0].sequence_id = 2),
        broken(&|_, attempts| attempts.swap(0, 1)),
        broken(&|_, attempts| attempts[1].attempt_id = "at-1".into()),
        broken(&|_, attempts| attempts[1].rollout_id = "ro-2".into()),
        broken(&|_, attempts| attempts[0].end_time = None),
        broken(&|_, attempts| attempts[0].status = AttemptStatus::Running),
        Record::Resources(version(2)),
        Record::Resources(version(0)),
        Record::Span(Box::new(span(&"ro-1".into(), &"at-1".into(), 1))),
        ended("ro-2"),
        Record::Span(Box::new(span(&"ro-2".into(), &"at-9".into(), 1))),
    ]).await.unwrap();
    let expected = [
        "no end", "an end", "make no sense", "the sequence id 2", "in place 2", "at-1 twice",
        "at-2 of rollout ro-2", "`failed` and has no end", "`running` and has an end",
        "version 2 cannot follow", "version 0 cannot follow",
    ];
    for (problem, part) in problems(&refused).iter().zip(expected) {
        assert!(problem.contains(part), "{part:?} should be in {problem:?}");
    }
    assert_eq!(refused[11], ImportOutcome::Rejected(NotFound::Rollout("ro-1".into()).into()));
    assert_eq!(refused[12], ImportOutcome::Stored);
    let missing = NotFound::Attempt { rollout_id: "ro-2".into(), attempt_id: "at-9".into() };
    assert_eq!(refused[13], ImportOutcome::Rejected(missing.into()));
    assert_eq!(f.store.statistics().await.unwrap().total_rollouts, 1);
}

async fn records_of_a_known_name_that_differ_are_refused_and_change_nothing(f) {
    let first = vec![Record::Resources(version(1)), ended("ro-1"), Record::Span(Box::new(span(&"ro-1".into(), &"at-1".into(), 1)))];
    f.store.import(first).await.unwrap();
    let before = lines(&*f.store).await;
    let mut other_span = span(&"ro-1".into(), &"at-1".into(), 1);
    other_span.name = "other".to_owned();
    let mut other_resources = version(1);
    other_resources.resources = NamedResources::new();
    let refused = f.store.import(vec![
        Record::Resources(other_resources),
        record(rollout("ro-1", RolloutStatus::Queuing), &[]),
        Record::Span(Box::new(other_span)),
    ]).await.unwrap();
    let expected = ["version 1 of resources rs-elsewhere", "rollout ro-1", "span 0000000000000001 of rollout ro-1"];
    for (problem, what) in problems(&refused).iter().zip(expected) {
        assert_eq!(*problem, format!("{what} is there already, and differs"));
    }
    assert_eq!(lines(&*f.store).await, before);
}

async fn an_attempt_that_ran_out_of_time_gets_the_end_that_the_reference_leaves_out(f) {
    let mut attempts = [attempt("ro-1", 1, AttemptStatus::Timeout), attempt("ro-1", 2, AttemptStatus::Unresponsive)];
    attempts[1].start_time = AT + std::time::Duration::from_secs(5);
    for attempt in &mut attempts {
        attempt.end_time = None;
    }
    let failed = rollout("ro-1", RolloutStatus::Failed);
    let records = vec![record(failed.clone(), &attempts)];
    assert_eq!(f.store.import(records.clone()).await.unwrap(), vec![ImportOutcome::Stored]);
    let found = f.attempts(&"ro-1".into()).await;
    assert_eq!(found[0].end_time, Some(attempts[1].start_time));
    assert_eq!(found[1].end_time, failed.end_time);
    assert_eq!(f.store.import(records).await.unwrap(), vec![ImportOutcome::Known]);
}

async fn an_import_under_a_key_is_carried_out_once(f) {
    let command = crate::store::Command::Import { records: vec![ended("ro-1"), Record::Resources(version(7))] };
    let request = crate::store::Request::keyed(command, "k");
    let first = f.store.execute(request.clone()).await.unwrap();
    assert_eq!(f.store.execute(request).await.unwrap(), first);
}

async fn what_has_ended_is_taken_out_with_all_that_belongs_to_it(f) {
    let started = f.start_plain().await;
    f.add_span(&started, 1).await;
    f.add_span(&started, 2).await;
    f.report(&started, AttemptStatus::Succeeded).await;
    let (waits, goes_on) = (f.enqueue().await, f.start_plain().await);
    let id = started.rollout_id.clone();
    let target = |id: &crate::types::RolloutId, spans| PurgeTarget { rollout_id: id.clone(), spans };

    // Not what goes on, nor what has got other spans meanwhile, nor what nobody knows.
    let kept = vec![
        target(&waits.rollout_id, None),
        target(&goes_on.rollout_id, None),
        target(&id, Some(1)),
        target(&"ro-none".into(), None),
    ];
    assert_eq!(f.store.purge(kept, Vec::new()).await.unwrap(), Default::default());
    assert_eq!(f.spans(&id).await.len(), 2);

    let purged = f.store.purge(vec![target(&id, Some(2))], Vec::new()).await.unwrap();
    assert_eq!((&*purged.rollouts, purged.attempts, purged.spans), (&[id.clone()][..], 1, 2));
    assert_eq!(f.store.get_rollout_by_id(&id).await.unwrap(), None);
    assert!(f.attempts(&id).await.is_empty() && f.spans(&id).await.is_empty());
    let rest = f.store.query_rollouts(Default::default()).await.unwrap();
    assert_eq!((rest.total, rest.items.len()), (2, 2));
    let statistics = f.store.statistics().await.unwrap();
    assert_eq!((statistics.total_rollouts, statistics.total_attempts, statistics.total_spans), (2, 1, 0));
    assert_eq!(statistics.rollouts.iter().map(|counted| counted.count).sum::<u64>(), 2);
    let gone = f.store.update_rollout(id.clone(), RolloutPatch::default()).await.unwrap_err();
    assert_eq!(gone, NotFound::UpdatedRollout(id.clone()).into());
    // It may come back from where it was kept.
    let again = record(rollout(id.as_str(), RolloutStatus::Succeeded), &[]);
    assert_eq!(f.store.import(vec![again]).await.unwrap(), vec![ImportOutcome::Stored]);
    assert_eq!(f.claimed_id().await, Some(waits.rollout_id));
}

async fn an_ended_rollout_that_still_stands_in_the_queue_can_be_taken_out(f) {
    let (first, second) = (f.enqueue().await, f.enqueue().await);
    f.set_status(&first.rollout_id, RolloutStatus::Cancelled).await;
    let purged = f.store.purge(vec![first.rollout_id.clone().into()], Vec::new()).await.unwrap();
    assert_eq!(purged.rollouts, vec![first.rollout_id]);
    assert_eq!(f.claimed_id().await, Some(second.rollout_id));
    assert_eq!(f.claimed_id().await, None);
}

async fn resources_are_taken_out_that_nobody_uses(f) {
    let resources = |n: u32| NamedResources::new().with("main", Llm::new(format!("http://{n}"), "m"));
    let used = f.store.add_resources(resources(1)).await.unwrap().resources_id;
    f.enqueue().await;
    f.advance(1.0);
    let unused = f.store.add_resources(resources(2)).await.unwrap().resources_id;
    f.store.update_resources(unused.clone(), resources(3)).await.unwrap();
    f.advance(1.0);
    let latest = f.store.add_resources(resources(4)).await.unwrap();
    let all = vec![used.clone(), unused.clone(), latest.resources_id.clone(), "rs-none".into()];
    let purged = f.store.purge(Vec::new(), all).await.unwrap();
    assert_eq!(purged.resources, vec![unused.clone()]);
    assert_eq!(f.store.get_resources_by_id(&unused, Some(1)).await.unwrap(), None);
    assert_eq!(f.store.get_latest_resources().await.unwrap(), Some(latest));
    assert_eq!(f.store.query_resources(Default::default()).await.unwrap().total, 2);
    assert_eq!(f.store.statistics().await.unwrap().total_resources, 2);
    assert_eq!(f.store.update_resources(unused, resources(5)).await.unwrap().version, 1);
    assert!(f.store.get_resources_by_id(&used, None).await.unwrap().is_some());
}

async fn rollouts_are_counted_by_status_and_mode(f) {
    let made = f.store.enqueue_many_rollouts(vec![
        NewRollout::new(json!(1)).mode(RolloutMode::Train),
        NewRollout::new(json!(2)).mode(RolloutMode::Train),
        NewRollout::new(json!(3)),
    ]).await.unwrap();
    let counted = async || {
        let counts = f.store.statistics().await.unwrap().rollouts;
        counts.into_iter().map(|one| (one.status, one.mode, one.count)).collect::<Vec<_>>()
    };
    assert_eq!(counted().await, [(RolloutStatus::Queuing, None, 1), (RolloutStatus::Queuing, Some(RolloutMode::Train), 2)]);
    f.claim().await;
    let patch = RolloutPatch { mode: Update::Set(RolloutMode::Test), ..RolloutPatch::default() };
    f.patch(&made[2].rollout_id, patch).await.unwrap();
    assert_eq!(counted().await, [
        (RolloutStatus::Queuing, Some(RolloutMode::Train), 1),
        (RolloutStatus::Queuing, Some(RolloutMode::Test), 1),
        (RolloutStatus::Preparing, Some(RolloutMode::Train), 1),
    ]);
}

async fn a_whole_store_goes_through_lines_and_comes_out_the_same(f) {
    let resources = NamedResources::new().with("main", Llm::new("http://h", "m").with_api_key("sk"));
    f.store.add_resources(resources.clone()).await.unwrap();
    f.advance(1.5);
    for number in 0..3_u32 {
        let started = f.start(RolloutConfig::default()).await;
        f.add_span(&started, 1).await;
        f.add_span(&started, u64::from(number) + 2).await;
        f.advance(0.1);
        f.report(&started, AttemptStatus::Succeeded).await;
    }
    f.enqueue_many(3).await;
    f.claim().await;
    f.store.update_worker("w".into(), json!({"cpu": 0.25}).as_object().cloned()).await.unwrap();
    let before = lines(&*f.store).await;
    assert!(before.len() > 15, "{before:?}");

    let other = crate::store::MemoryStore::builder().clock(f.clock.clone()).build();
    let text = before.join("\n");
    let taken = transfer::import(&other, &mut text.as_bytes()).await.unwrap();
    assert_eq!((taken.known, taken.rejected), (0, 0), "{taken:?}");
    assert_eq!(lines(&other).await, before);
    let again = transfer::import(&*f.store, &mut text.as_bytes()).await.unwrap();
    assert_eq!((again.stored, again.rejected), (Default::default(), 0), "{again:?}");
    let cut = &text[..text.rfind('\n').unwrap()];
    let error = transfer::import(&*f.store, &mut cut.as_bytes()).await.unwrap_err();
    assert!(matches!(error, transfer::TransferError::CutOff { .. }), "{error}");
}

async fn an_archive_holds_what_it_took_out(f) {
    let resources = |n: u32| NamedResources::new().with("main", Llm::new(format!("http://{n}"), "m"));
    f.store.add_resources(resources(1)).await.unwrap();
    let old = f.start_plain().await;
    f.add_span(&old, 1).await;
    f.report(&old, AttemptStatus::Succeeded).await;
    f.advance(10.0);
    f.store.add_resources(resources(2)).await.unwrap();
    let limit = f.now();
    let fresh = f.start_plain().await;
    f.advance(1.0);
    f.report(&fresh, AttemptStatus::Failed).await;
    let whole = lines(&*f.store).await;

    let mut file = Vec::new();
    let (written, removed) = transfer::archive(&*f.store, limit, &mut file).await.unwrap();
    assert_eq!((written.rollouts, written.attempts, written.spans, written.resources), (1, 1, 1, 1));
    assert_eq!((removed.rollouts, removed.attempts, removed.spans, removed.resources), (1, 1, 1, 1));
    assert_eq!(f.store.get_rollout_by_id(&old.rollout_id).await.unwrap(), None);
    assert_eq!(f.status(&fresh.rollout_id).await, RolloutStatus::Failed);

    let taken = transfer::import(&*f.store, &mut &file[..]).await.unwrap();
    assert_eq!((taken.stored, taken.known, taken.rejected), (written, 0, 0), "{taken:?}");
    let (mut back, mut whole) = (lines(&*f.store).await, whole);
    back.sort();
    whole.sort();
    assert_eq!(back, whole);

    let removed = transfer::purge(&*f.store, f.now()).await.unwrap();
    assert_eq!((removed.rollouts, removed.spans, removed.resources), (1, 1, 1), "the latest one ended just now");
}

}
