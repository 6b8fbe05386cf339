//! Everything that was acknowledged over the lives of one file, and whether the store agrees.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use lightning_core::{
    store::{Answer, SqliteStore, Store},
    types::{
        AttemptId, AttemptQuery, AttemptStatus, Resource, RolloutId, RolloutQuery, RolloutStatus, SpanQuery,
    },
};
use lightning_tests::crash::{Batch, IMPORTED_SPANS, RESOURCES, Said};
use serde_json::json;

/// How long the time limits of the writer's rollouts may take, at the most, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What was said, in the forms in which it is looked up.
#[derive(Debug, Default)]
pub struct Ledger {
    tried: BTreeSet<Batch>,
    enqueued: BTreeMap<Batch, Vec<RolloutId>>,
    claimed: Vec<(RolloutId, AttemptId)>,
    drawn: HashMap<RolloutId, u64>,
    stored: Vec<(RolloutId, AttemptId, Vec<String>)>,
    ended: Vec<(RolloutId, AttemptId, AttemptStatus)>,
    resources: BTreeMap<u64, u64>,
    imported: BTreeMap<RolloutId, Fate>,
}

/// What was last said of a rollout that came from elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It was about to come, or to go.
    Open,
    There,
    Gone,
}

impl Ledger {
    pub fn note(&mut self, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Open | Said::Synced(_) => {}
                Said::Tries(batch) => {
                    self.tried.insert(batch);
                }
                Said::Enqueued(batch, ids) => {
                    self.tried.remove(&batch);
                    self.enqueued.insert(batch, ids);
                }
                Said::Claimed(id, attempt_id) => self.claimed.push((id, attempt_id)),
                Said::Drew(id, drawn) => {
                    let last = self.drawn.entry(id).or_default();
                    assert!(drawn > *last, "the sequence id {drawn} was given out twice");
                    *last = drawn;
                }
                Said::Stored(id, attempt_id, spans) => self.stored.push((id, attempt_id, spans)),
                Said::Ended(id, attempt_id, status) => self.ended.push((id, attempt_id, status)),
                Said::Resources(version, number) => {
                    self.resources.insert(version, number);
                }
                Said::Imports(id) | Said::Purges(id) => {
                    self.imported.insert(id, Fate::Open);
                }
                Said::Imported(id) => {
                    self.imported.insert(id, Fate::There);
                }
                Said::Purged(id) => {
                    self.imported.insert(id, Fate::Gone);
                }
            }
        }
    }

    /// Looks for everything in the store. How many batches were there that nobody had acknowledged.
    pub async fn hold_against(&mut self, store: &SqliteStore) -> usize {
        self.rollouts_are_there(store).await;
        self.spans_are_there(store).await;
        self.resources_are_there(store).await;
        self.imported_rollouts_are_there_or_gone(store).await;
        self.interrupted_attempts_end(store).await;
        self.sequence_ids_go_on(store).await;
        self.keys_still_answer(store).await
    }

    async fn rollouts_are_there(&self, store: &SqliteStore) {
        for (batch, ids) in &self.enqueued {
            for (n, id) in ids.iter().enumerate() {
                let found = store.get_rollout_by_id(id).await.unwrap();
                let found = found.unwrap_or_else(|| panic!("the acknowledged rollout {id} is lost"));
                assert_eq!(found.input["batch"], json!(batch.key));
                assert_eq!(found.input["n"], json!(n));
            }
        }
        let attempts = async |id: &RolloutId| {
            let page = store.query_attempts(id, AttemptQuery::default()).await.unwrap();
            page.items
                .into_iter()
                .map(|attempt| (attempt.attempt_id.clone(), attempt))
                .collect::<HashMap<_, _>>()
        };
        for (id, attempt_id) in &self.claimed {
            assert!(
                attempts(id).await.contains_key(attempt_id),
                "the acknowledged attempt {attempt_id} of {id} is lost"
            );
        }
        for (id, attempt_id, status) in &self.ended {
            let found = attempts(id).await;
            assert_eq!(
                found[attempt_id].status, *status,
                "the report on attempt {attempt_id} of {id} is lost"
            );
        }
    }

    async fn spans_are_there(&self, store: &SqliteStore) {
        for (id, attempt_id, span_ids) in &self.stored {
            let query = SpanQuery::of(id.clone()).attempt(attempt_id.clone());
            let spans = store.query_spans(query).await.unwrap().items;
            let found: BTreeSet<_> = spans.iter().map(|span| &span.span_id).collect();
            for span_id in span_ids {
                assert!(
                    found.contains(span_id),
                    "the acknowledged span {span_id} of {id} is lost"
                );
            }
        }
        let rollouts = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
        for rollout in rollouts {
            let spans = store
                .query_spans(SpanQuery::of(rollout.rollout_id.clone()))
                .await
                .unwrap()
                .items;
            let mut by_attempt: HashMap<_, Vec<_>> = HashMap::new();
            for span in &spans {
                assert_eq!(
                    span.attributes["reward"],
                    json!(0.1 + 0.2),
                    "a number has changed"
                );
                by_attempt.entry(&span.attempt_id).or_default().push(&span.name);
            }
            for names in by_attempt.values() {
                assert_eq!(
                    *names[0],
                    format!("{} together", names.len()),
                    "spans that were sent together are there in part"
                );
            }
        }
    }

    async fn resources_are_there(&self, store: &SqliteStore) {
        for (&version, &number) in &self.resources {
            let found = store
                .get_resources_by_id(&RESOURCES.into(), Some(version))
                .await
                .unwrap();
            let found = found.unwrap_or_else(|| panic!("version {version} of the resources is lost"));
            assert_eq!(found.resources.resource("number"), Some(&Resource::json(number)));
        }
    }

    /// With everything that belongs to them, or with nothing.
    async fn imported_rollouts_are_there_or_gone(&mut self, store: &SqliteStore) {
        for (id, fate) in &mut self.imported {
            let rollout = store.get_rollout_by_id(id).await.unwrap();
            let attempts = rollout.iter().filter(|rollout| rollout.attempt.is_some()).count();
            let spans = store.query_spans(SpanQuery::of(id.clone())).await.unwrap().total;
            let there = match (rollout.is_some(), attempts, spans) {
                (true, 1, IMPORTED_SPANS) => true,
                (false, 0, 0) => false,
                parts => panic!("a part of the imported rollout {id} is there: {parts:?}"),
            };
            match fate {
                Fate::Open => {}
                Fate::There => assert!(there, "the acknowledged import of {id} is lost"),
                Fate::Gone => assert!(!there, "the purged rollout {id} is there again"),
            }
            *fate = if there { Fate::There } else { Fate::Gone };
        }
    }

    /// Those that the killed process worked on run into their limits, and again until no attempt is left.
    async fn interrupted_attempts_end(&self, store: &SqliteStore) {
        let active = RolloutQuery {
            status_in: Some(vec![RolloutStatus::Preparing, RolloutStatus::Running]),
            ..RolloutQuery::default()
        };
        for rollout in store.query_rollouts(active).await.unwrap().items {
            let attempt = rollout.attempt.as_ref().expect("who is worked on has an attempt");
            let end = store.wait_for_attempt_end(&rollout.rollout_id, &attempt.attempt_id);
            tokio::time::timeout(PATIENCE, end)
                .await
                .unwrap_or_else(|_| panic!("the attempt {} goes on for ever", attempt.attempt_id))
                .unwrap();
        }
    }

    async fn sequence_ids_go_on(&mut self, store: &SqliteStore) {
        for (id, last) in self.drawn.iter_mut().take(20) {
            let drawn = store
                .get_next_span_sequence_id(id.clone(), "any".into())
                .await
                .unwrap();
            assert!(drawn > *last, "the sequence id {drawn} was given out twice");
            *last = drawn;
        }
    }

    /// Repeated, a batch that was acknowledged gives the same rollouts; one that was not is there now, and once.
    async fn keys_still_answer(&mut self, store: &SqliteStore) -> usize {
        for (batch, ids) in self.enqueued.iter().rev().take(20) {
            assert_eq!(
                enqueue(store, batch).await,
                *ids,
                "the key of {batch:?} is forgotten"
            );
        }
        let of_batches = async || {
            let rollouts = store.query_rollouts(RolloutQuery::default()).await.unwrap().items;
            let mut sizes: HashMap<String, usize> = HashMap::new();
            for rollout in rollouts {
                // Those that came from elsewhere are of no batch.
                if let Some(key) = rollout.input["batch"].as_str() {
                    *sizes.entry(key.to_owned()).or_default() += 1;
                }
            }
            sizes
        };
        let before = of_batches().await;
        let mut there = 0;
        for batch in std::mem::take(&mut self.tried) {
            match before.get(&batch.key) {
                None => {}
                Some(&size) => {
                    assert_eq!(size, batch.size, "a part of {batch:?} is there");
                    there += 1;
                }
            }
            let ids = enqueue(store, &batch).await;
            self.enqueued.insert(batch, ids);
        }
        let after = of_batches().await;
        for batch in self.enqueued.keys() {
            assert_eq!(
                after.get(&batch.key),
                Some(&batch.size),
                "{batch:?} is there more than once"
            );
        }
        assert_eq!(
            after.len(),
            self.enqueued.len(),
            "there are batches that nobody sent"
        );
        there
    }
}

async fn enqueue(store: &SqliteStore, batch: &Batch) -> Vec<RolloutId> {
    let Answer::Enqueued(made) = store.execute(batch.request()).await.unwrap() else {
        panic!("enqueueing answers with rollouts");
    };
    made.into_iter().map(|rollout| rollout.rollout_id).collect()
}
