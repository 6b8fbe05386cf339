//! Runners of one process that wait for work together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use lightning_core::{
    agent::agent_fn,
    server::{ServerOptions, StoreServer},
    store::{LayeredStore, MemoryStore, Store, StoreError, StoreLayer},
    trainer::Trainer,
    types::{AttemptedRollout, NewRollout, WorkerId},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

/// How many claims there are at once, and for how many workers.
#[derive(Clone, Default)]
struct Claims(Arc<Counts>);

#[derive(Default)]
struct Counts {
    now: AtomicUsize,
    most: AtomicUsize,
    most_workers: AtomicUsize,
}

impl StoreLayer for Claims {
    fn before(&self, operation: &'static str) -> Result<(), StoreError> {
        if operation.starts_with("dequeue") {
            let now = self.0.now.fetch_add(1, Ordering::SeqCst) + 1;
            self.0.most.fetch_max(now, Ordering::SeqCst);
        }
        Ok(())
    }

    fn claimed(&self, workers: &[WorkerId], _: Result<&[AttemptedRollout], &StoreError>) {
        self.0.now.fetch_sub(1, Ordering::SeqCst);
        self.0.most_workers.fetch_max(workers.len(), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn many_runners_of_a_process_share_one_waiting_request() {
    let claims = Claims::default();
    let store: Arc<dyn Store> = Arc::new(LayeredStore::new(Arc::new(MemoryStore::new()), claims.clone()));
    let server = StoreServer::bind("127.0.0.1:0", store.clone(), ServerOptions::default())
        .await
        .unwrap();
    let url = server.url();
    let closing = CancellationToken::new();
    let serving = tokio::spawn(server.serve(closing.clone()));
    let runners = Trainer::builder()
        .quiet()
        .handle_interrupts(false)
        .n_runners(6)
        .runner_only(&url)
        .unwrap();
    let working =
        tokio::spawn(async move { runners.run(agent_fn(|_: u64, _| async { 1.0 })).await.unwrap() });
    let mut workers = std::collections::BTreeSet::new();
    for _ in 0..3 {
        let new = (0..6).map(|task| NewRollout::new(json!(task))).collect();
        let made = store.enqueue_many_rollouts(new).await.unwrap();
        let ids: Vec<_> = made.into_iter().map(|rollout| rollout.rollout_id).collect();
        assert_eq!(store.wait_for_rollouts(&ids, None).await.unwrap().len(), 6);
        for id in &ids {
            workers.insert(
                store
                    .get_latest_attempt(id)
                    .await
                    .unwrap()
                    .unwrap()
                    .worker_id
                    .unwrap(),
            );
        }
    }
    store.drain_workers(None).await.unwrap();
    assert_eq!(working.await.unwrap().attempts, 18);
    assert_eq!(claims.0.most.load(Ordering::SeqCst), 1, "one request at a time");
    assert!(claims.0.most_workers.load(Ordering::SeqCst) > 1);
    assert!(workers.len() > 1, "{workers:?}");
    closing.cancel();
    serving.await.unwrap();
}
