//! What runners in other processes do, for the report and the stop conditions of a run.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Notify, mpsc};

use crate::{
    run::RunContext,
    store::{Answer, LayeredStore, Store, StoreError, StoreLayer},
    types::{Attempt, AttemptQuery, AttemptedRollout, Rollout, RolloutId, SpanQuery, WorkerId},
};

/// Hears of attempts that have ended: as runners report them to a store that is served here, and as the algorithm waits for
/// rollouts of one that is elsewhere.
pub(crate) struct Counted {
    news: mpsc::UnboundedSender<News>,
    heard: Mutex<Option<mpsc::UnboundedReceiver<News>>>,
    workers: Arc<Workers>,
}

/// The workers that wait for work at a store that is served here.
#[derive(Default)]
struct Workers {
    /// Those who have come, and have not been told to stop.
    coming: Mutex<HashSet<WorkerId>>,
    told: Notify,
}

impl Workers {
    fn coming(&self) -> MutexGuard<'_, HashSet<WorkerId>> {
        self.coming.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum News {
    Attempt(Box<Attempt>),
    Rollouts(Vec<RolloutId>),
    /// There will be no more.
    End,
}

struct Listening(mpsc::UnboundedSender<News>, Arc<Workers>);

impl StoreLayer for Listening {
    fn after(&self, answer: Answer) -> Result<Answer, StoreError> {
        if let Answer::Attempt(attempt) = &answer
            && attempt.status.is_terminal()
        {
            // Nobody counts any more.
            let _ = self.0.send(News::Attempt(attempt.clone()));
        }
        Ok(answer)
    }

    fn claimed(&self, workers: &[WorkerId], outcome: Result<&[AttemptedRollout], &StoreError>) {
        let mut coming = self.1.coming();
        if outcome == Err(&StoreError::Draining) {
            for worker in workers {
                coming.remove(worker);
            }
            self.1.told.notify_one();
        } else {
            let new = workers.iter().filter(|worker| !coming.contains(*worker));
            let new: Vec<_> = new.cloned().collect();
            coming.extend(new);
        }
    }

    fn ended(&self, rollouts: &[Rollout]) {
        let ids = rollouts.iter().map(|rollout| rollout.rollout_id.clone());
        let _ = self.0.send(News::Rollouts(ids.collect()));
    }
}

impl Counted {
    /// The store as everybody is to use it, and what is heard there.
    pub(crate) fn over(store: Arc<dyn Store>) -> (Arc<dyn Store>, Self) {
        let (news, heard) = mpsc::unbounded_channel();
        let workers = Arc::new(Workers::default());
        let store = LayeredStore::new(store, Listening(news.clone(), Arc::clone(&workers)));
        let counted = Self {
            news,
            heard: Mutex::new(Some(heard)),
            workers,
        };
        (Arc::new(store), counted)
    }

    /// Resolves when every one of these has heard that it is to stop.
    pub(super) async fn all_told(&self, workers: &[WorkerId]) {
        loop {
            let told = self.workers.told.notified();
            if workers
                .iter()
                .all(|worker| !self.workers.coming().contains(worker))
            {
                return;
            }
            told.await;
        }
    }

    /// Says that there is nothing more to count.
    pub(super) fn close(&self) {
        let _ = self.news.send(News::End);
    }

    /// Counts, until there is nothing more to count.
    pub(super) async fn follow(&self, run: &RunContext, store: &dyn Store) {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(mut heard) = heard else { return };
        let mut seen = HashSet::new();
        let mut looked_at = HashSet::new();
        while let Some(news) = heard.recv().await {
            let attempts = match news {
                News::End => return,
                News::Attempt(attempt) => vec![*attempt],
                News::Rollouts(ids) => {
                    let mut ended = Vec::new();
                    for id in ids {
                        if looked_at.insert(id.clone())
                            && let Ok(page) = store.query_attempts(&id, AttemptQuery::default()).await
                        {
                            ended.extend(
                                page.items
                                    .into_iter()
                                    .filter(|attempt| attempt.status.is_terminal()),
                            );
                        }
                    }
                    ended
                }
            };
            for attempt in attempts {
                if !seen.insert(attempt.attempt_id.clone()) {
                    continue;
                }
                let query = SpanQuery::of(attempt.rollout_id.clone()).attempt(attempt.attempt_id.clone());
                match store.query_spans(query).await {
                    Ok(page) => run.attempt_ended(&attempt, &page.items),
                    Err(error) => tracing::warn!(
                        target: "lightning::trainer",
                        rollout_id = %attempt.rollout_id,
                        attempt_id = %attempt.attempt_id,
                        error = %error,
                        "the spans of an attempt could not be read; it is missing in the report"
                    ),
                }
            }
        }
    }
}
